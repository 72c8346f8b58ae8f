//! Tests of `merge` from tables: the values that a CR gives, and the errors of wrong CRs.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::cell::Cell;
use std::fs;

use goldens::{ANSWER, HINT, ISTIOD_VALUES, Rows, digest, report};
use istio_operator::api::{ComponentKind, IstioOperator, RawSpec};
use istio_operator::charts::Charts;
use istio_operator::merge::{Cluster, Component, Merged, OverlayPatch, merge};
use serde_json::{Value, json};

const TABLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/merge");

fn table(name: &str) -> Vec<Value> {
    let text = fs::read_to_string(format!("{TABLES}/{name}.yaml")).unwrap();
    serde_saphyr::from_str(&text).unwrap()
}

/// Merges the CR of a table's case. The case may have the `version` of `--istio-version`, the `kubernetes` version that an
/// API server reports, and the `detection` setting of the controller.
fn run(case: &Value, charts: &Charts) -> Result<Merged, Vec<String>> {
    let mut cr = IstioOperator::new("cr", RawSpec(case["spec"].clone()));
    cr.metadata.namespace = Some("cr-namespace".to_owned());
    let cluster = case["kubernetes"].as_str().map(Cluster::read);
    let cluster = Cluster {
        is_adapted_to: case["detection"] != json!(false),
        ..cluster.unwrap_or_default()
    };
    merge(&cr, case["version"].as_str(), cluster, charts)
        .map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

/// The component as a tree, so that a case can name any part of it.
fn tree(component: &Component) -> Value {
    let patch = |patch: &OverlayPatch| {
        let path = patch.path.to_string();
        json!({"target": patch.target, "value": patch.value, "path": path})
    };
    let overlays: Vec<Value> = component
        .overlays
        .iter()
        .map(|overlay| {
            let patches: Vec<Value> = overlay.patches.iter().map(patch).collect();
            json!({"kind": overlay.kind, "name": overlay.name, "patches": patches})
        })
        .collect();
    json!({
        "kind": component.kind.as_str(),
        "name": component.name,
        "namespace": component.namespace,
        "path": component.path.to_string(),
        "values": component.values,
        "k8s": component.k8s,
        "overlays": overlays,
    })
}

/// Asserts that `found` has every field of `expected`. `ABSENT` marks a key that must be absent.
fn assert_holds(expected: &Value, found: Option<&Value>, place: &str) {
    match (expected, found) {
        (Value::String(word), found) if word == "ABSENT" => {
            assert_eq!(found, None, "{place}");
        }
        (Value::Object(expected), Some(Value::Object(found))) if !expected.is_empty() => {
            for (key, expected) in expected {
                assert_holds(expected, found.get(key), &format!("{place}.{key}"));
            }
        }
        (expected, found) => assert_eq!(Some(expected), found, "{place}"),
    }
}

#[test]
fn values_come_out_as_the_table_says() {
    let charts = Charts::embedded().unwrap();
    for case in table("values") {
        let name = case["name"].as_str().unwrap();
        let merged = run(&case, &charts).unwrap_or_else(|errors| panic!("{name}: {errors:?}"));
        let trees: Vec<Value> = merged.components.iter().map(tree).collect();
        if let Some(names) = case.get("components") {
            let found: Vec<Value> = trees
                .iter()
                .map(|tree| {
                    format!("{}/{}", tree["kind"], tree["name"])
                        .replace('"', "")
                        .into()
                })
                .collect();
            assert_eq!(names, &Value::from(found), "{name}");
        }
        let head = json!({
            "version": merged.version.to_string(),
            "namespace": merged.namespace,
            "revision": merged.revision,
            "warnings": merged.warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
        });
        if let Some(expected) = case.get("merged") {
            assert_holds(expected, Some(&head), name);
        }
        for (key, expected) in case["expect"].as_object().into_iter().flatten() {
            let (kind, index) = key.split_once('/').unwrap_or((key, "0"));
            let of_kind: Vec<&Value> = trees.iter().filter(|tree| tree["kind"] == kind).collect();
            let found = of_kind.get(index.parse::<usize>().unwrap()).copied();
            assert_holds(expected, found, &format!("{name}: {key}"));
        }
    }
}

#[test]
fn every_error_is_reported_at_once() {
    let charts = Charts::embedded().unwrap();
    for case in table("errors") {
        let expected: Vec<&str> = case["errors"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let found = run(&case, &charts).err().unwrap_or_default();
        let missing: Vec<_> = expected
            .iter()
            .filter(|e| !found.iter().any(|f| f == *e))
            .collect();
        let surplus: Vec<_> = found
            .iter()
            .filter(|f| !expected.contains(&f.as_str()))
            .collect();
        assert_eq!(
            found, expected,
            "missing: {missing:#?}, surplus: {surplus:#?}"
        );
    }
}

/// Calls `check` with the minor, name, CR and upstream's answer of every case of every minor.
fn for_each_golden(charts: &Charts, check: impl Fn(&str, &str, &IstioOperator, &Rows)) {
    let inputs = goldens::inputs();
    assert!(!inputs.is_empty());
    for (case, input) in inputs {
        let (cr, table) = (
            serde_saphyr::from_str(&input).unwrap(),
            goldens::case(&case),
        );
        for release in charts.catalogue().releases() {
            let minor = release.version.minor_text();
            check(&minor, &case, &cr, table.column(&minor));
        }
    }
}

#[test]
fn what_upstream_accepts_is_accepted_and_what_it_refuses_is_refused() {
    let charts = Charts::embedded().unwrap();
    for_each_golden(&charts, |minor, case, cr, upstream| {
        let merged = merge(cr, Some(minor), Cluster::default(), &charts);
        assert_eq!(
            upstream[ANSWER] == "refused",
            merged.is_err(),
            "{minor} {case}: {:?}",
            merged.err()
        );
    });
}

/// Since 1.26 upstream's istiod chart publishes the values that it was called with.
#[test]
fn the_values_of_istiod_are_those_of_upstream() {
    let charts = Charts::embedded().unwrap();
    let compared = Cell::new(0);
    for_each_golden(&charts, |minor, case, cr, upstream| {
        let Some(original) = upstream.get(ISTIOD_VALUES) else {
            return;
        };
        let version = Some(goldens::version(minor));
        let merged = merge(cr, version, Cluster::default(), &charts).unwrap();
        let pilot = merged
            .components
            .iter()
            .find(|c| c.kind == ComponentKind::Pilot)
            .unwrap();
        compared.set(compared.get() + 1);
        assert_eq!(&digest(&pilot.values), original, "{minor} {case}: {HINT}");
    });
    report(&format!(
        "values of istiod compared with upstream's: {}",
        compared.get()
    ));
    assert!(compared.get() > 0);
}

/// The number of values in a tree, itself included.
fn size(tree: &Value) -> usize {
    1 + match tree {
        Value::Array(list) => list.iter().map(size).sum(),
        Value::Object(map) => map.values().map(size).sum::<usize>(),
        _ => 0,
    }
}

/// Replaces the value at place `at` of the tree, counted from its root.
fn replace(tree: &mut Value, at: &mut usize, by: &Value) {
    if *at == 0 {
        *tree = by.clone();
    }
    *at = at.wrapping_sub(1);
    match tree {
        Value::Array(list) => list.iter_mut().for_each(|value| replace(value, at, by)),
        Value::Object(map) => map.values_mut().for_each(|value| replace(value, at, by)),
        _ => {}
    }
}

#[test]
fn no_change_of_a_good_spec_makes_it_panic() {
    let charts = Charts::embedded().unwrap();
    let odd = [
        json!(null),
        json!(true),
        json!(-1),
        json!(1.5),
        json!(u64::MAX),
        json!(""),
        json!("ä.[\\"),
        json!([]),
        json!([null, 1, "x", {"name": 7}]),
        json!({}),
        json!({"": {"enabled": 1}, "a.b": null}),
    ];
    // The same changes in every run, so that a failure can be repeated.
    let mut rng = fastrand::Rng::with_seed(42);
    for case in table("values") {
        for _ in 0..60 {
            let mut changed = case["spec"].clone();
            let mut at = rng.usize(..size(&changed));
            replace(&mut changed, &mut at, &odd[rng.usize(..odd.len())]);
            let cr = IstioOperator::new("cr", RawSpec(changed));
            let releases = charts.catalogue().releases();
            let version = releases[rng.usize(..releases.len())].version.minor_text();
            if let Err(errors) = merge(&cr, Some(&version), Cluster::default(), &charts) {
                assert!(!errors.is_empty());
            }
        }
    }
}
