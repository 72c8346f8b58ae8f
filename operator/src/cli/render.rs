//! `istio-operator render`: prints the objects of one IstioOperator, without a cluster.

use std::fmt::Display;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::{fs, io, thread};

use clap::ValueEnum;
use istio_operator::api::{IstioOperator, Warning, belongs_into_spec, keep_beside_spec};
use istio_operator::charts::Charts;
use istio_operator::merge::{Cluster, merge, out_of_support};
use istio_operator::parallel::in_parallel;
use istio_operator::plan::in_apply_order;
use istio_operator::render::{Object, render_in_parallel};
use k8s_openapi::jiff;
use serde_json::{Map, Value, json};

use super::{Failure, complain, print};

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
  kubectl get iop istio -n istio-system -o yaml | istio-operator render -f - -o json"
)]
pub(super) struct Args {
    /// The file with the IstioOperator; - for standard input.
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// The Istio version whose charts are used, instead of the version in the file.
    #[arg(long, value_name = "VERSION")]
    istio_version: Option<String>,
    /// How to print the objects.
    #[arg(short, long, value_enum, default_value_t = Format::Yaml)]
    output: Format,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// One document for each object.
    Yaml,
    /// One List of all objects.
    Json,
}

/// The charts that most profiles install.
const USUAL: [&str; 3] = ["base", "pilot", "gateway"];

pub(super) fn render(args: &Args, charts: &'static Charts) -> Result<(), Failure> {
    // Compiles while the CR is merged, which needs no template. A template with an error is reported where it is rendered.
    thread::spawn(|| USUAL.map(|chart| charts.compile(chart)));
    let cr = read(&args.file)?;
    let (cluster, now) = (Cluster::default(), jiff::Timestamp::now());
    let merged = merge(&cr, args.istio_version.as_deref(), cluster, charts);
    let merged = merged.map_err(|errors| all(&errors))?;
    let outdated = out_of_support(merged.version, cluster, now, charts.catalogue());
    merged.warnings.iter().chain(&outdated).for_each(warn);
    let rendered = render_in_parallel(&merged, charts).map_err(|errors| all(&errors))?;
    rendered.warnings.iter().for_each(warn);
    print(&args.output.of(&in_apply_order(&rendered)))
}

impl Format {
    fn of(self, objects: &[&Object]) -> Vec<String> {
        match self {
            Self::Yaml => {
                let processors = thread::available_parallelism().map_or(1, NonZero::get);
                in_parallel(objects, processors, |object| object.body.to_yaml())
            }
            Self::Json => {
                let items: Vec<_> = objects.iter().map(|object| object.body.value()).collect();
                let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
                vec![format!("{list:#}\n")]
            }
        }
    }
}

fn all(errors: &[impl Display]) -> Failure {
    Failure::Input(errors.iter().map(ToString::to_string).collect())
}

fn warn(warning: &Warning) {
    complain(&format_args!("warning: {warning}"));
}

/// Reads the one IstioOperator of a file.
pub(super) fn read(file: &Path) -> Result<IstioOperator, Failure> {
    let text = if file == Path::new("-") {
        io::read_to_string(io::stdin())
    } else {
        fs::read_to_string(file)
    };
    let text = text.map_err(|error| error.to_string());
    let cr = text.and_then(|text| decode(&text));
    cr.map_err(|problem| Failure::input(format_args!("{}: {problem}", file.display())))
}

/// Decodes the one IstioOperator of a YAML text. Its spec may be anything, because `merge` checks it.
fn decode(text: &str) -> Result<IstioOperator, String> {
    let documents = documents_of(text)?;
    let found = documents.len();
    let Ok([mut document]) = <[Value; 1]>::try_from(documents) else {
        return Err(format!(
            "expected one IstioOperator, found {found} documents"
        ));
    };
    let unlike = TYPE.map(|(field, expected)| match document.get(field) {
        Some(Value::String(value)) if value == expected => None,
        Some(value) => Some(format!("{field}: expected {expected}, found {value}")),
        None => Some(format!("{field}: expected {expected}, found nothing")),
    });
    let unlike: Vec<String> = unlike.into_iter().flatten().collect();
    if !unlike.is_empty() {
        return Err(unlike.join("; "));
    }
    if let Some(fields) = document.as_object_mut() {
        move_into_spec(fields)?;
    }
    // Only the API server needs a name.
    if document.get("metadata").is_none_or(Value::is_null) {
        document["metadata"] = json!({});
    }
    serde_json::from_value(document).map_err(|error| format!("metadata: {error}"))
}

/// Keeps the fields of the spec that stand beside it, and refuses every other one that a resource does not have: a misspelt
/// `spec` would install the default profile.
fn move_into_spec(fields: &mut Map<String, Value>) -> Result<(), String> {
    let other = fields.keys().filter(|key| !FIELDS.contains(&key.as_str()));
    for key in other.cloned().collect::<Vec<_>>() {
        if !belongs_into_spec(&key) {
            let known = FIELDS.join(", ");
            return Err(format!("{key}: unknown field; the known are {known}"));
        }
        let value = fields.remove(&key).unwrap_or_default();
        let spec = fields.entry("spec").or_insert(Value::Null);
        keep_beside_spec(spec, &key, value);
    }
    Ok(())
}

/// What the one document of a file is.
const TYPE: [(&str, &str); 2] = [
    ("apiVersion", "install.istio.io/v1alpha1"),
    ("kind", "IstioOperator"),
];
const FIELDS: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];

/// The documents of a YAML text that are not empty. Booleans and octal numbers are read as in YAML 1.1, as kubectl does.
fn documents_of(text: &str) -> Result<Vec<Value>, String> {
    let options = serde_saphyr::options! {
        legacy_octal_numbers: true,
        with_snippet: false,
    };
    serde_saphyr::from_multiple_with_options(text, options)
        .map_err(|error| error.render_with_formatter(&serde_saphyr::UserMessageFormatter))
}
