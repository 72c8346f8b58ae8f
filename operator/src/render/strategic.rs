//! Kubernetes' strategic merge patch, for the fields that a `k8s` block can set.
//!
//! Maps merge, a null deletes, everything else replaces. Lists replace too, except those of [`RULES`], whose entries merge
//! by a key. Merged lists have the order that `k8s.io/apimachinery` gives them upstream: entries of the patch keep the
//! patch's order, and an entry that the patch does not name stays before a patched one if it preceded it in the object.
//!
//! Kubernetes' types drop every directive of such patches except in maps of strings, such as labels. Of these, `$patch` is
//! supported.

mod lists;

use serde_json::{Map, Value};

use lists::merge_lists;

/// How a field merges otherwise than by default (maps merge, lists replace).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// A list of maps that merge by this key.
    MergeBy(&'static str),
    /// A map that is replaced as a whole.
    Replace,
}

/// The `patchStrategy` tags of Kubernetes' types, for every field that a `k8s` block can set: kinds of the object, path in
/// it (`[]` for list elements), rule. Tolerations, HPA metrics, probes' headers and all lists of affinity have no such tag.
const RULES: [(&[&str], &[&str], Rule); 4] = [
    (
        &["Deployment", "DaemonSet"],
        &["spec", "template", "spec", "containers"],
        Rule::MergeBy("name"),
    ),
    (
        &["Deployment", "DaemonSet"],
        &["spec", "template", "spec", "containers", "[]", "env"],
        Rule::MergeBy("name"),
    ),
    (&["Service"], &["spec", "ports"], Rule::MergeBy("port")),
    (
        &["PodDisruptionBudget"],
        &["spec", "selector"],
        Rule::Replace,
    ),
];

/// The key of a directive, which says what to do with a map instead of merging it.
const DIRECTIVE: &str = "$patch";

/// Applies `patch` to an object of this kind. The error names an entry of the patch without its merge key, or a directive
/// that is not supported.
pub(super) fn apply(kind: &str, object: &mut Value, patch: &Value) -> Result<(), String> {
    let mut place = Vec::new();
    if let (Value::Object(object), Value::Object(patch)) = (object, patch) {
        merge_maps(kind, &mut place, object, patch)?;
    }
    Ok(())
}

fn rule(kind: &str, place: &[&str]) -> Option<Rule> {
    let found = RULES
        .iter()
        .find(|(kinds, ruled, _)| kinds.contains(&kind) && *ruled == place);
    found.map(|(_, _, rule)| *rule)
}

fn merge_maps<'p>(
    kind: &str,
    place: &mut Vec<&'p str>,
    object: &mut Map<String, Value>,
    patch: &'p Map<String, Value>,
) -> Result<(), String> {
    if let Some(directive) = patch.get(DIRECTIVE) {
        return apply_directive(directive, object, patch);
    }
    for (key, value) in patch {
        if value.is_null() {
            object.remove(key);
            continue;
        }
        if key.starts_with('$') {
            return Err(format!("{key} is not supported, only {DIRECTIVE} is"));
        }
        place.push(key);
        let rule = rule(kind, place);
        match (object.get_mut(key), value) {
            (Some(Value::Object(below)), Value::Object(above)) if rule != Some(Rule::Replace) => {
                merge_maps(kind, place, below, above)?;
            }
            (Some(Value::Array(below)), Value::Array(above)) => match rule {
                Some(Rule::MergeBy(merge_key)) => {
                    *below = merge_lists(kind, place, below, above, merge_key)?;
                }
                _ => below.clone_from(above),
            },
            (Some(Value::Object(below)), Value::Object(above)) => below.clone_from(above),
            _ => match added(value) {
                Some(value) => _ = object.insert(key.clone(), value),
                None => _ = object.remove(key),
            },
        }
        place.pop();
    }
    Ok(())
}

/// Applies a directive to the map that holds it.
fn apply_directive(
    directive: &Value,
    object: &mut Map<String, Value>,
    patch: &Map<String, Value>,
) -> Result<(), String> {
    match directive.as_str() {
        Some("replace") => {
            object.clone_from(patch);
            object.remove(DIRECTIVE);
        }
        Some("delete") => object.clear(),
        _ => {
            return Err(format!(
                "expected {DIRECTIVE} to be replace or delete, found {directive}"
            ));
        }
    }
    Ok(())
}

/// A patch's value for a field that the object does not have: without nulls, which have nothing to delete. A map with a
/// directive adds nothing, as upstream has it.
fn added(value: &Value) -> Option<Value> {
    match value {
        Value::Object(map) if map.contains_key(DIRECTIVE) => None,
        Value::Object(map) => {
            let kept = map.iter().filter(|(_, value)| !value.is_null());
            let kept = kept.filter_map(|(key, value)| Some((key.clone(), added(value)?)));
            Some(Value::Object(kept.collect()))
        }
        Value::Array(list) => Some(list.iter().filter_map(added).collect()),
        scalar => Some(scalar.clone()),
    }
}

#[cfg(test)]
mod tests;
