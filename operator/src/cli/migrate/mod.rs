//! `istio-operator migrate`: rewrites an IstioOperator of an Istio before 1.24 into one that this version takes.

mod comments;

use std::collections::BTreeSet;
use std::path::PathBuf;

use istio_operator::api::{IstioOperator, Path, RawSpec};
use istio_operator::charts::Charts;
use istio_operator::merge::{Change, Cluster, Merged, Migration, What, merge};
use istio_operator::render::{RenderError, Rendered, render};
use serde_json::{Value, json};

use super::Failure;
use super::fields::short;
use super::input::{read_old_file, written};
use super::output::{Format, complain, table};
use super::render::{all, warn, warn_of};

/// Rewrite an IstioOperator of Istio 1.4 to 1.23 into one that this version takes. Istio 1.4 called it IstioControlPlane.
///
/// What has another place or another form today is written so. What no version knows any more stays as a comment, with what
/// to use instead; so does what is wrong and cannot be guessed. The result is accepted by render. Comments of the file and the
/// order of its fields are not kept.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  istio-operator migrate istio.yaml > migrated.yaml
  istio-operator migrate istio.yaml -o table
  kubectl get iop istio -n istio-system -o yaml | istio-operator migrate - | istio-operator diff -f -")]
pub(super) struct Args {
    /// A file with the IstioOperator, or - for standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// How to print it: as YAML with a comment for each change, the changes as a table, or both as JSON.
    #[arg(short, long, value_enum, default_value_t = Format::Yaml)]
    output: Format,
}

/// After so many rounds of errors, somebody has to look at the file.
const MAX_ROUNDS: usize = 500;

pub(super) fn migrate(args: &Args, charts: &Charts) -> Result<(), Failure> {
    let (mut cr, kind) = read_old_file(&args.file)?;
    let mut migration = istio_operator::merge::migrate(&cr.spec.0, kind, charts);
    let (merged, rendered) = settle(&mut migration, charts)?;
    warn_of(&merged, charts);
    rendered.warnings.iter().for_each(warn);
    cr.spec = RawSpec(migration.spec);
    let document = written(&cr)?;
    let changes = migration.changes;
    complain(&format_args!("{} changes", changes.len()));
    let value = || {
        let changes: Vec<_> = changes.iter().map(value).collect();
        json!({"istioOperator": document, "changes": changes})
    };
    match args.output {
        Format::Yaml => super::print(&[comments::write(&document, &changes)]),
        other => other.print(|| lines(&changes), value),
    }
}

/// Takes out what is refused until nothing is, and gives what the rest renders.
fn settle(migration: &mut Migration, charts: &Charts) -> Result<(Merged, Rendered), Failure> {
    for _ in 0..MAX_ROUNDS {
        let errors = match rendered(&migration.spec, charts) {
            Ok(done) => return Ok(done),
            Err(errors) => errors,
        };
        let known = migration.changes.len();
        let mut shortened = BTreeSet::new();
        for (path, why) in &errors {
            let Some(path) = path else { continue };
            // What stands behind an element that goes has another index afterwards.
            let list = path.to_string().split('[').next().map(str::to_owned);
            if !path.to_string().contains('[') || shortened.insert(list) {
                migration.take_out(path, why);
            }
        }
        if migration.changes.len() == known {
            let texts = errors.iter().map(|(path, why)| match path {
                Some(path) => format!("{path}: {why}"),
                None => why.clone(),
            });
            return Err(all(&texts.collect::<Vec<_>>()));
        }
    }
    Err(Failure::input("this file has too much that is wrong"))
}

/// An error, with the field of the spec that it is about if that is known.
type Complaint = (Option<Path>, String);

fn rendered(spec: &Value, charts: &Charts) -> Result<(Merged, Rendered), Vec<Complaint>> {
    let cr = IstioOperator::new("migrated", RawSpec(spec.clone()));
    let merged = merge(&cr, None, Cluster::default(), charts).map_err(|errors| {
        let errors = errors.into_iter();
        errors
            .map(|error| (Some(error.path), error.problem))
            .collect::<Vec<_>>()
    })?;
    let rendered = render(&merged, charts).map_err(|errors| {
        let complaint = |error| match error {
            RenderError::Setting(error) => (Some(error.path), error.problem),
            other => (None, other.to_string()),
        };
        errors.into_iter().map(complaint).collect::<Vec<_>>()
    })?;
    Ok((merged, rendered))
}

/// What a change did, and why or what was there, in a line each.
fn told(change: &Change) -> (&'static str, String) {
    match &change.what {
        What::Moved { from } => ("moved", format!("from {from}")),
        What::Rewritten { was } => ("rewritten", format!("was {}", short(was))),
        What::Removed { why, .. } => ("removed", why.clone()),
        What::Added { why } => ("added", why.clone()),
    }
}

fn lines(changes: &[Change]) -> String {
    let row = |change: &Change| {
        let (what, why) = told(change);
        [change.path.to_string(), what.to_owned(), why]
    };
    table(["FIELD", "CHANGE", ""], changes.iter().map(row).collect())
}

fn value(change: &Change) -> Value {
    let (what, why) = told(change);
    let mut value = json!({"path": change.path.to_string(), "change": what});
    match &change.what {
        What::Moved { from } => value["from"] = from.to_string().into(),
        What::Rewritten { was } => value["was"] = was.clone(),
        What::Removed { was, .. } => {
            value["why"] = why.into();
            value["was"] = was.clone();
        }
        What::Added { .. } => value["why"] = why.into(),
    }
    value
}
