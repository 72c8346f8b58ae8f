//! Reads and writes single fields of a tree of values.

use serde_json::Value;

/// Sets the field at `keys`. Whatever is not a map on the way there is replaced by one.
pub(super) fn set(tree: &mut Value, keys: &[&str], value: Value) {
    let mut node = tree;
    for key in keys {
        if !node.is_object() {
            *node = Value::Null;
        }
        // Indexing a null makes it a map with that key.
        node = &mut node[*key];
    }
    *node = value;
}

/// Removes fields of a map, if it is one.
pub(super) fn without_keys(tree: &mut Value, keys: &[&str]) {
    if let Value::Object(map) = tree {
        map.retain(|key, _| !keys.contains(&key.as_str()));
    }
}

/// Turns floats that are whole into integers, as Go writes them in JSON: `10.0` becomes `10`.
pub(super) fn plain_numbers(tree: &mut Value) {
    match tree {
        Value::Array(list) => list.iter_mut().for_each(plain_numbers),
        Value::Object(map) => map.values_mut().for_each(plain_numbers),
        Value::Number(number) => {
            if let Some(whole) = number.as_f64().filter(|_| number.is_f64()).and_then(whole) {
                *tree = whole.into();
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "the range is checked first"
)]
fn whole(number: f64) -> Option<i64> {
    // Up to 2^53 a float holds every whole number exactly.
    let exact = number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0;
    exact.then_some(number as i64)
}

/// The text of a string, number or boolean.
pub(super) fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The string at `keys`; none if it is absent or empty.
pub(super) fn text_at<'v>(tree: &'v Value, keys: &[&str]) -> Option<&'v str> {
    crate::charts::tree::at(tree, keys)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
}

/// Whether the field at `keys` is `true`.
pub(super) fn is_true(tree: &Value, keys: &[&str]) -> bool {
    crate::charts::tree::at(tree, keys) == Some(&Value::Bool(true))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn set_makes_maps_on_its_way() {
        let mut tree = json!({"a": null, "b": 1});
        set(&mut tree, &["a", "x", "y"], json!(1));
        set(&mut tree, &["b"], json!(2));
        assert_eq!(tree, json!({"a": {"x": {"y": 1}}, "b": 2}));
    }

    #[test]
    fn whole_floats_become_integers() {
        let mut tree = json!([1.0, 1.5, {"a": -0.0, "b": 1e300}, 7]);
        plain_numbers(&mut tree);
        assert_eq!(tree.to_string(), r#"[1,1.5,{"a":0,"b":1e+300},7]"#);
    }
}
