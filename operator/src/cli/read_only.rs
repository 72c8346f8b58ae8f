//! What an apply would change, found without asking the API server: for users who may only read.

use istio_operator::api::is_same_quantity;
use istio_operator::cluster::MANAGER;
use kube::api::DynamicObject;
use serde_json::{Map, Value};

use super::fields::{Difference, by_name, differences};

/// The fields that an apply of `body` would change in an object with this content: those that it sets otherwise, and those
/// that the operator set before and `body` lacks.
pub(super) fn unapplied(body: &Value, content: &Value, live: &DynamicObject) -> Vec<Difference> {
    let entries = live.metadata.managed_fields.iter().flatten();
    let mut ours = entries.filter(|entry| {
        entry.manager.as_deref() == Some(MANAGER) && entry.operation.as_deref() == Some("Apply")
    });
    let ours = ours.find_map(|entry| entry.fields_v1.as_ref());
    let concerned = concerned(content, Some(body), ours.map(|fields| &fields.0));
    let mut wanted = body.clone();
    if let Some(fields) = wanted.as_object_mut() {
        fields.retain(|key, _| !["apiVersion", "kind"].contains(&key.as_str()));
    }
    let mut found = differences(&concerned, &wanted);
    found.retain(|difference| match (&difference.before, &difference.after) {
        (Some(before), Some(after)) => {
            // The API server reads a target port of 0 as the port itself.
            let is_open = *after == 0 && difference.path.last() == "targetPort";
            !is_open && !is_same_quantity(before, after)
        }
        (None, Some(after)) => !is_empty(after),
        _ => true,
    });
    found
}

/// The part of `live` that `body` names, or that our managed fields do.
fn concerned(live: &Value, body: Option<&Value>, ours: Option<&Value>) -> Value {
    match live {
        Value::Object(fields) => {
            let is_whole = body.is_none() && ours.is_some_and(is_leaf);
            let part = fields.iter().filter_map(|(key, value)| {
                let body = body.and_then(|body| body.get(key));
                let ours = ours.and_then(|ours| ours.get(format!("f:{key}")));
                let counts = body.is_some() || ours.is_some() || is_whole;
                counts.then(|| {
                    (
                        key.clone(),
                        if is_whole {
                            value.clone()
                        } else {
                            concerned(value, body, ours)
                        },
                    )
                })
            });
            Value::Object(part.collect())
        }
        Value::Array(list) => {
            let wanted = body.and_then(Value::as_array);
            let names = (by_name(list), wanted.and_then(|wanted| by_name(wanted)));
            if let (Some(_), Some(wanted)) = names {
                return list
                    .iter()
                    .filter_map(|element| named(element, &wanted, ours))
                    .collect();
            }
            match wanted {
                Some(wanted) if wanted.len() == list.len() => {
                    let pairs = list.iter().zip(wanted);
                    pairs
                        .map(|(live, body)| concerned(live, Some(body), None))
                        .collect()
                }
                _ => live.clone(),
            }
        }
        scalar => scalar.clone(),
    }
}

/// The part of a list's element with a name that is concerned, if any of it is.
fn named(element: &Value, wanted: &Map<String, Value>, ours: Option<&Value>) -> Option<Value> {
    let name = element.get("name")?.as_str()?;
    let body = wanted.get(name);
    let mut elements = ours.and_then(Value::as_object).into_iter().flatten();
    let ours = elements.find_map(|(key, fields)| {
        let key: Value = serde_json::from_str(key.strip_prefix("k:")?).ok()?;
        (key.get("name")?.as_str()? == name).then_some(fields)
    });
    (body.is_some() || ours.is_some()).then(|| {
        let mut part = concerned(element, body, ours);
        // Elements are compared by their names.
        part["name"] = name.into();
        part
    })
}

fn is_leaf(fields: &Value) -> bool {
    fields.as_object().is_none_or(Map::is_empty)
}

/// Whether the API server drops a value.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
        Value::Array(list) => list.is_empty(),
        Value::Bool(true) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn paths(body: &Value, content: &Value, ours: &Value) -> Vec<String> {
        let entry = json!({"manager": MANAGER, "operation": "Apply", "fieldsV1": ours});
        let live = json!({"metadata": {"name": "a", "managedFields": [entry]}});
        let live: DynamicObject = serde_json::from_value(live).unwrap();
        let found = unapplied(body, content, &live);
        found.iter().map(|one| one.path.to_string()).collect()
    }

    #[test]
    fn what_the_body_does_not_name_counts_only_if_it_was_ours() {
        let content = json!({"spec": {"a": 1, "default": true, "old": {"x": 1}, "limits": {"memory": "2Gi"}}});
        let body =
            json!({"kind": "K", "spec": {"a": 2, "limits": {"memory": "2048Mi"}, "none": {}}});
        let ours = json!({"f:spec": {"f:a": {}, "f:old": {}}});
        assert_eq!(paths(&body, &content, &ours), ["spec.a", "spec.old"]);
    }

    #[test]
    fn elements_of_lists_are_found_by_name_or_by_place() {
        let content = json!({"list": [{"name": "a", "x": 1, "default": 1}, {"name": "foreign"}, {"name": "old"}],
            "rules": [{"verbs": ["get"], "scope": "*"}]});
        let body = json!({"list": [{"name": "a", "x": 2}], "rules": [{"verbs": ["get"]}]});
        let ours = json!({"f:list": {"k:{\"name\":\"a\"}": {"f:x": {}}, "k:{\"name\":\"old\"}": {".": {}}}});
        assert_eq!(paths(&body, &content, &ours), ["list[a].x", "list[old]"]);
    }
}
