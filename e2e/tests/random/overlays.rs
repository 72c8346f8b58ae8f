//! Random overlays of what a CR renders.

use istio_operator::render::Rendered;
use serde_json::{Value, json};

use super::{cr::set, samples, schema::Sampler};

/// Adds an overlay or two to components of the CR; `rendered` is what it renders without them.
pub fn add(sampler: &mut Sampler, cr: &mut Value, rendered: &Rendered) {
    for component in &rendered.components {
        if component.objects.is_empty() || sampler.rng.usize(..2) == 0 {
            continue;
        }
        let key = component.kind.spec_key();
        let spec = &cr["spec"]["components"][key];
        let place = match spec {
            Value::Object(_) | Value::Null => vec![key.to_owned()],
            Value::Array(list) => {
                let index = list
                    .iter()
                    .position(|g| g["name"] == component.name.as_str());
                let Some(index) = index else { continue };
                vec![key.to_owned(), index.to_string()]
            }
            _ => continue,
        };
        // A component that only the profile names would replace the profile's list of gateways.
        if spec.is_null() && key.ends_with("Gateways") {
            continue;
        }
        let overlays: Vec<Value> = (0..=sampler.rng.usize(..2))
            .map(|_| {
                let object = &component.objects[sampler.rng.usize(..component.objects.len())];
                overlay(sampler, &object.body.value())
            })
            .collect();
        let mut component = &mut cr["spec"]["components"];
        for key in place {
            component = match component {
                Value::Array(list) => &mut list[key.parse::<usize>().unwrap()],
                other => &mut other[key.as_str()],
            };
        }
        set(component, &["k8s", "overlays"], overlays.into());
    }
}

fn overlay(sampler: &mut Sampler, object: &Value) -> Value {
    let patches: Vec<Value> = (0..=sampler.rng.usize(..3))
        .map(|_| patch(sampler, object))
        .collect();
    json!({
        "apiVersion": object["apiVersion"],
        "kind": object["kind"],
        "name": object["metadata"]["name"],
        "patches": patches,
    })
}

/// A patch at a random path of the object, which sets a value or deletes it.
fn patch(sampler: &mut Sampler, object: &Value) -> Value {
    let roots = ["metadata", "spec", "data", "rules", "webhooks", "subjects"];
    let present: Vec<&str> = roots
        .into_iter()
        .filter(|root| object.get(root).is_some())
        .collect();
    let mut path = present[sampler.rng.usize(..present.len())].to_owned();
    let mut node = &object[path.as_str()];
    loop {
        let stop = sampler.rng.usize(..6) == 0;
        match node {
            Value::Object(map) if !map.is_empty() && !stop => {
                let (key, below) = map.iter().nth(sampler.rng.usize(..map.len())).unwrap();
                path = format!("{path}.{}", key.replace('.', "\\."));
                node = below;
            }
            Value::Array(list) if !list.is_empty() && !stop => {
                let index = sampler.rng.usize(..list.len());
                path = format!("{path}.{}", selector(sampler, &list[index], index));
                node = &list[index];
            }
            Value::Object(_) if sampler.rng.usize(..2) == 0 => {
                path += ".added";
                break;
            }
            Value::Array(_) if sampler.rng.usize(..2) == 0 => {
                path += ".[-1]";
                break;
            }
            _ => break,
        }
    }
    // An object needs these, and -1 deletes nothing from a list.
    match sampler.rng.usize(..4) {
        _ if path == "metadata" => json!({"path": "metadata.labels.added", "value": "1"}),
        _ if path == "metadata.name" => json!({"path": path, "value": renamed(object)}),
        0 if !path.ends_with(".[-1]") => json!({ "path": path }),
        _ => json!({ "path": path, "value": new_value(sampler, node) }),
    }
}

/// A name that no other object gets.
fn renamed(object: &Value) -> String {
    format!(
        "{}-renamed",
        object["metadata"]["name"].as_str().unwrap_or_default()
    )
}

fn selector(sampler: &mut Sampler, element: &Value, index: usize) -> String {
    let plain = |text: &&str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let named = element.get("name").and_then(Value::as_str).filter(plain);
    match named {
        Some(name) if sampler.rng.usize(..3) > 0 => format!("[name:{name}]"),
        _ => format!("[{index}]"),
    }
}

/// A new value, mostly of the same type as the old one.
fn new_value(sampler: &mut Sampler, old: &Value) -> Value {
    match (old, sampler.rng.usize(..4)) {
        (_, 0) => json!({"key": "value", "list": [1, "two"]}),
        (Value::Number(_), _) => sampler.rng.usize(..100).into(),
        (Value::Bool(flag), _) => (!flag).into(),
        (Value::Array(list), _) => list.iter().take(1).cloned().collect(),
        (Value::Object(_), _) => json!({"only": "this"}),
        _ => samples::text(&mut sampler.rng),
    }
}
