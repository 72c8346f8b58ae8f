//! `istio-operator status`: what the operator says of each IstioOperator, with the objects and workloads that it is about.

mod data_plane;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::time::Duration;

use istio_operator::api::{ComponentKind, InstallState, IstioOperatorStatus, StoredCr};
use istio_operator::cluster::{CrKey, Live, Readiness, Workload};
use istio_operator::render::ObjectKey;
use serde_json::{Value, json};

use super::Failure;
use super::completion::names_of_crs;
use super::connection::{ClusterArgs, Connection, block_on};
use super::observed::Observed;
use super::output::{Format, Paint, Tone, complain, print};

/// Show how far each installation is: components, workloads, gateways with their addresses, and what conditions say.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  istio-operator status
  istio-operator status istio-system/istio -o json
  istio-operator status --watch")]
pub(super) struct Args {
    /// Show this IstioOperator only, named as NAME or NAMESPACE/NAME.
    #[arg(value_name = "CR", add = names_of_crs())]
    cr: Option<String>,
    /// Go on showing it: in place on a terminal, and elsewhere whenever it changes.
    #[arg(short, long)]
    watch: bool,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// How often it is looked again.
const INTERVAL: Duration = Duration::from_secs(1);
/// The cells of a bar.
const BAR: i64 = 10;

pub(super) fn status(args: &Args) -> Result<(), Failure> {
    block_on(async {
        let connection = args.cluster.connect().await?;
        let mut shown = String::new();
        loop {
            let observed = Observed::look(&connection).await;
            let crs = chosen(args, &observed, &connection)?;
            if !args.watch {
                for unknown in &observed.unknown {
                    complain(&format_args!("not looked at: {unknown}"));
                }
                let paint = Paint::for_stdout();
                return args.output.print(
                    || {
                        crs.iter()
                            .map(|cr| lines(cr, &observed.live, paint))
                            .collect::<Vec<_>>()
                            .join("\n")
                    },
                    || crs.iter().map(|cr| value(cr, &observed.live)).collect(),
                );
            }
            let text = match args.output {
                Format::Table => {
                    let paint = Paint::for_stdout();
                    crs.iter()
                        .map(|cr| lines(cr, &observed.live, paint))
                        .collect::<Vec<_>>()
                        .join("\n")
                }
                Format::Yaml | Format::Json => {
                    let all: Value = crs.iter().map(|cr| value(cr, &observed.live)).collect();
                    format!("{all}\n")
                }
            };
            show(&mut shown, text)?;
            tokio::time::sleep(INTERVAL).await;
        }
    })
}

/// Shows a text in place of the one before, or behind it where there is no terminal.
fn show(shown: &mut String, text: String) -> Result<(), Failure> {
    if *shown == text {
        return Ok(());
    }
    if io::stdout().is_terminal() && !shown.is_empty() {
        // Up to the first line of what was shown, and everything below it away.
        let lines = shown.lines().count();
        write!(io::stdout(), "\u{1b}[{lines}A\u{1b}[J")?;
    }
    print(std::slice::from_ref(&text))?;
    *shown = text;
    Ok(())
}

fn chosen<'o>(
    args: &Args,
    observed: &'o Observed,
    connection: &Connection,
) -> Result<Vec<&'o StoredCr>, Failure> {
    if args.cr.is_some() || observed.crs.is_empty() {
        return Ok(vec![observed.cr(args.cr.as_deref(), connection)?]);
    }
    let wanted = connection.namespace.as_ref();
    let is_meant =
        |cr: &&StoredCr| wanted.is_none_or(|namespace| CrKey::of(cr).namespace == *namespace);
    Ok(observed.crs.iter().filter(is_meant).collect())
}

/// The status if it is one of the present spec.
fn seen(cr: &StoredCr) -> Option<&IstioOperatorStatus> {
    let status = cr.status.as_ref()?;
    (status.observed_generation == cr.metadata.generation).then_some(status)
}

/// The state of a CR as one word, and what it is like.
pub(super) fn state(cr: &StoredCr) -> (String, Tone) {
    if cr.metadata.deletion_timestamp.is_some() {
        return ("DELETING".to_owned(), Tone::Warning);
    }
    match seen(cr).and_then(|status| status.status) {
        None => ("NOT SEEN YET".to_owned(), Tone::Warning),
        Some(state) => (word(state), tone(state)),
    }
}

fn word(state: InstallState) -> String {
    state.as_str().to_owned()
}

fn tone(state: InstallState) -> Tone {
    match state {
        InstallState::Healthy => Tone::Good,
        InstallState::Error => Tone::Bad,
        _ => Tone::Warning,
    }
}

