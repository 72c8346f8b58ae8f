//! Looks, before the version of an installation changes, whether the step is a safe one.
//!
//! Only the CR, the catalogue and what watches tell is asked. What they do not tell is reported as not checked, never as
//! passed. Facts: upstream's documentation of upgrades and its issues, by number at each check.

mod step_notes;

use crate::api::{CheckResult, CheckStatus, ComponentKind, UpgradeStatus};
use crate::catalogue::{Catalogue, Version};
use crate::cluster::{Live, LiveObject};
use crate::merge::Merged;
use crate::render::ObjectKey;

/// A change of the version, and what the checks say of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Precheck {
    /// The version that runs.
    pub from: Version,
    /// The version that is asked for.
    pub to: Version,
    checks: Vec<CheckStatus>,
    notes: Vec<String>,
}

/// Istio's proxies before this version do not understand what istiod 1.30.0 and 1.30.1 send (issue 60486).
const OLDEST_PROXY_FOR_30: Version = Version {
    minor: 29,
    patch: 2,
};

impl Precheck {
    /// Checks a CR whose control plane runs in another version than it asks for; none if it runs in this one, or not at all.
    ///
    /// While istiod is not there, `installed` is taken for its version: the last one in which everything was healthy.
    /// Failed checks that `skipped` names count as skipped.
    #[must_use]
    pub fn of(
        merged: &Merged,
        live: &Live,
        catalogue: &Catalogue,
        installed: Option<Version>,
        skipped: &[String],
    ) -> Option<Self> {
        let pilot = merged
            .components
            .iter()
            .find(|component| component.kind == ComponentKind::Pilot)?;
        let istiod = live.get(&workload("Deployment", &pilot.namespace, &pilot.name));
        let from = istiod.map_or(installed, running_version)?;
        let to = merged.version;
        if from == to {
            return None;
        }
        let mut checks = vec![
            version_step(from, to),
            kubernetes(merged, catalogue),
            patch(from, to, catalogue),
            replicas(istiod),
            node_agents(merged, live),
        ];
        checks.push(data_plane(from, to));
        for check in &mut checks {
            if check.result == CheckResult::Failed && skipped.contains(&check.name) {
                check.result = CheckResult::Skipped;
            }
        }
        let notes = step_notes::notes(merged, pilot, from, catalogue);
        Some(Self {
            from,
            to,
            checks,
            notes,
        })
    }

    /// Why the version may not change, and what to do about it.
    #[must_use]
    pub fn refusal(&self) -> Option<String> {
        let failed = self.named(CheckResult::Failed);
        if failed.is_empty() {
            return None;
        }
        let problems: Vec<_> = failed
            .iter()
            .map(|check| format!("{}: {}", check.name, check.message))
            .collect();
        let names: Vec<_> = failed.iter().map(|check| check.name.as_str()).collect();
        Some(format!(
            "Istio {} stays, because the step to {} is refused: {}; the annotation install.istio.io/skip-checks: {} takes it \
             all the same",
            self.from,
            self.to,
            problems.join("; "),
            names.join(","),
        ))
    }

    /// The failed checks that the user skips, in words.
    #[must_use]
    pub fn skipped(&self) -> Option<String> {
        let skipped = self.named(CheckResult::Skipped);
        let parts: Vec<_> = skipped
            .iter()
            .map(|check| format!("{}: {}", check.name, check.message))
            .collect();
        let (from, to) = (self.from, self.to);
        let text = format!("from {from} to {to} although {}", parts.join("; "));
        (!parts.is_empty()).then_some(text)
    }

    /// What the status shows.
    #[must_use]
    pub fn status(&self) -> UpgradeStatus {
        UpgradeStatus {
            from: self.from.to_string(),
            to: self.to.to_string(),
            checks: self.checks.clone(),
            notes: self.notes.clone(),
        }
    }

    fn named(&self, result: CheckResult) -> Vec<&CheckStatus> {
        let checks = self.checks.iter();
        checks.filter(|check| check.result == result).collect()
    }
}

/// The Istio version that an object is of, by its label.
pub(super) fn running_version(object: &LiveObject) -> Option<Version> {
    Version::parse(object.owner_labels.version.as_deref()?)
}

fn workload(kind: &str, namespace: &str, name: &str) -> ObjectKey {
    ObjectKey {
        group: "apps".to_owned(),
        kind: kind.to_owned(),
        namespace: Some(namespace.to_owned()),
        name: name.to_owned(),
    }
}

fn check(name: &str, result: CheckResult, message: impl Into<String>) -> CheckStatus {
    CheckStatus {
        name: name.to_owned(),
        result,
        message: message.into(),
    }
}

