//! `istio-operator plan`: prints what the operator would do with an IstioOperator, field by field.

use std::fmt::Write as _;

use clap::ValueEnum;
use istio_operator::api::UpgradeStatus;
use istio_operator::charts::{Charts, yaml};
use istio_operator::controller::{Asked, Planned, plan_for};
use istio_operator::plan::{Action, FieldChange};
use serde_json::{Value, json};

use super::input::Input;
use super::{Failure, print};

/// Print what the operator would do with an IstioOperator, field by field.
///
/// The API server is asked in dry runs, so nothing changes. The digest is the one that the annotation
/// install.istio.io/approve takes where spec.updateStrategy.approval is Manual.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  istio-operator plan istio-system/istio
  istio-operator plan -f istio.yaml
  istio-operator plan -f istio.yaml -o json | jq -r .digest")]
pub(super) struct Args {
    /// An IstioOperator of the cluster, as NAME or NAMESPACE/NAME.
    #[arg(
        value_name = "CR",
        required_unless_present = "files",
        conflicts_with = "files"
    )]
    cr: Option<String>,
    #[command(flatten)]
    input: Input,
    /// How to print the plan.
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// One JSON object.
    Json,
    /// One YAML document.
    Yaml,
}

/// The longest value that the text shows whole.
const MAX_VALUE: usize = 120;

pub(super) fn plan(args: &Args, charts: &Charts) -> Result<(), Failure> {
    let asked = match &args.cr {
        Some(cr) if args.input.is_empty() => named(cr),
        None if !args.input.is_without_files() => Asked::Given(Box::new(args.input.read()?)),
        _ => {
            return Err(Failure::input(
                "name either an IstioOperator or a file with one",
            ));
        }
    };
    let planned = plan_for(asked, charts)?;
    let text = match args.output {
        Format::Text => text(&planned),
        Format::Json => format!("{:#}\n", document(&planned)?),
        Format::Yaml => yaml::write(&document(&planned)?),
    };
    print(&[text])
}

fn named(cr: &str) -> Asked {
    let (namespace, name) = match cr.split_once('/') {
        Some((namespace, name)) => (Some(namespace.to_owned()), name),
        None => (None, cr),
    };
    let name = name.to_owned();
    Asked::Stored { namespace, name }
}

fn document(planned: &Planned) -> Result<Value, Failure> {
    let mut document = serde_json::to_value(&planned.preview).map_err(Failure::input)?;
    document["istioOperator"] = json!(planned.cr.to_string());
    document["refusal"] = json!(planned.refusal);
    Ok(document)
}

fn text(planned: &Planned) -> String {
    let Planned {
        cr,
        preview,
        refusal,
    } = planned;
    let mut text = format!(
        "Plan {} for IstioOperator {cr}: {}\n",
        preview.digest,
        preview.summary()
    );
    if let Some(why) = refusal {
        let _ = writeln!(text, "\nRefused: {why}");
    }
    if let Some(upgrade) = &preview.upgrade {
        text += &step(upgrade);
    }
    for action in [Action::Create, Action::Change, Action::Delete] {
        let of_action = preview
            .objects
            .iter()
            .filter(|object| object.action == action);
        for (index, object) in of_action.enumerate() {
            if index == 0 {
                let _ = writeln!(text, "\n{}:", title(action));
            }
            let _ = writeln!(text, "  {}", object.object);
            if let Some(why) = &object.restart {
                let _ = writeln!(text, "    ! {why}");
            }
            for field in &object.fields {
                let _ = writeln!(text, "    {}", line(field));
            }
        }
    }
    text
}

const fn title(action: Action) -> &'static str {
    match action {
        Action::Create => "Created",
        Action::Change => "Changed",
        Action::Delete => "Deleted",
    }
}

fn step(upgrade: &UpgradeStatus) -> String {
    let mut text = format!("\nFrom Istio {} to {}\n", upgrade.from, upgrade.to);
    for check in &upgrade.checks {
        let _ = writeln!(
            text,
            "  {:?} {}: {}",
            check.result, check.name, check.message
        );
    }
    for note in &upgrade.notes {
        let _ = writeln!(text, "  Note {note}");
    }
    text
}

fn line(field: &FieldChange) -> String {
    let FieldChange { path, old, new } = field;
    let side = |value: &Option<Value>| value.as_ref().map_or_else(|| "nothing".to_owned(), short);
    format!("{path}: {} -> {}", side(old), side(new))
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(MAX_VALUE) {
        None => text,
        Some((end, _)) => format!("{}… ({} characters)", &text[..end], text.chars().count()),
    }
}
