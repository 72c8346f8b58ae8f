//! `istio-operator uninstall`: removes installations, after it has shown what goes.

use std::collections::BTreeSet;
use std::io::{self, BufRead, IsTerminal};

use istio_operator::api::Annotations;
use istio_operator::charts::Charts;
use istio_operator::cluster::{CrKey, revision_label};
use istio_operator::render::ObjectKey;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::Failure;
use super::completion::names_of_crs;
use super::connection::{ClusterArgs, Connection, block_on};
use super::observed::Observed;
use super::output::{Format, Paint, Tone, complain, print};
use super::wait::{Timeout, Until, until};
use super::{supervised, writes};

/// Remove an installation: what goes is shown first, and nothing goes without a yes.
///
/// CRDs, namespaces, volumes and generated Secrets stay. The operator of the cluster removes the objects; with --no-operator,
/// this command does.
#[derive(clap::Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag")]
#[command(after_help = "Examples:
  istio-operator uninstall istio-system/istio --dry-run
  istio-operator uninstall --revision canary --yes
  istio-operator uninstall --purge --no-operator --yes")]
pub(super) struct Args {
    /// The IstioOperator, as NAME or NAMESPACE/NAME; needed where there are several.
    #[arg(value_name = "CR", add = names_of_crs(), conflicts_with_all = ["revision", "purge"])]
    cr: Option<String>,
    /// The IstioOperators of this revision; default stands for the one without a name.
    #[arg(short, long, value_name = "NAME", conflicts_with = "purge")]
    revision: Option<String>,
    /// All IstioOperators, and what was installed without one.
    #[arg(long)]
    purge: bool,
    /// Show what would go, and leave it.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
    /// Remove everything without an operator.
    #[arg(long)]
    no_operator: bool,
    #[command(flatten)]
    timeout: Timeout,
    /// How to print what goes.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// One installation that goes.
struct Going {
    cr: CrKey,
    /// Whether the cluster has the IstioOperator, not only objects of it.
    is_there: bool,
    annotations: Annotations,
    objects: Vec<ObjectKey>,
    blocked_by: Option<String>,
}

pub(super) fn uninstall(args: &Args, charts: &Charts) -> Result<(), Failure> {
    block_on(async {
        let connection = args.cluster.connect().await?;
        let mut observed = Observed::read(&connection, charts).await?;
        for unknown in &observed.unknown {
            complain(&format_args!("not looked at: {unknown}"));
        }
        let going = going(args, &mut observed, &connection)?;
        let paint = Paint::for_stdout();
        args.output.print(
            || going.iter().map(|one| one.lines(paint)).collect(),
            || going.iter().map(Going::value).collect(),
        )?;
        if args.dry_run {
            return Ok(());
        }
        let blocked: Vec<_> = going.iter().filter_map(Going::blocker).collect();
        if !blocked.is_empty() {
            return Err(Failure::Input(blocked));
        }
        confirm(args.yes, "Remove all this?")?;
        let deadline = args.timeout.deadline();
        for one in going {
            let (key, annotations) = (&one.cr, &one.annotations);
            if one.is_there {
                writes::delete_cr(&connection, key).await?;
            }
            if args.no_operator || !one.is_there {
                supervised::remove(key, annotations, &mut observed, &connection, deadline).await?;
                if one.is_there {
                    writes::release_cr(&connection, key).await?;
                }
            } else {
                until(&connection, key, Until::Gone, deadline).await?;
            }
            complain(&format_args!("removed {key}"));
        }
        Ok(())
    })
}

/// The installations that are meant.
fn going(
    args: &Args,
    observed: &mut Observed,
    connection: &Connection,
) -> Result<Vec<Going>, Failure> {
    let crs: Vec<CrKey> = match (&args.revision, args.purge) {
        (Some(revision), _) => of_revision(revision_label(revision), observed),
        (None, true) => owners(observed).into_iter().collect(),
        (None, false) => vec![meant(args, observed, connection)?],
    };
    if crs.is_empty() {
        return Err(Failure::input("nothing of that is installed"));
    }
    let annotations = |observed: &Observed, key: &CrKey| {
        let cr = observed.crs.iter().find(|cr| CrKey::of(cr) == *key);
        (
            cr.is_some(),
            cr.map(|cr| Annotations::read(cr.annotations()))
                .unwrap_or_default(),
        )
    };
    // All of them go, so none keeps what another one renders.
    for key in &crs {
        observed.desired.mark_deleting(key);
    }
    let going = crs.into_iter().map(|cr| {
        let (is_there, annotations) = annotations(observed, &cr);
        let (objects, blocked_by) = supervised::going(&cr, &annotations, observed);
        Going {
            cr,
            is_there,
            annotations,
            objects,
            blocked_by,
        }
    });
    Ok(going.collect())
}

/// The one installation that a name means: an IstioOperator, or the owner that objects name.
fn meant(args: &Args, observed: &Observed, connection: &Connection) -> Result<CrKey, Failure> {
    let found = observed.cr(args.cr.as_deref(), connection);
    let missing = match found {
        Ok(cr) => return Ok(CrKey::of(cr)),
        Err(missing) => missing,
    };
    let name = args.cr.as_deref();
    let is_meant =
        |owner: &CrKey| name.is_none_or(|name| name == owner.name || name == owner.to_string());
    let mut owners = owners(observed).into_iter().filter(is_meant);
    match (owners.next(), owners.next()) {
        (Some(owner), None) => Ok(owner),
        _ => Err(missing),
    }
}

/// The IstioOperators of the cluster, and those that objects name as their owners.
fn owners(observed: &Observed) -> BTreeSet<CrKey> {
    let named = observed
        .live
        .iter()
        .filter(|(_, object)| object.our_fields.is_some());
    let named = named.filter_map(|(_, object)| object.owner_labels.owner.clone());
    observed
        .crs
        .iter()
        .map(|cr| CrKey::of(cr))
        .chain(named)
        .collect()
}

/// The owners of objects of a revision.
fn of_revision(revision: &str, observed: &Observed) -> Vec<CrKey> {
    let is_of_revision = |owner: &CrKey| {
        let cr = observed.crs.iter().find(|cr| CrKey::of(cr) == *owner);
        let status = cr
            .and_then(|cr| cr.status.as_ref())
            .and_then(|status| status.revision.as_deref());
        let has_one = || {
            let mut objects = observed.live.iter().map(|(_, object)| object);
            objects.any(|object| {
                object.is_owned_by(owner)
                    && object.owner_labels.revision.as_deref() == Some(revision)
            })
        };
        status.map_or_else(has_one, |own| own == revision)
    };
    owners(observed)
        .into_iter()
        .filter(is_of_revision)
        .collect()
}

impl Going {
    fn blocker(&self) -> Option<String> {
        let why = self.blocked_by.as_ref()?;
        Some(format!("{}: {why}", self.cr))
    }

    fn lines(&self, paint: Paint) -> String {
        let head = if self.is_there {
            format!("- IstioOperator {}", self.cr)
        } else {
            format!("- objects of {}, which is not there any more", self.cr)
        };
        let objects = self.objects.iter().map(|key| format!("  - {key}"));
        let blocker = self.blocker().map(|why| format!("! {why}"));
        let lines = std::iter::once(head).chain(objects).chain(blocker);
        lines
            .map(|line| paint.text(Tone::Bad, line) + "\n")
            .collect()
    }

    fn value(&self) -> Value {
        json!({
            "istioOperator": self.cr.to_string(),
            "isThere": self.is_there,
            "objects": self.objects.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "blockedBy": self.blocked_by,
        })
    }
}

/// Asks on a terminal whether to go on. Elsewhere only `yes` does.
pub(super) fn confirm(yes: bool, question: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::input("nobody can be asked here: say --yes"));
    }
    print(&[format!("{question} [y/N] ")])?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::input("nothing was removed")),
    }
}
