//! Small inputs made after public bug reports and published files, each with what has to become of it.
//!
//! The inputs and the table of answers are in `field/`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

#[path = "surprises/expected.rs"]
mod expected;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use expected::differing;
use istio_operator::api::StoredCr;
use istio_operator::charts::Charts;
use istio_operator::charts::tree::merge_over;
use istio_operator::merge::{Cluster, merge};
use istio_operator::render::{Rendered, render};
use serde_json::{Value, json};

const DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/field");

/// What became of a CR: its rendered objects and its warnings, or its errors.
type Outcome = Result<(Rendered, Vec<String>), Vec<String>>;

fn read(name: &str) -> Value {
    let file = format!("{DIR}/{name}.yaml");
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
    let options = serde_saphyr::options! { legacy_octal_numbers: true };
    serde_saphyr::from_str_with_options(&text, options).unwrap()
}

/// A CR as the API server hands it to the operator, without base: it renders the CRDs of Istio, which no row is about.
fn stored(name: &str) -> StoredCr {
    let mut cr = read(name);
    if cr.pointer("/spec/components/base").is_none() {
        let without_base = json!({"spec": {"components": {"base": {"enabled": false}}}});
        merge_over(&mut cr, without_base);
    }
    serde_json::from_str(&cr.to_string()).unwrap()
}

fn run(cr: &StoredCr, minor: &str, charts: &Charts) -> Outcome {
    let chosen = Some(minor).filter(|minor| *minor != "own");
    let merged = merge(cr, chosen, Cluster::default(), charts);
    let merged = merged.map_err(|errors| texts(&errors))?;
    let rendered = render(&merged, charts).map_err(|errors| texts(&errors))?;
    let warnings = [texts(&merged.warnings), texts(&rendered.warnings)].concat();
    Ok((rendered, warnings))
}

fn texts(findings: &[impl ToString]) -> Vec<String> {
    findings.iter().map(ToString::to_string).collect()
}

/// The texts that a row expects in this minor.
fn expected(row: &Value, key: &str, minor: &str) -> Vec<String> {
    let list = row[key].as_array().into_iter().flatten();
    let texts = list.map(|text| text.as_str().unwrap());
    texts.map(|text| text.replace("{minor}", minor)).collect()
}

/// What the object called `name`, which is its kind and its name, has at a JSON pointer.
fn found(rendered: &Rendered, name: &str, pointer: &str) -> Option<Value> {
    let mut objects = rendered.components.iter().flat_map(|c| &c.objects);
    let object = objects.find(|o| format!("{} {}", o.key.kind, o.key.name) == name)?;
    object.body.value().pointer(pointer).cloned()
}

/// The differences between what a row says and what happens.
fn wrong(row: &Value, minor: &str, charts: &Charts) -> Vec<String> {
    let cr = stored(row["input"].as_str().unwrap());
    let (rendered, warnings) = match run(&cr, minor, charts) {
        Err(errors) if errors == expected(row, "refused", minor) => return Vec::new(),
        Err(errors) => return vec![format!("is refused: {errors:#?}")],
        Ok(_) if row.get("refused").is_some() => return vec!["is accepted".to_owned()],
        Ok(accepted) => accepted,
    };
    let mut wrong = Vec::new();
    if warnings != expected(row, "warnings", minor) {
        wrong.push(format!("warns {warnings:#?}"));
    }
    let found = |name: &str, pointer: &str| found(&rendered, name, pointer);
    wrong.extend(differing(&row["expect"], found));
    wrong
}

#[test]
fn every_input_has_a_row() {
    let rows = read("answers");
    let rows = rows.as_array().unwrap().iter();
    let in_table: BTreeSet<_> = rows
        .map(|row| row["input"].as_str().unwrap().to_owned())
        .collect();
    let files = fs::read_dir(DIR).unwrap();
    let files = files.map(|file| file.unwrap().file_name().to_string_lossy().into_owned());
    let inputs: BTreeSet<_> = files
        .filter_map(|name| name.strip_suffix(".yaml").map(str::to_owned))
        .filter(|name| name != "answers")
        .collect();
    assert_eq!(in_table, inputs);
}

#[test]
fn every_input_has_the_answer_of_its_row() {
    let charts = Charts::embedded().unwrap();
    let releases = charts.catalogue().releases();
    let all: Vec<String> = releases.iter().map(|r| r.version.minor_text()).collect();
    let mut problems = BTreeMap::new();
    for row in read("answers").as_array().unwrap() {
        let minors = row["minors"].as_array();
        let minors = minors.map(|list| list.iter().map(|m| m.as_str().unwrap().to_owned()));
        for minor in minors.map_or_else(|| all.clone(), Iterator::collect) {
            for problem in wrong(row, &minor, &charts) {
                let of_minors: &mut Vec<_> = problems
                    .entry((row["input"].to_string(), problem))
                    .or_default();
                of_minors.push(minor.clone());
            }
        }
    }
    let lines = problems.iter();
    let lines: Vec<String> = lines
        .map(|((input, problem), minors)| format!("{input} in {minors:?}: {problem}"))
        .collect();
    assert!(lines.is_empty(), "{}", lines.join("\n"));
}
