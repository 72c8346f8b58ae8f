//! Places of fields in a tree of values.

use serde_json::Value;

use crate::api::Path;

/// One step from a value to a field of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::render) enum Step {
    /// To the field of this name.
    Key(String),
    /// To the element with this index.
    Index(usize),
}

/// The steps from the root of a tree to a field.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::render) struct Place(pub Vec<Step>);

impl Place {
    /// The place of the field at these keys.
    pub fn of(keys: &[&str]) -> Self {
        Self(keys.iter().map(|key| Step::from(*key)).collect())
    }

    /// A place one step below this one.
    pub fn then(&self, step: impl Into<Step>) -> Self {
        let mut steps = self.0.clone();
        steps.push(step.into());
        Self(steps)
    }

    /// This place below the field at `path`.
    pub fn below(&self, path: &Path) -> Path {
        self.0.iter().fold(path.clone(), |path, step| match step {
            Step::Key(key) => path.key(key),
            Step::Index(index) => path.index(*index),
        })
    }

    /// What stands there in a tree.
    pub fn find<'v>(&self, tree: &'v Value) -> Option<&'v Value> {
        self.0.iter().try_fold(tree, |node, step| match step {
            Step::Key(key) => node.get(key),
            Step::Index(index) => node.get(index),
        })
    }

    /// Takes what stands there out of a tree. It tells whether there was anything.
    pub fn remove(&self, tree: &mut Value) -> bool {
        let Some((end, above)) = self.0.split_last() else {
            return false;
        };
        match (find_mut(above, tree), end) {
            (Some(Value::Object(map)), Step::Key(key)) => map.remove(key).is_some(),
            (Some(Value::Array(list)), Step::Index(index)) if *index < list.len() => {
                list.remove(*index);
                true
            }
            _ => false,
        }
    }

    /// Writes another value where one stands in a tree.
    pub fn replace(&self, tree: &mut Value, value: Value) {
        if let Some(found) = find_mut(&self.0, tree) {
            *found = value;
        }
    }
}

fn find_mut<'v>(steps: &[Step], tree: &'v mut Value) -> Option<&'v mut Value> {
    steps.iter().try_fold(tree, |node, step| match step {
        Step::Key(key) => node.get_mut(key),
        Step::Index(index) => node.get_mut(index),
    })
}

impl From<&str> for Step {
    fn from(key: &str) -> Self {
        Self::Key(key.to_owned())
    }
}

impl From<usize> for Step {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}
