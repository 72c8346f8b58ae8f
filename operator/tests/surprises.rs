//! Tests from tables of every known surprise in how upstream reads a CR, and of odd values in every field of `values`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

#[path = "surprises/expected.rs"]
mod expected;

use std::fs;

use expected::differing;
use istio_operator::api::{IstioOperator, RawSpec};
use istio_operator::catalogue::Version;
use istio_operator::charts::Charts;
use istio_operator::charts::tree::merge_over;
use istio_operator::merge::{Cluster, merge};
use istio_operator::render::{RenderError, Rendered, render};
use serde_json::{Map, Value, json};

const TABLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/surprises");
const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");

/// The oldest and the newest minor.
fn extremes(charts: &Charts) -> [Version; 2] {
    let releases = charts.catalogue().releases();
    let [oldest, .., newest] = releases else {
        panic!("fewer than two minors")
    };
    [oldest.version, newest.version]
}

/// What became of a spec.
enum Outcome {
    Rendered(Rendered, Vec<String>),
    /// The errors, each with its path.
    Refused(Vec<String>),
    /// An error that names no place in the CR.
    Failed(String),
}

fn run(spec: &Value, minor: &str, charts: &Charts) -> Outcome {
    let cr = IstioOperator::new("cr", RawSpec(spec.clone()));
    let merged = match merge(&cr, Some(minor), Cluster::default(), charts) {
        Ok(merged) => merged,
        Err(errors) => {
            return Outcome::Refused(errors.iter().map(ToString::to_string).collect());
        }
    };
    match render(&merged, charts) {
        Ok(rendered) => {
            let warnings = merged.warnings.iter().chain(&rendered.warnings);
            let warnings = warnings.map(ToString::to_string).collect();
            Outcome::Rendered(rendered, warnings)
        }
        Err(errors) => {
            let other = |error: &&RenderError| !matches!(error, RenderError::Setting(_));
            match errors.iter().find(other) {
                Some(error) => Outcome::Failed(error.to_string()),
                None => Outcome::Refused(errors.iter().map(ToString::to_string).collect()),
            }
        }
    }
}

/// Base renders the CRDs of Istio, which no row but those on base is about.
fn without_base(mut spec: Value) -> Value {
    if spec.pointer("/components/base").is_none() {
        merge_over(
            &mut spec,
            json!({"components": {"base": {"enabled": false}}}),
        );
    }
    spec
}

fn table(name: &str) -> Vec<Value> {
    let text = fs::read_to_string(format!("{TABLES}/{name}.yaml")).unwrap();
    serde_saphyr::from_str(&text).unwrap()
}

/// What the object called `name`, which is its kind and its name, has at a JSON pointer.
fn found(rendered: &Rendered, name: &str, pointer: &str) -> Option<Value> {
    let mut objects = rendered.components.iter().flat_map(|c| &c.objects);
    let object = objects.find(|o| format!("{} {}", o.key.kind, o.key.name) == name)?;
    let value = object.body.value().pointer(pointer).cloned();
    value.filter(|value| !value.is_null())
}

