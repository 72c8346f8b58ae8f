//! `merge`, from tables: what values a CR gives, and what is refused of it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::fs;

use istio_operator::api::{IstioOperator, RawSpec};
use istio_operator::charts::Charts;
use istio_operator::merge::{Component, Merged, merge};
use serde_json::{Value, json};

const TABLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/merge");

fn table(name: &str) -> Vec<Value> {
    let text = fs::read_to_string(format!("{TABLES}/{name}.yaml")).unwrap();
    serde_saphyr::from_str(&text).unwrap()
}

/// The CR of a table's case, whose `version` is what `--istio-version` would say.
fn run(case: &Value, charts: &Charts) -> Result<Merged, Vec<String>> {
    let mut cr = IstioOperator::new("cr", RawSpec(case["spec"].clone()));
    cr.metadata.namespace = Some("cr-namespace".to_owned());
    merge(&cr, case["version"].as_str(), charts)
        .map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect())
}

/// The component as a tree, so that a case can name any part of it.
fn tree(component: &Component) -> Value {
    let patch = |patch: &istio_operator::merge::OverlayPatch| json!({"target": patch.target, "value": patch.value, "path": patch.path.to_string()});
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

/// Checks that `found` holds what `expected` names; `ABSENT` stands for a key that must not be
/// there.
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
        let merged = run(&case, &charts).unwrap_or_else(|mistakes| panic!("{name}: {mistakes:?}"));
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
