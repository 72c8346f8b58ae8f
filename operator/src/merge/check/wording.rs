//! How errors and warnings name what they found, and what the author may have meant.

use serde_json::{Map, Value};

use super::schema::Mesh;
use crate::api::{FieldError, Path, Warning, strict_schema};

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

/// What to write in place of a number, a boolean or a list of texts where a text belongs; nothing for any other value.
pub(super) fn in_quotes(found: &Value, path: &Path) -> String {
    if let Value::Array(list) = found {
        let texts: Option<Vec<&str>> = list.iter().map(Value::as_str).collect();
        let text = texts.unwrap_or_default().join(",");
        // A directive of Kubernetes is no text that was meant to be one.
        let is_short = (1..=100).contains(&text.len()) && !path.last().starts_with('$');
        let hint = format!("; write one text: {}", entry(path, &format!("\"{text}\"")));
        return Some(hint).filter(|_| is_short).unwrap_or_default();
    }
    if !found.is_number() && !found.is_boolean() {
        return String::new();
    }
    format!(
        "; put it in quotes: {}",
        entry(path, &format!("\"{found}\""))
    )
}

/// The same for an Istio version. YAML reads 1.30 without quotes as the number 1.3, and no minor that we know has one digit.
pub(super) fn version_in_quotes(found: &Value, path: &Path) -> String {
    let text = found.to_string();
    let is_cut = text
        .split_once('.')
        .is_some_and(|(_, minor)| minor.len() == 1);
    if found.is_number() && is_cut {
        format!(
            "; put it in quotes: {}",
            entry(path, &format!("\"{text}0\""))
        )
    } else {
        in_quotes(found, path)
    }
}

/// What to write in place of a text or an object where a list of `items` belongs.
pub(super) fn as_list(found: &Value, items: &Value, path: &Path) -> String {
    let fields = names(items);
    let list = match found {
        Value::String(text) if fields.is_empty() && text.len() <= 100 => {
            let elements = text.trim_matches(['{', '}', '[', ']']).split(',');
            let elements = elements
                .map(str::trim)
                .filter(|element| !element.is_empty());
            elements.collect::<Vec<_>>().join(", ")
        }
        Value::Object(found) if found.keys().all(|key| fields.contains(&key.as_str())) => {
            // A name tells which element is meant; other values may be secret.
            let field = |(key, value): (&String, &Value)| match value.as_str() {
                Some(name) if key == "name" => format!("{key}: {name}"),
                _ => format!("{key}: .."),
            };
            let fields: Vec<String> = found.iter().map(field).collect();
            format!("{{{}}}", fields.join(", "))
        }
        Value::Object(found) if fields.contains(&"value") => {
            let elements = found.keys().take(3);
            let elements: Vec<String> = elements
                .map(|key| format!("{{name: {key}, value: ..}}"))
                .collect();
            elements.join(", ")
        }
        _ => return String::new(),
    };
    format!("; write a list: {}", entry(path, &format!("[{list}]")))
}

/// A line of YAML that gives the field at `path` a value.
fn entry(path: &Path, value: &str) -> String {
    match path.last() {
        element if element.ends_with(']') => value.to_owned(),
        key => format!("{key}: {value}"),
    }
}

/// The error of a field that the object schema `node` does not have.
pub(super) fn unknown_field(key: &str, node: &Value, path: Path) -> FieldError {
    let names = names(node);
    if names.contains(&"k8s") && k8s_fields().contains(&key) {
        return FieldError::new(path, format!("unknown field; write k8s.{key} instead"));
    }
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
pub(super) fn unknown_mesh_setting(key: &str, node: &Value, mesh: &Mesh, path: Path) -> Warning {
    let mut homes = mesh.homes.iter();
    let home = homes.find(|(_, node)| names(node).contains(&key));
    let near = home.map(|(home, _)| format!("{home}.{key}"));
    let near = near.or_else(|| nearest(key, &names(node)).map(str::to_owned));
    let hint = match (other_minors(key, node), near) {
        (Some(minors), _) => format!("; it is known {minors}"),
        (None, Some(near)) => format!("; did you mean {near}?"),
        (None, None) => String::new(),
    };
    let minor = mesh.version.minor_text();
    let text = format!("is not a known mesh setting of Istio {minor}{hint}");
    Warning::new(path, text)
}

/// The names of the fields of an object schema.
fn names(node: &Value) -> Vec<&str> {
    let known = node.get("properties").and_then(Value::as_object);
    let names = known.into_iter().flat_map(Map::keys);
    names.map(String::as_str).collect()
}

/// The names of the fields of a `k8s` block.
fn k8s_fields() -> Vec<&'static str> {
    names(&strict_schema()["$defs"]["KubernetesResources"])
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
