//! `istio-operator render`: prints the objects of one IstioOperator, without a cluster.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::thread;

use istio_operator::api::Warning;
use istio_operator::charts::Charts;
use istio_operator::merge::{Cluster, Merged, merge, out_of_support};
use istio_operator::parallel::in_parallel;
use istio_operator::plan::in_apply_order;
use istio_operator::render::{Object, Rendered, RenderedComponent, render_in_parallel};
use k8s_openapi::jiff;
use serde_json::json;

use super::Failure;
use super::connection::{ClusterArgs, block_on};
use super::input::Input;
use super::output::{Format, complain, print, table};

/// Print the objects of an IstioOperator, in the order to apply them.
///
/// Nothing is sent to a cluster. The objects lack owner labels, which only applying adds.
/// Errors in the file and warnings go to standard error, one per line, each with its path.
#[derive(clap::Args)]
#[command(
    verbatim_doc_comment,
    after_help = "Examples:
  istio-operator render -f istio.yaml
  istio-operator render -f istio.yaml --istio-version 1.30 | kubectl diff -f -
  istio-operator render -f base.yaml -f production.yaml --set values.pilot.traceSampling=1
  istio-operator render --set profile=ambient --component cni --component ztunnel
  istio-operator render -f istio.yaml --split manifests
  kubectl get iop istio -n istio-system -o yaml | istio-operator render -f - -o json"
)]
pub(super) struct Args {
    #[command(flatten)]
    input: Input,
    /// The Istio version whose charts are used, instead of the version in the file.
    #[arg(long, value_name = "VERSION")]
    istio_version: Option<String>,
    /// Print this component only, such as pilot, or the gateway of this name; repeat it for several.
    #[arg(long = "component", value_name = "NAME", value_delimiter = ',')]
    components: Vec<String>,
    /// Ask the cluster for its version and platform, and render for it.
    #[arg(long)]
    cluster_specific: bool,
    /// Write a file for each component into DIR instead of printing; their names are in the order to apply them.
    #[arg(long, value_name = "DIR")]
    split: Option<PathBuf>,
    /// How to print the objects.
    #[arg(short, long, value_enum, default_value_t = Format::Yaml)]
    output: Format,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// The charts that most profiles install.
const USUAL: [&str; 3] = ["base", "pilot", "gateway"];

pub(super) fn render(args: &Args, charts: &'static Charts) -> Result<(), Failure> {
    if args.input.is_empty() {
        return Err(Failure::usage("render", "-f FILE or --set PATH=VALUE"));
    }
    // Compiles while the CR is merged, which needs no template. A template with an error is reported where it is rendered.
    thread::spawn(|| USUAL.map(|chart| charts.compile(chart)));
    let cr = args.input.read()?;
    let cluster = if args.cluster_specific {
        block_on(async { Ok(args.cluster.connect().await?.cluster()) })?
    } else {
        Cluster::default()
    };
    let merged = merge(&cr, args.istio_version.as_deref(), cluster, charts);
    let merged = merged.map_err(|errors| all(&errors))?;
    warn_of(&merged, charts);
    let mut rendered = render_in_parallel(&merged, charts).map_err(|errors| all(&errors))?;
    rendered.warnings.iter().for_each(warn);
    if !args.components.is_empty() {
        retain(&mut rendered, &args.components)?;
    }
    match &args.split {
        Some(dir) => split(&rendered, dir, args.output),
        None => print(&texts(args.output, &in_apply_order(&rendered))),
    }
}

/// Tells what the author of a CR should look at.
pub(super) fn warn_of(merged: &Merged, charts: &Charts) {
    for warning in warnings_of(merged, charts) {
        complain(&format_args!("warning: {warning}"));
    }
}

/// What the author of a CR should look at, in a line each.
pub(super) fn warnings_of(merged: &Merged, charts: &Charts) -> Vec<String> {
    let now = jiff::Timestamp::now();
    let outdated = out_of_support(merged.version, merged.cluster, now, charts.catalogue());
    let warnings = merged.warnings.iter().chain(&outdated);
    warnings.map(ToString::to_string).collect()
}

fn texts(format: Format, objects: &[&Object]) -> Vec<String> {
    match format {
        Format::Yaml => {
            let processors = thread::available_parallelism().map_or(1, NonZero::get);
            in_parallel(objects, processors, |object| object.body.to_yaml())
        }
        Format::Json => {
            let items: Vec<_> = objects.iter().map(|object| object.body.value()).collect();
            let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
            vec![format!("{list:#}\n")]
        }
        Format::Table => {
            let row = |object: &&Object| {
                let key = object.key.clone();
                [key.kind, key.namespace.unwrap_or_default(), key.name]
            };
            let rows = objects.iter().map(row).collect();
            vec![table(["KIND", "NAMESPACE", "NAME"], rows)]
        }
    }
}

/// Leaves the components that are named. A name that none has is an error.
fn retain(rendered: &mut Rendered, names: &[String]) -> Result<(), Failure> {
    let has_name = |component: &RenderedComponent, name: &str| {
        let kind = component.kind;
        let is_kind =
            [kind.as_str(), kind.spec_key()].map(|known| known.eq_ignore_ascii_case(name));
        is_kind.contains(&true) || component.name == name
    };
    let components = &rendered.components;
    let is_absent = |name: &&String| !components.iter().any(|component| has_name(component, name));
    let absent: Vec<_> = names.iter().filter(is_absent).collect();
    if !absent.is_empty() {
        let known: Vec<_> = components.iter().map(title).collect();
        let known = known.join(", ");
        let problem =
            |name: &&String| format!("--component {name}: is not installed; what is: {known}");
        return Err(Failure::Input(absent.iter().map(problem).collect()));
    }
    let is_named =
        |component: &RenderedComponent| names.iter().any(|name| has_name(component, name));
    rendered.components.retain(is_named);
    Ok(())
}

/// What users call a component: its field in the spec, or a gateway by its name.
fn title(component: &RenderedComponent) -> String {
    match component.kind.gateway_key() {
        Some(_) => component.name.clone(),
        None => component.kind.spec_key().to_owned(),
    }
}

/// Writes a file for each component, and tells which files of an earlier run lie beside them.
fn split(rendered: &Rendered, dir: &Path, format: Format) -> Result<(), Failure> {
    let failed = |file: &Path, error| Failure::input(format_args!("{}: {error}", file.display()));
    fs::create_dir_all(dir).map_err(|error| failed(dir, error))?;
    let (format, extension) = match format {
        Format::Json => (Format::Json, "json"),
        Format::Yaml | Format::Table => (Format::Yaml, "yaml"),
    };
    let mut components: Vec<_> = rendered.components.iter().collect();
    components.sort_by_key(|component| component.kind.apply_rank());
    let mut written = BTreeSet::new();
    for (index, component) in components.into_iter().enumerate() {
        let key = component.kind.spec_key();
        let name = match component.kind.gateway_key() {
            Some(_) => format!("{index:02}-{key}-{}.{extension}", component.name),
            None => format!("{index:02}-{key}.{extension}"),
        };
        let mut alone = rendered.clone();
        alone.components = vec![component.clone()];
        let texts = texts(format, &in_apply_order(&alone));
        let file = dir.join(&name);
        fs::write(&file, texts.concat()).map_err(|error| failed(&file, error))?;
        written.insert(file);
    }
    let entries = fs::read_dir(dir).map_err(|error| failed(dir, error))?;
    for file in entries.flatten().map(|entry| entry.path()) {
        let is_alike = file.extension().is_some_and(|found| found == extension);
        if is_alike && !written.contains(&file) {
            complain(&format_args!(
                "warning: {}: was not written now",
                file.display()
            ));
        }
    }
    Ok(())
}

/// The failure that all these errors are.
pub(super) fn all(errors: &[impl Display]) -> Failure {
    Failure::Input(errors.iter().map(ToString::to_string).collect())
}

pub(super) fn warn(warning: &Warning) {
    complain(&format_args!("warning: {warning}"));
}
