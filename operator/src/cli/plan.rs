//! `istio-operator plan`: prints what the operator would do with an IstioOperator, field by field.

use std::fmt::Write as _;

use istio_operator::api::UpgradeStatus;
use istio_operator::charts::Charts;
use istio_operator::controller::{Planned, plan_for};
use istio_operator::plan::{Action, FieldChange};
use serde_json::{Value, json};

use super::Failure;
use super::connection::{ClusterArgs, block_on};
use super::cr::CrArgs;
use super::observed::Observed;
use super::output::Format;

/// Print what the operator would do with an IstioOperator, field by field.
///
/// The API server is asked in dry runs, so nothing changes. The digest is the one that the annotation
/// install.istio.io/approve takes where spec.updateStrategy.approval is Manual.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  istio-operator plan istio-system/istio
  istio-operator plan -f istio.yaml --context production
  istio-operator plan -f istio.yaml -o json | jq -r .digest")]
pub(super) struct Args {
    #[command(flatten)]
    cr: CrArgs,
    /// How to print the plan.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// The longest value that the text shows whole.
const MAX_VALUE: usize = 120;

pub(super) fn plan(args: &Args, charts: &Charts) -> Result<(), Failure> {
    let planned = block_on(async {
        let connection = args.cluster.connect().await?;
        let observed = Observed::look(&connection).await;
        let cr = args.cr.read(&observed, &connection)?;
        if !observed.unknown.is_empty() {
            // The digest stands for everything that changes.
            return Err(Failure::Input(observed.unknown));
        }
        let (sender, cluster) = (connection.sender(), connection.cluster());
        let seen = (observed.crs, observed.live);
        let planned = plan_for(cr, seen, &sender, cluster, charts).await;
        planned.map_err(Failure::Input)
    })?;
    let document = document(&planned)?;
    args.output.print(|| text(&planned), || document)
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
        text += &step_lines(upgrade);
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

fn step_lines(upgrade: &UpgradeStatus) -> String {
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
