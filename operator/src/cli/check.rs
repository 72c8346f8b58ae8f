//! `istio-operator check`: whether a cluster, its operator and its IstioOperators are as they should be, and the way out
//! where they are not.

mod cluster;
mod operator;

pub(super) use cluster::MUTATING;

use istio_operator::api::StoredCr;
use istio_operator::charts::Charts;
use istio_operator::cluster::{CrKey, ManagingTool};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams};
use serde_json::{Value, json};

use super::Failure;
use super::connection::{ClusterArgs, Connection, block_on};
use super::observed::{Observed, is_not_served, said};
use super::output::{Format, Paint, Tone};
use super::status::state;

/// Check the cluster, the operator and every IstioOperator. Each line is ok, a warning or a failure, with the way out.
///
/// It ends with exit code 1 if something failed. What you may not look at is told as unknown.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  istio-operator check --pre
  istio-operator check
  istio-operator check -o json")]
pub(super) struct Args {
    /// Check whether the operator and Istio can be installed, and nothing of an operator.
    #[arg(long)]
    pre: bool,
    /// How to print the results.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Ok,
    Warning,
    Failed,
    /// It could not be looked at.
    Unknown,
}

/// One line of the result.
#[derive(Clone, Debug)]
struct Line {
    about: String,
    outcome: Outcome,
    text: String,
}

/// Everything that was found.
#[derive(Default)]
struct Findings(Vec<Line>);

impl Findings {
    fn add(&mut self, about: &str, outcome: Outcome, text: impl Into<String>) {
        let (about, text) = (about.to_owned(), text.into());
        self.0.push(Line {
            about,
            outcome,
            text,
        });
    }

    fn ok(&mut self, about: &str, text: impl Into<String>) {
        self.add(about, Outcome::Ok, text);
    }

    fn warn(&mut self, about: &str, text: impl Into<String>) {
        self.add(about, Outcome::Warning, text);
    }

    fn fail(&mut self, about: &str, text: impl Into<String>) {
        self.add(about, Outcome::Failed, text);
    }

    /// Takes what a request gave, or notes that it could not be looked at.
    fn take<T>(&mut self, about: &str, result: Result<T, String>) -> Option<T> {
        result
            .map_err(|why| self.add(about, Outcome::Unknown, why))
            .ok()
    }
}

pub(super) fn check(args: &Args, charts: &Charts) -> Result<(), Failure> {
    let findings = block_on(async {
        let connection = args.cluster.connect().await?;
        let observed = Observed::look(&connection).await;
        let mut findings = Findings::default();
        cluster::kubernetes(&connection, charts, &mut findings);
        if args.pre {
            cluster::rights(&connection, &mut findings).await;
        }
        cluster::clock(&connection, &mut findings).await;
        cluster::crds(&connection, &mut findings).await;
        cluster::webhooks(&connection, &mut findings).await;
        leftovers(&observed, &mut findings);
        operator::others(&connection, &mut findings).await;
        if !args.pre {
            operator::operator(&connection, &mut findings).await;
            crs(&observed, &mut findings);
        }
        for unknown in &observed.unknown {
            findings.add("objects", Outcome::Unknown, unknown.clone());
        }
        Ok(findings.0)
    })?;
    let paint = Paint::for_stdout();
    args.output.print(
        || findings.iter().map(|line| line.text(paint)).collect(),
        || findings.iter().map(Line::value).collect(),
    )?;
    let failed = findings
        .iter()
        .filter(|line| line.outcome == Outcome::Failed)
        .count();
    match failed {
        0 => Ok(()),
        failed => Err(Failure::input(format_args!(
            "{failed} of {} checks failed",
            findings.len()
        ))),
    }
}

impl Outcome {
    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

impl Line {
    fn text(&self, paint: Paint) -> String {
        let tone = match self.outcome {
            Outcome::Ok => Tone::Good,
            Outcome::Warning => Tone::Warning,
            Outcome::Failed => Tone::Bad,
            Outcome::Unknown => Tone::Quiet,
        };
        let word = paint.text(tone, format_args!("{:<8}", self.outcome.word()));
        format!("{word} {}: {}\n", self.about, self.text)
    }

    fn value(&self) -> Value {
        json!({"check": self.about, "result": self.outcome.word(), "message": self.text})
    }
}

/// What other installers left behind, or still manage.
fn leftovers(observed: &Observed, findings: &mut Findings) {
    let about = "other installers";
    let before = findings.0.len();
    for cr in &observed.crs {
        let key = CrKey::of(cr);
        if key.name.starts_with("installed-state") {
            findings.warn(about, format!(
                "IstioOperator {key} was written by istioctl or the old operator as a record, and would be installed; delete it: kubectl delete istiooperator {} -n {}",
                key.name, key.namespace
            ));
        }
    }
    for tool in [ManagingTool::Helm, ManagingTool::ArgoCd, ManagingTool::Flux] {
        let mut managed: Vec<_> = observed
            .live
            .iter()
            .filter(|(_, object)| object.managed_by == Some(tool))
            .collect();
        managed.sort_by_key(|(key, _)| *key);
        if let [(first, _), ..] = managed.as_slice() {
            findings.warn(about, format!(
                "{tool} manages {first} and {} more; the annotation install.istio.io/adopt: \"true\" of an IstioOperator takes over what it renders",
                managed.len() - 1
            ));
        }
    }
    if findings.0.len() == before {
        findings.ok(about, "none left anything");
    }
}

/// What the operator says of each `IstioOperator`.
fn crs(observed: &Observed, findings: &mut Findings) {
    if observed.crs.is_empty() && observed.unknown.is_empty() {
        findings.warn(
            "IstioOperators",
            "there is none; istio-operator apply -f FILE installs Istio",
        );
    }
    for cr in &observed.crs {
        let about = format!("IstioOperator {}", CrKey::of(cr));
        let (word, tone) = state(cr);
        let message = cr
            .status
            .as_ref()
            .and_then(|status| status.message.clone())
            .unwrap_or_default();
        let text = if message.is_empty() {
            word
        } else {
            format!("{word}: {message}")
        };
        match tone {
            Tone::Good => findings.ok(&about, text),
            Tone::Bad => findings.fail(&about, text),
            Tone::Warning | Tone::Quiet => findings.warn(&about, text),
        }
        conditions(cr, &about, findings);
    }
}

fn conditions(cr: &StoredCr, about: &str, findings: &mut Findings) {
    let conditions = cr.status.iter().flat_map(|status| &status.conditions);
    for condition in conditions.filter(|condition| condition.status == "True") {
        // These say in other words what the state says.
        if !["Ready", "Reconciling", "Stalled"].contains(&condition.type_.as_str()) {
            findings.warn(about, format!("{}: {}", condition.type_, condition.message));
        }
    }
}

/// The objects of a kind in all namespaces; none if the cluster does not serve it.
pub(super) async fn list(
    connection: &Connection,
    (group, version, kind, plural): (&str, &str, &str, &str),
    params: &ListParams,
) -> Result<Vec<DynamicObject>, String> {
    let gvk = GroupVersionKind::gvk(group, version, kind);
    let resource = ApiResource::from_gvk_with_plural(&gvk, plural);
    let api: Api<DynamicObject> = Api::all_with(connection.client.clone(), &resource);
    match api.list(params).await {
        Ok(list) => Ok(list.items),
        Err(error) if is_not_served(&error) => Ok(Vec::new()),
        Err(error) => Err(said(&error)),
    }
}
