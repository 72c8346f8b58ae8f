//! One workload: whether it may be restarted, and whether it has come back.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use crate::cluster::{DEFAULT, REVISION};
use crate::dataplane::{
    Budget, TEMPLATE_KINDS, TemplateKind, is_about, is_about_all, lets_none_go,
};

/// The annotation of a pod template that names the proxy which its pods were restarted for, such as `default/1.31.1`. So a
/// workload is restarted once for each, whoever restarts whom and when.
pub const RESTARTED_FOR: &str = "istio-operator.io/restarted-for";
/// The label or annotation of a namespace or a workload that keeps it from being restarted.
pub const HOLD: &str = "istio-operator.io/hold";
/// The label of every object that an `IstioOperator` owns.
const OWNER: &str = "install.operator.istio.io/owning-resource";
const INJECT: &str = "sidecar.istio.io/inject";
const INJECTED: &str = "sidecar.istio.io/status";
const PROXY_IMAGE: &str = "sidecar.istio.io/proxyImage";

/// The kind of this name, if its workloads can be restarted.
#[must_use]
pub fn restartable(kind: &str) -> Option<TemplateKind> {
    let mut kinds = TEMPLATE_KINDS.into_iter().filter(|it| it.kind != "CronJob");
    kinds.find(|it| it.kind == kind)
}

