//! Steps between versions that run and versions that are asked for.

use serde_json::json;

use super::*;
use crate::api::{IstioOperator, RawSpec};
use crate::charts::Charts;
use crate::cluster::{OwnerLabels, Readiness, Workload};
use crate::merge::{Cluster, merge};

/// Proxies of these versions in the namespace `shop`, which somebody has to restart or which istiod takes along.
fn proxies(injected: &[&str], managed: &[&str]) -> ServedProxies {
    let rows = |versions: &[&str]| {
        let versions = versions.iter().map(|text| Version::parse(text).unwrap());
        versions
            .map(|version| (version, ["shop".to_owned()].into()))
            .collect()
    };
    ServedProxies {
        injected: rows(injected),
        managed: rows(managed),
        ..ServedProxies::default()
    }
}

#[test]
fn istiod_is_never_older_than_a_proxy_nor_more_than_one_minor_ahead() {
    use CheckResult::{Failed, Passed};
    for (to, injected, managed, expected) in [
        ("1.31.1", &[][..], &[][..], Passed),
        ("1.31.1", &["1.30.0"], &["1.30.0"], Passed),
        ("1.31.1", &["1.31.1"], &[], Passed),
        ("1.31.1", &["1.29.8", "1.30.5"], &[], Failed),
        ("1.31.1", &[], &["1.29.8"], Failed),
        // A newer patch release of the same minor is no newer proxy.
        ("1.30.0", &["1.30.5"], &[], Passed),
        ("1.30.5", &["1.31.1"], &[], Failed),
        // istiod takes along what it made itself.
        ("1.30.5", &["1.30.5"], &["1.31.1"], Passed),
    ] {
        let to = Version::parse(to).unwrap();
        let found = data_plane(to, &proxies(injected, managed));
        assert_eq!(
            found.result, expected,
            "{to} {injected:?} {managed:?}: {}",
            found.message
        );
        let is_told = expected == Passed || found.message.contains("in namespaces shop");
        assert!(is_told, "{}", found.message);
    }
}

#[test]
fn what_is_not_known_of_proxies_is_neither_passed_nor_refused() {
    let to = Version::parse("1.31.1").unwrap();
    let unknown = ServedProxies {
        unknown: ["old".to_owned()].into(),
        ..proxies(&["1.30.5"], &[])
    };
    let found = data_plane(to, &unknown);
    assert_eq!(found.result, CheckResult::NotChecked);
    assert!(
        found.message.contains("in namespaces old"),
        "{}",
        found.message
    );
    let unlisted = |versions: &[&str]| ServedProxies {
        gaps: vec!["pods cannot be listed: forbidden".to_owned()],
        ..proxies(versions, &[])
    };
    assert_eq!(
        data_plane(to, &unlisted(&[])).result,
        CheckResult::NotChecked
    );
    // What was seen before is known even so.
    assert_eq!(
        data_plane(to, &unlisted(&["1.29.8"])).result,
        CheckResult::Failed
    );
}

#[test]
fn a_patch_release_that_breaks_old_proxies_is_refused_for_the_oldest_of_them() {
    let (charts, parse) = (Charts::embedded().unwrap(), |text: &str| {
        Version::parse(text)
    });
    let of = |oldest: &str| {
        patch(
            parse(oldest),
            parse("1.30.1").unwrap(),
            charts.catalogue(),
            &[],
        )
        .result
    };
    assert_eq!(of("1.29.1"), CheckResult::Failed);
    assert_eq!(of("1.29.2"), CheckResult::Warning);
}

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
            current: 2,
            updated: 2,
            available: 2,
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
    Precheck::of(
        &merged,
        &live,
        charts.catalogue(),
        None,
        &proxies(&[], &[]),
        &skipped,
    )
}

/// The step to `to` of a mesh that was healthy in `installed`, whose istiod has the label `applied` and is not ready.
fn in_between(installed: &str, applied: Option<&str>, to: &str) -> Option<Precheck> {
    let charts = Charts::embedded().unwrap();
    let cr = IstioOperator::new("cr", RawSpec(json!({"profile": "minimal"})));
    let merged = merge(&cr, Some(to), Cluster::default(), &charts).unwrap();
    let mut live = Live::default();
    let istiod = LiveObject {
        owner_labels: OwnerLabels {
            version: applied.map(str::to_owned),
            ..OwnerLabels::default()
        },
        readiness: Some(Readiness::Workload(Workload {
            desired: 1,
            ..Workload::default()
        })),
        ..LiveObject::default()
    };
    live.put(workload("Deployment", "istio-system", "istiod"), istiod);
    let installed = Version::parse(installed);
    Precheck::of(
        &merged,
        &live,
        charts.catalogue(),
        installed,
        &proxies(&[], &[]),
        &[],
    )
}

#[test]
fn steps_count_from_what_serves_and_the_way_back_is_open() {
    let hasty = in_between("1.28.10", Some("1.29.8"), "1.30.5").unwrap();
    assert!(hasty.refusal().unwrap().contains("1.28.10 to 1.30.5"));
    assert_eq!(hasty.applied, Version::parse("1.29.8"));
    assert_eq!(in_between("1.28.10", Some("1.31.1"), "1.28.10"), None);
    let going_on = in_between("1.30.5", Some("1.31.1"), "1.31.1").unwrap();
    assert_eq!(going_on.refusal(), None);
}

