//! The table of public failures names tests that exist, and no row is without one or a reason.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use regex::Regex;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const PAGE: &str = "docs/upgrade-failures.md";

/// The cells of each row.
fn rows() -> Vec<Vec<String>> {
    let page = fs::read_to_string(format!("{ROOT}/{PAGE}")).unwrap();
    let lines = page.lines().filter(|line| line.starts_with('|')).skip(2);
    let cells = |line: &str| {
        let cells = line.trim_matches('|').split(" | ");
        cells.map(|cell| cell.trim().to_owned()).collect()
    };
    lines.map(cells).collect()
}

/// The names of all tests below a folder.
fn tests(dir: &Path, names: &mut BTreeSet<String>) {
    let test = Regex::new(
        r"#\[(?:tokio::)?test(?:\([^\]]*\))?\]\s*(?:#\[[^\]]*\]\s*)*(?:async )?fn (\w+)",
    );
    let test = test.unwrap();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tests(&path, names);
        } else if path.extension().is_some_and(|it| it == "rs") {
            let code = fs::read_to_string(&path).unwrap();
            names.extend(test.captures_iter(&code).map(|found| found[1].to_owned()));
        }
    }
}

#[test]
fn every_failure_has_a_test_that_exists_or_a_reason() {
    let mut known = BTreeSet::new();
    for dir in ["operator/src", "operator/tests", "e2e/src", "e2e/tests"] {
        tests(&Path::new(ROOT).join(dir), &mut known);
    }
    assert!(known.len() > 500, "{}", known.len());
    let named = Regex::new("`([^`]+)`").unwrap();
    let rows = rows();
    assert!(rows.len() > 25, "{}", rows.len());
    for row in rows {
        let [_, failure, answer, shown] = row.as_slice() else {
            panic!("{row:?} has not four cells");
        };
        assert!(failure.ends_with('.') && answer.ends_with('.'), "{row:?}");
        let cited: Vec<_> = named.captures_iter(shown).collect();
        for name in &cited {
            assert!(known.contains(&name[1]), "{} is no test: {row:?}", &name[1]);
        }
        let is_reason = shown.len() > 30 && shown.ends_with('.');
        assert!(!cited.is_empty() || is_reason, "nothing shows {row:?}");
    }
}

#[test]
fn every_failure_stands_there_once_with_its_link() {
    let issue = Regex::new(r"^\[(?:[a-z.]+ )?(\d+)\]\(https://github\.com/[^)]+/(\d+)\)$").unwrap();
    let mut seen = BTreeSet::new();
    for row in rows() {
        for link in row[0].split(", ") {
            let found = issue.captures(link);
            let found = found.unwrap_or_else(|| panic!("{link} is no issue"));
            assert_eq!(found[1], found[2], "{link}");
            assert!(seen.insert(link.to_owned()), "{link} stands there twice");
        }
    }
    // The sources that name an issue have its row.
    for issue in ["60486", "60357", "12602", "61049", "35590"] {
        assert!(seen.iter().any(|link| link.contains(issue)), "{issue}");
    }
}
