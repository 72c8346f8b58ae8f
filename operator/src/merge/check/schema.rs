//! A strict check of a JSON value against the part of JSON Schema that our schemas use.
//!
//! Strict means that a field which the schema does not name is an error. A null is never one: upstream reads it as absent.
//! Fields that a schema calls required may be absent, because every setting is laid over a default.

use serde_json::{Map, Value, json};

use super::Findings;
use super::wording::{
    as_list, in_quotes, unknown_field, unknown_mesh_setting, unlike, version_in_quotes,
};
use crate::api::{Path, format};
use crate::catalogue::Version;

/// The schemas that references lead to.
#[derive(Clone, Copy)]
pub(in crate::merge) struct Definitions<'a> {
    /// The types of Kubernetes and of our spec.
    pub types: &'a Value,
    /// The shapes of the charts' schema.
    pub shapes: &'a Map<String, Value>,
}

impl<'a> Definitions<'a> {
    /// The schema that a node refers to, or the node itself.
    fn resolved(&self, node: &'a Value) -> &'a Value {
        if let Some([only]) = alternatives(node).as_deref() {
            return self.resolved(only);
        }
        let reference = node.get("$ref").and_then(Value::as_str);
        let name = reference.and_then(|reference| reference.strip_prefix("#/$defs/"));
        name.and_then(|name| self.get(name)).unwrap_or(node)
    }

    /// Whether a value could be what the schema `node` describes: it is of its type, and an object has no other fields.
    pub(in crate::merge) fn could_be(&self, node: &'a Value, value: &Value) -> bool {
        let node = self.resolved(node);
        match type_of(node) {
            Some("object") => {
                let known = node.get("properties").and_then(Value::as_object);
                let rest = node.get("additionalProperties");
                let is_known = |key: &String| {
                    known.is_none_or(|known| declared(key, Some(known), rest).is_some())
                };
                value
                    .as_object()
                    .is_some_and(|fields| fields.keys().all(is_known))
            }
            Some("array") => value.is_array(),
            Some("boolean") => value.is_boolean(),
            Some("string") => value.is_string(),
            _ => !value.is_object() && !value.is_array(),
        }
    }

    fn get(&self, name: &str) -> Option<&'a Value> {
        self.shapes.get(name).or_else(|| self.types.get(name))
    }
}

/// What is known where mesh settings are checked.
pub(super) struct Mesh<'a> {
    /// The version that reads them.
    pub version: Version,
    /// Where settings of proxies may stand, and the schema of each place.
    pub homes: [(&'static str, &'a Value); 3],
}

/// Checks values against schemas and keeps what it finds.
pub(super) struct Checker<'a> {
    /// The schemas that references lead to.
    pub definitions: Definitions<'a>,
    /// Set for mesh settings: a field that the messages of this version do not have is a warning. istiod ignores it, and
    /// a newer patch release may know it.
    pub mesh: Option<&'a Mesh<'a>>,
    /// Where errors and warnings are kept.
    pub findings: &'a mut Findings,
}

