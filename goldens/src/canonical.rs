//! The one form of all objects that count as equal. Two objects are equal if these forms are.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// Keys below which an empty value says something else than an absent one.
const EMPTY_COUNTS: [&str; 7] = [
    "data",
    "emptyDir",
    "namespaceSelector",
    "objectSelector",
    "podSelector",
    "labelSelector",
    "selector",
];

/// Parts of the path to a quantity.
const QUANTITIES: [&str; 8] = [
    ".limits.",
    ".requests.",
    ".divisor",
    ".sizeLimit",
    ".averageValue",
    ".hard.",
    ".storage",
    ".memory",
];

/// What stands for the text of an injection template that is not the user's.
const BUILT_IN: &str = "@builtin";

/// No text of a template is shorter.
const SHORTEST_TEMPLATE: usize = 100;

/// The form of a rendered object. `templates` names the user's injection templates; the text of the others is our own
/// and compared by what it injects.
pub fn canonical(object: Value, templates: &BTreeSet<String>) -> Value {
    spell(without_nothing(object), "", templates)
}

/// Drops what the API server treats like nothing: null, and empty maps and lists where they carry no meaning. The
/// content of `ConfigMaps` stays as it is, because istiod reads it, not the API server.
fn without_nothing(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut kept = Map::new();
            for (key, value) in map {
                let value = if key == "data" {
                    value
                } else {
                    without_nothing(value)
                };
                let counts = !is_empty(&value) || EMPTY_COUNTS.contains(&key.as_str());
                if !value.is_null() && counts {
                    kept.insert(key, value);
                }
            }
            Value::Object(kept)
        }
        Value::Array(list) => list.into_iter().map(without_nothing).collect(),
        scalar => scalar,
    }
}

/// Gives quantities one spelling, and built-in templates one text.
fn spell(value: Value, path: &str, templates: &BTreeSet<String>) -> Value {
    match value {
        Value::Object(map) => {
            let fields = map.into_iter().map(|(key, value)| {
                let value = spell(value, &format!("{path}.{key}"), templates);
                (key, value)
            });
            Value::Object(fields.collect())
        }
        Value::Array(list) => {
            let items = list.into_iter().map(|item| spell(item, path, templates));
            items.collect()
        }
        scalar if is_built_in(&scalar, path, templates) => BUILT_IN.into(),
        scalar if QUANTITIES.iter().any(|key| path.contains(key)) => {
            let amount = thousandths(&scalar).map(|amount| format!("{amount}m").into());
            amount.unwrap_or(scalar)
        }
        scalar => scalar,
    }
}

/// Whether a value is the text of an injection template that is not the user's.
fn is_built_in(value: &Value, path: &str, templates: &BTreeSet<String>) -> bool {
    let name = path.strip_prefix(".data.config.templates.");
    let is_template = name.is_some_and(|name| !templates.contains(name));
    let is_text = |text: &str| text == BUILT_IN || text.len() > SHORTEST_TEMPLATE;
    is_template && value.as_str().is_some_and(is_text)
}

/// The amount of a quantity in thousandths; none if the value is no quantity.
fn thousandths(value: &Value) -> Option<f64> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "m" => 1.0,
        "" => 1e3,
        "k" => 1e6,
        "M" => 1e9,
        "G" => 1e12,
        "Ki" => 1e3 * 1024.0,
        "Mi" => 1e3 * 1024.0 * 1024.0,
        "Gi" => 1e3 * 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    digits.parse::<f64>().ok().map(|number| number * factor)
}

/// The form of an injected pod: without what means the same as nothing, which is null, and empty objects and lists.
#[must_use]
pub fn as_stored(value: Value) -> Value {
    without(value, &is_empty)
}

/// The form of a pod that istiod injected in the API server: also without `false`, which the API server's types leave
/// out in some places.
#[must_use]
pub fn as_admitted(value: Value) -> Value {
    without(value, &|value| {
        is_empty(value) || *value == Value::Bool(false)
    })
}

/// Turns into null, and drops from objects, what is nothing.
fn without(value: Value, is_nothing: &impl Fn(&Value) -> bool) -> Value {
    let value = match value {
        Value::Object(map) => {
            let fields = map
                .into_iter()
                .map(|(key, value)| (key, without(value, is_nothing)));
            Value::Object(fields.filter(|(_, value)| !value.is_null()).collect())
        }
        Value::Array(list) => list
            .into_iter()
            .map(|item| without(item, is_nothing))
            .collect(),
        scalar => scalar,
    };
    if is_nothing(&value) {
        Value::Null
    } else {
        value
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn form(object: Value) -> Value {
        canonical(object, &BTreeSet::from(["mine".to_owned()]))
    }

    #[test]
    fn quantities_are_equal_in_any_spelling_and_nothing_else_is() {
        let cpu = |cpu: Value| form(json!({"resources": {"limits": {"cpu": cpu}}}));
        assert_eq!(cpu(json!(1)), cpu(json!("1000m")));
        assert_eq!(cpu(json!("1Gi")), cpu(json!("1024Mi")));
        assert_ne!(cpu(json!("1")), cpu(json!("1M")));
        assert_ne!(form(json!({"replicas": 1})), form(json!({"replicas": "1"})));
    }

    #[test]
    fn empty_is_absent_unless_it_selects_or_is_data() {
        assert_eq!(form(json!({"a": null, "b": {"c": []}})), json!({}));
        let selects = json!({"podSelector": {}, "data": {"values": {"a": {}}}});
        assert_eq!(form(selects.clone()), selects);
    }

    #[test]
    fn only_the_users_templates_keep_their_text() {
        let long = "x".repeat(SHORTEST_TEMPLATE + 1);
        let config = |templates: Value| json!({"data": {"config": {"templates": templates}}});
        let found = form(config(json!({"mine": long, "sidecar": long, "short": "x"})));
        let expected = json!({"mine": long, "sidecar": BUILT_IN, "short": "x"});
        assert_eq!(found, config(expected));
    }

    #[test]
    fn injected_pods_lose_what_is_nothing() {
        let pod = json!({"a": null, "b": {"c": []}, "d": false, "e": [{}]});
        assert_eq!(as_stored(pod.clone()), json!({"d": false, "e": [null]}));
        assert_eq!(as_admitted(pod), json!({"e": [null]}));
        assert_eq!(as_stored(json!({"a": {}})), Value::Null);
    }
}
