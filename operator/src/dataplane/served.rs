//! The proxies that a control plane serves, by their versions: istiod works with proxies of its own minor and of the one
//! before.

use std::collections::{BTreeMap, BTreeSet};

use super::record::Record;
use super::sources::MANAGED_PODS;
use super::usage::listed;
use super::{DataPlane, Word};
use crate::catalogue::{Bundle, Version};

/// The proxies that a control plane serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServedProxies {
    /// The namespaces of proxies that stay as they are until somebody restarts them, by version.
    pub injected: BTreeMap<Version, BTreeSet<String>>,
    /// The namespaces of gateways that istiod brings to its own version, by version.
    pub managed: BTreeMap<Version, BTreeSet<String>>,
    /// The namespaces of proxies whose version nothing tells.
    pub unknown: BTreeSet<String>,
    /// What of all this could not be looked at.
    pub gaps: Vec<String>,
    /// The CRDs of Gateway API, whose kinds istiod reads, with their bundles.
    pub gateway_api: BTreeMap<String, Bundle>,
    /// Why these are not known.
    pub gateway_api_gaps: Vec<String>,
}

impl ServedProxies {
    /// The oldest version.
    #[must_use]
    pub fn oldest(&self) -> Option<Version> {
        let versions = self.injected.keys().chain(self.managed.keys());
        versions.min().copied()
    }

    /// Those older than `oldest`, in words; none if there are none.
    #[must_use]
    pub fn older_than(&self, oldest: Version) -> Option<String> {
        let all = self.injected.iter().chain(&self.managed);
        told(all.filter(|(version, _)| **version < oldest))
    }

    /// The gateways that istiod made which are not of `version`, in words; none if there are none.
    #[must_use]
    pub fn managed_but(&self, version: Version) -> Option<String> {
        told(self.managed.iter().filter(|(found, _)| **found != version))
    }

    /// Those of a newer minor than `version`, in words, unless istiod takes them along; none if there are none.
    #[must_use]
    pub fn newer_than(&self, version: Version) -> Option<String> {
        told(
            self.injected
                .iter()
                .filter(|(found, _)| found.minor > version.minor),
        )
    }
}

fn told<'a>(rows: impl Iterator<Item = (&'a Version, &'a BTreeSet<String>)>) -> Option<String> {
    let mut versions: BTreeMap<Version, BTreeSet<String>> = BTreeMap::new();
    for (version, namespaces) in rows {
        versions
            .entry(*version)
            .or_default()
            .extend(namespaces.iter().cloned());
    }
    let words = versions.into_iter().filter_map(|(version, namespaces)| {
        let namespaces = listed("in namespaces", namespaces)?;
        Some(format!("{version} {namespaces}"))
    });
    let words: Vec<_> = words.collect();
    (!words.is_empty()).then(|| words.join(", "))
}

impl DataPlane {
    /// The bundles of Gateway API's CRDs, by the plurals of their kinds.
    fn gateway_api(&self) -> BTreeMap<String, Bundle> {
        let records = self.records.values().flatten();
        let bundles = records.filter_map(|(place, record)| match record {
            Record::Bundle(bundle) => {
                let (plural, _) = place.name.split_once('.')?;
                Some((plural.to_owned(), *bundle))
            }
            _ => None,
        });
        bundles.collect()
    }

    /// The proxies that a revision serves, except for those of the workloads `own`, by namespace and name. `gaps` are what
    /// is not known of pods.
    #[must_use]
    pub fn served_proxies(
        &self,
        revision: &str,
        own: &BTreeSet<(String, String)>,
        gaps: Vec<String>,
    ) -> ServedProxies {
        let mut served = ServedProxies {
            gaps,
            gateway_api: self.gateway_api(),
            ..ServedProxies::default()
        };
        for (source, records) in &self.records {
            for (place, record) in records {
                let Record::Pod(pod) = record else { continue };
                let is_own = |workload: &Word| {
                    own.contains(&(place.namespace.to_string(), workload.to_string()))
                };
                let is_meant = *pod.revision == *revision
                    && pod.proxy.is_some()
                    && !pod.workload.as_ref().is_some_and(is_own);
                if !is_meant {
                    continue;
                }
                let namespaces = match pod.version {
                    None => &mut served.unknown,
                    Some(version) if *source == MANAGED_PODS => {
                        served.managed.entry(version).or_default()
                    }
                    Some(version) => served.injected.entry(version).or_default(),
                };
                if !namespaces.contains(&*place.namespace) {
                    namespaces.insert(place.namespace.to_string());
                }
            }
        }
        served
    }
}
