//! The fields of an object that hold no others.

use serde_json::Value;

use super::path::Path;

/// A field that holds a scalar, or an empty map or list.
#[derive(Clone, Debug, PartialEq)]
pub struct Leaf<'v> {
    /// Its path as people write it: elements of lists are called by their names where all have one.
    pub path: Path,
    /// Its path as a JSON pointer.
    pub pointer: String,
    /// What it holds.
    pub value: &'v Value,
}

/// Every leaf of a tree, in its order.
#[must_use]
pub fn leaves(tree: &Value) -> Vec<Leaf<'_>> {
    let mut found = Vec::new();
    collect(tree, Path::default(), String::new(), &mut found);
    found
}

/// The key that a step of a JSON pointer stands for (RFC 6901).
#[must_use]
pub fn key_of_step(step: &str) -> String {
    step.replace("~1", "/").replace("~0", "~")
}

/// The path of what a JSON pointer leads to in `tree`, with the indexes of lists, as it is written.
#[must_use]
pub fn path_of_pointer(root: Path, tree: &Value, pointer: &str) -> Path {
    let (mut path, mut found) = (root, tree);
    for step in pointer.split('/').skip(1) {
        let key = key_of_step(step);
        let index = key.parse::<usize>().ok().filter(|_| found.is_array());
        let below = index.map_or_else(|| found.get(&key), |index| found.get(index));
        found = below.unwrap_or(&Value::Null);
        path = index.map_or_else(|| path.key(&key), |index| path.index(index));
    }
    path
}

/// The names of a list's elements, if each has one of its own.
#[must_use]
pub fn names_of(list: &[Value]) -> Option<Vec<&str>> {
    let names = list.iter().map(|element| element.get("name")?.as_str());
    let names = names.collect::<Option<Vec<_>>>()?;
    let is_unique = |(index, name): (usize, &&str)| !names[..index].contains(name);
    (!names.is_empty() && names.iter().enumerate().all(is_unique)).then_some(names)
}

fn collect<'v>(tree: &'v Value, path: Path, pointer: String, found: &mut Vec<Leaf<'v>>) {
    match tree {
        Value::Object(fields) if !fields.is_empty() => {
            for (key, value) in fields {
                let step = key.replace('~', "~0").replace('/', "~1");
                collect(value, path.key(key), format!("{pointer}/{step}"), found);
            }
        }
        Value::Array(list) if !list.is_empty() => {
            let names = names_of(list);
            for (index, value) in list.iter().enumerate() {
                let below = match &names {
                    Some(names) => path.element(names[index]),
                    None => path.index(index),
                };
                collect(value, below, format!("{pointer}/{index}"), found);
            }
        }
        value => found.push(Leaf {
            path,
            pointer,
            value,
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn leaves_are_called_by_names_where_there_are_some() {
        let tree =
            json!({"a": [{"name": "x", "v": 1}, {"name": "y", "b.c/d": {}}], "e": [[2], null]});
        let found: Vec<_> = leaves(&tree)
            .iter()
            .map(|leaf| format!("{} {} {}", leaf.path, leaf.pointer, leaf.value))
            .collect();
        assert_eq!(
            found,
            [
                "a[x].name /a/0/name \"x\"",
                "a[x].v /a/0/v 1",
                "a[y][\"b.c/d\"] /a/1/b.c~1d {}",
                "a[y].name /a/1/name \"y\"",
                "e[0][0] /e/0/0 2",
                "e[1] /e/1 null",
            ]
        );
        for leaf in leaves(&tree) {
            assert_eq!(tree.pointer(&leaf.pointer), Some(leaf.value));
        }
    }

    #[test]
    fn a_name_that_is_there_twice_is_none() {
        assert_eq!(
            names_of(&[json!({"name": "x"}), json!({"name": "x"})]),
            None
        );
        assert_eq!(names_of(&[]), None);
    }

    #[test]
    fn a_pointer_has_the_path_that_people_write() {
        let tree = json!({"a": [{"name": "x", "b.c/d": {"7": true}}]});
        let path = path_of_pointer(Path::root("spec"), &tree, "/a/0/b.c~1d/7");
        assert_eq!(path.to_string(), "spec.a[0][\"b.c/d\"].7");
    }
}
