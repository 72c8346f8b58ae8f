//! Makes `types.txt` from the schemas of `k8s_openapi`, and checks what is read from it.

use std::fmt::Write;
use std::fs;

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

use super::*;

const FILE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/src/render/kubernetes/types.txt"
);

#[test]
fn the_list_is_what_kubernetes_has() {
    let list = list();
    if std::env::var_os("UPDATE").is_some() {
        fs::write(FILE, &list).unwrap();
    }
    assert!(
        LIST == list,
        "{FILE} is out of date; run this test with UPDATE=1"
    );
}

/// The structs that the kinds of charts are made of, as the file has them.
fn list() -> String {
    let definitions = definitions();
    let mut list = String::new();
    for (name, node) in &definitions {
        // Others are scalars, or may hold anything.
        let Some(Value::Object(fields)) = node.get("properties") else {
            continue;
        };
        writeln!(list, "{}", short(name)).unwrap();
        let required = node["required"].as_array().into_iter().flatten();
        let required: Vec<&str> = required.filter_map(Value::as_str).collect();
        for (key, field) in fields {
            let mark = if required.contains(&key.as_str()) {
                "!"
            } else {
                ""
            };
            writeln!(list, "  {key}{mark} {}", words(field, &definitions)).unwrap();
        }
    }
    list
}

fn definitions() -> Map<String, Value> {
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
    generator.take_definitions(true)
}

/// The name of a type as tables write it: `core.v1.Container`, `meta.v1.ObjectMeta`.
fn short(name: &str) -> &str {
    let name = name.strip_prefix("#/$defs/").unwrap_or(name);
    let prefixes = [
        "io.k8s.api.",
        "io.k8s.apimachinery.pkg.apis.",
        "io.k8s.apiextensions-apiserver.pkg.apis.",
    ];
    let stripped = prefixes.iter().find_map(|prefix| name.strip_prefix(prefix));
    stripped.unwrap_or(name)
}

/// The type of a field as the file names it.
fn words(node: &Value, definitions: &Map<String, Value>) -> String {
    if let Some(Value::Array(either)) = node.get("anyOf").or_else(|| node.get("allOf")) {
        let typed = either.iter().find(|node| node["type"] != "null");
        return typed.map_or("any".to_owned(), |node| words(node, definitions));
    }
    let inner = |key: &str| {
        let inner = node.get(key).map(|node| words(node, definitions));
        inner.unwrap_or("any".to_owned())
    };
    if let Some(reference) = node.get("$ref").and_then(Value::as_str) {
        let definition = definitions.get(reference.trim_start_matches("#/$defs/"));
        let has_fields = definition.is_some_and(|node| node.get("properties").is_some());
        let word = match short(reference) {
            name if name.ends_with("resource.Quantity") => "quantity",
            name if name.ends_with("intstr.IntOrString") => "int-or-text",
            name if name.ends_with("v1.Time") || name.ends_with("v1.MicroTime") => "text",
            name if has_fields => name,
            _ => "any",
        };
        return word.to_owned();
    }
    let word = match (node["type"].as_str(), node["format"].as_str()) {
        (Some("string"), Some("byte")) => "bytes",
        (Some("string"), _) => "text",
        (Some("boolean"), _) => "flag",
        (Some("integer"), Some("int32")) => "int32",
        (Some("integer"), _) => "int64",
        (Some("number"), _) => "number",
        (Some("array"), _) => return format!("list of {}", inner("items")),
        (Some("object"), _) => return format!("map of {}", inner("additionalProperties")),
        _ => "any",
    };
    word.to_owned()
}

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
    let open: Vec<&str> = open.map(|(key, _)| *key).collect();
    // That a CRD has a status, and what the API server writes itself.
    assert_eq!(open, ["status", "fieldsV1"]);
}
