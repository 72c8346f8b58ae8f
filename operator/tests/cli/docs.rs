//! The documents tell of every command and of every reason, and of none that is not there.

use std::collections::BTreeSet;
use std::fs;

use super::help::commands;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn read(file: &str) -> String {
    fs::read_to_string(format!("{ROOT}/{file}")).unwrap()
}

#[test]
fn every_reason_has_its_paragraph() {
    let code = read("operator/src/api/condition.rs");
    let (_, reasons) = code.split_once("pub mod reason {").unwrap();
    let (reasons, _) = reasons.split_once("\n}\n").unwrap();
    let declared = reasons
        .lines()
        .filter(|line| line.trim().starts_with("pub const "));
    let declared: BTreeSet<_> = declared
        .map(|line| line.split('"').nth(1).unwrap())
        .collect();
    assert!(declared.len() > 20, "{declared:?}");
    let page = read("docs/troubleshooting.md");
    let sections = page.split("\n### ").skip(1);
    let mut told = BTreeSet::new();
    for section in sections {
        let (reason, text) = section.split_once('\n').unwrap();
        let text = text.split("\n## ").next().unwrap().trim();
        assert!(text.len() > 30, "{reason} is not explained");
        assert!(told.insert(reason), "{reason} is explained twice");
    }
    assert_eq!(told, declared);
}

#[test]
fn the_readme_lists_every_command() {
    let readme = read("README.md");
    let (_, table) = readme.split_once("\n| command | what it does |\n").unwrap();
    let rows = table
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with('|'));
    let names = rows.map(|row| row.split('`').nth(1).unwrap().split(' ').next().unwrap());
    let names: BTreeSet<_> = names.map(str::to_owned).collect();
    let known = commands()
        .into_iter()
        .filter_map(|command| command.into_iter().next());
    assert_eq!(names, known.collect());
}
