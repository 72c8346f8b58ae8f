//! How errors and warnings name what they found, and what the author may have meant.

use serde_json::{Map, Value};

use crate::api::{FieldError, Path, Warning};
use crate::catalogue::Version;

/// The error of a field whose value is not of the expected kind.
pub(in crate::merge) fn unlike(expected: &str, found: &Value, path: &Path) -> FieldError {
    let problem = format!("expected {expected}, found {}", named(found));
    FieldError::new(path.clone(), problem)
}

/// A value in a few words. Long strings are cut, because a status message has a limit.
pub(crate) fn named(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) if text.chars().count() > 40 => {
            let start: String = text.chars().take(40).collect();
            format!("the string {:?}", start + "…")
        }
        Value::String(text) => format!("the string {text:?}"),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

/// The error of a field that the object schema `node` does not have.
pub(super) fn unknown_field(key: &str, node: &Value, path: Path) -> FieldError {
    let names = names(node);
    let problem = match (other_minors(key, node), nearest(key, &names)) {
        (Some(minors), _) => format!("unknown field in this Istio version; it exists {minors}"),
        (None, Some(near)) => format!("unknown field, did you mean {near}?"),
        (None, None) if !names.is_empty() && names.len() <= 12 => {
            format!("unknown field; the known are {}", names.join(", "))
        }
        (None, None) => "unknown field".to_owned(),
    };
    FieldError::new(path, problem)
}

/// The warning about a mesh setting that the object schema `node` does not have. `key` is its name in camel case.
pub(super) fn unknown_mesh_setting(
    key: &str,
    node: &Value,
    version: Version,
    path: Path,
) -> Warning {
    let hint = match (other_minors(key, node), nearest(key, &names(node))) {
        (Some(minors), _) => format!("; it is known {minors}"),
        (None, Some(near)) => format!("; did you mean {near}?"),
        (None, None) => String::new(),
    };
    let minor = version.minor_text();
    let text = format!("is not a known mesh setting of Istio {minor}{hint}");
    Warning::new(path, text)
}

/// The names of the fields of an object schema.
fn names(node: &Value) -> Vec<&str> {
    let known = node.get("properties").and_then(Value::as_object);
    let names = known.into_iter().flat_map(Map::keys);
    names.map(String::as_str).collect()
}

/// The minors in which an object schema has a field that it lacks in this minor, such as `since 1.29`.
fn other_minors<'n>(key: &str, node: &'n Value) -> Option<&'n str> {
    node.get("x-istio-other-minors")?.get(key)?.as_str()
}

/// The name that `key` was most likely meant to be: at most a third of its letters are missing, wrong, surplus or swapped
/// with their neighbours.
pub(crate) fn nearest<'n>(key: &str, names: &[&'n str]) -> Option<&'n str> {
    let length = key.chars().count();
    let most = 1.max(length / 3);
    let key = key.to_lowercase();
    // Two words are at least as far apart as one is longer than the other. This spares comparing very long keys.
    let is_alike = |name: &&&str| name.chars().count().abs_diff(length) <= most;
    let distance = |name: &&'n str| (strsim::osa_distance(&key, &name.to_lowercase()), *name);
    let nearest = names.iter().filter(is_alike).map(distance);
    let (distance, name) = nearest.min_by_key(|(distance, _)| *distance)?;
    (distance <= most).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_slip_of_the_pen_is_corrected() {
        let names = ["hub", "tag", "enabled", "accessLogFile", "accessLogFormat"];
        for (key, expected) in [
            ("accesLogFile", Some("accessLogFile")),
            ("accessLogFormt", Some("accessLogFormat")),
            ("ACCESSLOGFILE", Some("accessLogFile")),
            ("enbaled", Some("enabled")),
            ("hbu", Some("hub")),
            ("hab", Some("hub")),
            ("tagged", None),
            ("mesh", None),
            ("", None),
        ] {
            assert_eq!(nearest(key, &names), expected, "{key}");
        }
    }

    #[test]
    fn long_strings_are_cut() {
        let error = unlike("a number", &"x".repeat(1000).into(), &Path::root("spec"));
        assert_eq!(
            error.problem,
            format!(
                "expected a number, found the string \"{}…\"",
                "x".repeat(40)
            )
        );
    }
}