impl Checker<'_> {
    /// Checks `value` against `node`, a schema.
    pub fn check(&mut self, node: &Value, value: &Value, path: &Path) {
        if value.is_null() {
            return;
        }
        if let Some(reference) = node.get("$ref").and_then(Value::as_str) {
            let name = reference.strip_prefix("#/$defs/").unwrap_or(reference);
            if name.ends_with(".resource.Quantity") {
                self.check(&json!({"x-istio-format": "quantity"}), value, path);
            } else if let Some(definition) = self.definitions.get(name) {
                self.check(definition, value, path);
            }
            return;
        }
        if let Some(format) = node.get("x-istio-format").and_then(Value::as_str)
            && !format::holds(format, value)
        {
            let hint = format_hint(format, value, path);
            self.refuse_with_hint(
                format::expected(format).unwrap_or(format),
                value,
                path,
                &hint,
            );
            return;
        }
        if let Some(alternatives) = alternatives(node) {
            match alternatives.as_slice() {
                [only] => self.check(only, value, path),
                _ => self.check_words(&alternatives, value, path),
            }
            return;
        }
        if node.get("x-istio-scalar").is_some() && (value.is_object() || value.is_array()) {
            self.refuse("a string or a number", value, path);
            return;
        }
        if node.get("x-kubernetes-int-or-string").is_some() {
            let number = value.as_i64().and_then(|n| i32::try_from(n).ok());
            if number.is_none() && !value.is_string() {
                self.refuse("a whole number of 32 bits or a string", value, path);
            }
            return;
        }
        if let Some(Value::Array(words)) = node.get("enum") {
            let number = value.as_i64().is_some_and(|n| i32::try_from(n).is_ok());
            let numbered = node.get("x-istio-quoted").is_some() && number;
            if !numbered {
                self.check_words(&words.iter().collect::<Vec<_>>(), value, path);
            }
            return;
        }
        match type_of(node) {
            Some("object") => self.check_object(node, value, path),
            Some("array") => self.check_list(node, value, path),
            Some("integer") => self.check_whole(node, value, path),
            Some("boolean") if !value.is_boolean() => self.refuse("true or false", value, path),
            Some("string") if !value.is_string() => {
                self.refuse_with_hint("a string", value, path, &in_quotes(value, path));
            }
            Some("number") if !is_number(node, value) => self.refuse("a number", value, path),
            _ => {}
        }
    }

    fn refuse(&mut self, expected: &str, found: &Value, path: &Path) {
        self.findings.errors.push(unlike(expected, found, path));
    }

    /// Refuses a value and tells what to write instead.
    fn refuse_with_hint(&mut self, expected: &str, found: &Value, path: &Path, hint: &str) {
        let mut error = unlike(expected, found, path);
        error.problem += hint;
        self.findings.errors.push(error);
    }

    fn check_object(&mut self, node: &Value, value: &Value, path: &Path) {
        let Value::Object(fields) = value else {
            return self.refuse("an object", value, path);
        };
        let known = node.get("properties").and_then(Value::as_object);
        let rest = node.get("additionalProperties");
        let is_open = match rest {
            Some(Value::Bool(open)) => *open,
            Some(_) => true,
            None => known.is_none() || node.get("x-kubernetes-preserve-unknown-fields").is_some(),
        };
        for (key, field) in fields {
            let path = path.key(key);
            match (declared(key, known, rest), rest) {
                (Some(node), _) => self.check(node, field, &path),
                (None, Some(rest @ Value::Object(_))) => self.check(rest, field, &path),
                (None, _) if !is_open => {
                    self.findings.errors.push(unknown_field(key, node, path));
                }
                (None, _) => {
                    let mesh = self.mesh.filter(|_| known.is_some());
                    // A removed setting has a warning that says more.
                    let warnings = &self.findings.warnings;
                    if let Some(mesh) = mesh
                        && warnings.iter().all(|warning| warning.path != path)
                    {
                        let warning = unknown_mesh_setting(&camel_case(key), node, mesh, path);
                        self.findings.warnings.push(warning);
                    }
                }
            }
        }
    }

    fn check_list(&mut self, node: &Value, value: &Value, path: &Path) {
        let Value::Array(list) = value else {
            let items = node
                .get("items")
                .map(|items| self.definitions.resolved(items));
            let hint = as_list(value, items.unwrap_or(&Value::Null), path);
            return self.refuse_with_hint("a list", value, path, &hint);
        };
        if let Some(items) = node.get("items") {
            for (index, element) in list.iter().enumerate() {
                self.check(items, element, &path.index(index));
            }
        }
    }

    fn check_whole(&mut self, node: &Value, value: &Value, path: &Path) {
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
            Some(_) => self.refuse(&format!("a number from {low} to {high}"), value, path),
            None => self.refuse("a whole number", value, path),
        }
    }

    fn check_words(&mut self, words: &[&Value], value: &Value, path: &Path) {
        let word = |word: &&Value| word.get("const").unwrap_or(word).clone();
        let words: Vec<Value> = words.iter().map(word).collect();
        if !words.contains(value) {
            let texts: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
            self.refuse(&format!("one of {}", texts.join(", ")), value, path);
        }
    }
}

/// The schema of a field of an object. Open objects are messages of protocol buffers, whose fields may be written in snake
/// case too.
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
pub(in crate::merge) fn camel_case(key: &str) -> String {
    let mut words = key.split('_');
    let mut name = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        name.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        name.push_str(letters.as_str());
    }
    name
}

/// The value with the fields of messages in camel case, for checks that read them by name. It changes the keys of maps too,
/// which no check reads.
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

/// What to write in place of a value that is not of a format, where that can be told.
fn format_hint(format: &str, found: &Value, path: &Path) -> String {
    let is_digest = found.as_str().is_some_and(|text| text.contains("@sha256:"));
    match format {
        "version" => version_in_quotes(found, path),
        "tag" if is_digest => "; a digest belongs to one image: write the whole name of each image with its own digest, such as \
                               values.pilot.image: registry.example.org/pilot@sha256:.. and values.global.proxy.image"
            .to_owned(),
        "cidr-list" | "port-list" if found.is_array() => in_quotes(found, path),
        _ if format::holds(format, &found.to_string().into()) => in_quotes(found, path),
        _ => String::new(),
    }
}

fn is_number(node: &Value, value: &Value) -> bool {
    let quoted = node.get("x-istio-quoted").is_some();
    let parses = |text: &str| text.parse::<f64>().is_ok();
    value.is_number() || (quoted && value.as_str().is_some_and(parses))
}

/// The schemas of `anyOf` or `oneOf`, without the one of null.
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

/// The type of a node: `boolean` of `["boolean", "null"]`.
fn type_of(node: &Value) -> Option<&str> {
    match node.get("type")? {
        Value::Array(types) => types
            .iter()
            .filter_map(Value::as_str)
            .find(|name| *name != "null"),
        name => name.as_str(),
    }
}
