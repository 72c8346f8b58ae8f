//! What we render, compared with what upstream's `istioctl manifest generate` prints, for every
//! minor and case.
//!
//! `GOLDEN=1.31/profile-default cargo test --test goldens -- --nocapture` compares the cases whose
//! name contains the text and prints every difference; `GOLDEN=1.26/` is one minor. The
//! goldens lie outside the repository; where they are absent, the test says so and passes.
//! `UPDATE=1` rewrites the compatibility table.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that reports"
)]

mod compare;
mod normal;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::thread;

use compare::{Difference, differences};
use istio_operator::api::IstioOperator;
use istio_operator::catalogue::Release;
use istio_operator::charts::Charts;
use istio_operator::merge::{Cluster, merge};
use istio_operator::render::{Rendered, render};
use normal::Normal;
use serde_json::Value;

const GOLDENS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/goldens");
const CHARTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts");

/// How a case came out.
enum Verdict {
    Equal,
    /// Upstream refuses it, and so do we.
    Refused,
    Different(Vec<Difference>),
    /// One side refuses what the other accepts, or a refusal without a path.
    Refusal(String),
}

#[test]
fn every_case_is_what_upstream_renders() {
    if !Path::new(GOLDENS).exists() {
        println!("skipped: there are no goldens at {GOLDENS}");
        return;
    }
    let filter = std::env::var("GOLDEN").unwrap_or_default();
    let charts = Charts::embedded().unwrap();
    let releases = charts.catalogue().releases();
    let minors: Vec<Minor> = thread::scope(|scope| {
        let compare = |r: &Release| {
            let (minor, filter) = (r.version.minor_text(), &filter);
            scope.spawn(move || Minor::compare(minor, filter))
        };
        let running: Vec<_> = releases.iter().map(compare).collect();
        running
            .into_iter()
            .map(|minor| minor.join().unwrap())
            .collect()
    });
    minors.iter().for_each(Minor::print);
    let differ: Vec<&str> = minors
        .iter()
        .flat_map(|m| &m.differ)
        .map(String::as_str)
        .collect();
    assert!(differ.is_empty(), "differ: {}", differ.join(", "));
    if filter.is_empty() {
        table::check(&minors);
    }
}

/// How the cases of one minor came out.
struct Minor {
    name: String,
    total: usize,
    /// What the compatibility table says of each case.
    cells: BTreeMap<String, &'static str>,
    /// The cases that are not equal.
    differ: Vec<String>,
    /// What to print about them.
    report: Vec<String>,
}

impl Minor {
    /// Compares the cases whose name, with the minor in front, contains the filter.
    fn compare(name: String, filter: &str) -> Self {
        // Its own ones, because charts remember what their templates gave last, and that is other CRDs in each minor.
        let charts = Charts::from_dir(Path::new(CHARTS)).unwrap();
        let mut minor = Self {
            name,
            total: 0,
            cells: BTreeMap::new(),
            differ: Vec::new(),
            report: Vec::new(),
        };
        for case in cases(&minor.name) {
            let full = format!("{}/{case}", minor.name);
            if !full.contains(filter) {
                continue;
            }
            minor.total += 1;
            let verdict = judge(&charts, &minor.name, &case);
            minor.cells.insert(case, table::cell(&verdict));
            if let Some(found) = describe(&verdict, !filter.is_empty()) {
                minor.report.push(format!("{full}: {found}"));
                minor.differ.push(full);
            }
        }
        minor
    }

    fn print(&self) {
        if self.total > 0 {
            let equal = self.total - self.differ.len();
            self.report.iter().for_each(|line| println!("{line}"));
            println!("{}: {equal}/{} equal", self.name, self.total);
        }
    }
}

fn cases(minor: &str) -> Vec<String> {
    let Ok(files) = fs::read_dir(format!("{GOLDENS}/{minor}/cases")) else {
        return Vec::new();
    };
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut cases: Vec<String> = names
        .filter_map(|name| name.strip_suffix(".json").map(str::to_owned))
        .collect();
    cases.sort();
    cases
}

fn judge(charts: &Charts, minor: &str, case: &str) -> Verdict {
    let input = fs::read_to_string(format!("{GOLDENS}/inputs/{case}.yaml")).unwrap();
    let golden = fs::read(format!("{GOLDENS}/{minor}/cases/{case}.json")).unwrap();
    let golden: Value = serde_json::from_slice(&golden).unwrap();
    match (golden.get("error"), ours(charts, minor, &input)) {
        (Some(_), Err(messages)) if messages.iter().all(|m| m.contains("spec.")) => {
            Verdict::Refused
        }
        (Some(_), Err(messages)) => Verdict::Refusal(format!("no path in {messages:?}")),
        (Some(error), Ok(_)) => Verdict::Refusal(format!("accepted, but upstream says {error}")),
        (None, Err(messages)) => Verdict::Refusal(messages.join("; ")),
        (None, Ok(rendered)) => {
            let templates = user_templates(&input);
            let found = differences(
                &Normal::of_golden(&golden),
                &Normal::of_rendered(&rendered),
                &templates,
            );
            if found.is_empty() {
                Verdict::Equal
            } else {
                Verdict::Different(found)
            }
        }
    }
}

/// Merges and renders an input; the messages of a refusal otherwise.
fn ours(charts: &Charts, minor: &str, input: &str) -> Result<Rendered, Vec<String>> {
    let text = |mistakes: Vec<_>| mistakes.iter().map(ToString::to_string).collect::<Vec<_>>();
    let cr: IstioOperator = serde_saphyr::from_str(input).map_err(|e| vec![e.to_string()])?;
    let merged = merge(&cr, Some(minor), Cluster::default(), charts).map_err(text)?;
    render(&merged, charts).map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

/// The names of the injection templates that the input brings along.
fn user_templates(input: &str) -> BTreeSet<String> {
    let input: Value = serde_saphyr::from_str(input).unwrap();
    let templates = input.pointer("/spec/values/sidecarInjectorWebhook/templates");
    let names = templates
        .and_then(Value::as_object)
        .into_iter()
        .flat_map(|map| map.keys());
    names.cloned().collect()
}

/// What is not equal, if anything; all of it where the case was asked for.
fn describe(verdict: &Verdict, in_full: bool) -> Option<String> {
    match verdict {
        Verdict::Equal | Verdict::Refused => None,
        Verdict::Refusal(why) => Some(why.clone()),
        Verdict::Different(found) => {
            let shown = found.iter().take(if in_full { usize::MAX } else { 3 });
            let lines: Vec<String> = shown.map(|d| format!("\n    {d}")).collect();
            Some(format!("{} differences{}", found.len(), lines.concat()))
        }
    }
}
