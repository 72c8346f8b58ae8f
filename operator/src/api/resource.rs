//! The `IstioOperator` resource and its CRD.

use std::sync::LazyLock;

use k8s_openapi::api::apps::v1::DaemonSetUpdateStrategy;
use k8s_openapi::api::core::v1::{Lifecycle, TopologySpreadConstraint};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps,
};
use kube::{CustomResource, CustomResourceExt};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};

use super::spec::{DeletionPolicy, IstioOperatorSpec};
use super::status::IstioOperatorStatus;
use super::update_strategy::UpdateStrategy;

/// A spec as it is stored: any JSON, because clusters hold CRs that were written for other
/// versions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, CustomResource)]
#[kube(
    group = "install.istio.io",
    version = "v1alpha1",
    kind = "IstioOperator",
    doc = "An Istio installation.",
    plural = "istiooperators",
    shortname = "iop",
    shortname = "io",
    namespaced,
    status = "IstioOperatorStatus",
    printcolumn(
        name = "Version",
        type_ = "string",
        json_path = ".status.version",
        description = "Installed Istio version"
    ),
    printcolumn(
        name = "Revision",
        type_ = "string",
        json_path = ".status.revision",
        description = "Name of the installed control plane"
    ),
    printcolumn(
        name = "Profile",
        type_ = "string",
        json_path = ".spec.profile",
        description = "Named settings that the spec starts from",
        priority = 1
    ),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".status.status",
        description = "State of the installation"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether everything runs"
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.message",
        description = "What the state means",
        priority = 1
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Time since creation"
    )
)]
pub struct RawSpec(pub Value);

impl<'de> Deserialize<'de> for RawSpec {
    /// A CR without `spec` is one whose spec is null.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Option::deserialize(deserializer)?.unwrap_or_default()))
    }
}

impl JsonSchema for RawSpec {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RawSpec".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let documented = documented_schema();
        Schema::try_from(open(&documented, &documented)).unwrap_or_default()
    }
}

impl IstioOperator {
    /// What to do with the installed objects when this CR is deleted. It is readable even if the rest of the spec is not. An
    /// unknown policy counts as `Orphan`, because a deletion cannot be undone.
    #[must_use]
    pub fn deletion_policy(&self) -> DeletionPolicy {
        match self.spec.0.get("deletionPolicy") {
            None | Some(Value::Null) => DeletionPolicy::default(),
            Some(policy) => DeletionPolicy::deserialize(policy).unwrap_or(DeletionPolicy::Orphan),
        }
    }

    /// How a changed spec reaches the mesh. In a spec that `merge` refuses, what cannot be read has its default.
    #[must_use]
    pub fn update_strategy(&self) -> UpdateStrategy {
        let strategy = self.spec.0.get("updateStrategy");
        let strategy = strategy.and_then(|strategy| UpdateStrategy::deserialize(strategy).ok());
        strategy.unwrap_or_default()
    }
}

/// The schema of `spec` as its types have it. Generating it takes long and much code, so a program reads the file.
static STRICT: LazyLock<Value> = LazyLock::new(|| {
    let schema = serde_json::from_str(include_str!("spec.schema.json"));
    schema.unwrap_or_default() // A test keeps it current.
});

/// The JSON Schema that `merge` checks `spec` against, with every type in `$defs`. It has no descriptions, because it stays in
/// memory.
#[must_use]
pub fn strict_schema() -> &'static Value {
    &STRICT
}

/// The schema of [`strict_schema`] with descriptions of its fields, generated from the types. Only tests and what is generated
/// from it need it.
#[must_use]
pub fn documented_schema() -> Value {
    let mut generator = SchemaGenerator::default();
    // Only the charts' schema refers to these types.
    generator.subschema_for::<DaemonSetUpdateStrategy>();
    generator.subschema_for::<Lifecycle>();
    generator.subschema_for::<TopologySpreadConstraint>();
    generator
        .into_root_schema_for::<IstioOperatorSpec>()
        .to_value()
}

/// The CRD to install, as YAML. It is generated from [`generated_crd`].
pub const CRD: &str = include_str!("../../../crds/install.istio.io_istiooperators.yaml");

/// The CRD as the types have it.
///
/// It names and describes the fields of `spec` but gives them no types. If it did, the API server would refuse a status
/// update or the removal of a finalizer while an old spec is wrong, and a wrong spec would not reach the operator, which
/// explains it in the status.
#[must_use]
pub fn generated_crd() -> CustomResourceDefinition {
    let mut crd = IstioOperator::crd();
    for version in &mut crd.spec.versions {
        let schema = version
            .schema
            .as_mut()
            .and_then(|schema| schema.open_api_v3_schema.as_mut());
        let Some(schema) = schema else { continue };
        // kube requires a spec; ours may be absent.
        schema.required = None;
        schema.x_kubernetes_preserve_unknown_fields = Some(true);
        if let Some(status) = schema
            .properties
            .as_mut()
            .and_then(|fields| fields.get_mut("status"))
        {
            default_status(status);
        }
    }
    crd
}

