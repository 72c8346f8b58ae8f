//! Owner labels: they say which CR an object belongs to, so the cluster itself is the inventory.

use std::collections::BTreeMap;
use std::fmt;

use kube::ResourceExt;
use serde_json::{Map, Value};

use crate::api::{ComponentKind, IstioOperator};
use crate::merge::revision_label;

/// The field manager of every apply. Upstream's CLI and its former operator use the same, so the first apply takes
/// their objects over in place.
pub const MANAGER: &str = "istio-operator";

/// The label that names the CR which an object belongs to; every watch selects on its presence.
pub const OWNER: &str = "install.operator.istio.io/owning-resource";
const OWNER_NAMESPACE: &str = "install.operator.istio.io/owning-resource-namespace";
const NOT_PRUNED: &str = "install.operator.istio.io/owning-resource-not-pruned";
const COMPONENT: &str = "operator.istio.io/component";
const MANAGED: &str = "operator.istio.io/managed";
const VERSION: &str = "operator.istio.io/version";
/// The label by which Istio's own charts tell the version, also where Helm installed them.
const CHART_VERSION: &str = "app.kubernetes.io/version";
/// The label that names the revision of an object. Webhook configurations of Istio carry it whoever made them.
pub const REVISION: &str = "istio.io/rev";

/// Longest value of a label (a rule of Kubernetes), and so the longest name of a CR whose objects can carry it.
pub const MAX_NAME: usize = 63;

/// Names one CR. Its UID is no part of it: a CR that was deleted and created again takes its objects over.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CrKey {
    /// The namespace of the CR, which need not be the one that Istio is installed in.
    pub namespace: String,
    /// The name of the CR.
    pub name: String,
}

impl CrKey {
    /// The name of a CR.
    #[must_use]
    pub fn of(cr: &IstioOperator) -> Self {
        Self {
            namespace: cr.namespace().unwrap_or_default(),
            name: cr.name_any(),
        }
    }
}

impl fmt::Display for CrKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What the labels of an object say of its owner.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct OwnerLabels {
    /// The CR that the object belongs to.
    pub owner: Option<CrKey>,
    /// The component that it was rendered for.
    pub component: Option<ComponentKind>,
    /// The revision that it was rendered for, `default` for the one without a name.
    pub revision: Option<String>,
    /// The Istio version that it was rendered for, such as `1.31.1`.
    pub version: Option<String>,
    /// Whether it is exempt from prune, as the objects of a default revision tag are.
    pub kept: bool,
}

impl OwnerLabels {
    /// Reads the labels of a live object.
    #[must_use]
    pub fn read(labels: &BTreeMap<String, String>) -> Self {
        let owner = labels.get(OWNER).zip(labels.get(OWNER_NAMESPACE));
        let component = labels.get(COMPONENT);
        Self {
            owner: owner.map(|(name, namespace)| CrKey {
                namespace: namespace.clone(),
                name: name.clone(),
            }),
            component: component.and_then(|name| {
                ComponentKind::ALL
                    .into_iter()
                    .find(|kind| kind.as_str() == name)
            }),
            revision: labels.get(REVISION).cloned(),
            version: labels.get(VERSION).or(labels.get(CHART_VERSION)).cloned(),
            kept: labels.get(NOT_PRUNED).is_some_and(|value| value == "true"),
        }
    }
}

/// Writes the owner labels into the metadata of an object, over what the chart wrote there.
///
/// They are upstream's, with one difference: the namespace is the CR's own. Upstream has written the namespace that
/// Istio is installed in since 1.24, which does not tell two CRs of one name apart.
pub fn label(
    metadata: &mut Value,
    cr: &CrKey,
    component: ComponentKind,
    version: &str,
    revision: &str,
) {
    let wanted = [
        (OWNER, cr.name.as_str()),
        (OWNER_NAMESPACE, cr.namespace.as_str()),
        (COMPONENT, component.as_str()),
        (MANAGED, "Reconcile"),
        (VERSION, version),
        (REVISION, revision_label(revision)),
    ];
    let labels = object(metadata).map(|metadata| metadata.entry("labels").or_insert(Value::Null));
    let Some(labels) = labels.and_then(object) else {
        return;
    };
    for (key, value) in wanted {
        labels.insert(key.to_owned(), value.into());
    }
}

/// The entries of a value, made an empty object if it is none.
fn object(value: &mut Value) -> Option<&mut Map<String, Value>> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn labels_are_written_over_the_charts_and_read_back() {
        let cr = CrKey {
            namespace: "team-a".into(),
            name: "mesh".into(),
        };
        let mut metadata = json!({"labels": {"istio.io/rev": "chart", "app": "istiod"}});
        label(&mut metadata, &cr, ComponentKind::Pilot, "1.31.1", "");
        let labels = &metadata["labels"];
        assert_eq!(labels["istio.io/rev"], "default");
        assert_eq!(labels["app"], "istiod");
        assert_eq!(labels["operator.istio.io/version"], "1.31.1");

        let labels: BTreeMap<String, String> = serde_json::from_value(labels.clone()).unwrap();
        let read = OwnerLabels::read(&labels);
        assert_eq!(read.owner, Some(cr));
        assert_eq!(read.component, Some(ComponentKind::Pilot));
        assert!(!read.kept);
    }

    #[test]
    fn an_object_without_labels_gets_them() {
        let cr = CrKey {
            namespace: "a".into(),
            name: "b".into(),
        };
        for mut metadata in [json!({}), json!({"labels": null})] {
            label(&mut metadata, &cr, ComponentKind::Base, "1.26.8", "canary");
            assert_eq!(metadata["labels"]["istio.io/rev"], "canary");
        }
    }

    #[test]
    fn what_helm_installed_tells_its_version_too() {
        let mut labels = BTreeMap::from([
            (OWNER.to_owned(), "unknown".to_owned()),
            (CHART_VERSION.to_owned(), "1.28.10".to_owned()),
        ]);
        let version = |labels: &BTreeMap<String, String>| OwnerLabels::read(labels).version;
        assert_eq!(version(&labels).as_deref(), Some("1.28.10"));
        labels.insert(VERSION.to_owned(), "1.29.8".to_owned());
        assert_eq!(version(&labels).as_deref(), Some("1.29.8"));
    }

    #[test]
    fn half_an_owner_is_none() {
        let labels = BTreeMap::from([(OWNER.to_owned(), "mesh".to_owned())]);
        assert_eq!(OwnerLabels::read(&labels).owner, None);
    }
}
