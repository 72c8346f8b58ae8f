//! An `IstioOperator` of Istio 1.6 or 1.7 with addons: each of its fields means what it meant, or its author hears why not.

use std::fs;

use istio_operator::charts::{Charts, yaml};
use serde_json::{Map, Value, json};

use super::{found, rendered};

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/addons/old-fields.yaml");
const SECTIONS: [&str; 4] = ["prometheus", "grafana", "kiali", "tracing"];

fn rows() -> Vec<Value> {
    yaml::parse(&fs::read_to_string(TABLE).unwrap()).unwrap()
}

/// A CR with all addons and this field.
fn spec(row: &Value) -> Value {
    let mut spec = json!({
        "profile": "minimal",
        "components": {"base": {"enabled": false}},
        "addonComponents": {"prometheus": {}, "grafana": {}, "kiali": {}, "tracing": {}},
        "values": {"prometheus": {}, "grafana": {}, "kiali": {}, "tracing": {}},
    });
    let field = row["field"].as_str().unwrap();
    if let Some(with) = row.get("with") {
        let section = field.split('.').nth(1).unwrap();
        spec["values"][section] = with.clone();
    }
    let mut place = &mut spec;
    for key in field.split('.') {
        place = &mut place[key];
    }
    *place = row["value"].clone();
    spec
}

/// Says what is wrong with the answer to a row.
fn check(row: &Value, charts: &Charts) -> Result<(), String> {
    let path = format!("spec.{}", row["field"].as_str().unwrap());
    let begins = |answer: &str, word: &str| {
        let answer = answer.strip_prefix(&path)?;
        let (_, text) = answer.split_once(": ")?;
        text.starts_with(row[word].as_str()?).then_some(())
    };
    match rendered(&spec(row), "1.31", charts) {
        Err(errors) => match errors.as_slice() {
            [error] if begins(error, "error").is_some() => Ok(()),
            _ => Err(format!("{errors:#?}")),
        },
        Ok((rendered, warnings)) => {
            if let Some(means) = row["means"].as_object() {
                for (place, expected) in means {
                    let (object, pointer) = place.split_at(place.find(" /").unwrap());
                    let found = found(&rendered, object, pointer.trim_start());
                    if found.as_ref() != Some(expected).filter(|value| **value != "ABSENT") {
                        return Err(format!("{place}: {found:?}"));
                    }
                }
                return Ok(());
            }
            let is_told = warnings.iter().any(|it| begins(it, "warning").is_some());
            is_told
                .then_some(())
                .ok_or_else(|| format!("{warnings:#?}"))
        }
    }
}

#[test]
fn every_field_means_what_it_meant_or_its_author_hears_why_not() {
    let charts = Charts::embedded().unwrap();
    let wrong = rows().into_iter().filter_map(|row| {
        let why = check(&row, &charts).err()?;
        Some(format!("{}: {why}", row["field"]))
    });
    let wrong: Vec<_> = wrong.collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The table has all that `values` may hold of addons. What all sections share is asked of one.
#[test]
fn no_field_is_forgotten() {
    let charts = Charts::embedded().unwrap();
    let schema = charts.schema(31).unwrap();
    let rows = rows();
    let below_section = |row: &Value| {
        let field = row["field"].as_str().unwrap().strip_prefix("values.")?;
        Some(field.split_once('.')?.1.to_owned())
    };
    let told: Vec<_> = rows.iter().filter_map(below_section).collect();
    let mut count = 0;
    for section in SECTIONS {
        for field in leaves(&schema.values["properties"][section]) {
            let is_told = |told: &String| {
                let rest = field.strip_prefix(told.as_str());
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            assert!(
                told.iter().any(is_told),
                "{section}.{field} is not in the table"
            );
            count += 1;
        }
    }
    assert!(count > 60, "{count}");
}

/// The paths of all fields of a schema that have no fields themselves.
fn leaves(schema: &Value) -> Vec<String> {
    let none = Map::new();
    let mut leaves = Vec::new();
    for (name, field) in schema["properties"].as_object().unwrap_or(&none) {
        let below = self::leaves(field);
        if below.is_empty() {
            leaves.push(name.clone());
        }
        leaves.extend(below.into_iter().map(|rest| format!("{name}.{rest}")));
    }
    leaves
}
