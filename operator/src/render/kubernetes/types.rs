//! The types of Kubernetes' objects, made once from the schemas of `k8s_openapi`.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
    ValidatingWebhookConfiguration,
};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, PersistentVolumeClaim, ResourceQuota, Secret, Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use schemars::generate::SchemaGenerator;
use serde_json::{Map, Value};

use super::relations::{Relation, relations};
use super::rules::{Rule, rules};
use crate::render::Object;

/// What a field holds.
#[derive(Debug)]
pub(in crate::render) enum Type {
    /// Anything.
    Any,
    /// A string.
    Text,
    /// A string that spells bytes in base64.
    Bytes,
    /// `true` or `false`.
    Flag,
    /// A whole number of so many bits.
    Whole(u8),
    /// A number.
    Number,
    /// A whole number of 32 bits or a string.
    IntOrText,
    /// An amount such as `100m`.
    Quantity,
    /// A list of such elements.
    List(Box<Type>),
    /// A map with any keys.
    Map(Box<Type>),
    /// A map with known fields.
    Struct(StructId),
}

/// Where a [`Struct`] stands among [`Types`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::render) struct StructId(usize);

/// A map with known fields.
#[derive(Debug, Default)]
pub(in crate::render) struct Struct {
    /// Its fields.
    pub fields: BTreeMap<String, Field>,
    /// The fields that may not be absent.
    pub required: Vec<String>,
    /// What has to hold between its fields.
    pub relations: Vec<&'static Relation>,
}

/// A field of a struct.
#[derive(Debug)]
pub(in crate::render) struct Field {
    /// What it holds.
    pub kind: Type,
    /// What has to hold of its value beside its type.
    pub rules: Vec<&'static Rule>,
}

/// The types of all kinds that charts render.
#[derive(Debug)]
pub(in crate::render) struct Types {
    structs: Vec<Struct>,
    by_name: HashMap<String, StructId>,
}

/// Kinds that no Kubernetes serves by itself.
const UNTYPED: [&str; 1] = ["NetworkAttachmentDefinition"];

static TYPES: LazyLock<Types> = LazyLock::new(compile);

/// The types of all kinds that charts render.
pub(in crate::render) fn types() -> &'static Types {
    &TYPES
}

/// Whether objects of this kind are taken as they are.
pub(in crate::render) fn is_untyped(kind: &str) -> bool {
    UNTYPED.contains(&kind)
}

impl Types {
    /// The type of an object; none if its kind is taken as it is, or is not known.
    pub fn of_object(&self, object: &Object) -> Option<StructId> {
        let key = &object.key;
        self.of_kind(&key.group, &object.version, &key.kind)
            .filter(|_| !is_untyped(&key.kind))
    }

    fn of_kind(&self, group: &str, version: &str, kind: &str) -> Option<StructId> {
        let group = match group {
            "" => "core",
            // Names of types have the first part of the group only.
            group => group.split('.').next().unwrap_or(group),
        };
        let name = format!("{group}.{version}.{kind}");
        self.by_name.get(&name).copied()
    }

    /// The struct of this name, such as `core.v1.Container`.
    #[cfg(test)]
    pub(super) fn named(&self, name: &str) -> Option<&Struct> {
        self.by_name.get(name).map(|id| self.get(*id))
    }

    /// The struct with this id.
    pub fn get(&self, id: StructId) -> &Struct {
        &self.structs[id.0]
    }
}

fn compile() -> Types {
    let mut generator = SchemaGenerator::default();
    generator.subschema_for::<ClusterRole>();
    generator.subschema_for::<ClusterRoleBinding>();
    generator.subschema_for::<ConfigMap>();
    generator.subschema_for::<CustomResourceDefinition>();
    generator.subschema_for::<DaemonSet>();
    generator.subschema_for::<Deployment>();
    generator.subschema_for::<Endpoints>();
    generator.subschema_for::<EndpointSlice>();
    generator.subschema_for::<HorizontalPodAutoscaler>();
    generator.subschema_for::<MutatingWebhookConfiguration>();
    generator.subschema_for::<NetworkPolicy>();
    generator.subschema_for::<PersistentVolumeClaim>();
    generator.subschema_for::<PodDisruptionBudget>();
    generator.subschema_for::<ResourceQuota>();
    generator.subschema_for::<Role>();
    generator.subschema_for::<RoleBinding>();
    generator.subschema_for::<Secret>();
    generator.subschema_for::<Service>();
    generator.subschema_for::<ServiceAccount>();
    generator.subschema_for::<ValidatingAdmissionPolicy>();
    generator.subschema_for::<ValidatingAdmissionPolicyBinding>();
    generator.subschema_for::<ValidatingWebhookConfiguration>();
    let definitions = generator.take_definitions(true);
    // Others are scalars, or may hold anything.
    let has_fields = |(_, node): &(&String, &Value)| node.get("properties").is_some();
    let structs = definitions.iter().filter(has_fields);
    let names = structs.clone().enumerate();
    let by_name: HashMap<String, StructId> = names
        .map(|(index, (name, _))| (short(name).to_owned(), StructId(index)))
        .collect();
    let structs = structs
        .map(|(name, node)| structure(short(name), node, &by_name))
        .collect();
    Types { structs, by_name }
}

