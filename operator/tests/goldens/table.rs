//! The compatibility table: every case of every minor, as the last comparison found it.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;

use super::{Minor, Verdict};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/COMPATIBILITY.md");

const HEAD: &str = "\
# What is rendered, beside upstream

Written by `UPDATE=1 cargo test --package istio-operator --test goldens`, which compares the objects of every case
with those of `istioctl manifest generate` of the newest patch release of the minor; the test fails where this file is
not current.

- `=`: every object is equal.
- `refused`: upstream refuses the input, and so do we, with the path of the error.
- `not yet`: something differs.

What differs on purpose, outside these cases, stands in the [README](README.md#deliberate-differences-from-upstream).
";

/// What the table says of a case.
pub fn cell(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Equal => "=",
        Verdict::Refused => "refused",
        Verdict::Different(_) | Verdict::Refusal(_) => "not yet",
    }
}

/// Holds the committed table against these minors, or rewrites it.
pub fn check(minors: &[Minor]) {
    let table = table(minors);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(FILE, &table).unwrap();
    }
    let committed = fs::read_to_string(FILE).unwrap_or_default();
    assert_eq!(committed, table, "UPDATE=1 rewrites the table");
}

fn table(minors: &[Minor]) -> String {
    let mut text = HEAD.to_owned();
    row(
        &mut text,
        "Case",
        minors.iter().map(|minor| minor.name.as_str()),
    );
    row(&mut text, "---", minors.iter().map(|_| "---"));
    let cases: BTreeSet<_> = minors.iter().flat_map(|minor| minor.cells.keys()).collect();
    for case in cases {
        let cells = minors.iter().map(|minor| minor.cells.get(case).copied());
        row(&mut text, case, cells.map(Option::unwrap_or_default));
    }
    text
}

fn row<'a>(text: &mut String, head: &str, cells: impl Iterator<Item = &'a str>) {
    let gap = if head == "Case" { "\n" } else { "" };
    write!(text, "{gap}| {head} |").unwrap();
    cells.for_each(|cell| write!(text, " {cell} |").unwrap());
    text.push('\n');
}
