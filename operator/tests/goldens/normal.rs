//! Rendered objects in the form that is compared.

use std::collections::BTreeSet;

use goldens::Rendering;
use istio_operator::charts::yaml;
use istio_operator::render::Rendered;
use serde_json::Value;

/// Takes what we render, and the names of the user's injection templates.
pub fn of_rendered(rendered: &Rendered, templates: &BTreeSet<String>) -> Rendering {
    let objects = rendered.components.iter().flat_map(|c| &c.objects);
    of_objects(objects.map(|object| object.body.value()), templates)
}

/// Takes objects as they would be applied; texts in `ConfigMaps` are parsed.
pub fn of_objects(objects: impl Iterator<Item = Value>, templates: &BTreeSet<String>) -> Rendering {
    let is_crd = |object: &Value| object["kind"] == "CustomResourceDefinition";
    let (crds, objects): (Vec<_>, Vec<_>) = objects.partition(is_crd);
    let name = |crd: &Value| crd["metadata"]["name"].as_str().unwrap().to_owned();
    Rendering::new(
        objects.into_iter().map(parse_config_map).collect(),
        crds.iter().map(name).collect(),
        templates,
    )
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
