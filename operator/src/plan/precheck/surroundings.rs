//! What no watch tells of a cluster and a step depends on: it is read once before the step.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use regex::Regex;
use serde_json::Value;

use super::{Precheck, check, disruption};
use crate::api::{CheckResult, CheckStatus};
use crate::catalogue::Version;
use crate::cluster::Live;
use crate::dataplane::{Budget, listed};
use crate::merge::Merged;
use crate::render::Rendered;

/// What is around Istio in a cluster. What could not be read says why.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The disruption budgets in the namespaces of Istio.
    pub budgets: Result<Vec<Budget>, String>,
    /// All `EnvoyFilter`s.
    pub envoy_filters: Result<Vec<EnvoyFilter>, String>,
}

/// What of an `EnvoyFilter` ties it to a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvoyFilter {
    /// Its namespace and name.
    name: String,
    /// The proxies that each of its patches is for; empty where it is for all.
    versions: Vec<String>,
}

impl Surroundings {
    /// The namespaces in which somebody may have made budgets for pods of Istio.
    #[must_use]
    pub fn namespaces(rendered: &Rendered) -> BTreeSet<&str> {
        let components = rendered.components.iter();
        let objects = components.flat_map(|component| &component.objects);
        let deployments = objects.filter(|object| object.key.kind == "Deployment");
        let namespaces = deployments.filter_map(|object| object.key.namespace.as_deref());
        namespaces.collect()
    }
}

impl EnvoyFilter {
    /// Reads one as the API server has it.
    #[must_use]
    pub fn read(meta: &ObjectMeta, content: &Value) -> Self {
        let patches = content["spec"]["configPatches"].as_array();
        let versions = patches.into_iter().flatten().map(|patch| {
            let version = &patch["match"]["proxy"]["proxyVersion"];
            version.as_str().unwrap_or_default().to_owned()
        });
        let namespace = meta.namespace.as_deref().unwrap_or_default();
        let name = meta.name.as_deref().unwrap_or_default();
        Self {
            name: format!("{namespace}/{name}"),
            versions: versions.collect(),
        }
    }

    /// Whether one of its patches is for proxies of a version.
    fn concerns(&self, version: Version) -> bool {
        let mut versions = self.versions.iter();
        versions.any(|pattern| is_for(pattern, version))
    }

    /// Whether one of its patches is for proxies of the first version and not for those of the second one.
    fn loses(&self, from: Version, to: Version) -> bool {
        let mut versions = self.versions.iter();
        versions.any(|pattern| is_for(pattern, from) && !is_for(pattern, to))
    }
}

/// Whether a patch is for proxies of a version. A pattern that cannot be read is for none.
fn is_for(pattern: &str, version: Version) -> bool {
    let matches = |pattern: Regex| pattern.is_match(&version.to_string());
    pattern.is_empty() || Regex::new(pattern).is_ok_and(matches)
}

impl Precheck {
    /// Takes in what is around Istio, where `rendered` is what the step leads to.
    pub fn look_around(
        &mut self,
        merged: &Merged,
        rendered: &Rendered,
        live: &Live,
        seen: &Surroundings,
    ) {
        let found = [
            disruption::all_budgets(merged, rendered, live, &seen.budgets),
            envoy_filters(self.from, self.to, &seen.envoy_filters),
        ];
        for found in found {
            let known = self
                .checks
                .iter_mut()
                .find(|check| check.name == found.name);
            match known {
                Some(known) => *known = found,
                None => self.checks.push(found),
            }
        }
    }
}

/// `EnvoyFilter`s patch what istiod makes for Envoy, and both are of another version with each minor (issues 49764, 49836).
/// Nobody can tell whether they still fit, so they are told.
fn envoy_filters(
    from: Option<Version>,
    to: Version,
    filters: &Result<Vec<EnvoyFilter>, String>,
) -> CheckStatus {
    let name = "envoy-filters";
    if from.is_some_and(|from| from.minor == to.minor) {
        return check(name, CheckResult::Passed, "Envoy stays of the same minor");
    }
    let filters = match filters {
        Ok(filters) => filters,
        Err(why) => return check(name, CheckResult::NotChecked, why),
    };
    let named = |is_meant: &dyn Fn(&EnvoyFilter) -> bool| {
        let meant = filters.iter().filter(|filter| is_meant(filter));
        listed(
            "EnvoyFilters",
            meant.map(|filter| filter.name.clone()).collect(),
        )
    };
    let lost = named(&|filter| from.is_some_and(|from| filter.loses(from, to)));
    let lost = lost
        .map(|lost| format!("not for proxies of {to} any more by their proxyVersion are {lost}"));
    let stay = named(&|filter| filter.concerns(to));
    let stay = stay.map(|stay| {
        format!(
            "whether they still fit the configuration of Envoy in {to} has to be tried out: {stay}"
        )
    });
    let told: Vec<_> = lost.into_iter().chain(stay).collect();
    if told.is_empty() {
        return check(
            name,
            CheckResult::Passed,
            "there are none for these proxies",
        );
    }
    check(name, CheckResult::Warning, told.join("; "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn filter(name: &str, versions: &[&str]) -> EnvoyFilter {
        let patches = versions.iter().map(|version| match *version {
            "" => json!({"applyTo": "CLUSTER"}),
            version => json!({"match": {"proxy": {"proxyVersion": version}}}),
        });
        let meta = ObjectMeta {
            namespace: Some("shop".to_owned()),
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        };
        EnvoyFilter::read(
            &meta,
            &json!({"spec": {"configPatches": patches.collect::<Vec<_>>()}}),
        )
    }

    fn found(from: &str, to: &str, filters: &[EnvoyFilter]) -> CheckStatus {
        let to = Version::parse(to).unwrap();
        envoy_filters(Version::parse(from), to, &Ok(filters.to_vec()))
    }

    /// Istio's issues 49764 and 49836.
    #[test]
    fn envoy_filters_that_a_new_envoy_may_refuse_are_told_by_name() {
        use CheckResult::{NotChecked, Passed, Warning};
        let step = |filters: &[EnvoyFilter]| found("1.30.5", "1.31.1", filters);
        let any = step(&[filter("lua", &[""])]);
        assert_eq!(any.result, Warning);
        assert!(
            any.message.contains("EnvoyFilters shop/lua"),
            "{}",
            any.message
        );
        let old = step(&[filter("old", &[r"^1\.30.*"])]);
        assert!(
            old.message.contains("by their proxyVersion"),
            "{}",
            old.message
        );
        assert!(!old.message.contains("tried out"), "{}", old.message);
        let each = step(&[filter("each", &[r"^1\.30.*", r"^1\.31.*"])]);
        assert!(each.message.contains("tried out"), "{}", each.message);
        for none in [
            step(&[]),
            step(&[filter("older", &[r"^1\.29.*"])]),
            step(&[filter("broken", &["("])]),
            step(&[filter("empty", &[])]),
            found("1.31.0", "1.31.1", &[filter("lua", &[""])]),
        ] {
            assert_eq!(none.result, Passed, "{}", none.message);
        }
        let to = Version::parse("1.31.1").unwrap();
        let unknown = envoy_filters(None, to, &Err("may not".to_owned()));
        assert_eq!(unknown.result, NotChecked);
    }
}
