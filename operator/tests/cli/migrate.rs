//! `migrate`: what it prints is accepted by `render`, says what it changed, and stays as it is when it is migrated again.

use std::{fs, path::Path, thread};

use serde_json::{Value, json};

use super::run::{documents, run, run_on, text};

const OLD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/migrate");
const FIELD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/field");

/// The files of a directory.
fn files(dir: &str) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut files: Vec<_> = entries
        .map(|entry| entry.unwrap().path().display().to_string())
        .filter(|file| {
            Path::new(file).extension().is_some_and(|it| it == "yaml")
                && !file.ends_with("answers.yaml")
        })
        .collect();
    files.sort();
    files
}

/// What `render` says of a text.
fn refusal(input: &str) -> Option<String> {
    let output = run_on(input, &["render", "-f", "-"]);
    (!output.status.success()).then(|| text(&output.stderr))
}

/// What becomes of a file, as YAML and as JSON.
fn migrated(file: &str) -> (String, Value) {
    let yaml = succeed_quietly(&["migrate", file]);
    let report = succeed_quietly(&["migrate", file, "-o", "json"]);
    (yaml, serde_json::from_str(&report).unwrap())
}

fn succeed_quietly(args: &[&str]) -> String {
    let output = run(args);
    assert!(
        output.status.success(),
        "{args:?}: {}",
        text(&output.stderr)
    );
    text(&output.stdout)
}

#[test]
fn istio_operators_of_old_versions_become_ones_of_today() {
    for file in files(OLD) {
        let (yaml, report) = migrated(&file);
        assert_eq!(refusal(&yaml), None, "{file}: {yaml}");
        assert_eq!(
            documents(&yaml),
            [report["istioOperator"].clone()],
            "{file}"
        );
        let changes = report["changes"].as_array().unwrap();
        assert!(changes.len() > 2, "{file}: {report:#}");
        let comments = yaml
            .lines()
            .filter(|line| line.trim_start().starts_with("# "))
            .count();
        assert!(comments >= changes.len(), "{file}: {yaml}");
        let again = run_on(&yaml, &["migrate", "-", "-o", "json"]);
        let again: Value = serde_json::from_str(&text(&again.stdout)).unwrap();
        assert_eq!(again["changes"], json!([]), "{file}");
    }
}

#[test]
fn comments_stand_where_the_setting_stood_or_stands() {
    let yaml = succeed_quietly(&["migrate", &format!("{OLD}/1.23.yaml")]);
    let expected = fs::read_to_string(format!("{OLD}/1.23.expected")).unwrap();
    assert_eq!(yaml, expected);
}

/// None of these is of an old Istio; they have all that users get wrong.
#[test]
fn inputs_of_the_field_are_accepted_afterwards() {
    let files = files(FIELD);
    let one = |file: &String| {
        let report = succeed_quietly(&["migrate", file, "-o", "json"]);
        let report: Value = serde_json::from_str(&report).unwrap();
        let refused = refusal(&report["istioOperator"].to_string());
        assert_eq!(refused, None, "{file}: {report:#}");
        usize::from(report["changes"] == json!([]))
    };
    // Each file takes two runs of the program.
    let (first, second) = files.split_at(files.len() / 2);
    let unchanged: usize = thread::scope(|scope| {
        let other = scope.spawn(|| second.iter().map(one).sum::<usize>());
        first.iter().map(one).sum::<usize>() + other.join().unwrap()
    });
    let all = files.len();
    println!("{all} of {all} files are accepted, {unchanged} of them as they were");
    assert!(all > 80 && unchanged > 20, "{all} {unchanged}");
}

#[test]
fn a_table_lists_the_changes() {
    let file = format!("{FIELD}/F17-wrong-level.yaml");
    let table = succeed_quietly(&["migrate", &file, "-o", "table"]);
    let row = "spec.meshConfig.enableTracing";
    let line = table.lines().find(|line| line.starts_with(row)).unwrap();
    assert!(line.ends_with("from spec.enableTracing"), "{table}");
}