/// The part of the spec of a workload that decides about restarts; everything else is skipped while parsing.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RunSpec {
    replicas: Option<i64>,
    paused: bool,
    template: Template,
    strategy: Strategy,
    update_strategy: Strategy,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Template {
    metadata: ObjectMeta,
    spec: PodSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodSpec {
    host_network: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Strategy {
    r#type: String,
    rolling_update: RollingUpdate,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct RollingUpdate {
    partition: i64,
}

/// The part of the status of a workload that says how far it is; everything else is skipped while parsing.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RunStatus {
    /// A number; a text in an Argo Rollout.
    observed_generation: Option<serde_json::Value>,
    replicas: i64,
    updated_replicas: i64,
    ready_replicas: i64,
    available_replicas: i64,
    desired_number_scheduled: i64,
    updated_number_scheduled: i64,
    number_available: i64,
    conditions: Option<Vec<RunCondition>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct RunCondition {
    r#type: String,
    status: String,
    reason: String,
}

/// A workload as it is now.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Its kind.
    pub kind: TemplateKind,
    /// Its metadata.
    pub meta: ObjectMeta,
    /// What of its spec decides.
    pub spec: RunSpec,
    /// How far it is.
    pub status: RunStatus,
}

/// What decides beside a workload whether it may be restarted.
#[derive(Clone, Debug)]
pub struct Admission<'a> {
    /// The value of [`RESTARTED_FOR`] that it would get.
    pub target: &'a str,
    /// The labels of its namespace.
    pub namespace: &'a ObjectMeta,
    /// The revision of the target and the tags that lead to it.
    pub names: &'a std::collections::BTreeSet<String>,
    /// The disruption budgets of its namespace.
    pub budgets: &'a [Budget],
}

impl Workload {
    /// Whether it was restarted for this target.
    #[must_use]
    pub fn was_restarted_for(&self, target: &str) -> bool {
        let metadata = if self.kind.kind == "Rollout" {
            &self.meta
        } else {
            &self.spec.template.metadata
        };
        annotation(metadata, RESTARTED_FOR) == Some(target)
    }

    /// Why it is left alone; none if it may be restarted.
    #[must_use]
    pub fn skip_reason(&self, admission: &Admission<'_>) -> Option<String> {
        let fixed = self.held(admission.namespace).or_else(|| self.unsuited());
        let fixed = fixed.or_else(|| self.not_injected(admission));
        if let Some(reason) = fixed {
            return Some(reason.to_owned());
        }
        let mut owners = self.meta.owner_references.iter().flatten();
        if let Some(owner) = owners.find(|owner| owner.controller == Some(true)) {
            let (kind, name) = (&owner.kind, &owner.name);
            return Some(format!(
                "{kind} {name} controls it, and would undo the restart"
            ));
        }
        if self.was_restarted_for(admission.target) {
            return Some("it was restarted for this version, and pods are older still".to_owned());
        }
        let labels = self
            .spec
            .template
            .metadata
            .labels
            .clone()
            .unwrap_or_default();
        let mut budgets = admission.budgets.iter();
        if let Some(budget) = budgets.find(|budget| forbids(budget, &labels)) {
            let name = budget.metadata.name.as_deref().unwrap_or_default();
            return Some(format!("PodDisruptionBudget {name} lets no pod go"));
        }
        let unready = self.unready_reason()?;
        Some(format!("it is not ready: {unready}"))
    }

    fn held(&self, namespace: &ObjectMeta) -> Option<&'static str> {
        if is_held(namespace) {
            Some("its namespace is held")
        } else {
            is_held(&self.meta).then_some("it is held")
        }
    }

    /// What of its kind of rollout stands against a restart.
    fn unsuited(&self) -> Option<&'static str> {
        let RunSpec {
            replicas,
            paused,
            template,
            strategy,
            update_strategy,
        } = &self.spec;
        let template = &template.metadata;
        if label(&self.meta, OWNER).is_some() {
            Some("it is a part of Istio")
        } else if *paused {
            Some("it is paused")
        } else if self.kind.kind != "DaemonSet" && *replicas == Some(0) {
            Some("it has no pods")
        } else if update_strategy.r#type == "OnDelete" {
            Some("its pods are replaced by hand (OnDelete)")
        } else if update_strategy.rolling_update.partition > 0 {
            Some("a partition holds back some of its pods")
        } else if strategy.r#type == "Recreate" && replicas.unwrap_or(1) <= 1 {
            Some("its only pod would be away for a while (Recreate)")
        } else if self.spec.template.spec.host_network {
            Some("its pods are in the network of the node, and get no proxy")
        } else if annotation(template, PROXY_IMAGE).is_some() {
            Some("it chooses the image of its proxy")
        } else if annotation(template, INJECTED).is_some() {
            Some("its proxy was injected by hand")
        } else {
            None
        }
    }

    /// Why new pods would not get the proxy of the target.
    fn not_injected(&self, admission: &Admission<'_>) -> Option<&'static str> {
        let template = &self.spec.template.metadata;
        let wish = label(template, INJECT).or_else(|| annotation(template, INJECT));
        if wish == Some("false") {
            return Some("it asks not to be injected");
        }
        let injection = label(admission.namespace, "istio-injection");
        let of_namespace = label(admission.namespace, REVISION);
        let chosen = match (injection, of_namespace) {
            (Some("enabled"), _) => Some(DEFAULT),
            (Some(_), _) => return Some("its namespace asks not to be injected"),
            (None, Some(revision)) => Some(revision),
            (None, None) => {
                let of_template = label(template, REVISION);
                of_template.or_else(|| wish.filter(|wish| *wish == "true").map(|_| DEFAULT))
            }
        };
        match chosen {
            None => {
                Some("its namespace selects no revision, so a restart would take its proxy away")
            }
            Some(name) if !admission.names.contains(name) => {
                Some("its namespace selects another revision")
            }
            Some(_) => None,
        }
    }

    /// Why it has not come back from its last change; none if all its pods are new and serve.
    #[must_use]
    pub fn unready_reason(&self) -> Option<String> {
        let status = &self.status;
        let observed = match &status.observed_generation {
            Some(serde_json::Value::Number(number)) => number.as_i64(),
            Some(serde_json::Value::String(text)) => text.parse().ok(),
            _ => None,
        };
        if observed.unwrap_or(-1) < self.meta.generation.unwrap_or_default() {
            return Some("its newest generation is not being rolled out yet".to_owned());
        }
        let (desired, current, updated, available) = if self.kind.kind == "DaemonSet" {
            let desired = status.desired_number_scheduled;
            (
                desired,
                desired,
                status.updated_number_scheduled,
                status.number_available,
            )
        } else {
            let desired = self.spec.replicas.unwrap_or(1);
            let available = status.available_replicas.min(status.ready_replicas);
            (desired, status.replicas, status.updated_replicas, available)
        };
        if updated < desired {
            Some(format!("{updated} of {desired} pods are new"))
        } else if current > updated {
            Some(format!("{} old pods are still there", current - updated))
        } else if available < desired {
            Some(format!("{available} of {desired} pods are available"))
        } else {
            None
        }
    }

    /// Whether its own controller says that it does not come back.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        let mut conditions = self.status.conditions.iter().flatten();
        conditions.any(|condition| {
            condition.r#type == "Progressing"
                && condition.status == "False"
                && condition.reason == "ProgressDeadlineExceeded"
        })
    }
}

/// Whether a namespace or a workload is to be left alone.
#[must_use]
pub fn is_held(meta: &ObjectMeta) -> bool {
    let mark = label(meta, HOLD).or_else(|| annotation(meta, HOLD));
    mark.is_some_and(|mark| mark != "false")
}

fn label<'m>(meta: &'m ObjectMeta, key: &str) -> Option<&'m str> {
    meta.labels.as_ref()?.get(key).map(String::as_str)
}

fn annotation<'m>(meta: &'m ObjectMeta, key: &str) -> Option<&'m str> {
    meta.annotations.as_ref()?.get(key).map(String::as_str)
}

/// Whether a budget is about pods with these labels and lets none of them go. A rollout does not ask it, so it counts as a
/// word of whoever wrote it.
fn forbids(budget: &Budget, labels: &BTreeMap<String, String>) -> bool {
    lets_none_go(budget) && !is_about_all(budget) && is_about(budget, labels)
}

#[cfg(test)]
mod tests;
