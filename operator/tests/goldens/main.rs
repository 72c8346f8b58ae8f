//! What we render, compared with what upstream's `istioctl manifest generate` prints, for every
//! minor and case.
//!
//! Digests of upstream's objects are in `goldens/` of the repository. Where the objects' texts are at hand too,
//! differences are shown field by field. `GOLDEN=1.31/profile-default cargo test --test goldens -- --nocapture` compares
//! the cases whose name contains the text and prints every difference; `GOLDEN=1.26/` is one minor. `UPDATE=1` rewrites
//! the compatibility table.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that reports"
)]

mod normal;
mod table;

use std::collections::BTreeMap;
use std::path::Path;
use std::thread;

use goldens::{
    ANSWER, HINT, Rendering, Rows, STALE, Texts, answer_rows, differing_rows, report,
    user_templates,
};
use istio_operator::api::IstioOperator;
use istio_operator::catalogue::Release;
use istio_operator::charts::Charts;
use istio_operator::merge::{Cluster, merge};
use istio_operator::render::{Rendered, render};
use normal::of_rendered;
use serde_json::Value;

const CHARTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts");
/// How many cases every minor has, so that none is lost unseen.
const CASES: usize = 62;

/// How a case came out.
enum Verdict {
    Equal,
    /// Upstream refuses it, and so do we.
    Refused,
    Different(Vec<String>),
    /// One side refuses what the other accepts, or a refusal without a path.
    Refusal(String),
}

#[test]
fn every_case_is_what_upstream_renders() {
    let inputs = goldens::inputs();
    assert_eq!(inputs.len(), CASES, "cases in goldens/inputs");
    let filter = std::env::var("GOLDEN").unwrap_or_default();
    let charts = Charts::embedded().unwrap();
    let releases = charts.catalogue().releases();
    let minors: Vec<Minor> = thread::scope(|scope| {
        let compare = |r: &Release| {
            let (minor, inputs, filter) = (r.version.minor_text(), &inputs, &filter);
            scope.spawn(move || Minor::compare(minor, inputs, filter))
        };
        let running: Vec<_> = releases.iter().map(compare).collect();
        running
            .into_iter()
            .map(|minor| minor.join().unwrap())
            .collect()
    });
    minors.iter().for_each(Minor::print);
    let total: usize = minors.iter().map(|minor| minor.total).sum();
    let equal = total - minors.iter().map(|minor| minor.differ.len()).sum::<usize>();
    report(&format!("cases equal to upstream: {equal} of {total}"));
    let differ: Vec<&str> = minors
        .iter()
        .flat_map(|m| &m.differ)
        .map(String::as_str)
        .collect();
    let hint = if Texts::find().is_none() { HINT } else { "" };
    assert!(differ.is_empty(), "differ: {}\n{hint}", differ.join(", "));
    if filter.is_empty() {
        assert_eq!(total, CASES * releases.len());
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
    fn compare(name: String, inputs: &BTreeMap<String, String>, filter: &str) -> Self {
        // Its own ones, because charts remember what their templates gave last, and that is other CRDs in each minor.
        let charts = Charts::from_dir(Path::new(CHARTS)).unwrap();
        let mut minor = Self {
            name,
            total: 0,
            cells: BTreeMap::new(),
            differ: Vec::new(),
            report: Vec::new(),
        };
        for (case, input) in inputs {
            let full = format!("{}/{case}", minor.name);
            if !full.contains(filter) {
                continue;
            }
            minor.total += 1;
            let verdict = judge(&charts, &minor.name, case, input);
            minor.cells.insert(case.clone(), table::cell(&verdict));
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

fn judge(charts: &Charts, minor: &str, case: &str, input: &str) -> Verdict {
    let table = goldens::case(case);
    let upstream = table.column(minor);
    let is_refused = upstream[ANSWER] == "refused";
    match (is_refused, ours(charts, minor, input)) {
        (true, Err(messages)) if messages.iter().all(|m| m.contains("spec.")) => Verdict::Refused,
        (true, Err(messages)) => Verdict::Refusal(format!("no path in {messages:?}")),
        (true, Ok(_)) => Verdict::Refusal("accepted, but upstream refuses it".to_owned()),
        (false, Err(messages)) => Verdict::Refusal(messages.join("; ")),
        (false, Ok(rendered)) => {
            let input: Value = serde_saphyr::from_str(input).unwrap();
            let ours = of_rendered(&rendered, &user_templates(&input));
            let found = differences(minor, case, upstream, &ours);
            if found.is_empty() {
                Verdict::Equal
            } else {
                Verdict::Different(found)
            }
        }
    }
}

/// In what our answer differs from the digests of upstream's: its fields where the texts are at hand, otherwise its
/// objects.
fn differences(minor: &str, case: &str, upstream: &Rows, ours: &Rendering) -> Vec<String> {
    let found = differing_rows(upstream, &ours.rows());
    let Some(texts) = Texts::find() else {
        return found;
    };
    let text = texts.case(minor, case);
    if answer_rows(&text) != *upstream {
        return vec![STALE.to_owned()];
    }
    text.map_or(found, |text| text.differences(ours))
}

/// Merges and renders an input; the messages of a refusal otherwise.
fn ours(charts: &Charts, minor: &str, input: &str) -> Result<Rendered, Vec<String>> {
    let text = |errors: Vec<_>| errors.iter().map(ToString::to_string).collect::<Vec<_>>();
    let cr: IstioOperator = serde_saphyr::from_str(input).map_err(|e| vec![e.to_string()])?;
    let version = Some(goldens::version(minor));
    let merged = merge(&cr, version, Cluster::default(), charts).map_err(text)?;
    render(&merged, charts).map_err(|errors| errors.iter().map(ToString::to_string).collect())
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
