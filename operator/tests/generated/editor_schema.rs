//! The JSON Schema of CRs under `crds/`, with which editors complete and check them.
//!
//! It is made from the schemas of `merge` and says the same, as far as JSON Schema can. One schema serves all minors; the
//! description of a field that some minors lack says which have it. `UPDATE=1` rewrites it.

use istio_operator::api::documented_schema;
use istio_operator::charts::Charts;
use serde_json::{Map, Value, json};

use super::{is_current, undescribed};

#[test]
fn checked_in_schema_is_current() {
    let schema = schema(&Charts::embedded().unwrap());
    let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
    is_current("../crds/istiooperator.schema.json", &text);
}

fn schema(charts: &Charts) -> Value {
    let (mut values, mut mesh, mut shapes) = (Value::Null, Value::Null, Value::Null);
    for release in charts.catalogue().releases().iter().rev() {
        let schema = charts.schema(release.version.minor).unwrap();
        unite(&mut values, &schema.values);
        unite(&mut mesh, &schema.mesh);
        unite(&mut shapes, &Value::Object(schema.shapes.clone()));
    }
    let mesh_config = json!({"$ref": "#/$defs/MeshConfig"});
    let documented = documented_schema();
    let mut spec = published(&documented);
    spec["properties"]["values"] = published(&values);
    spec["properties"]["values"]["properties"]["meshConfig"] = mesh_config.clone();
    spec["properties"]["meshConfig"] = mesh_config;
    let mut definitions = json!({ "MeshConfig": published(&mesh) });
    for named in [&documented["$defs"], &shapes] {
        for (name, node) in named.as_object().unwrap() {
            let mut node = published(node);
            if name.starts_with("io.k8s.") {
                undescribed(&mut node); // Kubernetes explains its types itself.
            }
            definitions[plain(name)] = node;
        }
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "IstioOperator",
        "type": "object",
        "required": ["apiVersion", "kind"],
        "properties": {
            "apiVersion": {"const": "install.istio.io/v1alpha1"},
            "kind": {"const": "IstioOperator"},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": {"type": "object"},
        },
        "additionalProperties": false,
        "$defs": definitions,
    })
}

/// Adds to a schema the fields that only an older minor has.
fn unite(newer: &mut Value, older: &Value) {
    match (newer, older) {
        (Value::Object(newer), Value::Object(older)) => {
            for (key, node) in older {
                unite(newer.entry(key).or_insert(Value::Null), node);
            }
        }
        (newer @ Value::Null, older) => *newer = older.clone(),
        _ => {}
    }
}

/// Turns a schema of ours into one that every editor understands. A null is allowed everywhere: it counts as absent, or
/// removes a default of the chart.
fn published(node: &Value) -> Value {
    let mut out = Map::new();
    if let Some(text) = node.get("description") {
        out.insert("description".to_owned(), text.clone());
    }
    if let Some(reference) = node.get("$ref").and_then(Value::as_str) {
        if reference.ends_with(".resource.Quantity") {
            return json!({"type": ["string", "number", "null"]});
        }
        out.insert("$ref".to_owned(), plain(reference).into());
        return Value::Object(out);
    }
    if let Some(Value::Array(either)) = node.get("anyOf").or_else(|| node.get("oneOf")) {
        let words: Option<Vec<&Value>> = either.iter().map(|one| one.get("const")).collect();
        match (words, either.iter().find(|one| one["type"] != "null")) {
            (Some(words), _) => _ = out.insert("enum".to_owned(), with_null(words)),
            (None, Some(only)) => out.extend(published(only).as_object().unwrap().clone()),
            (None, None) => {}
        }
        return Value::Object(out);
    }
    if let Some(Value::Array(words)) = node.get("enum") {
        out.insert("enum".to_owned(), with_null(words.iter().collect()));
    } else if let Some(types) = types(node) {
        out.insert("type".to_owned(), types);
    }
    children(node, &mut out);
    Value::Object(out)
}

fn children(node: &Value, out: &mut Map<String, Value>) {
    if let Some(Value::Object(fields)) = node.get("properties") {
        let fields = fields.iter().map(|(key, field)| {
            let mut field = published(field);
            if let Some(minors) = node["x-istio-other-minors"][key].as_str() {
                let text = field["description"].as_str().unwrap_or_default();
                field["description"] = format!("{text} Known {minors}.").trim().into();
            }
            (key.clone(), field)
        });
        out.insert("properties".to_owned(), Value::Object(fields.collect()));
    }
    let rest = match node.get("additionalProperties") {
        Some(rest @ Value::Object(_)) => Some(published(rest)),
        Some(rest) => Some(rest.clone()),
        None => node.get("properties").map(|_| false.into()),
    };
    out.extend(rest.map(|rest| ("additionalProperties".to_owned(), rest)));
    if let Some(items) = node.get("items") {
        out.insert("items".to_owned(), published(items));
    }
}

fn with_null(mut words: Vec<&Value>) -> Value {
    words.push(&Value::Null);
    json!(words)
}

/// The JSON types of a node that is not an enum; none if it may be anything.
fn types(node: &Value) -> Option<Value> {
    let is = |key: &str| node.get(key).is_some();
    if let Some(format) = node.get("x-istio-format").and_then(Value::as_str) {
        return Some(match format {
            "port" => json!(["integer", "string", "null"]),
            "quantity" | "tag" => json!(["string", "number", "null"]),
            _ => json!(["string", "null"]),
        });
    }
    if is("x-istio-scalar") {
        return Some(json!(["string", "number", "boolean", "null"]));
    }
    if is("x-kubernetes-int-or-string") {
        return Some(json!(["integer", "string", "null"]));
    }
    let mut types: Vec<Value> = match node.get("type")? {
        Value::Array(types) => types.clone(),
        one => vec![one.clone()],
    };
    for (wanted, name) in [(is("x-istio-quoted"), "string"), (true, "null")] {
        if wanted && !types.contains(&name.into()) {
            types.push(name.into());
        }
    }
    Some(types.into())
}

/// A name that needs no escapes in a reference.
fn plain(name: &str) -> String {
    name.replace(' ', "-")
}
