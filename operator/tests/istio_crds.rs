//! Istio's CRDs as the base chart renders them, compared with upstream's for every minor.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use goldens::{HINT, STALE, Texts, differences, differing_rows, digests, report};
use istio_operator::api::{IstioOperator, RawSpec};
use istio_operator::catalogue::Version;
use istio_operator::charts::Charts;
use istio_operator::merge::{Cluster, merge};
use istio_operator::render::render;
use serde_json::{Value, json};

const CHARTS_DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts");

/// Shared by the tests, because compiling the templates takes longer than anything else here.
static CHARTS: LazyLock<Charts> = LazyLock::new(|| Charts::embedded().unwrap());

/// CRDs by name.
type Crds = BTreeMap<String, Value>;

/// The CRDs that an install of base alone renders for one minor with these `spec.values`.
fn crds(version: Version, values: &Value) -> Crds {
    let spec = json!({
        "profile": "empty",
        "components": {"base": {"enabled": true}},
        "values": values,
    });
    let cr = IstioOperator::new("cr", RawSpec(spec));
    let merged = merge(&cr, Some(&version.to_string()), Cluster::default(), &CHARTS).unwrap();
    let rendered = render(&merged, &CHARTS).unwrap();
    let objects = rendered.components.into_iter().flat_map(|c| c.objects);
    objects
        .filter(|object| object.key.kind == "CustomResourceDefinition")
        .map(|object| (object.key.name, object.body.value()))
        .collect()
}

/// The releases that upstream's CRDs are of.
fn versions() -> impl Iterator<Item = Version> {
    let minors = CHARTS.catalogue().releases().iter();
    let version = |minor: String| {
        CHARTS
            .catalogue()
            .version(goldens::version(&minor))
            .unwrap()
    };
    minors.map(move |release| version(release.version.minor_text()))
}

/// Shows every property of a schema to `check`, with the place where it is.
fn visit_properties(schema: &Value, place: &str, check: &mut impl FnMut(&str, &Value)) {
    let Value::Object(map) = schema else { return };
    if let Some(Value::Object(properties)) = map.get("properties") {
        for (name, property) in properties {
            let place = format!("{place}.{name}");
            check(&place, property);
            visit_properties(property, &place, check);
        }
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(schema) = map.get(inner) {
            visit_properties(schema, &format!("{place}[]"), check);
        }
    }
}

/// The schema of each served version.
fn schemas(crd: &Value) -> impl Iterator<Item = &Value> {
    let versions = crd["spec"]["versions"].as_array().unwrap();
    versions.iter().map(|v| &v["schema"]["openAPIV3Schema"])
}

/// Takes out every `description` that describes; a property of that name stays.
fn without_descriptions(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.remove("description");
            for (key, value) in map {
                match value {
                    Value::Object(properties) if key == "properties" => {
                        properties.values_mut().for_each(without_descriptions);
                    }
                    value => without_descriptions(value),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(without_descriptions),
        _ => {}
    }
}

#[test]
fn crds_of_every_minor_equal_upstream() {
    let (table, texts) = (goldens::crds(), Texts::find());
    let (mut compared, mut wrong) = (0, Vec::new());
    for version in versions() {
        let minor = version.minor_text();
        let mut ours = crds(version, &json!({}));
        ours.values_mut().for_each(without_descriptions);
        let upstream = table.column(&minor);
        assert!(!upstream.is_empty(), "{minor}");
        compared += upstream.len();
        let found = match texts.as_ref().map(|texts| texts.crds(&minor)) {
            Some(texts) if digests(&texts) != *upstream => vec![STALE.to_owned()],
            Some(texts) => differences(&json!(texts), &json!(ours)),
            None => differing_rows(upstream, &digests(&ours)),
        };
        wrong.extend(found.into_iter().map(|place| format!("{minor} {place}")));
    }
    let sets = versions().count();
    report(&format!(
        "CRDs compared with upstream's: {compared} in {sets} sets, {} differences",
        wrong.len()
    ));
    let hint = if texts.is_none() { HINT } else { "" };
    assert!(wrong.is_empty(), "{}\n{hint}", wrong.join("\n"));
}

#[test]
fn every_field_has_a_short_description() {
    let mut wrong = Vec::new();
    for version in versions() {
        for (name, crd) in crds(version, &json!({})) {
            for schema in schemas(&crd) {
                visit_properties(schema, &name, &mut |place, property| {
                    let text = property["description"].as_str().unwrap_or_default();
                    if text.is_empty() || text.chars().count() > 120 || !text.ends_with('.') {
                        wrong.push(format!("{version} {place}: {text:?}"));
                    }
                });
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn served_versions_of_a_kind_have_one_schema() {
    for version in versions() {
        for (name, crd) in crds(version, &json!({})) {
            let first = schemas(&crd).next();
            assert!(schemas(&crd).all(|s| Some(s) == first), "{version} {name}");
        }
    }
}

#[test]
fn excluded_crds_are_left_out() {
    for version in versions() {
        let all = crds(version, &json!({}));
        let names =
            |remainder: usize| -> Vec<&String> { all.keys().skip(remainder).step_by(2).collect() };
        for remainder in 0..2 {
            let rest = crds(
                version,
                &json!({"base": {"excludedCRDs": names(remainder)}}),
            );
            let rest: Vec<&String> = rest.keys().collect();
            assert_eq!(rest, names(1 - remainder), "{version}");
        }
    }
}

#[test]
fn static_crds_carry_the_older_labels_and_ignore_exclusions() {
    let values = json!({"base": {
        "enableCRDTemplates": false,
        "excludedCRDs": ["gateways.networking.istio.io"],
    }});
    let crds = crds(CHARTS.catalogue().default_version(), &values);
    let labels = |name: &str| crds[name]["metadata"]["labels"].clone();
    let older = |istio: Option<&str>| {
        let mut labels = json!({
            "app": "istio-pilot", "chart": "istio", "heritage": "Tiller", "release": "istio",
        });
        if let Some(istio) = istio {
            labels["istio"] = istio.into();
        }
        labels
    };
    assert_eq!(labels("gateways.networking.istio.io"), older(None));
    assert_eq!(
        labels("peerauthentications.security.istio.io"),
        older(Some("security"))
    );
    assert_eq!(
        labels("telemetries.telemetry.istio.io"),
        older(Some("telemetry"))
    );
}

#[test]
fn crds_follow_the_scope_that_is_asked_for() {
    let version = CHARTS.catalogue().default_version();
    let count = |scope: &str| {
        let values = json!({"global": {"resourceScope": scope}});
        crds(version, &values).len()
    };
    assert!(count("all") > 0);
    assert_eq!(count("cluster"), count("all"));
    assert_eq!(count("namespace"), 0);
}

#[test]
fn chart_files_can_be_read_in_one_go() {
    const MOST_LINES: usize = 400;
    let mut directories = vec![PathBuf::from(CHARTS_DIR)];
    let mut wrong = Vec::new();
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let lines = fs::read_to_string(&path).unwrap().lines().count();
            if lines > MOST_LINES {
                wrong.push(format!("{}: {lines} lines", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
