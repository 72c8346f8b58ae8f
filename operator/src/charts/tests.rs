//! What has to hold for the files of the charts directory as a whole.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use regex::Regex;

use super::functions::FUNCTIONS;
use super::helpers::CONTEXT_HELPERS;
use super::*;

fn embedded() -> Charts {
    Charts::embedded().unwrap()
}

/// The known minors.
fn minors(charts: &Charts) -> RangeInclusive<u16> {
    let releases = charts.catalogue().releases();
    let minor = |release: Option<&crate::catalogue::Release>| release.unwrap().version.minor;
    minor(releases.first())..=minor(releases.last())
}

fn templates(charts: &Charts) -> impl Iterator<Item = (&String, &str)> {
    let files = charts.files.iter().map(|(file, text)| (file, &**text));
    files.filter(|(file, _)| has_suffix(file, "hbs"))
}

fn helper_names() -> impl Iterator<Item = &'static str> {
    FUNCTIONS.iter().map(|f| f.name).chain(CONTEXT_HELPERS)
}

#[test]
fn the_embedded_charts_parse_and_compile() {
    embedded().check().unwrap();
}

#[test]
fn a_directory_gives_the_same_as_the_binary() {
    let dir = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../charts"));
    assert_eq!(Charts::from_dir(dir).unwrap().files, embedded().files);
}

#[test]
fn an_absent_directory_is_named() {
    let error = Charts::from_dir(Path::new("no/such/charts")).err().unwrap();
    assert!(error.to_string().contains("no/such/charts"), "{error}");
}

#[test]
fn every_helper_is_called_by_a_template() {
    let charts = embedded();
    // A call stands at the start of a tag or of a parenthesis.
    let call = Regex::new(r"(?:\(|\{\{)([A-Za-z]+)").unwrap();
    let called: BTreeSet<&str> = templates(&charts)
        .flat_map(|(_, text)| call.captures_iter(text))
        .map(|found| found.get(1).unwrap().as_str())
        .collect();
    let unused: Vec<&str> = helper_names()
        .filter(|name| !called.contains(name))
        .collect();
    assert_eq!(unused, [""; 0]);
}

#[test]
fn every_partial_is_called_by_a_template() {
    let charts = embedded();
    let called: BTreeSet<String> = templates(&charts)
        .flat_map(|(_, text)| template::called_partials(text))
        .map(template::file_of)
        .collect();
    let partials = templates(&charts).filter(|(file, _)| file.contains("partials/"));
    let unused: Vec<_> = partials
        .filter(|(file, _)| !called.contains(*file))
        .collect();
    assert_eq!(unused, []);
}

#[test]
fn the_readme_lists_every_helper() {
    let charts = embedded();
    let row = Regex::new(r"(?m)^\| `([A-Za-z]+)[^`]*` \|").unwrap();
    let readme = charts.files.get("README.md").unwrap();
    let section = readme
        .split("\n## ")
        .find(|text| text.starts_with("Template functions"));
    let listed: Vec<&str> = row
        .captures_iter(section.unwrap())
        .map(|found| found.get(1).unwrap().as_str())
        .collect();
    let mut names: Vec<&str> = helper_names().collect();
    names.sort_unstable();
    assert_eq!(listed, names);
}

/// A gate: the file that it stands in, `since` or `until`, and the minor.
type Gate = (String, &'static str, u16);

/// Every gate of the charts, in each of the notations that `charts/README.md` names.
fn gates(charts: &Charts) -> Vec<Gate> {
    let in_template = Regex::new(r#"\b(since|until) "1\.(\d+)""#).unwrap();
    let in_text = Regex::new(r"(?m)^%% (since|until) 1\.(\d+)").unwrap();
    let in_schema = Regex::new(r#"(?m)^[^#\n]*?\b(since|until):? "?1\.(\d+)"#).unwrap();
    let of_word = Regex::new(r"(@)1\.(\d+)").unwrap();
    let mut gates = Vec::new();
    for (file, text) in charts.files.iter() {
        let notations = match file {
            file if has_suffix(file, "hbs") => vec![&in_template],
            file if has_suffix(file, "tmpl") => vec![&in_text],
            file if file.starts_with("schema/") => vec![&in_schema, &of_word],
            _ => Vec::new(),
        };
        for found in notations
            .iter()
            .flat_map(|notation| notation.captures_iter(text))
        {
            let word = if &found[1] == "until" {
                "until"
            } else {
                "since"
            };
            gates.push((file.clone(), word, found[2].parse().unwrap()));
        }
    }
    for file in charts.values.keys() {
        for (word, minor) in charts.versioned_values(file).unwrap().gates() {
            gates.push((file.clone(), word, minor));
        }
    }
    gates
}

/// The gates that hold in all of these minors, or in none.
fn dead_gates(gates: &[Gate], minors: &RangeInclusive<u16>) -> Vec<Gate> {
    let (oldest, newest) = (*minors.start(), *minors.end());
    let is_dead = |(_, word, minor): &&Gate| match *word {
        "since" => *minor <= oldest || *minor > newest,
        _ => *minor >= newest || *minor < oldest,
    };
    gates.iter().filter(is_dead).cloned().collect()
}

#[test]
fn no_gate_is_dead() {
    let charts = embedded();
    assert_eq!(dead_gates(&gates(&charts), &minors(&charts)), []);
}

/// Otherwise the test above would pass because it finds no gate of some notation.
#[test]
fn dropping_a_minor_makes_gates_of_every_notation_dead() {
    let charts = embedded();
    let gates = gates(&charts);
    let (oldest, newest) = minors(&charts).into_inner();
    let suffixes = |minors: RangeInclusive<u16>| -> BTreeSet<String> {
        let dead = dead_gates(&gates, &minors).into_iter();
        let place = |file: &str| match file.rsplit_once('.') {
            Some((file, "yaml")) if file.starts_with("schema/") => "schema".to_owned(),
            Some((_, suffix)) => suffix.to_owned(),
            None => String::new(),
        };
        dead.map(|(file, ..)| place(&file)).collect()
    };
    let all = ["hbs", "schema", "tmpl", "yaml"].map(str::to_owned).into();
    assert_eq!(suffixes(oldest + 1..=newest), all);
    assert!(suffixes(oldest..=newest - 1).contains("hbs"));
}