/// The objects that an IstioOperator owns, by component.
fn by_component<'l>(cr: &CrKey, live: &'l Live) -> BTreeMap<ComponentKind, Vec<&'l ObjectKey>> {
    let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (key, object) in live.iter().filter(|(_, object)| object.is_owned_by(cr)) {
        if let Some(component) = object.owner_labels.component {
            found.entry(component).or_default().push(key);
        }
    }
    for keys in found.values_mut() {
        keys.sort();
    }
    found
}

fn lines(cr: &StoredCr, live: &Live, paint: Paint) -> String {
    let key = CrKey::of(cr);
    let (now, now_tone) = state(cr);
    let mut out = format!("{key}  {}", paint.text(now_tone, now));
    let status = cr.status.clone().unwrap_or_default();
    if let Some(version) = &status.version {
        let _ = write!(out, "  Istio {version}");
    }
    if let Some(revision) = &status.revision {
        let _ = write!(out, "  revision {revision}");
    }
    if status.default_tag == Some(true) {
        out += "  with the default tag";
    }
    out += "\n";
    if let Some(message) = status
        .message
        .as_ref()
        .filter(|message| !message.is_empty())
    {
        for line in message.lines() {
            let _ = writeln!(out, "  {line}");
        }
    }
    if let Some(upgrade) = &status.upgrade {
        let _ = writeln!(out, "  from Istio {} to {}", upgrade.from, upgrade.to);
    }
    out += &components(&key, &status, live, paint);
    for gateway in &status.gateways {
        let addresses = if gateway.addresses.is_empty() {
            "no address".to_owned()
        } else {
            gateway.addresses.join(", ")
        };
        let version = gateway.version.as_ref();
        let version = version.map_or_else(String::new, |version| format!("  Istio {version}"));
        let ready = if gateway.ready {
            paint.text(Tone::Good, "ready")
        } else {
            paint.text(Tone::Warning, "not ready")
        };
        let _ = writeln!(
            out,
            "  gateway {}/{}  {ready}{version}  {addresses}",
            gateway.namespace, gateway.name
        );
    }
    out += &data_plane::lines(&status.revisions, status.version.as_deref(), paint);
    for condition in &status.conditions {
        // What is as it should be is told above.
        if condition.status == "True" && condition.type_ != "Ready" {
            let head = paint.text(
                Tone::Warning,
                format_args!("{} ({})", condition.type_, condition.reason),
            );
            let _ = writeln!(out, "  {head}: {}", condition.message);
        }
    }
    out
}

/// A line for each component, and one for each of its workloads.
fn components(key: &CrKey, status: &IstioOperatorStatus, live: &Live, paint: Paint) -> String {
    let mut out = String::new();
    for (component, keys) in by_component(key, live) {
        let state = status.component_status.get(component.as_str());
        let word = state.and_then(|state| state.status).map_or_else(
            || paint.text(Tone::Quiet, "unknown"),
            |state| paint.text(tone(state), word(state)),
        );
        let _ = writeln!(
            out,
            "  {:<16} {word}  {} objects",
            component.as_str(),
            keys.len()
        );
        if let Some(error) = state.and_then(|state| state.error.as_ref()) {
            let _ = writeln!(out, "    {error}");
        }
        for workload in keys {
            if let Some(counts) = live.workload(workload) {
                let progress = workload_line(workload, *counts, live.unready_reason(workload));
                let _ = writeln!(out, "    {progress}");
            }
        }
    }
    out
}

fn workload_line(key: &ObjectKey, counts: Workload, unready: Option<String>) -> String {
    let Workload {
        desired,
        updated,
        available,
        ..
    } = counts;
    let done = updated.min(available).min(desired);
    let full = if desired > 0 {
        done * BAR / desired
    } else {
        BAR
    };
    let bar: String = (0..BAR)
        .map(|cell| if cell < full { '#' } else { '.' })
        .collect();
    let why = unready.map(|why| format!("  {why}")).unwrap_or_default();
    format!("{key}  [{bar}] {available}/{desired}{why}")
}

fn value(cr: &StoredCr, live: &Live) -> Value {
    let key = CrKey::of(cr);
    let components = by_component(&key, live)
        .into_iter()
        .map(|(component, keys)| {
            let workloads = keys.iter().filter_map(|key| {
                let object = live.get(key)?;
                let Some(Readiness::Workload(counts)) = &object.readiness else {
                    return None;
                };
                Some(json!({
                    "object": key.to_string(),
                    "desired": counts.desired,
                    "updated": counts.updated,
                    "available": counts.available,
                    "unready": object.unready_reason(),
                }))
            });
            json!({
                "component": component.as_str(),
                "objects": keys.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "workloads": workloads.collect::<Vec<_>>(),
            })
        });
    json!({
        "namespace": key.namespace,
        "name": key.name,
        "state": state(cr).0,
        "components": components.collect::<Vec<_>>(),
        "status": cr.status,
    })
}