#[test]
fn a_budget_over_a_single_pod_is_told_unless_it_lets_that_pod_go() {
    let charts = Charts::embedded().unwrap();
    let of = |spec: serde_json::Value, replicas: i64| {
        let cr = IstioOperator::new("cr", RawSpec(spec));
        let merged = merge(&cr, Some("1.27"), Cluster::default(), &charts).unwrap();
        let mut live = Live::default();
        let workload_of = |desired| LiveObject {
            readiness: Some(Readiness::Workload(Workload {
                desired,
                ..Workload::default()
            })),
            ..LiveObject::default()
        };
        for (name, replicas) in [("istiod", replicas), ("istio-ingressgateway", 2)] {
            let deployment = workload("Deployment", "istio-system", name);
            let budget = crate::render::ObjectKey {
                group: "policy".to_owned(),
                kind: "PodDisruptionBudget".to_owned(),
                ..deployment.clone()
            };
            live.put(deployment, workload_of(replicas));
            live.put(budget, LiveObject::default());
        }
        disruption::own_budgets(&merged, &live)
    };
    let default = || json!({"profile": "default"});
    let found = of(default(), 1);
    assert_eq!(found.result, CheckResult::Warning);
    assert!(
        found.message.contains("only pods of istiod may"),
        "{}",
        found.message
    );
    assert_eq!(of(default(), 2).result, CheckResult::NotChecked);
    let may_go =
        json!({"components": {"pilot": {"k8s": {"podDisruptionBudget": {"maxUnavailable": 1}}}}});
    assert_eq!(of(may_go, 1).result, CheckResult::NotChecked);
}

/// Istio's issues 59709 and 59959.
#[test]
fn gateways_that_istiod_replaces_at_once_are_told() {
    let to = Version::parse("1.31.1").unwrap();
    let found = gateways(to, &proxies(&["1.30.5"], &["1.30.5"]));
    assert_eq!(found.result, CheckResult::Warning);
    let told = "1.30.5 in namespaces shop";
    assert!(found.message.contains(told), "{}", found.message);
    assert_eq!(
        gateways(to, &proxies(&["1.30.5"], &["1.31.1"])).result,
        CheckResult::Passed
    );
    let unlisted = ServedProxies {
        gaps: vec!["pods cannot be listed: forbidden".to_owned()],
        ..proxies(&[], &[])
    };
    assert_eq!(gateways(to, &unlisted).result, CheckResult::NotChecked);
}

/// Istio's issues 60629 and 60668, which later patch releases mend.
#[test]
fn what_a_newer_patch_release_mends_is_told() {
    let found = precheck("1.29.8", "1.30.2", &[]).unwrap();
    let patch = found.checks.iter().find(|check| check.name == "patch");
    let patch = patch.unwrap();
    assert_eq!(patch.result, CheckResult::Warning);
    for mended in ["1.30.5 is newer", "pushes configuration", "lost its power"] {
        assert!(patch.message.contains(mended), "{}", patch.message);
    }
}

#[test]
fn a_version_that_no_label_tells_is_not_passed() {
    for label in [None, Some("1.20.3-vendor0"), Some("unknown")] {
        let found = in_between("1.30.5", label, "1.31.1").unwrap();
        assert_eq!(result(&found, "version-step"), CheckResult::Passed);
        let found = in_between("", label, "1.31.1").unwrap();
        assert_eq!(result(&found, "version-step"), CheckResult::NotChecked);
        assert_eq!(found.status().from, "unknown");
    }
}

#[test]
fn a_lost_istiod_opens_no_way_around_the_checks() {
    let charts = Charts::embedded().unwrap();
    let cr = IstioOperator::new("cr", RawSpec(json!({"profile": "minimal"})));
    let merged = merge(&cr, Some("1.31"), Cluster::default(), &charts).unwrap();
    let live = Live::default();
    let of = |installed: Option<&str>| {
        let installed = installed.and_then(Version::parse);
        Precheck::of(
            &merged,
            &live,
            charts.catalogue(),
            installed,
            &proxies(&[], &[]),
            &[],
        )
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
            "take it to one of 1.24, 1.25,",
        ),
        (
            "1.31.1",
            "1.28.10",
            CheckResult::Failed,
            "set spec.version to \"1.30\" first",
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
fn each_check_has_a_result_of_its_own() {
    let found = precheck("1.30.5", "1.31.1", &[]).unwrap();
    assert_eq!(result(&found, "data-plane"), CheckResult::Passed);
    assert_eq!(result(&found, "kubernetes"), CheckResult::Passed);
    assert_eq!(result(&found, "node-agents"), CheckResult::Passed);
    let back = precheck("1.31.1", "1.30.5", &[]).unwrap();
    assert_eq!(result(&back, "node-agents"), CheckResult::Warning);
    let status = found.status();
    assert_eq!(
        (status.from.as_str(), status.to.as_str()),
        ("1.30.5", "1.31.1")
    );
}
