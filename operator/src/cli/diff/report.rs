//! What an apply would do, object by object.

use futures::{StreamExt, stream};
use istio_operator::api::{Annotations, IstioOperator};
use istio_operator::apply::{ApplyError, Sender};
use istio_operator::charts::Charts;
use istio_operator::cluster::{CrKey, LastApplied, ManagingTool, Upkeep};
use istio_operator::plan::{Decision, ObjectToApply, Plan, plan, prune_preview};
use istio_operator::render::ObjectKey;
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::step;
use crate::cli::Failure;
use crate::cli::connection::Connection;
use crate::cli::fields::{Difference, differences};
use crate::cli::input::SERVER_SET;
use crate::cli::observed::Observed;
use crate::cli::output::{Paint, Tone};
use crate::cli::read_only::unapplied;
use crate::cli::render::warnings_of;

/// Requests that are under way at once.
const PARALLEL: usize = 8;

/// What would happen to an object.
#[derive(Debug)]
pub(in crate::cli) enum Change {
    Create,
    Update(Vec<Difference>),
    Delete,
    /// It would stay as it is, because this stands against it.
    LeftAlone(String),
    /// The API server would not take it.
    Refused(String),
    /// This could not be found out.
    Unknown(String),
}

pub(in crate::cli) struct Entry {
    pub(in crate::cli) key: ObjectKey,
    pub(in crate::cli) change: Change,
}

/// What an apply would do.
#[derive(Default)]
pub(in crate::cli) struct Report {
    pub(in crate::cli) entries: Vec<Entry>,
    pub(in crate::cli) unchanged: usize,
    /// What the author of the IstioOperator should look at.
    pub(super) warnings: Vec<String>,
    /// Objects that were compared without a dry run, because that is refused.
    pub(super) compared_by_fields: usize,
}

/// Asks what applying an IstioOperator would do.
pub(in crate::cli) async fn report(
    cr: &IstioOperator,
    observed: &mut Observed,
    connection: &Connection,
    charts: &Charts,
) -> Result<Report, Failure> {
    let spec = observed.rendered(cr, connection.cluster(), charts)?;
    let mut warnings = warnings_of(&spec.merged, charts);
    warnings.extend(spec.rendered.warnings.iter().map(ToString::to_string));
    let (key, annotations) = (CrKey::of(cr), Annotations::read(cr.annotations()));
    observed.expect(&key, &spec);
    let step = step(cr, &spec, observed, charts);
    warnings.extend(step.and_then(|step| step.refusal()));
    let sent = LastApplied::default();
    let input = observed.plan_input(&key, &annotations, &sent);
    let pruned = prune_preview(&spec.merged, &spec.rendered, input);
    let plan = plan(&spec.merged, spec.rendered, input);
    let sender = connection.sender();
    let mut report = Report {
        warnings,
        ..Report::default()
    };
    report.add_namespaces(&sender, &plan).await;
    report.compare(&sender, &plan, annotations.may_adopt).await;
    let decided = plan
        .components
        .iter()
        .flat_map(|component| &component.decided);
    for (key, decision) in decided {
        let why = left_alone(decision).map(Change::LeftAlone);
        report
            .entries
            .extend(why.map(|change| Entry::new(key, change)));
    }
    let pruned = pruned.iter().map(|key| Entry::new(key, Change::Delete));
    report.entries.extend(pruned);
    report
        .entries
        .sort_by_key(|entry| (!entry.restarts_pods(), entry.rank()));
    Ok(report)
}

/// Why an object is not sent; none for what is sent later.
fn left_alone(decision: &Decision) -> Option<String> {
    Some(match decision {
        Decision::Unchanged | Decision::Waiting(_) | Decision::WaitingForWorkload(_) => {
            return None;
        }
        Decision::OwnedByOther(cr) => {
            format!("belongs to IstioOperator {cr}, which renders it too")
        }
        Decision::TagElsewhere => {
            "belongs to the default tag, which another revision has".to_owned()
        }
        Decision::NewerInCluster => "is of a newer Istio in the cluster".to_owned(),
        Decision::Conflict(interference, _) => interference.to_string(),
        Decision::ManagedBy(tool) => format!("{tool} manages it"),
        Decision::UnsupportedKind => "the operator does not manage objects of this kind".to_owned(),
    })
}

