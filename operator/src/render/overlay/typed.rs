//! Reads the text that an overlay sets by the type of the field that it sets.

use std::borrow::Cow;

use serde_json::Value;

use crate::charts::yaml;
use crate::render::Object;
use crate::render::kubernetes::{Type, types};

/// The value that a patch sets at these elements of an object.
///
/// A text is YAML unless the field holds a text or may hold one. YAML of a wrong type stays a text, which the check of the
/// whole object refuses. Where no type is known, a text is YAML if upstream takes it for a map.
pub(super) fn read<'v>(object: &Object, elements: &[String], value: &'v Value) -> Cow<'v, Value> {
    let Value::String(text) = value else {
        return Cow::Borrowed(value);
    };
    let is_wanted = |parsed: &Value| match field_type(object, elements) {
        Some(Type::Any) | None => parsed.is_object() && looks_like_map(text),
        Some(Type::Text | Type::Bytes | Type::IntOrText | Type::Quantity) => false,
        Some(kind) => kind.holds(parsed),
    };
    let parsed = yaml::parse::<Value>(text).ok().filter(is_wanted);
    parsed.map_or(Cow::Borrowed(value), Cow::Owned)
}

/// Whether upstream takes a text for a map if it is one. JSON stays a text.
fn looks_like_map(text: &str) -> bool {
    !text.trim_start().starts_with('{') && text.contains(':')
}

/// The type of the field at these elements of an object; none if it is not known.
fn field_type(object: &Object, elements: &[String]) -> Option<&'static Type> {
    let types = types();
    let mut fields = Some(types.of_object(object)?);
    let mut found: Option<&Type> = None;
    for element in elements {
        found = match (fields.take(), found) {
            (Some(id), _) => types
                .get(id)
                .fields
                .get(element.as_str())
                .map(|field| &field.kind),
            (None, Some(Type::Map(inner) | Type::List(inner))) => Some(&**inner),
            _ => return None,
        };
        if let Some(Type::Struct(id)) = found {
            fields = Some(*id);
        }
    }
    found
}
