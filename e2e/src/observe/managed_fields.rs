//! The fields of an object that a field manager owns by its managed fields, and comparison and removal of single fields. A
//! field is named by its JSON pointer.

use std::collections::BTreeSet;

use kube::api::{DynamicObject, ResourceExt};
use serde_json::{Map, Value};

/// A field that a manager set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Where it is.
    pub pointer: String,
    /// Whether lists find their elements again by its value, so that changing it makes another
    /// element.
    pub identifies: bool,
}

/// The leaves that `manager` applied, those inside of atomic lists and maps included.
#[must_use]
pub fn owned(object: &DynamicObject, manager: &str) -> Vec<Field> {
    let value = serde_json::to_value(object).unwrap_or_default();
    let entries = object.managed_fields().iter().filter(|entry| {
        entry.manager.as_deref() == Some(manager) && entry.operation.as_deref() == Some("Apply")
    });
    let mut found = Vec::new();
    for entry in entries {
        if let Some(fields) = &entry.fields_v1 {
            walk(&fields.0, &value, String::new(), &[], &mut found);
        }
    }
    found
}

/// Follows an ownership tree (`f:name`, `k:{"key":"value"}`, `v:"item"`, `.`) through the object.
/// `keys` are the names of the fields by which `value` is found in its list.
fn walk(fields: &Value, value: &Value, at: String, keys: &[String], found: &mut Vec<Field>) {
    let Some(steps) = fields.as_object().filter(|steps| !steps.is_empty()) else {
        return leaves(value, at, found);
    };
    for (step, below) in steps {
        if let Some(name) = step.strip_prefix("f:") {
            let pointer = format!("{at}/{}", escaped(name));
            match value.get(name) {
                Some(_) if keys.iter().any(|key| key == name) => found.push(Field {
                    pointer,
                    identifies: true,
                }),
                Some(value) => walk(below, value, pointer, &[], found),
                None => {}
            }
        } else if let Some(key) = step.strip_prefix("k:") {
            let key: Map<String, Value> = serde_json::from_str(key).unwrap_or_default();
            let is_meant = |element: &Value| key.iter().all(|(name, part)| element[name] == *part);
            let elements = value.as_array().map_or(&[][..], Vec::as_slice);
            if let Some(index) = elements.iter().position(is_meant) {
                let keys: Vec<_> = key.keys().cloned().collect();
                walk(
                    below,
                    &elements[index],
                    format!("{at}/{index}"),
                    &keys,
                    found,
                );
            }
        }
    }
}

/// Every scalar at or below `value`, which was applied as a whole.
fn leaves(value: &Value, at: String, found: &mut Vec<Field>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                leaves(value, format!("{at}/{}", escaped(name)), found);
            }
        }
        Value::Array(elements) => {
            for (index, value) in elements.iter().enumerate() {
                leaves(value, format!("{at}/{index}"), found);
            }
        }
        _ => found.push(Field {
            pointer: at,
            identifies: false,
        }),
    }
}

/// Removes a field and the containers that become empty by that, as the API server does.
pub fn remove(value: &mut Value, pointer: &str) {
    let Some((parent, name)) = pointer.rsplit_once('/') else {
        return;
    };
    let name = name.replace("~1", "/").replace("~0", "~");
    let is_empty = match value.pointer_mut(parent) {
        Some(Value::Object(fields)) => fields.remove(&name).is_some() && fields.is_empty(),
        _ => false,
    };
    if is_empty && !parent.is_empty() {
        remove(value, parent);
    }
}

/// The pointers at which two values differ.
#[must_use]
pub fn differing(expected: &Value, found: &Value, at: &str) -> Vec<String> {
    match (expected, found) {
        (Value::Object(left), Value::Object(right)) => {
            let names: BTreeSet<_> = left.keys().chain(right.keys()).collect();
            let below = |name: &&String| {
                let at = format!("{at}/{}", escaped(name));
                differing(&expected[name.as_str()], &found[name.as_str()], &at)
            };
            names.iter().flat_map(below).collect()
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            let pairs = left.iter().zip(right).enumerate();
            let below = |(index, (left, right)): (usize, (&Value, &Value))| {
                differing(left, right, &format!("{at}/{index}"))
            };
            pairs.flat_map(below).collect()
        }
        _ if expected == found => Vec::new(),
        _ => vec![format!("{at}: {expected} became {found}")],
    }
}

fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(fields: &Value) -> DynamicObject {
        let object = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "name": "web",
                "labels": {"a/b": "c", "theirs": "d"},
                "managedFields": [{"manager": "me", "operation": "Apply", "fieldsV1": fields}],
            },
            "spec": {
                "ports": [{"port": 1, "name": "x"}, {"port": 80, "protocol": "TCP", "name": "http"}],
                "list": [{"verbs": ["get"]}],
            },
        });
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn owned_fields_are_found_through_keys_and_atomic_lists() {
        let fields = json!({
            "f:metadata": {"f:labels": {"f:a/b": {}}},
            "f:spec": {
                "f:list": {},
                "f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:name": {}, "f:port": {}}},
            },
        });
        let mut found = owned(&object(&fields), "me");
        found.sort_by(|a, b| a.pointer.cmp(&b.pointer));
        let found: Vec<_> = found
            .iter()
            .map(|field| (field.pointer.as_str(), field.identifies))
            .collect();
        assert_eq!(
            found,
            [
                ("/metadata/labels/a~1b", false),
                ("/spec/list/0/verbs/0", false),
                ("/spec/ports/1/name", false),
                ("/spec/ports/1/port", true),
            ]
        );
        assert!(owned(&object(&fields), "somebody else").is_empty());
    }

    #[test]
    fn a_removed_field_takes_its_empty_parents_along() {
        let mut value = json!({"metadata": {"annotations": {"a/b": 1}}, "spec": {"c": 1, "d": 2}});
        remove(&mut value, "/metadata/annotations/a~1b");
        remove(&mut value, "/spec/c");
        remove(&mut value, "/status");
        assert_eq!(value, json!({"spec": {"d": 2}}));
    }

    #[test]
    fn differences_are_named_by_pointer() {
        let (left, right) = (json!({"a": [1, 2], "b": 1}), json!({"a": [1, 3], "c": 1}));
        assert_eq!(
            differing(&left, &right, ""),
            ["/a/1: 2 became 3", "/b: 1 became null", "/c: null became 1"]
        );
    }
}
