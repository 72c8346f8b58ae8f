//! Fields of a spec that an author wrote beside `spec`, at the top of the resource.
//!
//! The API server keeps them there. A reader of a CR puts them into the spec under a key that no field of a spec has, so that
//! `merge` finds them and can tell what it makes of them.

use serde_json::{Map, Value};

use super::resource::strict_schema;

/// What the keys begin with.
const PREFIX: char = '/';

/// Whether a field at the top of a resource belongs into its spec.
#[must_use]
pub fn belongs_into_spec(name: &str) -> bool {
    strict_schema()["properties"].get(name).is_some()
}

/// Keeps the field `name`, which stood beside `spec`, in the spec. A spec that is no object cannot hold it; then the spec
/// itself is an error.
pub fn keep_beside_spec(spec: &mut Value, name: &str, value: Value) {
    if spec.is_null() {
        *spec = Value::Object(Map::new());
    }
    if let Value::Object(fields) = spec {
        fields.insert(format!("{PREFIX}{name}"), value);
    }
}

/// The name of the field that is kept under a key; none if the key is one of the spec itself.
pub(crate) fn name_beside_spec(key: &str) -> Option<&str> {
    key.strip_prefix(PREFIX)
        .filter(|name| belongs_into_spec(name))
}
