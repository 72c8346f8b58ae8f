//! The documents tell of every command and of every reason, and of none that is not there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use istio_operator::charts::yaml;
use serde_json::Value;

use super::help::{commands, run_example, with_files};
use super::run::{run_on, succeed, text};

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

/// Git has the newest version, in both places that an upgrade changes.
#[test]
fn the_samples_for_gitops_install_the_default_version() {
    let versions: Value = serde_json::from_str(&succeed(&["versions", "-o", "json"])).unwrap();
    for file in ["control-plane/istio.yaml", "gateways/gateways.yaml"] {
        let file = format!("{ROOT}/samples/gitops/{file}");
        let cr: Value = yaml::parse(&fs::read_to_string(&file).unwrap()).unwrap();
        assert_eq!(cr["spec"]["version"], versions["default"], "{file}");
        assert!(succeed(&["render", "-f", &file]).contains("kind: Deployment"));
    }
}

/// The blocks of a document in one language.
fn blocks<'t>(text: &'t str, language: &str) -> Vec<&'t str> {
    let fence = format!("\n```{language}\n");
    let starts = text.split(fence.as_str()).skip(1);
    let blocks = starts.map(|rest| rest.split("\n```").next().unwrap());
    blocks.collect()
}

fn pages() -> Vec<String> {
    let entries = fs::read_dir(format!("{ROOT}/docs")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut pages: Vec<_> = names
        .filter(|name| Path::new(name).extension().is_some_and(|it| it == "md"))
        .collect();
    pages.sort();
    pages
}

#[test]
fn what_the_pages_show_works() {
    let (mut commands, mut resources) = (0, 0);
    for page in pages() {
        let told = read(&format!("docs/{page}"));
        for block in blocks(&told, "sh") {
            with_files(|dir| {
                for line in block.lines() {
                    commands += usize::from(run_example(line, dir));
                }
            });
        }
        for block in blocks(&told, "yaml") {
            if block.contains("kind: IstioOperator") {
                let output = run_on(block, &["render", "-f", "-"]);
                let said = text(&output.stderr);
                assert!(output.status.success(), "{page}: {block}: {said}");
                assert!(!said.contains("is read as"), "{page}: {said}");
                resources += 1;
            }
        }
    }
    assert!(commands > 25 && resources > 6, "{commands} {resources}");
}

/// Who reads Chinese gets the same commands, the same examples and the same tables.
#[test]
fn the_chinese_readme_keeps_up() {
    let (english, chinese) = (read("README.md"), read("README.zh.md"));
    for language in ["sh", "yaml", "console"] {
        assert_eq!(
            blocks(&chinese, language),
            blocks(&english, language),
            "{language}"
        );
    }
    // The code in the first cell of each row, and the number of cells.
    let rows = |text: &str| {
        let rows = text.lines().filter(|line| line.starts_with('|'));
        let row = |line: &str| {
            let first = line.split('|').nth(1).unwrap();
            let code = first.split('`').nth(1).unwrap_or_default().to_owned();
            (code, line.matches('|').count())
        };
        rows.map(row).collect::<Vec<_>>()
    };
    assert_eq!(rows(&chinese), rows(&english));
    let headings = |text: &str| {
        let lines = text.lines().filter(|line| line.starts_with('#'));
        let levels = lines.map(|line| line.split(' ').next().unwrap().len());
        levels.collect::<Vec<_>>()
    };
    assert_eq!(headings(&chinese), headings(&english));
    let links = |text: &str| {
        let targets = text.split("](").skip(1);
        let targets = targets.map(|rest| rest.split(')').next().unwrap().to_owned());
        targets
            .filter(|target| !target.starts_with("README"))
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(links(&chinese), links(&english));
}
