//! A strict check of a JSON value against the part of JSON Schema that our schemas use.
//!
//! Strict means that a field which the schema does not name is an error. A null is never one:
//! upstream reads it as absent. Fields that a schema calls required may be absent, because every
//! setting is laid over a default.

use serde_json::{Map, Value, json};

use crate::api::{FieldError, Path, format};

/// What the references of a schema mean.
#[derive(Clone, Copy)]
pub(super) struct Definitions<'a> {
    /// Kubernetes' types and those of our spec.
    pub types: &'a Value,
    /// The shapes of the charts' schema.
    pub shapes: &'a Map<String, Value>,
}

impl<'a> Definitions<'a> {
    fn get(&self, name: &str) -> Option<&'a Value> {
        self.shapes.get(name).or_else(|| self.types.get(name))
    }
}

/// Checks `value` against `node`, a schema whose references are found in `definitions`.
pub(super) fn check(
    definitions: Definitions,
    node: &Value,
    value: &Value,
    path: &Path,
    errors: &mut Vec<FieldError>,
) {
    if value.is_null() {
        return;
    }
    if let Some(reference) = node.get("$ref").and_then(Value::as_str) {
        let name = reference.strip_prefix("#/$defs/").unwrap_or(reference);
        if name.ends_with(".resource.Quantity") {
            let quantity = json!({"x-istio-format": "quantity"});
            check(definitions, &quantity, value, path, errors);
        } else if let Some(definition) = definitions.get(name) {
            check(definitions, definition, value, path, errors);
        }
        return;
    }
    if let Some(format) = node.get("x-istio-format").and_then(Value::as_str)
        && !format::holds(format, value)
    {
        errors.push(unlike(
            format::expected(format).unwrap_or(format),
            value,
            path,
        ));
        return;
    }
    if let Some(alternatives) = alternatives(node) {
        match alternatives.as_slice() {
            [only] => check(definitions, only, value, path, errors),
            _ => check_words(&alternatives, value, path, errors),
        }
        return;
    }
    if node.get("x-istio-scalar").is_some() && (value.is_object() || value.is_array()) {
        errors.push(unlike("a string or a number", value, path));
        return;
    }
    if node.get("x-kubernetes-int-or-string").is_some() {
        let number = value.as_i64().and_then(|n| i32::try_from(n).ok());
        if number.is_none() && !value.is_string() {
            errors.push(unlike("a whole number of 32 bits or a string", value, path));
        }
        return;
    }
    if let Some(Value::Array(words)) = node.get("enum") {
        let number = value.as_i64().is_some_and(|n| i32::try_from(n).is_ok());
        let numbered = node.get("x-istio-quoted").is_some() && number;
        if !numbered {
            check_words(&words.iter().collect::<Vec<_>>(), value, path, errors);
        }
        return;
    }
    match type_of(node) {
        Some("object") => check_object(definitions, node, value, path, errors),
        Some("array") => check_list(definitions, node, value, path, errors),
        Some("integer") => check_whole(node, value, path, errors),
        Some("boolean") if !value.is_boolean() => {
            errors.push(unlike("true or false", value, path));
        }
        Some("string") if !value.is_string() => errors.push(unlike("a string", value, path)),
        Some("number") if !is_number(node, value) => {
            errors.push(unlike("a number", value, path));
        }
        _ => {}
    }
}

fn check_object(
    definitions: Definitions,
    node: &Value,
    value: &Value,
    path: &Path,
    errors: &mut Vec<FieldError>,
) {
    let Value::Object(fields) = value else {
        errors.push(unlike("an object", value, path));
        return;
    };
    let known = node.get("properties").and_then(Value::as_object);
    let rest = node.get("additionalProperties");
    let open = match rest {
        Some(Value::Bool(open)) => *open,
        Some(_) => true,
        None => known.is_none() || node.get("x-kubernetes-preserve-unknown-fields").is_some(),
    };
    for (key, field) in fields {
        let path = path.key(key);
        match (declared(key, known, rest), rest) {
            (Some(node), _) => check(definitions, node, field, &path, errors),
            (None, Some(rest @ Value::Object(_))) => {
                check(definitions, rest, field, &path, errors);
            }
            (None, _) if open => {}
            (None, _) => errors.push(unknown(key, node, known, path)),
        }
    }
}

/// What the schema says of a field. Open objects are messages of protocol buffers, whose fields may
/// be written in snake case too.
fn declared<'n>(
    key: &str,
    known: Option<&'n Map<String, Value>>,
    rest: Option<&Value>,
) -> Option<&'n Value> {
    let known = known?;
    let is_message = rest == Some(&Value::Bool(true));
    let other_case = || is_message.then(|| known.get(&camel_case(key))).flatten();
    known.get(key).or_else(other_case)
}

/// `trustDomain` for `trust_domain`.
fn camel_case(key: &str) -> String {
    let mut words = key.split('_');
    let mut name = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        name.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        name.push_str(letters.as_str());
    }
    name
}