/// Gives a new CR an observed generation that no CR has. kstatus takes an object without a status for finished.
fn default_status(status: &mut JSONSchemaProps) {
    status.default = Some(JSON(json!({"observedGeneration": -1})));
    status.x_kubernetes_preserve_unknown_fields = Some(true);
    // Fields may be absent in a status that another operator wrote.
    status.required = None;
}

/// Turns the strict schema `node` into one that describes fields and accepts everything.
///
/// It leaves out the fields of Kubernetes' own types: the API server's reference describes them, and a CRD has to stay small.
fn open(root: &Value, node: &Value) -> Value {
    let mut opened = Map::new();
    opened.insert(
        "x-kubernetes-preserve-unknown-fields".to_owned(),
        true.into(),
    );
    // A null deletes what the chart set. The API server would drop it without this.
    opened.insert("nullable".to_owned(), true.into());
    if let Some(description) = node.get("description").and_then(Value::as_str) {
        opened.insert("description".to_owned(), description.into());
    }
    let own = definition(root, node);
    if let Some(Value::Object(properties)) = own.and_then(|own| own.get("properties")) {
        let properties = properties
            .iter()
            .map(|(key, field)| (key.clone(), open(root, field)));
        opened.insert("properties".to_owned(), Value::Object(properties.collect()));
    }
    if let Some(items) = own.and_then(|own| own.get("items"))
        && definition(root, items).is_some_and(|items| items.get("properties").is_some())
    {
        opened.insert("items".to_owned(), open(root, items));
    }
    Value::Object(opened)
}

/// The schema that `node` is or refers to, if it is one of ours.
fn definition<'a>(root: &'a Value, node: &'a Value) -> Option<&'a Value> {
    if let Some(Value::Array(either)) = node.get("anyOf") {
        return either.first().and_then(|first| definition(root, first));
    }
    let Some(name) = node.get("$ref").and_then(Value::as_str) else {
        return Some(node);
    };
    let name = name.strip_prefix("#/$defs/")?;
    if name.starts_with("io.k8s.") {
        None
    } else {
        root.get("$defs")?.get(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crd_types_nothing_of_spec() {
        fn check(node: &JSONSchemaProps) {
            assert_eq!(node.type_, None);
            assert_eq!(node.x_kubernetes_preserve_unknown_fields, Some(true));
            node.properties
                .iter()
                .flatten()
                .for_each(|(_, field)| check(field));
        }
        let crd = generated_crd();
        let schema = crd.spec.versions[0]
            .schema
            .as_ref()
            .unwrap()
            .open_api_v3_schema
            .as_ref();
        check(&schema.unwrap().properties.as_ref().unwrap()["spec"]);
    }

    #[test]
    fn any_spec_and_any_status_decodes() {
        for (spec, status) in [
            (json!(null), json!(null)),
            (json!("text"), json!({"status": 3, "conditions": {}})),
            (json!({"components": [1]}), json!([])),
            (
                json!({"deletionPolicy": "Orphan", "profile": 7}),
                json!({"status": "HEALTHY"}),
            ),
        ] {
            let cr = json!({"metadata": {"name": "a"}, "spec": spec, "status": status});
            let cr: IstioOperator = serde_json::from_value(cr).unwrap();
            assert_eq!(cr.spec.0, spec);
        }
        let cr: IstioOperator = serde_json::from_value(json!({"metadata": {}})).unwrap();
        assert_eq!(cr.spec, RawSpec(Value::Null));
    }

    #[test]
    fn deletion_policy_survives_a_wrong_spec() {
        let spec = json!({"deletionPolicy": "Orphan", "components": "all"});
        assert_eq!(
            IstioOperator::new("a", RawSpec(spec)).deletion_policy(),
            DeletionPolicy::Orphan
        );
        let policy = |policy: Value| {
            let spec = RawSpec(json!({"deletionPolicy": policy}));
            IstioOperator::new("a", spec).deletion_policy()
        };
        assert_eq!(policy(json!("orphan")), DeletionPolicy::Orphan);
        assert_eq!(policy(json!(5)), DeletionPolicy::Orphan);
        assert_eq!(policy(Value::Null), DeletionPolicy::Delete);
    }
}
