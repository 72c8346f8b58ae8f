//! Removes the objects of the operator, after it has shown them.

use istio_operator::charts::Charts;
use istio_operator::cluster::CrKey;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::install::unmanaged;
use super::{Home, absent, api_of, deployment, title};
use crate::cli::Failure;
use crate::cli::connection::{ClusterArgs, Connection, block_on};
use crate::cli::manifests::{IMAGE, bodies};
use crate::cli::observed::{Observed, said};
use crate::cli::output::{Format, Paint, Tone, complain};
use crate::cli::uninstall::confirm;
use crate::cli::writes;

/// Remove the operator. What goes is shown first. The CRD and the namespace stay.
///
/// While there are IstioOperators, it is refused: nobody would repair what they install, and they could not be deleted.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  istio-operator operator remove --dry-run
  istio-operator operator remove --yes
  istio-operator operator remove --keep-istio --yes")]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag")]
pub(in crate::cli) struct Args {
    /// Leave what IstioOperators installed without an operator.
    #[arg(long)]
    keep_istio: bool,
    /// Show what would go, and leave it.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    home: Home,
    /// How to print what goes.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Kinds of which objects hold what is not the operator's.
const KEPT: [&str; 2] = ["CustomResourceDefinition", "Namespace"];

pub(in crate::cli) fn remove(args: &Args, charts: &Charts) -> Result<(), Failure> {
    block_on(async {
        let connection = args.cluster.connect().await?;
        let found = deployment(&connection, &args.home).await?;
        unmanaged(&found.ok_or_else(|| absent(&args.home))?)?;
        let going = going(&connection, &args.home, charts).await?;
        let paint = Paint::for_stdout();
        let titles: Vec<_> = going.iter().map(|(body, _)| title(body)).collect();
        let line = |title: &String| paint.text(Tone::Bad, format_args!("- {title}")) + "\n";
        args.output
            .print(|| titles.iter().map(line).collect(), || json!(titles))?;
        if args.dry_run {
            return Ok(());
        }
        if !args.keep_istio {
            nothing_is_installed(&connection).await?;
        }
        confirm(args.yes, "Remove the operator?")?;
        for (body, object) in going {
            delete(&connection, &body, &object).await?;
        }
        complain(&"removed the operator; its CRD and its namespace stay");
        Ok(())
    })
}

/// Fails while there are IstioOperators, or if that is not known.
async fn nothing_is_installed(connection: &Connection) -> Result<(), Failure> {
    let observed = Observed::of_crs(connection).await;
    if !observed.unknown.is_empty() {
        return Err(Failure::Input(observed.unknown));
    }
    let names = observed.crs.iter().map(|cr| CrKey::of(cr).to_string());
    match names.collect::<Vec<_>>().join(", ") {
        names if names.is_empty() => Ok(()),
        names => Err(Failure::input(format_args!(
            "without an operator nobody repairs what these IstioOperators install, and they cannot be deleted: {names}; \
             remove them (istio-operator uninstall), or leave Istio as it is with --keep-istio"
        ))),
    }
}

/// The objects that are there and go, the Deployment first.
async fn going(
    connection: &Connection,
    home: &Home,
    charts: &Charts,
) -> Result<Vec<(Value, DynamicObject)>, Failure> {
    let mut going = Vec::new();
    let bodies = bodies(&home.operator_namespace, IMAGE, true, charts)?;
    let is_kept = |body: &Value| KEPT.contains(&body["kind"].as_str().unwrap_or_default());
    for body in bodies.into_iter().filter(|body| !is_kept(body)).rev() {
        let name = body["metadata"]["name"].as_str().unwrap_or_default();
        let found = api_of(connection, &body).get_opt(name).await;
        let found = found
            .map_err(|error| Failure::input(format_args!("{}: {}", title(&body), said(&error))))?;
        going.extend(found.map(|found| (body, found)));
    }
    going.sort_by_key(|(body, _)| body["kind"] != "Deployment");
    Ok(going)
}

async fn delete(
    connection: &Connection,
    body: &Value,
    object: &DynamicObject,
) -> Result<(), Failure> {
    let deleted = writes::delete_object(&api_of(connection, body), object).await;
    match deleted {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(Failure::input(format_args!(
            "{}: {}",
            title(body),
            said(&error)
        ))),
        Ok(()) => Ok(()),
    }
}
