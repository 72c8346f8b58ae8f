//! What the API server asks of fields together: of two that exclude each other, or of one that needs another.

mod pods;
mod rights;
mod scaling;
mod services;
mod workloads;

use serde_json::{Map, Value};

use super::place::Place;

/// The fields of a struct.
type Fields = Map<String, Value>;
/// A field below a struct, and what is wrong with it.
type Broken = (Place, String);

/// What has to hold of the fields of a struct.
#[derive(Debug)]
pub(in crate::render) enum Relation {
    /// Exactly one of these fields is set.
    ExactlyOne(&'static [&'static str]),
    /// At most one field is set beside this one.
    OneBeside(&'static str),
    /// This field is set.
    Needs(&'static str),
    /// What a function finds.
    Holds(fn(&Fields) -> Vec<Broken>),
}

/// The relations of a struct.
pub(super) fn relations(structure: &str) -> Vec<&'static Relation> {
    let all = RELATIONS.iter();
    all.filter(|(name, _)| *name == structure)
        .map(|(_, relation)| relation)
        .collect()
}

/// Relations by the name of the type.
const RELATIONS: &[(&str, Relation)] = &[
    (
        "apps.v1.DaemonSetSpec",
        Relation::Holds(workloads::selector),
    ),
    (
        "apps.v1.DeploymentSpec",
        Relation::Holds(workloads::deadline),
    ),
    (
        "apps.v1.DeploymentSpec",
        Relation::Holds(workloads::selector),
    ),
    (
        "apps.v1.DeploymentStrategy",
        Relation::Holds(workloads::recreate),
    ),
    (
        "apps.v1.RollingUpdateDaemonSet",
        Relation::Holds(workloads::daemon_set_update),
    ),
    (
        "apps.v1.RollingUpdateDeployment",
        Relation::Holds(workloads::deployment_update),
    ),
    (
        "autoscaling.v2.HorizontalPodAutoscalerSpec",
        Relation::Holds(scaling::bounds),
    ),
    (
        "autoscaling.v2.MetricSpec",
        Relation::Holds(scaling::metric),
    ),
    ("core.v1.Container", Relation::Holds(pods::image)),
    ("core.v1.EnvVar", Relation::Holds(pods::value_or_source)),
    (
        "core.v1.EnvVarSource",
        Relation::ExactlyOne(&[
            "configMapKeyRef",
            "fieldRef",
            "fileKeyRef",
            "resourceFieldRef",
            "secretKeyRef",
        ]),
    ),
    (
        "core.v1.LifecycleHandler",
        Relation::ExactlyOne(&["exec", "httpGet", "sleep", "tcpSocket"]),
    ),
    (
        "core.v1.NodeSelectorRequirement",
        Relation::Holds(pods::requirement),
    ),
    ("core.v1.PodSpec", Relation::Holds(pods::container_names)),
    ("core.v1.PodSpec", Relation::Holds(pods::mounts)),
    (
        "core.v1.Probe",
        Relation::ExactlyOne(&["exec", "grpc", "httpGet", "tcpSocket"]),
    ),
    (
        "core.v1.ResourceRequirements",
        Relation::Holds(pods::resources),
    ),
    (
        "core.v1.SeccompProfile",
        Relation::Holds(pods::local_profile),
    ),
    ("core.v1.SecurityContext", Relation::Holds(pods::escalation)),
    ("core.v1.ServiceSpec", Relation::Holds(services::names)),
    ("core.v1.ServiceSpec", Relation::Holds(services::needs)),
    ("core.v1.ServiceSpec", Relation::Holds(services::kinds)),
    ("core.v1.ServiceSpec", Relation::Holds(services::node_ports)),
    ("core.v1.Toleration", Relation::Holds(pods::toleration)),
    (
        "core.v1.TopologySpreadConstraint",
        Relation::Holds(pods::spread),
    ),
    ("core.v1.Volume", Relation::OneBeside("name")),
    (
        "core.v1.VolumeProjection",
        Relation::ExactlyOne(&[
            "clusterTrustBundle",
            "configMap",
            "downwardAPI",
            "podCertificate",
            "secret",
            "serviceAccountToken",
        ]),
    ),
    (
        "meta.v1.LabelSelectorRequirement",
        Relation::Holds(pods::requirement),
    ),
    (
        "policy.v1.PodDisruptionBudgetSpec",
        Relation::Holds(scaling::one_bound),
    ),
    ("apps.v1.DaemonSet", Relation::Needs("spec")),
    ("apps.v1.Deployment", Relation::Needs("spec")),
    (
        "autoscaling.v2.HorizontalPodAutoscaler",
        Relation::Needs("spec"),
    ),
    ("core.v1.Container", Relation::Holds(pods::readiness)),
    ("core.v1.ServiceSpec", Relation::Holds(services::families)),
    ("core.v1.Service", Relation::Needs("spec")),
    ("core.v1.ServiceSpec", Relation::Holds(services::addresses)),
    (
        "rbac.v1.ClusterRoleBinding",
        Relation::Holds(rights::accounts),
    ),
    ("rbac.v1.Subject", Relation::Holds(rights::account)),
    ("rbac.v1.PolicyRule", Relation::Holds(rights::subject)),
];

