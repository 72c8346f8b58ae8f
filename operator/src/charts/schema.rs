//! The compact schema of `charts/schema/`, turned into JSON Schema for one minor.
//!
//! How its files are written, `shapes.yaml` says.

use serde_json::{Map, Value, json};

use crate::api::format;
use crate::catalogue::parse_minor;

/// The JSON Schemas of `values` and `meshConfig` in one minor, and what they refer to.
#[derive(Debug)]
pub struct ChartSchema {
    /// The schema of `spec.values`.
    pub values: Value,
    /// The schema of `meshConfig`.
    pub mesh: Value,
    /// The shapes of the file, by the name in their references.
    pub shapes: Map<String, Value>,
}

/// The files of the schema, by their stem.
pub(super) const FILES: [&str; 3] = ["shapes", "user-values", "mesh"];

/// Turns the content of [`FILES`] into what it means in `minor`; the error names a word that is no
/// type.
pub(super) fn compile(files: &[Value; 3], minor: u16) -> Result<ChartSchema, String> {
    let [shapes, values, mesh] = files;
    let shapes = shapes.as_object().ok_or("shapes is no map")?;
    let compiler = Compiler { shapes, minor };
    let named = shapes.iter().map(|(name, shape)| {
        let shape = compiler
            .node(shape)
            .map_err(|e| format!("shape {name}: {e}"))?;
        Ok((shape_key(name), shape))
    });
    Ok(ChartSchema {
        values: compiler.node(values)?,
        mesh: compiler.node(mesh)?,
        shapes: named.collect::<Result<_, String>>()?,
    })
}

fn shape_key(name: &str) -> String {
    format!("shape {name}")
}

struct Compiler<'a> {
    shapes: &'a Map<String, Value>,
    minor: u16,
}

/// The minors that know a field.
#[derive(Default)]
struct Gate {
    since: Option<u16>,
    until: Option<u16>,
}

impl Compiler<'_> {
    fn node(&self, written: &Value) -> Result<Value, String> {
        match written {
            Value::String(words) => {
                let words = gate_of_words(words).0;
                let needed = words.strip_suffix(" needed");
                let mut node = self.words(needed.unwrap_or(words))?;
                if needed.is_some() {
                    node["x-istio-needed"] = true.into();
                }
                Ok(node)
            }
            Value::Object(fields) => self.object(fields),
            other => Err(format!("{other} is no type")),
        }
    }

    fn object(&self, written: &Map<String, Value>) -> Result<Value, String> {
        let mut properties = Map::new();
        let mut elsewhere = Map::new();
        for (key, field) in self.fields(written) {
            let gate = gate_of(field)?;
            if gate.holds(self.minor) {
                let node = self.node(field).map_err(|e| format!("{key}: {e}"))?;
                properties.insert(key.clone(), node);
            } else {
                elsewhere.insert(key.clone(), gate.text().into());
            }
        }
        let says = |key: &str| written.get(key) == Some(&Value::Bool(true));
        let mut node = json!({
            "type": "object",
            "additionalProperties": says(".open"),
            "x-istio-needed": !says(".optional"),
        });
        // The macro would copy these, and so the lowest level once for each that stands above it.
        node["properties"] = Value::Object(properties);
        node["x-istio-other-minors"] = Value::Object(elsewhere);
        Ok(node)
    }

    /// The fields of an object: those of the shape that it starts with, and its own.
    fn fields<'w>(&'w self, written: &'w Map<String, Value>) -> Vec<(&'w String, &'w Value)> {
        let shape = written.get(".with").and_then(Value::as_str);
        let shape = shape.and_then(|name| self.shapes.get(name)?.as_object());
        let mut fields = shape.map_or_else(Vec::new, |shape| self.fields(shape));
        fields.extend(written.iter().filter(|(key, _)| !key.starts_with('.')));
        fields
    }

    fn words(&self, words: &str) -> Result<Value, String> {
        if let Some(element) = words.strip_prefix("list of ") {
            return Ok(json!({"type": "array", "items": self.words(element)?}));
        }
        if let Some(value) = words.strip_prefix("map of ") {
            return Ok(json!({"type": "object", "additionalProperties": self.words(value)?}));
        }
        if let Some(list) = words.strip_prefix("one of ") {
            let list = list
                .split(' ')
                .map(|word| word.split_once('@').unwrap_or((word, "")));
            let known = |since: &str| parse_minor(since).is_none_or(|since| since <= self.minor);
            let list: Vec<&str> = list
                .filter(|(_, since)| known(since))
                .map(|(word, _)| word)
                .collect();
            return Ok(json!({"enum": list, "x-istio-quoted": true}));
        }
        if let Some(bounds) = words.strip_prefix("integer from ") {
            let (low, high) = bounds.split_once(" to ").unwrap_or((bounds, "2147483647"));
            let bound = |text: &str| {
                text.parse::<i64>()
                    .map_err(|error| format!("{text:?}: {error}"))
            };
            let mut node = self.words("integer")?;
            (node["minimum"], node["maximum"]) = (bound(low)?.into(), bound(high)?.into());
            return Ok(node);
        }
        if let Some(name) = words.strip_prefix("k8s ") {
            let name = match name.strip_prefix("meta.") {
                Some(name) => format!("io.k8s.apimachinery.pkg.apis.meta.{name}"),
                None => format!("io.k8s.api.{name}"),
            };
            return Ok(json!({"$ref": format!("#/$defs/{name}")}));
        }
        if let Some(name) = words.strip_prefix("shape ") {
            let known = self.shapes.contains_key(name);
            let reference = json!({"$ref": format!("#/$defs/{}", shape_key(name))});
            return known
                .then_some(reference)
                .ok_or_else(|| format!("no shape {name}"));
        }
        Ok(match words {
            "any" => json!({}),
            "bool" => json!({"type": "boolean"}),
            "count" => json!({"type": "integer", "format": "uint32", "x-istio-quoted": true}),
            "int-or-string" => json!({"x-kubernetes-int-or-string": true}),
            "integer" => json!({"type": "integer", "format": "int32", "x-istio-quoted": true}),
            "number" => json!({"type": "number", "x-istio-quoted": true}),
            "object" => json!({"type": "object"}),
            "scalar" => json!({"x-istio-scalar": true}),
            "string" => json!({"type": "string"}),
            name if let Some(expected) = format::expected(name) => {
                json!({"x-istio-format": name, "description": format!("Expects {expected}.")})
            }
            other => return Err(format!("{other:?} is no type")),
        })
    }
}

