//! Workloads that ask for a revision although they may have no pod: those scaled to zero, and jobs that run at times.
//!
//! Templates of pods are not watched, because a watch of them brings whole objects. They are read once before a revision
//! goes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use crate::cluster::REVISION;

/// The label and the annotation by which a pod is not injected.
const INJECT: &str = "sidecar.istio.io/inject";
/// The label of every object that an IstioOperator owns. These are watched.
const OWNER: &str = "install.operator.istio.io/owning-resource";

/// A kind whose objects have a template of pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TemplateKind {
    /// API group.
    pub group: &'static str,
    /// API version.
    pub version: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// The resource name in URLs and in RBAC rules.
    pub plural: &'static str,
}

/// Every kind that is read.
pub const TEMPLATE_KINDS: [TemplateKind; 5] = [
    kind("apps", "v1", "Deployment", "deployments"),
    kind("apps", "v1", "StatefulSet", "statefulsets"),
    kind("apps", "v1", "DaemonSet", "daemonsets"),
    kind("batch", "v1", "CronJob", "cronjobs"),
    kind("argoproj.io", "v1alpha1", "Rollout", "rollouts"),
];

const fn kind(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
) -> TemplateKind {
    TemplateKind {
        group,
        version,
        kind,
        plural,
    }
}

/// The part of a workload's spec that describes its pods; everything else is skipped while parsing.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TemplateSpec {
    template: Template,
    job_template: JobTemplate,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct JobTemplate {
    spec: JobSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct JobSpec {
    template: Template,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Template {
    metadata: ObjectMeta,
}

/// The workloads that ask for a revision, as they were read at one moment.
#[derive(Clone, Debug)]
pub struct Templates {
    /// When they were read.
    pub at: Instant,
    /// Why they are not known, if they could not be read.
    pub unknown: Option<String>,
    /// By the revision or tag that they name.
    workloads: BTreeMap<String, BTreeSet<String>>,
}

impl Templates {
    /// Nothing was read yet at this moment.
    #[must_use]
    pub fn new(at: Instant) -> Self {
        Self {
            at,
            unknown: None,
            workloads: BTreeMap::new(),
        }
    }

    /// Takes in a workload. Those of Istio itself do not count.
    pub fn put(&mut self, kind: TemplateKind, meta: &ObjectMeta, spec: &TemplateSpec) {
        let is_owned = meta
            .labels
            .as_ref()
            .is_some_and(|labels| labels.contains_key(OWNER));
        if is_owned {
            return;
        }
        let namespace = meta.namespace.as_deref().unwrap_or_default();
        let name = meta.name.as_deref().unwrap_or_default();
        let template = if kind.kind == "CronJob" {
            &spec.job_template.spec.template
        } else {
            &spec.template
        };
        if let Some(revision) = template.revision() {
            let workload = format!("{} {namespace}/{name}", kind.kind);
            self.workloads
                .entry(revision.to_owned())
                .or_default()
                .insert(workload);
        }
    }

    /// The workloads that name one of these.
    pub(super) fn of(&self, names: &BTreeSet<String>) -> BTreeSet<String> {
        let found = names.iter().filter_map(|name| self.workloads.get(name));
        found.flatten().cloned().collect()
    }
}

impl Template {
    /// The revision or tag that its pods ask for, or that they were injected for by hand.
    fn revision(&self) -> Option<&String> {
        let label = |key: &str| self.metadata.labels.as_ref()?.get(key);
        let annotation = |key: &str| self.metadata.annotations.as_ref()?.get(key);
        if label("istio").is_some_and(|istio| istio == "pilot") {
            return None;
        }
        let is_refused = label(INJECT)
            .or_else(|| annotation(INJECT))
            .is_some_and(|it| it == "false");
        let asked = label(REVISION).filter(|_| !is_refused);
        annotation(REVISION).or(asked)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn found(kind: &str, labels: &Value, spec: Value) -> Vec<String> {
        let kind = TEMPLATE_KINDS
            .into_iter()
            .find(|it| it.kind == kind)
            .unwrap();
        let meta = json!({"namespace": "shop", "name": "web", "labels": labels});
        let meta: ObjectMeta = serde_json::from_value(meta).unwrap();
        let spec: TemplateSpec = serde_json::from_value(spec).unwrap();
        let mut templates = Templates::new(Instant::now());
        templates.put(kind, &meta, &spec);
        templates
            .of(&["blue".to_owned()].into())
            .into_iter()
            .collect()
    }

    #[test]
    fn a_template_asks_for_a_revision_by_its_label() {
        let template = |labels: &Value, annotations: &Value| json!({"replicas": 0, "template": {"metadata": {"labels": labels, "annotations": annotations}}});
        let blue = json!({"istio.io/rev": "blue"});
        let (none, deployment) = (json!({}), ["Deployment shop/web"]);
        let of = |spec: Value| found("Deployment", &json!({}), spec);
        assert_eq!(of(template(&blue, &none)), deployment);
        // Injected by hand.
        assert_eq!(of(template(&none, &blue)), deployment);
        assert!(of(template(&json!({"istio.io/rev": "green"}), &none)).is_empty());
        let refused = json!({"istio.io/rev": "blue", INJECT: "false"});
        assert!(of(template(&refused, &none)).is_empty());
        let istiod = json!({"istio.io/rev": "blue", "istio": "pilot"});
        assert!(of(template(&istiod, &none)).is_empty());
        let spec = template(&blue, &none);
        assert!(found("Deployment", &json!({OWNER: "mesh"}), spec).is_empty());
        let job = json!({"jobTemplate": {"spec": template(&blue, &none)}});
        assert_eq!(found("CronJob", &json!({}), job), ["CronJob shop/web"]);
        assert!(found("StatefulSet", &json!({}), json!({})).is_empty());
    }
}