/// The name of a type as tables write it: `core.v1.Container`, `meta.v1.ObjectMeta`.
fn short(name: &str) -> &str {
    let prefixes = [
        "io.k8s.api.",
        "io.k8s.apimachinery.pkg.apis.",
        "io.k8s.apiextensions-apiserver.pkg.apis.",
        "#/$defs/io.k8s.api.",
        "#/$defs/io.k8s.apimachinery.pkg.apis.",
        "#/$defs/io.k8s.apiextensions-apiserver.pkg.apis.",
    ];
    let stripped = prefixes.iter().find_map(|prefix| name.strip_prefix(prefix));
    stripped.unwrap_or(name)
}

fn structure(name: &str, node: &Value, by_name: &HashMap<String, StructId>) -> Struct {
    let empty = Map::new();
    let properties = node.get("properties").and_then(Value::as_object);
    let fields = properties.unwrap_or(&empty).iter().map(|(key, node)| {
        let kind = type_of(node, by_name);
        let rules = rules(name, key);
        (key.clone(), Field { kind, rules })
    });
    let required = node.get("required").and_then(Value::as_array);
    let required = required.into_iter().flatten().filter_map(Value::as_str);
    Struct {
        fields: fields.collect(),
        required: required.map(str::to_owned).collect(),
        relations: relations(name),
    }
}

fn type_of(node: &Value, by_name: &HashMap<String, StructId>) -> Type {
    if let Some(Value::Array(either)) = node.get("anyOf").or_else(|| node.get("allOf")) {
        let typed = either.iter().find(|node| node["type"] != "null");
        return typed.map_or(Type::Any, |node| type_of(node, by_name));
    }
    let element = |key: &str| {
        let element = node.get(key).map(|node| type_of(node, by_name));
        Box::new(element.unwrap_or(Type::Any))
    };
    if let Some(reference) = node.get("$ref").and_then(Value::as_str) {
        return match short(reference) {
            name if name.ends_with("resource.Quantity") => Type::Quantity,
            name if name.ends_with("intstr.IntOrString") => Type::IntOrText,
            name if name.ends_with("v1.Time") || name.ends_with("v1.MicroTime") => Type::Text,
            name => by_name.get(name).map_or(Type::Any, |id| Type::Struct(*id)),
        };
    }
    match (node["type"].as_str(), node["format"].as_str()) {
        (Some("string"), Some("byte")) => Type::Bytes,
        (Some("string"), _) => Type::Text,
        (Some("boolean"), _) => Type::Flag,
        (Some("integer"), Some("int32")) => Type::Whole(32),
        (Some("integer"), _) => Type::Whole(64),
        (Some("number"), _) => Type::Number,
        (Some("array"), _) => Type::List(element("items")),
        (Some("object"), _) => Type::Map(element("additionalProperties")),
        _ => Type::Any,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_has_its_fields() {
        let id = types().of_kind("autoscaling", "v2", "HorizontalPodAutoscaler");
        let root = types().get(id.unwrap());
        assert!(root.fields.contains_key("metadata"));
        let Type::Struct(spec) = root.fields["spec"].kind else {
            panic!("{:?}", root.fields["spec"].kind)
        };
        let spec = types().get(spec);
        assert!(matches!(spec.fields["minReplicas"].kind, Type::Whole(32)));
        assert_eq!(spec.required, ["maxReplicas", "scaleTargetRef"]);
    }

    #[test]
    fn no_field_of_a_known_struct_is_open_by_mistake() {
        let schemas = types().named("apiextensions.v1.JSONSchemaProps").unwrap();
        let structs = types().structs.iter();
        let fields = structs
            .filter(|s| !std::ptr::eq(*s, schemas))
            .flat_map(|s| &s.fields);
        let open = fields.filter(|(_, field)| matches!(field.kind, Type::Any));
        let open: Vec<&str> = open.map(|(key, _)| key.as_str()).collect();
        // That a CRD has a status, and what the API server writes itself.
        assert_eq!(open, ["status", "fieldsV1"]);
    }
}