/// In place, Istio supports one minor up at a time, and one back.
fn version_step(from: Version, to: Version) -> CheckStatus {
    let name = "version-step";
    let (up, down) = (
        to.minor.saturating_sub(from.minor),
        from.minor.saturating_sub(to.minor),
    );
    match (up, down) {
        (0 | 1, 0) => check(name, CheckResult::Passed, format!("{from} to {to}")),
        (0, 1) => {
            let why = "one minor back works only while no proxy is newer than istiod";
            check(name, CheckResult::Warning, why)
        }
        (0, _) => {
            let why = format!(
                "{to} is {down} minors older, and Istio supports a step back of one; set spec.version to \"{}\" or newer",
                minor(from.minor - 1)
            );
            check(name, CheckResult::Failed, why)
        }
        _ => {
            let why = format!(
                "in place, Istio supports one minor at a time; set spec.version to \"{}\" first, or install {to} beside it by \
                 a second IstioOperator with a spec.revision",
                minor(from.minor + 1)
            );
            check(name, CheckResult::Failed, why)
        }
    }
}

fn minor(minor: u16) -> String {
    format!("1.{minor}")
}

/// Each minor needs some Kubernetes, and upstream tested it up to another one.
fn kubernetes(merged: &Merged, catalogue: &Catalogue) -> CheckStatus {
    let name = "kubernetes";
    let release = catalogue.release(merged.version.minor);
    let (Some(found), Some(release)) = (merged.cluster.kubernetes, release) else {
        return check(
            name,
            CheckResult::NotChecked,
            "the version of the cluster is not known",
        );
    };
    let (oldest, newest) = release.tested;
    let range = format!("1.{oldest} to 1.{newest}");
    if found < release.kubernetes {
        let why = format!(
            "it needs Kubernetes 1.{}, and this is 1.{found}",
            release.kubernetes
        );
        check(name, CheckResult::Failed, why)
    } else if found < oldest || found > newest {
        let why = format!("it was tested on Kubernetes {range}, and this is 1.{found}");
        check(name, CheckResult::Warning, why)
    } else {
        check(
            name,
            CheckResult::Passed,
            format!("tested on Kubernetes {range}"),
        )
    }
}

/// Patch releases that are known to break a step.
fn patch(from: Version, to: Version, catalogue: &Catalogue) -> CheckStatus {
    let name = "patch";
    if to.minor == 30 && to.patch < 2 && from < OLDEST_PROXY_FOR_30 {
        let why = format!(
            "proxies older than {OLDEST_PROXY_FOR_30} refuse what istiod {to} sends; take 1.30.2 or newer"
        );
        return check(name, CheckResult::Failed, why);
    }
    match catalogue.release(to.minor).map(|release| release.version) {
        Some(newest) if to < newest => {
            let why = format!("{newest} is newer, and mends what {to} may still have");
            check(name, CheckResult::Warning, why)
        }
        _ => check(name, CheckResult::Passed, "no newer patch release is known"),
    }
}

/// One replica of istiod leaves no other while it is replaced.
fn replicas(istiod: Option<&LiveObject>) -> CheckStatus {
    let name = "replicas";
    match istiod.and_then(LiveObject::replicas) {
        None => check(
            name,
            CheckResult::NotChecked,
            "the replicas of istiod are not known",
        ),
        Some(count) if count < 2 => {
            let why =
                format!("istiod has {count}; with two, one serves while the other is replaced");
            check(name, CheckResult::Warning, why)
        }
        Some(count) => check(name, CheckResult::Passed, format!("istiod has {count}")),
    }
}

/// The CNI agent and ztunnel work with an istiod of their own minor or of the next one.
fn node_agents(merged: &Merged, live: &Live) -> CheckStatus {
    let name = "node-agents";
    let is_agent = |kind| matches!(kind, ComponentKind::Cni | ComponentKind::Ztunnel);
    let components = merged.components.iter();
    let mut agents = components
        .filter(|component| is_agent(component.kind))
        .peekable();
    if agents.peek().is_none() {
        return check(name, CheckResult::Passed, "there are none");
    }
    let mut seen = Vec::new();
    for agent in agents {
        let found = live.get(&workload("DaemonSet", &agent.namespace, &agent.name));
        let Some(version) = found.and_then(running_version) else {
            let why = format!("the version of {} is not known", agent.kind);
            return check(name, CheckResult::NotChecked, why);
        };
        if version.minor + 1 < merged.version.minor {
            let why = format!(
                "{} still runs {version}, and works with istiod up to {}",
                agent.kind,
                minor(version.minor + 1)
            );
            return check(name, CheckResult::Failed, why);
        }
        seen.push(format!("{} {version}", agent.kind));
    }
    check(name, CheckResult::Passed, seen.join(", "))
}

