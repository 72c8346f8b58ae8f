//! Finds the place in a tree that a path names.

use serde_json::Value;

use crate::api::Path;

/// The value at a path of a resource, such as `spec.components.ingressGateways[0].name`.
#[must_use]
pub fn at_path<'v>(resource: &'v Value, path: &Path) -> Option<&'v Value> {
    let (mut at, mut node) = (Path::default(), resource);
    while at != *path {
        let mut steps = steps(&at, node).into_iter();
        let (child, step) = steps.find(|(child, _)| is_on_the_way(child, path))?;
        node = step.value(node)?;
        at = child;
    }
    Some(node)
}

/// Takes the field at a path out of a spec, or the nearest one above it that is there; gives its path and its value. Maps
/// that are empty then go too, and the spec itself stays.
pub(super) fn take(spec: &mut Value, path: &Path) -> Option<(Path, Value)> {
    let root = Path::root("spec");
    if !is_on_the_way(&root, path) {
        return None;
    }
    take_below(spec, &root, path)
}

/// Removes the maps above a field that hold nothing any more; the spec itself stays.
pub(super) fn prune_above(spec: &mut Value, path: &Path) {
    prune_below(spec, &Path::root("spec"), path);
}

fn prune_below(node: &mut Value, at: &Path, path: &Path) {
    let step = steps(at, node)
        .into_iter()
        .find(|(child, _)| child != path && is_on_the_way(child, path));
    let Some((child, step)) = step else { return };
    let Some(below) = step.value_mut(node) else {
        return;
    };
    prune_below(below, &child, path);
    if below.as_object().is_some_and(serde_json::Map::is_empty) {
        step.take(node);
    }
}

fn take_below(node: &mut Value, at: &Path, path: &Path) -> Option<(Path, Value)> {
    let (child, step) = steps(at, node)
        .into_iter()
        .find(|(child, _)| is_on_the_way(child, path))?;
    let below = step.value_mut(node)?;
    if child != *path
        && let Some(taken) = take_below(below, &child, path)
    {
        let is_empty = below.as_object().is_some_and(serde_json::Map::is_empty);
        if is_empty {
            step.take(node);
        }
        return Some(taken);
    }
    Some((child, step.take(node)?))
}

/// One step down in a tree.
enum Step {
    Key(String),
    Index(usize),
}

impl Step {
    fn value_mut<'v>(&self, node: &'v mut Value) -> Option<&'v mut Value> {
        match self {
            Self::Key(key) => node.get_mut(key),
            Self::Index(index) => node.get_mut(index),
        }
    }

    fn value<'v>(&self, node: &'v Value) -> Option<&'v Value> {
        match self {
            Self::Key(key) => node.get(key),
            Self::Index(index) => node.get(index),
        }
    }

    fn take(&self, node: &mut Value) -> Option<Value> {
        match (self, node) {
            (Self::Key(key), Value::Object(fields)) => fields.remove(key),
            (Self::Index(index), Value::Array(list)) => Some(list.remove(*index)),
            _ => None,
        }
    }
}

/// The steps that lead down from `node`, which is at `at`, and where they lead.
fn steps(at: &Path, node: &Value) -> Vec<(Path, Step)> {
    match node {
        Value::Object(fields) => {
            let keys = fields.keys();
            keys.map(|key| (at.key(key), Step::Key(key.clone())))
                .collect()
        }
        Value::Array(list) => {
            let indexes = 0..list.len();
            indexes
                .map(|index| (at.index(index), Step::Index(index)))
                .collect()
        }
        _ => Vec::new(),
    }
}

/// Whether a path is `end`, or leads to it.
fn is_on_the_way(path: &Path, end: &Path) -> bool {
    let (path, end) = (path.to_string(), end.to_string());
    let rest = end.strip_prefix(&path);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_leads_through_maps_and_lists() {
        let resource = json!({"spec": {"a": [{"b.c": {"d": 1}}], "ab": 2}});
        let path = Path::root("spec").key("a").index(0).key("b.c").key("d");
        assert_eq!(at_path(&resource, &path), Some(&json!(1)));
        assert_eq!(at_path(&resource, &path.key("e")), None);
        assert_eq!(
            at_path(&resource, &Path::root("spec").key("ab")),
            Some(&json!(2))
        );
    }

    #[test]
    fn maps_that_hold_nothing_go() {
        let mut spec = json!({"a": {"b": {}}, "x": {}});
        prune_above(&mut spec, &Path::root("spec").key("a").key("b").key("c"));
        assert_eq!(spec, json!({"x": {}}));
    }

    #[test]
    fn the_nearest_field_is_taken_with_what_held_nothing_else() {
        let path = Path::root("spec").key("a").key("b").key("c");
        let mut spec = json!({"a": {"b": {"d": 1}}, "x": 1});
        let (taken, value) = take(&mut spec, &path).unwrap();
        assert_eq!(
            (taken.to_string().as_str(), value),
            ("spec.a.b", json!({"d": 1}))
        );
        assert_eq!(spec, json!({"x": 1}));
        assert_eq!(take(&mut spec, &Path::root("spec")), None);
        assert_eq!(take(&mut spec, &Path::root("metadata").key("name")), None);
    }
}
