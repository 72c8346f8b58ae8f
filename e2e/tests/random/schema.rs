//! Random values that fit a schema.

use istio_operator::{
    api::strict_schema,
    charts::{ChartSchema, Charts},
};
use serde_json::{Map, Value, json};

use super::samples::{self, Sample};
use fastrand::Rng;

/// Deeper than this, only what a type requires is filled in.
const DEEPEST: usize = 9;

/// Draws values from the schemas of one minor.
pub struct Sampler<'a> {
    pub rng: Rng,
    pub charts: &'a Charts,
    pub minor: u16,
    /// A key below which about half of all fields are set. Bugs need several settings of one template at once, which a
    /// few fields chosen from everywhere seldom are.
    pub dense: &'static str,
}

impl<'a> Sampler<'a> {
    pub fn new(rng: Rng, charts: &'a Charts, minor: u16) -> Self {
        Self {
            rng,
            charts,
            minor,
            dense: "",
        }
    }

    pub fn schema(&self) -> &'a ChartSchema {
        self.charts.schema(self.minor).unwrap()
    }

    /// The schema behind a name of `$defs`.
    fn definition(&self, name: &str) -> Option<&'a Value> {
        let shapes = &self.schema().shapes;
        shapes
            .get(name)
            .or_else(|| strict_schema()["$defs"].get(name))
    }

    /// A value by the schema alone, without samples.
    pub fn value_inside(&mut self, node: &Value, place: &mut Vec<String>) -> Option<Value> {
        self.object(node, place)
    }

    /// A value for the field at `place`, the keys from the CR's root; none if neither samples nor schema give one.
    pub fn value(&mut self, node: &Value, place: &mut Vec<String>) -> Option<Value> {
        match samples::at(place, &mut self.rng) {
            Sample::Value(value) => return Some(value),
            Sample::Never => return None,
            Sample::Unknown => {}
        }
        if let Some(reference) = node.get("$ref").and_then(Value::as_str) {
            let name = reference.strip_prefix("#/$defs/").unwrap_or(reference);
            if name.ends_with(".resource.Quantity") {
                return samples::format("quantity", &mut self.rng);
            }
            return self.value(self.definition(name)?, place);
        }
        if let Some(format) = node.get("x-istio-format").and_then(Value::as_str) {
            return samples::format(format, &mut self.rng);
        }
        if let Some(either) = node.get("anyOf").or_else(|| node.get("oneOf")) {
            let either = either.as_array()?.iter();
            let typed: Vec<&Value> = either.filter(|n| n["type"] != "null").collect();
            let chosen = *typed.get(self.rng.usize(..typed.len()))?;
            return match chosen.get("const") {
                Some(word) => Some(word.clone()),
                None => self.value(chosen, place),
            };
        }
        if let Some(Value::Array(words)) = node.get("enum") {
            return words.get(self.rng.usize(..words.len())).cloned();
        }
        if node.get("x-istio-scalar").is_some() {
            return Some(samples::word(&mut self.rng));
        }
        if node.get("x-kubernetes-int-or-string").is_some() {
            let choices = [json!(1), json!(0), json!("25%"), json!("100%")];
            return Some(choices[self.rng.usize(..choices.len())].clone());
        }
        let kind = match &node["type"] {
            Value::Array(types) => types.iter().find(|t| **t != "null")?.as_str()?,
            kind => kind.as_str()?,
        };
        match kind {
            "object" => self.object(node, place),
            "array" => self.list(node, place),
            "boolean" => Some((self.rng.usize(..2) == 0).into()),
            "integer" => {
                let bound = |key: &str, otherwise| node[key].as_i64().unwrap_or(otherwise);
                let (low, high) = (bound("minimum", 0), bound("maximum", i64::MAX));
                let number = samples::number(place, &mut self.rng).clamp(low, high);
                let quoted = node.get("x-istio-quoted").is_some() && self.rng.usize(..8) == 0;
                Some(if quoted {
                    number.to_string().into()
                } else {
                    number.into()
                })
            }
            "number" => Some(json!([0, 1, 25, 100][self.rng.usize(..4)])),
            "string" => Some(samples::text(&mut self.rng)),
            _ => None,
        }
    }

    /// Some of the fields of an object; the deeper it is, the fewer.
    fn object(&mut self, node: &Value, place: &mut Vec<String>) -> Option<Value> {
        let mut object = Map::new();
        if let Some(Value::Object(fields)) = node.get("properties") {
            let required = node.get("required").and_then(Value::as_array);
            let wanted = if place.iter().any(|key| key == self.dense) {
                1 + fields.len() / 2
            } else {
                2 + self.rng.usize(..(if place.len() < 5 { 6 } else { 3 }))
            };
            for (key, field) in fields {
                let needed = key == self.dense
                    || required.is_some_and(|keys| keys.contains(&key.as_str().into()));
                let room = place.len() < DEEPEST;
                if needed || (room && self.rng.usize(..fields.len()) < wanted) {
                    place.push(key.clone());
                    let value = self.value(field, place);
                    place.pop();
                    // In an object that is merged into a chart's, a null removes what the chart sets.
                    let laid_over = place.iter().any(|key| key == "components");
                    let value = match value {
                        Some(_) if laid_over && !needed && self.rng.usize(..40) == 0 => {
                            Some(Value::Null)
                        }
                        value => value,
                    };
                    object.extend(value.map(|value| (key.clone(), value)));
                }
            }
            return Some(Value::Object(object));
        }
        let element = node.get("additionalProperties").filter(|n| n.is_object())?;
        for _ in 0..self.rng.usize(..3) {
            let key = samples::key(place, &mut self.rng);
            place.push(key.to_owned());
            object.extend(
                self.value(element, place)
                    .map(|value| (key.to_owned(), value)),
            );
            place.pop();
        }
        Some(Value::Object(object))
    }

    fn list(&mut self, node: &Value, place: &mut Vec<String>) -> Option<Value> {
        let element = node.get("items")?;
        let longest = if place.len() < DEEPEST { 3 } else { 2 };
        let mut list = Vec::new();
        for _ in 0..self.rng.usize(..longest) {
            place.push("[]".to_owned());
            list.extend(self.value(element, place));
            place.pop();
        }
        Some(list.into())
    }
}