/// The value with the fields of messages in camel case, for checks that read them by name. Keys of
/// maps come out changed too, and no check reads those.
pub(super) fn in_camel_case(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let renamed = fields
                .iter()
                .map(|(key, field)| (camel_case(key), in_camel_case(field)));
            Value::Object(renamed.collect())
        }
        Value::Array(list) => list.iter().map(in_camel_case).collect(),
        scalar => scalar.clone(),
    }
}

fn check_list(
    definitions: Definitions,
    node: &Value,
    value: &Value,
    path: &Path,
    errors: &mut Vec<FieldError>,
) {
    let Value::Array(list) = value else {
        errors.push(unlike("a list", value, path));
        return;
    };
    if let Some(items) = node.get("items") {
        for (index, element) in list.iter().enumerate() {
            check(definitions, items, element, &path.index(index), errors);
        }
    }
}

fn check_whole(node: &Value, value: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let quoted = node.get("x-istio-quoted").is_some();
    let number = value
        .as_i64()
        .or_else(|| quoted.then(|| format::number(value)).flatten());
    let (low, high) = match node.get("format").and_then(Value::as_str) {
        Some("int32") => (i64::from(i32::MIN), i64::from(i32::MAX)),
        Some("uint32") => (0, i64::from(u32::MAX)),
        _ => (i64::MIN, i64::MAX),
    };
    let bound = |key: &str| node.get(key).and_then(Value::as_i64);
    let low = bound("minimum").map_or(low, |min| min.max(low));
    let high = bound("maximum").map_or(high, |max| max.min(high));
    match number {
        Some(number) if (low..=high).contains(&number) => {}
        Some(_) => {
            let expected = format!("a number from {low} to {high}");
            errors.push(unlike(&expected, value, path));
        }
        None => errors.push(unlike("a whole number", value, path)),
    }
}

fn check_words(words: &[&Value], value: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let word = |word: &&Value| word.get("const").unwrap_or(word).clone();
    let words: Vec<Value> = words.iter().map(word).collect();
    if !words.contains(value) {
        let texts: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
        let expected = format!("one of {}", texts.join(", "));
        errors.push(unlike(&expected, value, path));
    }
}

fn is_number(node: &Value, value: &Value) -> bool {
    let quoted = node.get("x-istio-quoted").is_some();
    let parses = |text: &str| text.parse::<f64>().is_ok();
    value.is_number() || (quoted && value.as_str().is_some_and(parses))
}

/// The schemas of `anyOf` or `oneOf` without the one that says null.
fn alternatives(node: &Value) -> Option<Vec<&Value>> {
    let list = node
        .get("anyOf")
        .or_else(|| node.get("oneOf"))?
        .as_array()?;
    Some(
        list.iter()
            .filter(|schema| schema.get("type") != Some(&"null".into()))
            .collect(),
    )
}

/// The type of a node; of `["boolean", "null"]` it is the first.
fn type_of(node: &Value) -> Option<&str> {
    match node.get("type")? {
        Value::Array(types) => types
            .iter()
            .filter_map(Value::as_str)
            .find(|name| *name != "null"),
        name => name.as_str(),
    }
}

/// The error of a field whose value is not of the expected kind.
pub(in crate::merge) fn unlike(expected: &str, found: &Value, path: &Path) -> FieldError {
    let problem = format!("expected {expected}, found {}", named(found));
    FieldError::new(path.clone(), problem)
}

/// A value in a few words; long texts are cut, because a status message has a limit.
fn named(value: &Value) -> String {
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

fn unknown(key: &str, node: &Value, known: Option<&Map<String, Value>>, path: Path) -> FieldError {
    let elsewhere = node
        .get("x-istio-other-minors")
        .and_then(|minors| minors.get(key));
    let names: Vec<&str> = known
        .into_iter()
        .flat_map(Map::keys)
        .map(String::as_str)
        .collect();
    let problem = match (elsewhere.and_then(Value::as_str), nearest(key, &names)) {
        (Some(minors), _) => format!("unknown field in this Istio version; it exists {minors}"),
        (None, Some(near)) => format!("unknown field, did you mean {near}?"),
        (None, None) if !names.is_empty() && names.len() <= 12 => {
            format!("unknown field; the known are {}", names.join(", "))
        }
        (None, None) => "unknown field".to_owned(),
    };
    FieldError::new(path, problem)
}

/// The name that `key` was most likely meant to be.
fn nearest<'n>(key: &str, names: &[&'n str]) -> Option<&'n str> {
    let length = key.chars().count();
    let most = 1.max(length / 3);
    let key = key.to_lowercase();
    // Words differ by at least as many letters as one is longer.
    let alike = |name: &&&str| name.chars().count().abs_diff(length) <= most;
    let compared = |name: &&'n str| (edits(&key, &name.to_lowercase()), *name);
    let nearest = names.iter().filter(alike).map(compared);
    let (edits, name) = nearest.min_by_key(|(edits, _)| *edits)?;
    (edits <= most).then_some(name)
}

/// How many letters have to be added, removed or changed to make one word of another.
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let changed = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}