/// The differences between what a row says and what happens.
fn wrong(row: &Value, minor: &str, charts: &Charts) -> Vec<String> {
    let texts = |key: &str| -> Vec<String> {
        let list = row[key].as_array().into_iter().flatten();
        list.map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let (rendered, warnings) = match run(&without_base(row["spec"].clone()), minor, charts) {
        Outcome::Rendered(rendered, warnings) => (rendered, warnings),
        Outcome::Refused(errors) if errors == texts("refused") => return Vec::new(),
        Outcome::Refused(errors) => return errors,
        Outcome::Failed(error) => return vec![error],
    };
    let mut wrong = Vec::new();
    if row.get("refused").is_some() {
        wrong.push("is accepted".to_owned());
    }
    if row.get("warnings").is_some() && warnings != texts("warnings") {
        wrong.push(format!("warns {warnings:#?}"));
    }
    let found = |name: &str, pointer: &str| found(&rendered, name, pointer);
    wrong.extend(differing(&row["expect"], found));
    wrong
}

fn check(name: &str) {
    let charts = Charts::embedded().unwrap();
    let mut all = Vec::new();
    for row in table(name) {
        let minors = row["minors"].as_array().into_iter().flatten();
        let mut minors: Vec<String> = minors
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect();
        if minors.is_empty() {
            minors = extremes(&charts).map(Version::minor_text).into();
        }
        for minor in &minors {
            for problem in wrong(&row, minor, &charts) {
                all.push(format!("{} in {minor}: {problem}", row["fact"]));
            }
        }
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
}

#[test]
fn settings_do_what_they_do_upstream() {
    check("settings");
}

#[test]
fn overlays_do_what_they_do_upstream() {
    check("overlays");
}

#[test]
fn differences_are_those_that_the_readme_tells_of() {
    check("differences");
    let readme = fs::read_to_string(README).unwrap();
    for row in table("differences") {
        let fact = row["fact"].as_str().unwrap();
        assert!(readme.contains(fact), "{fact}");
    }
}

/// Values that are odd for a field: nothing, empty, zero, and both booleans.
fn odd_values(node: &Value) -> Vec<Value> {
    let kind = match &node["type"] {
        Value::Array(kinds) => kinds[0].as_str(),
        kind => kind.as_str(),
    };
    let mut values = vec![Value::Null];
    values.extend(match kind {
        Some("boolean") => vec![json!(true), json!(false)],
        Some("integer" | "number") => vec![json!(0)],
        Some("array") => vec![json!([])],
        Some("string") => vec![json!("")],
        Some("object") => vec![json!({})],
        _ => vec![json!(""), json!({}), json!([]), json!(0)],
    });
    values
}

/// Every odd value of every field below `node`, as values that hold nothing else.
fn odd_trees(node: &Value, shapes: &Map<String, Value>, place: &[String], trees: &mut Vec<Value>) {
    let reference = node["$ref"]
        .as_str()
        .and_then(|name| name.strip_prefix("#/$defs/"));
    let node = reference.and_then(|name| shapes.get(name)).unwrap_or(node);
    let nested = |value: Value| {
        place
            .iter()
            .rev()
            .fold(value, |value, key| json!({(key): value}))
    };
    if !place.is_empty() {
        trees.extend(odd_values(node).into_iter().map(nested));
    }
    for (key, field) in node["properties"].as_object().into_iter().flatten() {
        odd_trees(
            field,
            shapes,
            &[place, std::slice::from_ref(key)].concat(),
            trees,
        );
    }
}

/// How many odd values share a rendering.
const TOGETHER: usize = 12;

#[test]
fn no_odd_value_makes_a_template_fail() {
    let charts = Charts::embedded().unwrap();
    let gateways = |name: &str| json!([{"name": name, "enabled": true}]);
    let components = json!({"ingressGateways": gateways("in"), "egressGateways": gateways("out")});
    let spec = |values: Value| {
        without_base(json!({"profile": "ambient", "components": components, "values": values}))
    };
    for version in extremes(&charts) {
        let minor = &version.minor_text();
        let schema = charts.schema(version.minor).unwrap();
        let mut trees = Vec::new();
        odd_trees(&schema.values, &schema.shapes, &[], &mut trees);
        trees.retain(|tree| {
            let cr = IstioOperator::new("cr", RawSpec(spec(tree.clone())));
            merge(&cr, Some(minor), Cluster::default(), &charts).is_ok()
        });
        assert!(trees.len() > 800, "only {} are accepted", trees.len());
        let rounds = trees.len().div_ceil(TOGETHER);
        for round in 0..rounds {
            let mut together = json!({});
            for tree in trees.iter().skip(round).step_by(rounds) {
                merge_over(&mut together, tree.clone());
            }
            if let Outcome::Failed(error) = run(&spec(together.clone()), minor, &charts) {
                panic!("{minor} {together}: {error}");
            }
        }
    }
}