/// What applying an object would change, and whether it was compared without a dry run.
async fn compare(
    sender: &Sender,
    object: &ObjectToApply,
    may_adopt: bool,
) -> (Option<Change>, bool) {
    let live = match sender.find(object.kind, &object.key).await {
        Ok(live) => live,
        Err(error) => return (Some(Change::Unknown(error.to_string())), false),
    };
    let Some(live) = live else {
        return (Some(creation(sender, object).await), false);
    };
    if object.kind.upkeep == Upkeep::CreatedOnly {
        return (None, false);
    }
    let tool = ManagingTool::read(&live.metadata).filter(|_| !may_adopt);
    if let Some(tool) = tool {
        return (Some(Change::LeftAlone(format!("{tool} manages it"))), false);
    }
    match sender.preview(object).await {
        Ok(after) => {
            let found = differences(&content(&live), &content(&after));
            ((!found.is_empty()).then_some(Change::Update(found)), false)
        }
        Err(ApplyError::Forbidden(_)) => {
            let found = unapplied(&object.body.value(), &content(&live), &live);
            ((!found.is_empty()).then_some(Change::Update(found)), true)
        }
        Err(error) => (Some(Change::Refused(error.to_string())), false),
    }
}

/// What creating an object would give. Only a refusal of its content counts: its namespace and what it refers to may come
/// with it, and rights are the operator's.
async fn creation(sender: &Sender, object: &ObjectToApply) -> Change {
    if object.kind.upkeep == Upkeep::CreatedOnly {
        return Change::Create;
    }
    match sender.preview(object).await {
        Err(
            error @ (ApplyError::Invalid(_)
            | ApplyError::Malformed(_)
            | ApplyError::Denied(_)
            | ApplyError::TooLarge(_)),
        ) => Change::Refused(error.to_string()),
        _ => Change::Create,
    }
}

/// An object without what the API server and controllers keep in it.
fn content(object: &DynamicObject) -> Value {
    let mut content = object.data.clone();
    if let Some(fields) = content.as_object_mut() {
        fields.retain(|key, _| !["apiVersion", "kind", "status"].contains(&key.as_str()));
    }
    let mut metadata = serde_json::to_value(&object.metadata).unwrap_or_default();
    if let Some(fields) = metadata.as_object_mut() {
        fields.retain(|key, _| !SERVER_SET.contains(&key.as_str()));
    }
    content["metadata"] = metadata;
    content
}

impl Entry {
    fn new(key: &ObjectKey, change: Change) -> Self {
        let key = key.clone();
        Self { key, change }
    }

    /// Whether pods of a workload are replaced.
    pub(in crate::cli) fn restarts_pods(&self) -> bool {
        let is_of_pods =
            |difference: &Difference| difference.path.to_string().starts_with("spec.template.");
        let is_workload = matches!(self.key.kind.as_str(), "Deployment" | "DaemonSet");
        is_workload && matches!(&self.change, Change::Update(found) if found.iter().any(is_of_pods))
    }

    /// What is shown first.
    fn rank(&self) -> u8 {
        match self.change {
            Change::Refused(_) => 0,
            Change::Update(_) => 1,
            Change::Create => 2,
            Change::Delete => 3,
            Change::LeftAlone(_) => 4,
            Change::Unknown(_) => 5,
        }
    }

