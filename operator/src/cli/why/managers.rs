//! Who holds a field in the cluster, from the managed fields of an object.

use istio_operator::api::key_of_step;
use istio_operator::cluster::MANAGER;
use kube::api::DynamicObject;
use serde_json::{Value, json};

/// Who wrote a field last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    manager: String,
    operation: String,
    time: Option<String>,
}

impl Holder {
    /// Whether it is the operator, or whoever applies under its name.
    pub(super) fn is_operator(&self) -> bool {
        self.manager == MANAGER && self.operation == "Apply"
    }

    pub(super) fn words(&self) -> String {
        let Self {
            manager,
            operation,
            time,
        } = self;
        let time = time
            .as_ref()
            .map(|time| format!(", {time}"))
            .unwrap_or_default();
        format!("{manager} ({operation}{time})")
    }

    pub(super) fn value(&self) -> Value {
        let Self {
            manager,
            operation,
            time,
        } = self;
        json!({"manager": manager, "operation": operation, "time": time})
    }
}

/// Those who hold the field at a JSON pointer of the live object.
pub(super) fn holders(live: &DynamicObject, whole: &Value, pointer: &str) -> Vec<Holder> {
    let entries = live.metadata.managed_fields.iter().flatten();
    let holds = entries.filter(|entry| {
        let fields = entry.fields_v1.as_ref();
        fields.is_some_and(|fields| is_held(&fields.0, whole, pointer))
    });
    holds
        .map(|entry| Holder {
            manager: entry.manager.clone().unwrap_or_default(),
            operation: entry.operation.clone().unwrap_or_default(),
            time: entry.time.as_ref().map(|time| time.0.to_string()),
        })
        .collect()
}

/// Whether a set of fields has the one at a pointer, or a whole that it is part of.
fn is_held(fields: &Value, whole: &Value, pointer: &str) -> bool {
    let (mut fields, mut value) = (fields, whole);
    for step in pointer.split('/').skip(1) {
        if fields.as_object().is_some_and(serde_json::Map::is_empty) {
            return true;
        }
        let key = key_of_step(step);
        let below = match value {
            Value::Array(list) => {
                let element = key.parse::<usize>().ok().and_then(|index| list.get(index));
                element.and_then(|element| Some((element_fields(fields, element)?, element)))
            }
            _ => fields.get(format!("f:{key}")).zip(value.get(&key)),
        };
        let Some(below) = below else {
            return false;
        };
        (fields, value) = below;
    }
    true
}

/// The fields of the element of a list that they name by its keys or its value.
fn element_fields<'f>(fields: &'f Value, element: &Value) -> Option<&'f Value> {
    let mut named = fields.as_object()?.iter();
    let is_it = |name: &str| {
        if let Some(keys) = name.strip_prefix("k:") {
            let keys: Value = serde_json::from_str(keys).unwrap_or_default();
            let mut keys = keys.as_object().into_iter().flatten();
            return keys.all(|(key, value)| element.get(key) == Some(value));
        }
        let value = name
            .strip_prefix("v:")
            .and_then(|value| serde_json::from_str::<Value>(value).ok());
        value.as_ref() == Some(element)
    };
    named.find_map(|(name, below)| is_it(name).then_some(below))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_held_by_key_by_value_and_as_a_whole() {
        let whole = json!({"a": {"b": {"c": 1}}, "l": [{"name": "x", "v": 1}, {"name": "y", "v": 2}], "s": ["p", "q"]});
        let fields = json!({"f:a": {"f:b": {}}, "f:l": {"k:{\"name\":\"y\"}": {".": {}, "f:v": {}}}, "f:s": {"v:\"q\"": {}}});
        for (pointer, expected) in [
            ("/a/b/c", true),
            ("/a/d", false),
            ("/l/1/v", true),
            ("/l/0/v", false),
            ("/s/1", true),
            ("/s/0", false),
        ] {
            assert_eq!(is_held(&fields, &whole, pointer), expected, "{pointer}");
        }
    }
}
