//! Comparing two objects as the API server would see them.

use serde_json::Value;

/// The value without what means the same as nothing: null, and empty objects and lists.
pub fn as_stored(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let fields = map.into_iter().map(|(key, value)| (key, as_stored(value)));
            let kept: serde_json::Map<_, _> =
                fields.filter(|(_, value)| !value.is_null()).collect();
            if kept.is_empty() {
                Value::Null
            } else {
                kept.into()
            }
        }
        Value::Array(list) if list.is_empty() => Value::Null,
        Value::Array(list) => list.into_iter().map(as_stored).collect(),
        scalar => scalar,
    }
}

/// What differs, each with its path, what was expected and what was found; lists are ordered.
pub fn differences(expected: &Value, found: &Value) -> Vec<String> {
    let mut all = Vec::new();
    walk(
        "",
        &as_stored(expected.clone()),
        &as_stored(found.clone()),
        &mut all,
    );
    all
}

fn walk(path: &str, expected: &Value, found: &Value, all: &mut Vec<String>) {
    match (expected, found) {
        (Value::Object(left), Value::Object(right)) => {
            let only_right = right.keys().filter(|key| !left.contains_key(*key));
            for key in left.keys().chain(only_right) {
                walk(&format!("{path}/{key}"), &expected[key], &found[key], all);
            }
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            for (index, (left, right)) in left.iter().zip(right).enumerate() {
                walk(&format!("{path}/{index}"), left, right, all);
            }
        }
        _ if expected == found => {}
        _ => all.push(format!("{path}: {expected} expected, not {found}")),
    }
}
