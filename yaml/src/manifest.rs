//! A manifest whose fields stay JSON text until one is asked for.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Map, Value};

use super::{YamlError, read, write};

/// How many lists and maps may stand inside each other. JSON is read back to 128 levels and no further, and what holds a
/// document takes a few of them.
pub const DEEPEST: usize = 100;

/// How many lists and maps stand inside each other, 0 for a scalar.
#[must_use]
pub fn depth(value: &Value) -> usize {
    match value {
        Value::Array(list) => 1 + list.iter().map(depth).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// A map as it is written in YAML, of which every field is kept as JSON text with sorted keys.
///
/// Hardly anybody asks what stands in a CRD, and as values the CRDs take twenty times the memory. So copies share their
/// fields, and a field becomes a value only where one is asked for.
#[derive(Clone, Debug, Default)]
pub struct Manifest {
    fields: BTreeMap<String, Arc<str>>,
    /// Whether the API server would take these fields. Copies share it until they are changed.
    is_checked: Arc<AtomicBool>,
}

impl Manifest {
    /// Reads one document; one that is no map has no fields.
    pub fn read(text: &str) -> Result<Self, YamlError> {
        Ok(Self {
            fields: read::fields(text)?,
            is_checked: Arc::default(),
        })
    }

    /// Notes that the API server would take it as it is, in all its copies. Every change undoes it.
    pub fn mark_checked(&self) {
        self.is_checked.store(true, Ordering::Relaxed);
    }

    /// Whether the API server would take it as it is; if not, nobody has looked since its last change.
    #[must_use]
    pub fn is_checked(&self) -> bool {
        self.is_checked.load(Ordering::Relaxed)
    }

    /// The value of a field, null if it is absent.
    #[must_use]
    pub fn field(&self, key: &str) -> Value {
        self.fields
            .get(key)
            .map(|json| parsed(json))
            .unwrap_or_default()
    }

    /// Everything as one value.
    #[must_use]
    pub fn value(&self) -> Value {
        let fields = self.fields.iter();
        Value::Object(
            fields
                .map(|(key, json)| (key.clone(), parsed(json)))
                .collect(),
        )
    }

    /// Everything as one document of a YAML stream, in the style of [`write()`](crate::write()) and with sorted keys.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        // Most of it is indentation. A text that grows is copied with each step.
        let mut text = String::with_capacity(2 * self.size());
        text.push_str("---\n");
        let fields = self.fields.iter();
        write::write_fields(&mut text, fields.map(|(key, json)| (key.as_str(), &**json)));
        text
    }

    /// Changes a field, which is null if it is absent; one that is null afterwards is left out.
    pub fn change<T>(&mut self, key: &str, change: impl FnOnce(&mut Value) -> T) -> T {
        let mut value = self.field(key);
        let result = change(&mut value);
        if value.is_null() {
            self.fields.remove(key);
        } else {
            self.fields.insert(key.to_owned(), value.to_string().into());
        }
        self.is_checked = Arc::default();
        result
    }

    /// Changes everything.
    pub fn change_all<T>(&mut self, change: impl FnOnce(&mut Value) -> T) -> T {
        let mut value = self.value();
        let result = change(&mut value);
        *self = Self::from(&value);
        result
    }

    /// Leaves a field out.
    pub fn remove(&mut self, key: &str) {
        if self.fields.remove(key).is_some() {
            self.is_checked = Arc::default();
        }
    }

    /// The bytes of its fields as JSON.
    #[must_use]
    pub fn size(&self) -> usize {
        self.fields
            .iter()
            .map(|(key, json)| key.len() + json.len())
            .sum()
    }
}

impl From<&Value> for Manifest {
    fn from(value: &Value) -> Self {
        let none = Map::new();
        let fields = value.as_object().unwrap_or(&none).iter();
        Self {
            fields: fields
                .map(|(key, value)| (key.clone(), value.to_string().into()))
                .collect(),
            is_checked: Arc::default(),
        }
    }
}

impl PartialEq for Manifest {
    fn eq(&self, other: &Self) -> bool {
        self.fields == other.fields
    }
}

impl Eq for Manifest {}

impl Hash for Manifest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.fields.hash(state);
    }
}

/// What a field holds was written here, so it is JSON.
fn parsed(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_read_and_changed_one_by_one() {
        let mut manifest = Manifest::read("b: {d: 1, c: [x]}\na: y\n").unwrap();
        assert_eq!(
            manifest,
            Manifest::from(&json!({"a": "y", "b": {"c": ["x"], "d": 1}}))
        );
        manifest.change("b", |b| b["c"] = 2.into());
        manifest.change("a", |a| *a = Value::Null);
        manifest.remove("z");
        assert_eq!(manifest.value(), json!({"b": {"c": 2, "d": 1}}));
        assert_eq!(manifest.field("a"), Value::Null);
        manifest.change_all(|all| all["e"] = true.into());
        assert_eq!(manifest.field("e"), json!(true));
        assert_eq!(
            manifest.to_yaml(),
            format!("---\n{}", write::write(&manifest.value()))
        );
    }

    #[test]
    fn a_change_undoes_the_check() {
        let mut checked = Manifest::read("a: 1\n").unwrap();
        assert!(!checked.is_checked());
        checked.clone().mark_checked();
        checked.remove("z");
        assert!(checked.is_checked());
        for change in [
            |manifest: &mut Manifest| manifest.change("a", |a| *a = 2.into()),
            |manifest: &mut Manifest| manifest.change_all(|all| all["b"] = 1.into()),
            |manifest: &mut Manifest| manifest.remove("a"),
        ] {
            let mut changed = checked.clone();
            change(&mut changed);
            assert!(!changed.is_checked());
            assert!(checked.is_checked());
        }
    }

    #[test]
    fn what_is_no_map_has_no_fields() {
        assert_eq!(Manifest::read("- a\n"), Ok(Manifest::default()));
        assert_eq!(Manifest::read("# a\n"), Ok(Manifest::default()));
        assert_eq!(Manifest::default().to_yaml(), "---\n{}\n");
    }
}
