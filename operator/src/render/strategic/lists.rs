//! Lists whose entries merge by a key, in the order that upstream gives them.

use std::collections::HashMap;

use serde_json::Value;

use super::merge_maps;

/// Merges two lists of maps by the value of `key`. `place` is the path of the lists in an object of `kind`. The error names
/// an entry of the patch without `key`.
pub(super) fn merge_lists<'p>(
    kind: &str,
    place: &mut Vec<&'p str>,
    object: &[Value],
    patch: &'p [Value],
    key: &str,
) -> Result<Vec<Value>, String> {
    if let Some(index) = patch.iter().position(|entry| entry.get(key).is_none()) {
        return Err(format!(
            "entry {index} has no {key}, which identifies an entry"
        ));
    }
    let in_object = Positions::of(object, key);
    let in_patch = Positions::of(patch, key);
    let mut merged = object.to_vec();
    let mut below = Positions::of(object, key);
    place.push("[]");
    for entry in patch {
        let position = below.get_or_insert(entry, merged.len());
        match (merged.get_mut(position), entry) {
            (Some(Value::Object(below)), Value::Object(above)) => {
                merge_maps(kind, place, below, above)?;
            }
            _ => merged.push(entry.clone()),
        }
    }
    place.pop();
    let (mut patched, mut untouched): (Vec<Value>, Vec<Value>) = merged
        .into_iter()
        .partition(|entry| in_patch.get(entry).is_some());
    patched.sort_by_cached_key(|entry| in_patch.get(entry));
    // Entries with the same value of the key become neighbours, as upstream has it.
    untouched.sort_by_cached_key(|entry| in_object.get(entry));
    Ok(interleave(untouched, patched, |entry| in_object.get(entry)))
}

/// The position of the first entry of a list with each value of the merge key, in a map because the user's lists may be
/// long.
struct Positions<'k> {
    key: &'k str,
    found: HashMap<Option<String>, usize>,
}

impl<'k> Positions<'k> {
    fn of(list: &[Value], key: &'k str) -> Self {
        let mut positions = Self {
            key,
            found: HashMap::new(),
        };
        for (position, entry) in list.iter().enumerate() {
            positions.get_or_insert(entry, position);
        }
        positions
    }

    fn get(&self, entry: &Value) -> Option<usize> {
        self.found.get(&self.name(entry)).copied()
    }

    fn get_or_insert(&mut self, entry: &Value, position: usize) -> usize {
        *self.found.entry(self.name(entry)).or_insert(position)
    }

    fn name(&self, entry: &Value) -> Option<String> {
        entry.get(self.key).map(Value::to_string)
    }
}

/// Joins the untouched entries with the patched ones. An untouched entry goes before the next patched one if both were in
/// the object in this order.
fn interleave(
    untouched: Vec<Value>,
    patched: Vec<Value>,
    position: impl Fn(&Value) -> Option<usize>,
) -> Vec<Value> {
    let mut joined = Vec::with_capacity(untouched.len() + patched.len());
    let mut untouched = untouched.into_iter().peekable();
    for next in patched {
        while let (Some(entry), Some(after)) = (untouched.peek(), position(&next)) {
            if position(entry).is_none_or(|before| before >= after) {
                break;
            }
            joined.extend(untouched.next());
        }
        joined.push(next);
    }
    joined.extend(untouched);
    joined
}