    /// One word for programs.
    fn word(&self) -> &'static str {
        match self.change {
            Change::Create => "create",
            Change::Update(_) => "update",
            Change::Delete => "delete",
            Change::LeftAlone(_) => "leave",
            Change::Refused(_) => "refused",
            Change::Unknown(_) => "unknown",
        }
    }

    fn lines(&self, paint: Paint) -> String {
        let key = &self.key;
        match &self.change {
            Change::Create => paint.text(Tone::Good, format_args!("+ {key}")) + "\n",
            Change::Delete => paint.text(Tone::Bad, format_args!("- {key}")) + "\n",
            Change::Update(found) => {
                let restarts = if self.restarts_pods() {
                    " (restarts its pods)"
                } else {
                    ""
                };
                let head = paint.text(Tone::Warning, format_args!("~ {key}{restarts}"));
                let lines = found.iter().map(|one| format!("    {}\n", one.line(paint)));
                format!("{head}\n{}", lines.collect::<String>())
            }
            Change::LeftAlone(why) => {
                paint.text(Tone::Quiet, format_args!("= {key}: {why}")) + "\n"
            }
            Change::Refused(why) => paint.text(Tone::Bad, format_args!("! {key}: {why}")) + "\n",
            Change::Unknown(why) => paint.text(Tone::Bad, format_args!("? {key}: {why}")) + "\n",
        }
    }

    fn value(&self) -> Value {
        let key = &self.key;
        let mut value = json!({"kind": key.kind, "name": key.name, "change": self.word()});
        if let Some(namespace) = &key.namespace {
            value["namespace"] = namespace.as_str().into();
        }
        match &self.change {
            Change::Update(found) => {
                value["fields"] = found.iter().map(Difference::value).collect();
                value["restartsPods"] = self.restarts_pods().into();
            }
            Change::LeftAlone(why) | Change::Refused(why) | Change::Unknown(why) => {
                value["why"] = why.as_str().into();
            }
            Change::Create | Change::Delete => {}
        }
        value
    }
}

impl Report {
    /// Adds the namespaces that an apply creates.
    async fn add_namespaces(&mut self, sender: &Sender, plan: &Plan) {
        for namespace in &plan.namespaces {
            if let Ok(false) = sender.has_namespace(&namespace.name).await {
                let key = ObjectKey {
                    group: String::new(),
                    kind: "Namespace".to_owned(),
                    namespace: None,
                    name: namespace.name.clone(),
                };
                self.entries.push(Entry::new(&key, Change::Create));
            }
        }
    }

    /// Asks what applying each object would change.
    async fn compare(&mut self, sender: &Sender, plan: &Plan, may_adopt: bool) {
        let objects = plan.waves.iter().flatten().chain(&plan.postponed);
        let calls = objects.map(|object| async move {
            (object.key.clone(), compare(sender, object, may_adopt).await)
        });
        let mut compared: Vec<_> = stream::iter(calls)
            .buffer_unordered(PARALLEL)
            .collect()
            .await;
        compared.sort_by(|one, other| one.0.cmp(&other.0));
        for (key, (change, is_by_fields)) in compared {
            self.compared_by_fields += usize::from(is_by_fields);
            match change {
                None => self.unchanged += 1,
                Some(change) => self.entries.push(Entry::new(&key, change)),
            }
        }
    }

    pub(in crate::cli) fn has_differences(&self) -> bool {
        let is_one =
            |entry: &Entry| !matches!(entry.change, Change::LeftAlone(_) | Change::Unknown(_));
        self.entries.iter().any(is_one)
    }

    fn count(&self, word: &str) -> usize {
        self.entries
            .iter()
            .filter(|entry| entry.word() == word)
            .count()
    }

    pub(in crate::cli) fn lines(&self, paint: Paint) -> String {
        let entries: String = self
            .entries
            .iter()
            .map(|entry| entry.lines(paint))
            .collect();
        let words = [
            ("create", "created"),
            ("update", "changed"),
            ("delete", "deleted"),
            ("refused", "refused"),
            ("unknown", "unknown"),
        ];
        let counts = words.map(|(word, told)| (self.count(word), told));
        let counts = counts.into_iter().filter(|(count, _)| *count > 0);
        let mut counts: Vec<_> = counts
            .map(|(count, told)| format!("{count} {told}"))
            .collect();
        let restarts = self
            .entries
            .iter()
            .filter(|entry| entry.restarts_pods())
            .count();
        if restarts > 0 {
            counts.push(format!("{restarts} with new pods"));
        }
        counts.push(format!("{} unchanged", self.unchanged));
        format!("{entries}{}\n", counts.join(", "))
    }

    pub(in crate::cli) fn value(&self) -> Value {
        let restarts = self.entries.iter().filter(|entry| entry.restarts_pods());
        json!({
            "restarts": restarts.map(|entry| entry.key.to_string()).collect::<Vec<_>>(),
            "objects": self.entries.iter().map(Entry::value).collect::<Vec<_>>(),
            "unchanged": self.unchanged,
        })
    }
}
