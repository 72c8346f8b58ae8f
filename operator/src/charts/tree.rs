//! Merging of value trees, as charts and profiles need it.

use serde_json::{Map, Value};

/// Lays `top` over `base`: maps merge key by key, everything else replaces, null, `false` and empty
/// lists included.
pub fn merge_over(base: &mut Value, top: Value) {
    match (base, top) {
        (Value::Object(base), Value::Object(top)) => merge_maps(base, top),
        (base, top) => *base = top,
    }
}

fn merge_maps(base: &mut Map<String, Value>, top: Map<String, Value>) {
    for (key, value) in top {
        match base.get_mut(&key) {
            Some(below) => merge_over(below, value),
            None => {
                base.insert(key, value);
            }
        }
    }
}

/// Like [`merge_over`], but a null in `top` removes the key.
pub(super) fn merge_removing(base: &mut Value, top: Value) {
    let (Value::Object(below), Value::Object(top)) = (base, top) else {
        return;
    };
    for (key, value) in top {
        if value.is_null() {
            below.remove(&key);
        } else if let (Some(Value::Object(_)), Value::Object(_)) = (below.get(&key), &value) {
            merge_removing(&mut below[&key], value);
        } else {
            below.insert(key, without_nulls(value));
        }
    }
}

/// A value of which null keys are gone: what is removed from nothing leaves nothing.
fn without_nulls(value: Value) -> Value {
    let Value::Object(map) = value else {
        return value;
    };
    let kept = map.into_iter().filter(|(_, v)| !v.is_null());
    Value::Object(kept.map(|(k, v)| (k, without_nulls(v))).collect())
}

/// The value at the end of `keys`, if every key on the way is there.
#[must_use]
pub fn at<'v>(value: &'v Value, keys: &[&str]) -> Option<&'v Value> {
    keys.iter().try_fold(value, |value, key| value.get(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn maps_merge_and_everything_else_replaces() {
        let mut base = json!({"a": {"b": 1, "c": [1, 2]}, "d": "x", "e": {"f": 1}});
        merge_over(
            &mut base,
            json!({"a": {"b": null, "c": []}, "d": {"g": 0}, "e": false}),
        );
        assert_eq!(
            base,
            json!({"a": {"b": null, "c": []}, "d": {"g": 0}, "e": false})
        );
    }

    #[test]
    fn an_empty_map_changes_nothing() {
        let mut base = json!({"a": {"b": 1}});
        merge_over(&mut base, json!({"a": {}}));
        assert_eq!(base, json!({"a": {"b": 1}}));
    }

    #[test]
    fn a_null_of_a_gate_removes_the_key() {
        let mut base = json!({"a": {"b": 1, "c": 2}, "d": 3});
        merge_removing(
            &mut base,
            json!({"a": {"b": null}, "d": null, "e": {"f": null, "g": 1}}),
        );
        assert_eq!(base, json!({"a": {"c": 2}, "e": {"g": 1}}));
    }
}