impl Relation {
    /// Where a struct breaks this relation.
    pub fn broken(&self, fields: &Fields) -> Vec<Broken> {
        match self {
            Self::ExactlyOne(names) => {
                let set: Vec<&str> = names
                    .iter()
                    .copied()
                    .filter(|name| is_set(fields, name))
                    .collect();
                match set.as_slice() {
                    [_] => Vec::new(),
                    [] => one(
                        &[],
                        format!("expected one of {}, found none", names.join(", ")),
                    ),
                    _ => {
                        let text = format!("expected only one of {}{NULL}", set.join(", "));
                        one(&[], text)
                    }
                }
            }
            Self::OneBeside(name) => {
                let others = fields.keys().map(String::as_str);
                let set: Vec<&str> = others
                    .filter(|key| key != name && is_set(fields, key))
                    .collect();
                match set.as_slice() {
                    [] | [_] => Vec::new(),
                    _ => one(&[], format!("expected only one of {}", set.join(", "))),
                }
            }
            Self::Needs(name) => when(!is_set(fields, name), &[name], "is required"),
            Self::Holds(find) => find(fields),
        }
    }
}

/// What errors say of fields of which the chart may have set one.
const NULL: &str = "; a null takes away what the chart sets";

/// One broken relation, told at these keys.
fn one(keys: &[&str], text: impl Into<String>) -> Vec<Broken> {
    vec![(Place::of(keys), text.into())]
}

/// One broken relation if there is a text for it.
fn when(is_broken: bool, keys: &[&str], text: impl Into<String>) -> Vec<Broken> {
    if is_broken {
        one(keys, text)
    } else {
        Vec::new()
    }
}

fn is_set(fields: &Fields, key: &str) -> bool {
    fields.get(key).is_some_and(|value| !value.is_null())
}

/// A text, empty if it is absent.
fn text<'f>(fields: &'f Fields, key: &str) -> &'f str {
    fields.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn number(fields: &Fields, key: &str) -> Option<i64> {
    fields.get(key).and_then(Value::as_i64)
}

/// The maps of a list, each with its index.
fn maps<'f>(fields: &'f Fields, key: &str) -> impl Iterator<Item = (usize, &'f Fields)> {
    let list = fields.get(key).and_then(Value::as_array);
    let maps = list.into_iter().flatten().enumerate();
    maps.filter_map(|(index, element)| Some((index, element.as_object()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::kubernetes::types::types;

    #[test]
    fn every_row_is_about_fields_that_exist() {
        for (name, relation) in RELATIONS {
            let structure = types().named(name).unwrap_or_else(|| panic!("{name}"));
            let fields = match relation {
                Relation::ExactlyOne(fields) => fields.to_vec(),
                Relation::OneBeside(field) | Relation::Needs(field) => vec![*field],
                Relation::Holds(_) => Vec::new(),
            };
            for field in fields {
                assert!(structure.fields.contains_key(field), "{name} {field}");
            }
        }
    }
}
