//! Other values that a setting could have, to see what depends on it.

use istio_operator::api::key_of_step;
use serde_json::{Map, Value};

/// What is put behind a text to recognize it.
const MARK: &str = "x7q";

/// Values to try in place of this one, the most telling first. A setting that takes none of them is left out.
pub(super) fn alternatives(value: &Value) -> Vec<Value> {
    match value {
        Value::Bool(flag) => vec![(!flag).into()],
        Value::Number(number) => match number.as_i64() {
            Some(whole) => vec![(whole + 1).into(), (whole - 1).into()],
            None => number
                .as_f64()
                .map(|number| number + 0.5)
                .into_iter()
                .map(Value::from)
                .collect(),
        },
        Value::String(text) => texts(text).into_iter().map(Value::from).collect(),
        Value::Null | Value::Array(_) | Value::Object(_) => Vec::new(),
    }
}

fn texts(text: &str) -> Vec<String> {
    let marked = format!("{text}{MARK}");
    match text {
        "true" => vec!["false".to_owned()],
        "false" => vec!["true".to_owned()],
        _ if text.starts_with(|c: char| c.is_ascii_digit()) => {
            let end = text
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(text.len());
            let (number, unit) = text.split_at(end);
            let next = number
                .parse::<u64>()
                .map(|number| format!("{}{unit}", number + 1));
            next.into_iter().chain([marked]).collect()
        }
        _ => vec![marked],
    }
}

/// Writes `value` where a JSON pointer leads, or removes what is there. What the pointer goes through has to be there.
pub(super) fn put(tree: &mut Value, pointer: &str, value: Option<Value>) {
    if let Some(value) = value {
        if let Some(place) = tree.pointer_mut(pointer) {
            *place = value;
        }
    } else if let Some((above, key)) = pointer.rsplit_once('/')
        && let Some(Value::Object(fields)) = tree.pointer_mut(above)
    {
        fields.remove(&key_of_step(key));
    }
}

/// The keys that lead to a pointer's value, up to the first list, and what of `tree` stands there: lists are set as a whole.
pub(super) fn as_setting<'v>(tree: &'v Value, pointer: &str) -> (Vec<String>, &'v Value) {
    let (mut keys, mut found) = (Vec::new(), tree);
    for step in pointer.split('/').skip(1) {
        let key = key_of_step(step);
        match found.as_object().and_then(|fields| fields.get(&key)) {
            Some(below) => {
                keys.push(key);
                found = below;
            }
            None => break,
        }
    }
    (keys, found)
}

/// Sets the value at the end of keys. Maps on the way are made.
pub(super) fn set_at(tree: &mut Value, keys: &[String], value: Value) {
    let mut found = tree;
    for key in keys {
        if !found.is_object() {
            *found = Value::Object(Map::new());
        }
        found = &mut found[key.as_str()];
    }
    *found = value;
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn alternatives_are_of_the_same_type() {
        assert_eq!(
            alternatives(&json!("100m")),
            [json!("101m"), json!("100mx7q")]
        );
        assert_eq!(alternatives(&json!("a")), [json!("ax7q")]);
        assert_eq!(alternatives(&json!("")), [json!("x7q")]);
        assert_eq!(alternatives(&json!("true")), [json!("false")]);
        assert_eq!(alternatives(&json!(1)), [json!(2), json!(0)]);
        assert!(alternatives(&json!({})).is_empty());
    }

    #[test]
    fn a_list_is_set_as_a_whole() {
        let tree = json!({"a": {"b/c": [{"d": 1}]}});
        let (keys, value) = as_setting(&tree, "/a/b~1c/0/d");
        assert_eq!(
            (keys.join(" "), value),
            ("a b/c".to_owned(), &json!([{"d": 1}]))
        );
        let mut other = json!({"a": 1});
        set_at(&mut other, &keys, json!([]));
        assert_eq!(other, json!({"a": {"b/c": []}}));
        put(&mut other, "/a/b~1c", None);
        assert_eq!(other, json!({"a": {}}));
    }
}
