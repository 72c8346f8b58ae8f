//! Rewrites old forms that mean one thing into what they are called today, each with a warning that shows the new form.
//!
//! Where the author may mean something else (the new field is set too, the value is of another kind), nothing is rewritten: an
//! error says what to write instead, and the old form is taken out, so that nothing else is said about it.

mod metrics;

use serde_json::{Map, Value};

use super::check::{Definitions, Findings};
use super::tree::set;
use crate::api::{ComponentKind, Path, name_beside_spec, strict_schema};
use crate::charts::ChartSchema;

/// Moves the fields into the spec that its author wrote beside it.
pub(super) fn move_into_spec(user: &mut Value) -> Findings {
    let mut findings = Findings::default();
    let Value::Object(fields) = user else {
        return findings;
    };
    let keys: Vec<String> = fields.keys().cloned().collect();
    for key in keys {
        let Some(name) = name_beside_spec(&key) else {
            continue;
        };
        let Some(value) = fields.remove(&key) else {
            continue;
        };
        let (path, home) = (Path::root(name), Path::root("spec").key(name));
        // Whoever deletes the resource does not look there.
        if fields.contains_key(name) || name == "deletionPolicy" {
            findings.error(
                path,
                format!("is no field of the resource; write {home} instead"),
            );
        } else {
            findings.moved(path, home);
            fields.insert(name.to_owned(), value);
        }
    }
    findings
}

/// Rewrites the old forms of a spec. `schema` is that of the minor whose charts are rendered.
pub(super) fn translate(user: &mut Value, schema: &ChartSchema, findings: &mut Findings) {
    profile(user, findings);
    move_to_level(user, schema, findings);
    for kind in ComponentKind::ALL {
        let key = kind.spec_key();
        let path = Path::root("spec").key("components").key(key);
        match user.pointer_mut(&format!("/components/{key}")) {
            Some(Value::Array(list)) => {
                for (index, component) in list.iter_mut().enumerate() {
                    block(component, &path.index(index), findings);
                }
            }
            Some(component) => block(component, &path, findings),
            None => {}
        }
    }
}

/// The profile `external` was renamed; both set the same.
fn profile(user: &mut Value, findings: &mut Findings) {
    if user["profile"] == "external" {
        user["profile"] = "remote".into();
        let text = "external is called remote since Istio 1.22; write profile: remote";
        findings.warn(Path::root("spec").key("profile"), text);
    }
}

/// Moves fields of the spec that belong one level deeper: components, mesh settings and chart settings.
fn move_to_level(user: &mut Value, schema: &ChartSchema, findings: &mut Findings) {
    let strict = strict_schema();
    let known = &strict["properties"];
    let types = &strict["$defs"];
    let homes = [
        ("components", &types["IstioComponents"]),
        ("meshConfig", &schema.mesh),
        ("values", &schema.values),
    ];
    let Value::Object(fields) = user else { return };
    let shapes = &schema.shapes;
    let definitions = Definitions { types, shapes };
    let keys = fields
        .keys()
        .filter(|key| known.get(key.as_str()).is_none());
    for key in keys.cloned().collect::<Vec<_>>() {
        let node = |home: &Value| home["properties"].get(&key).cloned();
        let homes = homes.iter();
        let homes: Vec<_> = homes
            .filter_map(|(home, schema)| Some((*home, node(schema)?)))
            .collect();
        let Some(value) = fields.get(&key).filter(|_| !homes.is_empty()).cloned() else {
            continue;
        };
        fields.remove(&key);
        let could_be = |(_, node): &&(&str, Value)| definitions.could_be(node, &value);
        let path = Path::root("spec").key(&key);
        let likely = homes.iter().find(could_be);
        let (home, _) = likely.unwrap_or(&homes[0]);
        let place = Path::root("spec").key(home).key(&key);
        if likely.is_none() || !is_free(fields, home, &key) {
            findings.error(path, format!("is no field of spec; write {place} instead"));
            continue;
        }
        findings.moved(path, place);
        let home = fields.entry(*home).or_insert(Value::Null);
        set(home, &[&key], value);
    }
}

/// Whether a field can be written into the map `home` without replacing anything.
fn is_free(fields: &Map<String, Value>, home: &str, key: &str) -> bool {
    match fields.get(home) {
        None | Some(Value::Null) => true,
        Some(Value::Object(fields)) => fields.get(key).is_none_or(Value::is_null),
        Some(_) => false,
    }
}

/// Rewrites the old forms of the `k8s` block of a component.
fn block(component: &mut Value, path: &Path, findings: &mut Findings) {
    let path = path.key("k8s");
    let Some(Value::Object(block)) = component.get_mut("k8s") else {
        return;
    };
    service_annotations(block, &path, findings);
    if let Some(Value::Object(scaling)) = block.get_mut("hpaSpec") {
        metrics::translate(scaling, &path.key("hpaSpec"), findings);
    }
}

/// Moves annotations out of the spec of a Service, which has none.
fn service_annotations(block: &mut Map<String, Value>, path: &Path, findings: &mut Findings) {
    let Some(Value::Object(service)) = block.get_mut("service") else {
        return;
    };
    let Some(annotations) = service.remove("annotations") else {
        return;
    };
    let home = path.key("serviceAnnotations");
    let path = path.key("service").key("annotations");
    let are_texts = annotations
        .as_object()
        .is_some_and(|map| map.values().all(Value::is_string));
    let is_free = block.get("serviceAnnotations").is_none_or(Value::is_null);
    if annotations.is_null() || (are_texts && is_free) {
        findings.moved(path, home);
        block.insert("serviceAnnotations".to_owned(), annotations);
    } else {
        findings.error(
            path,
            format!("is no field of a Service's spec; write {home} instead"),
        );
    }
}

#[cfg(test)]
mod tests;
