//! Which workloads have an older proxy than the one that is injected now, and which of them may be restarted.

mod workload;

use std::collections::BTreeSet;
use std::fmt;

pub use workload::{
    Admission, HOLD, RESTARTED_FOR, RunSpec, RunStatus, Workload, is_held, restartable,
};

use super::record::Record;
use super::{DataPlane, Word};
use crate::catalogue::Version;

/// The proxy that workloads are to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The revision that injects it.
    pub revision: String,
    /// Its version.
    pub version: Version,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.revision, self.version)
    }
}

/// How the pods of a workload stand to a target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PodsOfWorkload {
    /// Pods whose proxy is another one, or of no known version.
    pub outdated: u32,
    /// Pods that have the proxy of the target.
    pub current: u32,
}

impl DataPlane {
    /// The workloads that have pods with an older proxy than the target, by namespace and name such as `Deployment/web`.
    /// An empty name stands for pods that nothing runs. `revisions` are those whose pods may move to the target.
    #[must_use]
    pub fn outdated_workloads(
        &self,
        target: &Target,
        revisions: &BTreeSet<String>,
    ) -> BTreeSet<(String, String)> {
        let mut found = BTreeSet::new();
        for (namespace, workload, is_current) in self.proxied_pods(target, revisions) {
            if !is_current {
                let workload = workload.map(ToString::to_string).unwrap_or_default();
                found.insert((namespace.to_string(), workload));
            }
        }
        found
    }

    /// How the pods of one workload stand to a target.
    #[must_use]
    pub fn pods_of(&self, target: &Target, namespace: &str, name: &str) -> PodsOfWorkload {
        let mut pods = PodsOfWorkload::default();
        for (place, record) in self.records.values().flatten() {
            let Record::Pod(pod) = record else { continue };
            let is_meant = *place.namespace == *namespace
                && pod.workload.as_deref() == Some(name)
                && pod.proxy.is_some();
            if is_meant {
                let is_current = *pod.revision == *target.revision
                    && pod.version.is_some_and(|version| version >= target.version);
                let count = if is_current {
                    &mut pods.current
                } else {
                    &mut pods.outdated
                };
                *count += 1;
            }
        }
        pods
    }

    /// Pods that the injector gave a proxy: their namespace, their workload, and whether they have the target's proxy.
    fn proxied_pods<'a>(
        &'a self,
        target: &'a Target,
        revisions: &'a BTreeSet<String>,
    ) -> impl Iterator<Item = (&'a Word, Option<&'a Word>, bool)> {
        let injected = self
            .records
            .get("pods")
            .into_iter()
            .chain(self.records.get("pods of Istio"));
        injected.flatten().filter_map(move |(place, record)| {
            let Record::Pod(pod) = record else {
                return None;
            };
            let is_meant = pod.proxy.is_some() && revisions.contains(&*pod.revision);
            let is_current = *pod.revision == *target.revision
                && pod.version.is_some_and(|version| version >= target.version);
            is_meant.then_some((&place.namespace, pod.workload.as_ref(), is_current))
        })
    }
}