/// No proxy may be newer than istiod, or more than one minor older.
fn data_plane(from: Version, to: Version) -> CheckStatus {
    let what = if to < from { "newer" } else { "older" };
    let why = format!("whether proxies are {what} than istiod {from} is not known");
    check("data-plane", CheckResult::NotChecked, why)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::{IstioOperator, RawSpec};
    use crate::charts::Charts;
    use crate::cluster::{OwnerLabels, Readiness, Workload};
    use crate::merge::{Cluster, merge};

    fn precheck(from: &str, to: &str, skipped: &[&str]) -> Option<Precheck> {
        let charts = Charts::embedded().unwrap();
        let cr = IstioOperator::new("cr", RawSpec(json!({"profile": "ambient"})));
        let merged = merge(&cr, Some(to), Cluster::read("v1.34.0"), &charts).unwrap();
        let mut live = Live::default();
        let object = |version: &str| LiveObject {
            owner_labels: OwnerLabels {
                version: Some(version.to_owned()),
                ..OwnerLabels::default()
            },
            readiness: Some(Readiness::Workload(Workload {
                desired: 2,
                ..Workload::default()
            })),
            ..LiveObject::default()
        };
        live.put(
            workload("Deployment", "istio-system", "istiod"),
            object(from),
        );
        for name in ["istio-cni-node", "ztunnel"] {
            live.put(workload("DaemonSet", "istio-system", name), object(from));
        }
        let skipped: Vec<_> = skipped.iter().map(|name| (*name).to_owned()).collect();
        Precheck::of(&merged, &live, charts.catalogue(), None, &skipped)
    }

    #[test]
    fn a_lost_istiod_opens_no_way_around_the_checks() {
        let charts = Charts::embedded().unwrap();
        let cr = IstioOperator::new("cr", RawSpec(json!({"profile": "minimal"})));
        let merged = merge(&cr, Some("1.31"), Cluster::default(), &charts).unwrap();
        let live = Live::default();
        let of = |installed: Option<&str>| {
            let installed = installed.and_then(Version::parse);
            Precheck::of(&merged, &live, charts.catalogue(), installed, &[])
        };
        assert_eq!(of(None), None);
        assert!(of(Some("1.28.10")).unwrap().refusal().is_some());
        assert_eq!(of(Some("1.31.1")), None);
    }

    fn result(precheck: &Precheck, name: &str) -> CheckResult {
        precheck
            .checks
            .iter()
            .find(|check| check.name == name)
            .unwrap()
            .result
    }

    #[test]
    fn steps_that_istio_does_not_support_are_refused_with_the_way_out() {
        for (from, to, expected, way_out) in [
            ("1.30.5", "1.31.1", CheckResult::Passed, ""),
            ("1.31.0", "1.31.1", CheckResult::Passed, ""),
            ("1.31.1", "1.30.5", CheckResult::Warning, ""),
            (
                "1.28.10",
                "1.31.1",
                CheckResult::Failed,
                "set spec.version to \"1.29\" first",
            ),
            (
                "1.20.3",
                "1.31.1",
                CheckResult::Failed,
                "set spec.version to \"1.21\" first",
            ),
            (
                "1.31.1",
                "1.28.10",
                CheckResult::Failed,
                "\"1.30\" or newer",
            ),
        ] {
            let found = precheck(from, to, &[]).unwrap();
            assert_eq!(result(&found, "version-step"), expected, "{from} {to}");
            let refusal = found.refusal().unwrap_or_default();
            assert_eq!(
                refusal.is_empty(),
                expected != CheckResult::Failed,
                "{refusal}"
            );
            assert!(refusal.contains(way_out), "{refusal}");
        }
        assert_eq!(precheck("1.31.1", "1.31.1", &[]), None);
    }

    #[test]
    fn a_check_is_skipped_by_its_name() {
        let found = precheck("1.28.10", "1.31.1", &["version-step"]).unwrap();
        assert_eq!(result(&found, "version-step"), CheckResult::Skipped);
        let refusal = found.refusal().unwrap();
        assert!(refusal.contains("skip-checks: node-agents"), "{refusal}");
        let all = ["version-step", "node-agents"];
        assert_eq!(precheck("1.28.10", "1.31.1", &all).unwrap().refusal(), None);
    }

    #[test]
    fn a_patch_that_older_proxies_refuse_is_no_target() {
        let found = precheck("1.29.1", "1.30.1", &[]).unwrap();
        assert_eq!(result(&found, "patch"), CheckResult::Failed);
        for (from, to, expected) in [
            ("1.29.2", "1.30.1", CheckResult::Warning),
            ("1.29.1", "1.30.5", CheckResult::Passed),
        ] {
            assert_eq!(result(&precheck(from, to, &[]).unwrap(), "patch"), expected);
        }
    }

    #[test]
    fn what_is_not_known_is_not_passed() {
        let found = precheck("1.30.5", "1.31.1", &[]).unwrap();
        assert_eq!(result(&found, "data-plane"), CheckResult::NotChecked);
        assert_eq!(result(&found, "kubernetes"), CheckResult::Passed);
        assert_eq!(result(&found, "node-agents"), CheckResult::Passed);
        let status = found.status();
        assert_eq!(
            (status.from.as_str(), status.to.as_str()),
            ("1.30.5", "1.31.1")
        );
    }
}
