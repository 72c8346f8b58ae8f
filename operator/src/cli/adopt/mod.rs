//! `istio-operator adopt`: what it means to take over an installation that somebody else made.

mod fit;
mod found;
mod overlays;
mod settings;

use std::collections::BTreeMap;

use istio_operator::api::StoredCr;
use istio_operator::charts::{Charts, yaml};
use istio_operator::cluster::{CrKey, ManagingTool};
use kube::ResourceExt;
use serde_json::{Value, json};

use super::Failure;
use super::connection::{ClusterArgs, Connection, block_on};
use super::cr::CrArgs;
use super::diff::{Report, report, tell_limits};
use super::input::written;
use super::observed::Observed;
use super::output::{Format, Paint, complain, print};
use found::Found;

/// Show what taking over an installation would change, and which pods would restart; or write the IstioOperator that matches it.
///
/// The installation may be one of istioctl, of Helm, of Istio's former operator, or of manifests that were applied. Without
/// --write, an IstioOperator is compared with it as diff does, as if it had the annotation install.istio.io/adopt. Nothing is
/// changed.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  istio-operator adopt --write > installed.yaml
  istio-operator adopt --write --revision canary
  istio-operator adopt -f istio.yaml --exit-code
  istio-operator adopt istio-system/istio -o json")]
pub(super) struct Args {
    #[command(flatten)]
    cr: CrArgs,
    /// Print the IstioOperator that matches the installation, with comments on what does not. It is found in the records of
    /// istioctl, the values that charts leave in the cluster, and the objects themselves. --revision names the control plane.
    #[arg(long)]
    write: bool,
    /// End with exit code 3 if there are differences.
    #[arg(long)]
    exit_code: bool,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// The annotation by which objects of other tools are taken over.
const ADOPT: &str = "install.istio.io/adopt";

pub(super) fn adopt(args: &Args, charts: &Charts) -> Result<(), Failure> {
    if args.write {
        return write(args, charts);
    }
    let (report, from) = block_on(async {
        let connection = args.cluster.connect().await?;
        let mut observed = Observed::read(&connection, charts).await?;
        let mut cr = args.cr.read(&observed, &connection)?;
        let report = taking_over(&mut cr, &mut observed, &connection, charts).await?;
        tell_limits(&report, &observed);
        Ok((report, holders(&cr, &observed)))
    })?;
    let paint = Paint::for_stdout();
    args.output.print(
        || heading(&from) + &report.lines(paint),
        || {
            let mut value = report.value();
            value["from"] = json!(from);
            value
        },
    )?;
    if args.exit_code && report.has_differences() {
        return Err(Failure::Differences);
    }
    Ok(())
}

/// What applying an IstioOperator would do that may take over the objects of other tools.
async fn taking_over(
    cr: &mut StoredCr,
    observed: &mut Observed,
    connection: &Connection,
    charts: &Charts,
) -> Result<Report, Failure> {
    let annotations = cr.annotations_mut();
    annotations.insert(ADOPT.to_owned(), "true".to_owned());
    report(cr, observed, connection, charts).await
}

/// Who has the objects that an IstioOperator renders, and how many, unless it has them itself.
fn holders(cr: &StoredCr, observed: &Observed) -> BTreeMap<String, usize> {
    let key = CrKey::of(cr);
    let is_there = |owner: &CrKey| observed.crs.iter().any(|cr| CrKey::of(cr) == *owner);
    let mut from = BTreeMap::new();
    let rendered = observed
        .live
        .iter()
        .filter(|(object, _)| observed.desired.renders(&key, object));
    for (_, object) in rendered {
        let owner = object.owner_labels.owner.as_ref();
        let holder = match (object.managed_by, owner) {
            (Some(tool), _) => tool.to_string(),
            (None, Some(owner)) if *owner == key && is_there(owner) => continue,
            (None, Some(owner)) if is_there(owner) => format!("IstioOperator {owner}"),
            (None, _) => "istioctl, or manifests that were applied".to_owned(),
        };
        *from.entry(holder).or_default() += 1;
    }
    from
}

fn heading(from: &BTreeMap<String, usize>) -> String {
    let line = |(holder, count): (&String, &usize)| format!("{count} objects are of {holder}\n");
    from.iter().map(line).collect()
}

fn write(args: &Args, charts: &Charts) -> Result<(), Failure> {
    if args.cr.name.is_some() || !args.cr.input.is_without_files() {
        return Err(Failure::input(
            "--write makes an IstioOperator from what is installed, and takes none",
        ));
    }
    let (document, rest) = block_on(async {
        let connection = args.cluster.connect().await?;
        let mut observed = Observed::read(&connection, charts).await?;
        let found = Found::look(args.cr.input.revision(), &observed, &connection, charts).await?;
        complain(&format_args!("found {found}"));
        let mut cr = found.istio_operator(charts)?;
        let rest = fit::fit(&mut cr, &mut observed, &connection, charts).await?;
        let tools = tools(&cr, &observed);
        if tools.is_empty() {
            cr.annotations_mut().remove(ADOPT);
        }
        if cr.annotations().is_empty() {
            cr.metadata.annotations = None;
        }
        Ok((written(&cr)?, rest))
    })?;
    for difference in &rest {
        complain(&format_args!("does not match: {difference}"));
    }
    match args.output {
        Format::Table | Format::Yaml => {
            let comments = rest
                .iter()
                .map(|line| format!("# Does not match: {line}\n"));
            print(&[comments.collect::<String>() + &yaml::write(&document)])
        }
        Format::Json => {
            let value = json!({"istioOperator": document, "differences": rest});
            print(&[format!("{value:#}\n")])
        }
    }
}

/// The tools that manage what an IstioOperator renders.
fn tools(cr: &StoredCr, observed: &Observed) -> Vec<ManagingTool> {
    let key = CrKey::of(cr);
    let objects = observed.live.iter();
    let rendered = objects.filter(|(object, _)| observed.desired.renders(&key, object));
    rendered
        .filter_map(|(_, object)| object.managed_by)
        .collect()
}

/// The value at a path of keys, if it is there and no null.
fn value_at<'v>(tree: &'v Value, keys: &[&str]) -> Option<&'v Value> {
    istio_operator::charts::tree::at(tree, keys).filter(|value| !value.is_null())
}