impl Gate {
    fn holds(&self, minor: u16) -> bool {
        self.since.is_none_or(|since| since <= minor)
            && self.until.is_none_or(|until| minor <= until)
    }

    fn text(&self) -> String {
        let side = |word: &str, minor: Option<u16>| minor.map(|minor| format!("{word} 1.{minor}"));
        let sides = [side("since", self.since), side("until", self.until)];
        sides.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}

fn gate_of(field: &Value) -> Result<Gate, String> {
    let (since, until) = match field {
        Value::String(words) => gate_of_words(words).1,
        other => {
            let side = |key: &str| other.get(key).and_then(Value::as_str);
            (side(".since"), side(".until"))
        }
    };
    let minor = |text: &str| parse_minor(text).ok_or_else(|| format!("{text:?} is no minor"));
    Ok(Gate {
        since: since.map(minor).transpose()?,
        until: until.map(minor).transpose()?,
    })
}

/// The type of a word, and what stands after ` since ` and ` until `.
fn gate_of_words(words: &str) -> (&str, (Option<&str>, Option<&str>)) {
    let (rest, until) = split_tail(words, " until ");
    let (word, since) = split_tail(rest, " since ");
    (word, (since, until))
}

fn split_tail<'w>(words: &'w str, separator: &str) -> (&'w str, Option<&'w str>) {
    words
        .split_once(separator)
        .map_or((words, None), |(word, tail)| (word, Some(tail)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::charts::Charts;

    #[test]
    fn every_minor_compiles_and_every_reference_leads_somewhere() {
        fn references(node: &Value, found: &mut Vec<String>) {
            match node {
                Value::Object(map) => {
                    found.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
                    map.values().for_each(|node| references(node, found));
                }
                Value::Array(list) => list.iter().for_each(|node| references(node, found)),
                _ => {}
            }
        }
        let charts = Charts::embedded().unwrap();
        let kubernetes = &crate::api::strict_schema()["$defs"];
        for release in charts.catalogue().releases() {
            let schema = charts.schema(release.version.minor).unwrap();
            let mut found = Vec::new();
            references(&schema.values, &mut found);
            references(&schema.mesh, &mut found);
            schema
                .shapes
                .values()
                .for_each(|shape| references(shape, &mut found));
            for reference in found {
                let name = reference.strip_prefix("#/$defs/").unwrap();
                let known = schema.shapes.contains_key(name) || kubernetes.get(name).is_some();
                assert!(known, "{reference}");
            }
        }
    }

    #[test]
    fn gates_move_fields_out() {
        let charts = Charts::embedded().unwrap();
        let policy = |minor| charts.schema(minor).unwrap().values["properties"]["global"].clone();
        assert!(policy(28)["properties"].get("networkPolicy").is_some());
        assert!(policy(27)["properties"].get("networkPolicy").is_none());
        assert_eq!(
            policy(27)["x-istio-other-minors"]["networkPolicy"],
            "since 1.28"
        );
    }

    #[test]
    fn a_wrong_word_is_named() {
        let files = [json!({}), json!({"a": {"b": "boolean"}}), json!({})];
        assert_eq!(
            compile(&files, 31).unwrap_err(),
            "a: b: \"boolean\" is no type"
        );
    }
}
