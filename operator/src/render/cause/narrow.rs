//! Finds the part of a setting that a field of an object comes from.

use serde_json::Value;

use crate::render::kubernetes::{Place, Step};

/// The part of a setting, `value`, that became the field at `place` of an object; none if it cannot be told.
///
/// It is the smallest map, list or scalar around the field that stands in the setting too, and the steps from there. An
/// entry of a list may have got more fields on its way.
pub(super) fn narrow(value: &Value, object: &Value, place: &Place) -> Option<Place> {
    (0..=place.0.len()).rev().find_map(|length| {
        let (around, rest) = place.0.split_at(length);
        let node = Place(around.to_vec()).find(object)?;
        let mut found = search(value, node, around.last(), &Place::default())?;
        found.0.extend_from_slice(rest);
        Some(found)
    })
}

/// The place of a node in a tree. `step` is the one that leads to the node in its object.
fn search(tree: &Value, node: &Value, step: Option<&Step>, place: &Place) -> Option<Place> {
    let is_it = tree == node && (is_telling(node) || place.0.is_empty() || place.0.last() == step);
    let are_entries = [place.0.last(), step].map(|step| matches!(step, Some(Step::Index(_))));
    if is_it || (are_entries == [true, true] && is_part(tree, node)) {
        return Some(place.clone());
    }
    match tree {
        Value::Object(map) => {
            let mut fields = map.iter();
            fields.find_map(|(key, field)| search(field, node, step, &place.then(key.as_str())))
        }
        Value::Array(list) => {
            let mut elements = list.iter().enumerate();
            elements.find_map(|(index, element)| search(element, node, step, &place.then(index)))
        }
        _ => None,
    }
}

/// Whether a map has nothing but what another one has too.
fn is_part(map: &Value, other: &Value) -> bool {
    let fields = map.as_object().filter(|fields| !fields.is_empty());
    fields.is_some_and(|fields| {
        fields
            .iter()
            .all(|(key, field)| other.get(key) == Some(field))
    })
}

/// Whether a node hardly stands anywhere by chance.
fn is_telling(node: &Value) -> bool {
    match node {
        Value::Object(map) => !map.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::String(text) => !text.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::Path;

    fn told(value: &Value, object: &Value, place: &Place) -> Option<String> {
        let found = narrow(value, object, place)?;
        Some(found.below(&Path::root("it")).to_string())
    }

    #[test]
    fn the_smallest_part_is_told() {
        let metric = json!({"type": "Resource", "resource": {"name": "cpu"}});
        let object = json!({"spec": {"minReplicas": 1, "metrics": [{"type": "Pods"}, metric]}});
        let place = Place::of(&["spec", "metrics"]).then(1);
        let place = place.then("resource").then("target");
        for (value, expected) in [
            (
                json!({"metrics": [metric]}),
                Some("it.metrics[0].resource.target"),
            ),
            (json!({"metrics": []}), None),
            (
                json!({"resource": {"name": "cpu"}}),
                Some("it.resource.target"),
            ),
        ] {
            assert_eq!(told(&value, &object, &place).as_deref(), expected);
        }
        let number = Place::of(&["spec", "minReplicas"]);
        for (value, expected) in [
            (json!({"a": 1, "minReplicas": 1}), Some("it.minReplicas")),
            (json!({"a": 1}), None),
            (json!(1), Some("it")),
        ] {
            assert_eq!(told(&value, &object, &number).as_deref(), expected);
        }
    }
}
