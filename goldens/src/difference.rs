//! Comparison of two values, path by path.

use std::collections::BTreeSet;

use serde_json::Value;

/// How much of a value a difference shows.
const LONGEST: usize = 160;

/// Every place in which two values differ: its path, what was expected and what was found. Lists are ordered.
#[must_use]
pub fn differences(expected: &Value, found: &Value) -> Vec<String> {
    let mut all = Vec::new();
    walk("", Some(expected), Some(found), &mut all);
    all
}

/// The same for values that may be absent, with `place` in front of each path.
pub fn walk(place: &str, expected: Option<&Value>, found: Option<&Value>, all: &mut Vec<String>) {
    match (expected, found) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                walk(&format!("{place}.{key}"), a.get(key), b.get(key), all);
            }
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            for index in 0..a.len().max(b.len()) {
                let place = format!("{place}[{index}]");
                walk(&place, a.get(index), b.get(index), all);
            }
        }
        _ if expected == found => {}
        _ => {
            let (expected, found) = (shown(expected), shown(found));
            all.push(format!("{place}: expected {expected}, found {found}"));
        }
    }
}

fn shown(value: Option<&Value>) -> String {
    let text = value.map_or("nothing".to_owned(), ToString::to_string);
    if text.chars().count() > LONGEST {
        text.chars().take(LONGEST).collect::<String>() + "…"
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_place_is_named() {
        let one = json!({"env": [{"name": "A"}, 1], "same": 1});
        let other = json!({"env": [{"name": "B"}], "same": 1, "x": null});
        let expected = [
            ".env[0].name: expected \"A\", found \"B\"",
            ".env[1]: expected 1, found nothing",
            ".x: expected nothing, found null",
        ];
        assert_eq!(differences(&one, &other), expected);
        assert!(differences(&one, &one).is_empty());
    }
}
