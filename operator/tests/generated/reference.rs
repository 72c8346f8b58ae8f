//! The reference of the resource, `docs/reference.md`, is made from the types. `UPDATE=1` rewrites it.

use std::collections::{BTreeSet, VecDeque};
use std::fmt::Write as _;

use istio_operator::api::{documented_schema, generated_crd};
use serde_json::Value;

use super::is_current;

/// What the names of Kubernetes' own types begin with.
const KUBERNETES: &str = "io.k8s.";

const HEAD: &str = "# Reference of IstioOperator

Made from the types of the operator. `values` and `meshConfig` differ between the minors: `istio-operator values` lists their fields. A type
without a link is one of Kubernetes.
";

#[test]
fn the_checked_in_reference_is_current() {
    let text = reference();
    is_current("../docs/reference.md", &text);
}

fn reference() -> String {
    let schema = documented_schema();
    let mut text = HEAD.to_owned();
    text += &section("spec", &schema);
    let (mut next, mut told) = (links(&schema), BTreeSet::new());
    while let Some(name) = next.pop_front() {
        if told.insert(name.clone()) {
            let node = &schema["$defs"][&name];
            text += &section(&name, node);
            next.extend(links(node));
        }
    }
    let crd = serde_json::to_value(generated_crd()).unwrap();
    let status = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"];
    text += "\n## status\n\n| field | type | what it says |\n|---|---|---|\n";
    rows("", status, &mut text);
    text
}

/// The section of a type: what it is, and a table of its fields or of its words.
fn section(name: &str, node: &Value) -> String {
    let mut text = format!("\n## {name}\n");
    if let Some(told) = described(node) {
        let _ = write!(text, "\n{told}\n");
    }
    if let Some(fields) = node["properties"].as_object() {
        text += "\n| field | type | what it does |\n|---|---|---|\n";
        for (field, node) in fields {
            let told = described(node).unwrap_or_default();
            let _ = writeln!(text, "| `{field}` | {} | {told} |", type_of(node));
        }
        return text;
    }
    let words = node["oneOf"].as_array().into_iter().flatten();
    let words: Vec<_> = words.filter(|word| word["const"].is_string()).collect();
    if !words.is_empty() {
        text += "\n| value | what it means |\n|---|---|\n";
    }
    for word in words {
        let told = described(word).unwrap_or_default();
        let _ = writeln!(text, "| `{}` | {told} |", word["const"].as_str().unwrap());
    }
    text
}

fn described(node: &Value) -> Option<String> {
    let text = node["description"].as_str()?;
    let text = text.split("\n\n").next().unwrap_or_default();
    Some(text.replace('\n', " ").replace('|', "\\|"))
}

/// The name of the type that a node refers to, if it does.
fn referred(node: &Value) -> Option<&str> {
    let any = node["anyOf"].as_array().into_iter().flatten();
    let mut nodes = std::iter::once(node).chain(any);
    nodes.find_map(|node| node["$ref"].as_str()?.strip_prefix("#/$defs/"))
}

/// The types of ours that the fields of a node have.
fn links(node: &Value) -> VecDeque<String> {
    let fields = node["properties"].as_object().into_iter().flatten();
    let names = fields.filter_map(|(_, node)| {
        let name = referred(node).or_else(|| referred(&node["items"]))?;
        (!name.starts_with(KUBERNETES)).then(|| name.to_owned())
    });
    names.collect()
}

/// What a field holds, with a link to its section.
fn type_of(node: &Value) -> String {
    let named = |name: &str| match name.strip_prefix(KUBERNETES) {
        Some(name) => name.rsplit('.').next().unwrap_or_default().to_owned(),
        None => format!("[{name}](#{})", name.to_lowercase()),
    };
    if let Some(name) = referred(node) {
        return named(name);
    }
    let types = match &node["type"] {
        Value::Array(types) => types.clone(),
        one => vec![one.clone()],
    };
    let mut types = types
        .iter()
        .filter_map(Value::as_str)
        .filter(|name| *name != "null");
    match types.next() {
        Some("array") => format!("list of {}", type_of(&node["items"])),
        Some(name) => name.to_owned(),
        None => "any".to_owned(),
    }
}

/// A row for each field of a status, with its whole path.
fn rows(path: &str, node: &Value, text: &mut String) {
    for (field, node) in node["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() {
            field.clone()
        } else {
            format!("{path}.{field}")
        };
        let told = described(node).unwrap_or_default();
        let _ = writeln!(text, "| `{path}` | {} | {told} |", type_of(node));
        rows(&path, node, text);
        rows(&format!("{path}[]"), &node["items"], text);
        if node["additionalProperties"].is_object() {
            rows(&format!("{path}.*"), &node["additionalProperties"], text);
        }
    }
}
