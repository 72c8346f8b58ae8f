//! The form in which rendered objects are compared with upstream's.

use std::collections::BTreeMap;

use istio_operator::charts::yaml;
use istio_operator::render::{Object, Rendered};
use serde_json::{Map, Value, json};

/// What a golden file and our rendering are both turned into: objects by identity, and the names of
/// the CRDs.
pub struct Normal {
    /// Every object but CRDs, by kind, namespace and name.
    pub objects: BTreeMap<String, Value>,
    /// The names of the CRDs, sorted.
    pub crds: Value,
}

impl Normal {
    /// Reads `{"objects": […], "crds": […]}`.
    pub fn of_golden(golden: &Value) -> Self {
        let objects = golden["objects"].as_array().unwrap();
        Self {
            objects: objects
                .iter()
                .map(|o| (identity(o), comparable(o.clone())))
                .collect(),
            crds: golden["crds"].clone(),
        }
    }

    /// Normalizes what we render; the `ConfigMaps`' texts are parsed as those of the goldens are.
    pub fn of_rendered(rendered: &Rendered) -> Self {
        let objects = rendered.components.iter().flat_map(|c| &c.objects);
        let is_crd = |object: &&Object| object.key.kind == "CustomResourceDefinition";
        let (crds, objects): (Vec<_>, Vec<_>) = objects.partition(is_crd);
        let mut crds: Vec<&str> = crds.iter().map(|crd| crd.key.name.as_str()).collect();
        crds.sort_unstable();
        let bodies: Vec<Value> = objects.iter().map(|object| object.body.value()).collect();
        Self {
            crds: json!(crds),
            ..Self::of_objects(bodies.iter())
        }
    }

    /// Normalizes objects as they would be applied.
    pub fn of_objects<'a>(bodies: impl Iterator<Item = &'a Value>) -> Self {
        let is_crd = |body: &&Value| body["kind"] == "CustomResourceDefinition";
        let (crds, objects): (Vec<&Value>, Vec<&Value>) = bodies.partition(is_crd);
        let mut crds: Vec<Value> = crds.iter().map(|c| c["metadata"]["name"].clone()).collect();
        crds.sort_by_key(ToString::to_string);
        let parsed = |body: &&Value| {
            (
                identity(body),
                comparable(parse_config_map((*body).clone())),
            )
        };
        Self {
            objects: objects.iter().map(parsed).collect(),
            crds: json!(crds),
        }
    }
}

fn identity(object: &Value) -> String {
    let text = |pointer: &str| {
        object
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or("")
    };
    let (kind, name) = (text("/kind"), text("/metadata/name"));
    format!("{kind} {} {name}", text("/metadata/namespace"))
}

fn parse_config_map(mut object: Value) -> Value {
    let Some(Value::Object(data)) = object.get_mut("data") else {
        return object;
    };
    for (key, value) in data {
        let json = matches!(key.as_str(), "original-values" | "merged-values" | "values");
        let yaml = matches!(key.as_str(), "mesh" | "meshNetworks" | "config");
        // An overlay may have put anything there; what is no YAML is compared as it is.
        let parsed: Option<Value> = match value.as_str() {
            Some(text) if json => serde_json::from_str(text).ok(),
            Some(text) if yaml => yaml::parse(text).ok(),
            _ => None,
        };
        if let Some(parsed) = parsed {
            *value = parsed;
        }
    }
    object
}

/// Keys below which an empty value says something else than an absent one.
const EMPTY_COUNTS: [&str; 7] = [
    "data",
    "emptyDir",
    "namespaceSelector",
    "objectSelector",
    "podSelector",
    "labelSelector",
    "selector",
];

/// Drops what the API server treats like nothing: null, and empty maps and lists where they carry
/// no meaning. The content of `ConfigMaps` stays as it is, because istiod reads it, not the API
/// server.
fn comparable(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut kept = Map::new();
            for (key, value) in map {
                let value = if key == "data" {
                    value
                } else {
                    comparable(value)
                };
                if !value.is_null() && (!is_empty(&value) || EMPTY_COUNTS.contains(&key.as_str())) {
                    kept.insert(key, value);
                }
            }
            Value::Object(kept)
        }
        Value::Array(list) => list.into_iter().map(comparable).collect(),
        scalar => scalar,
    }
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
}
