//! Comparison of two normalized renderings, path by path.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::normal::Normal;

/// One place in which two renderings differ.
pub struct Difference {
    /// Object and path in it.
    pub place: String,
    /// What upstream has there; none if nothing.
    pub expected: Option<Value>,
    /// What we have there; none if nothing.
    pub actual: Option<Value>,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let side = |value: &Option<Value>| {
            let text = value
                .as_ref()
                .map_or("nothing".to_owned(), ToString::to_string);
            if text.chars().count() > 160 {
                text.chars().take(160).collect::<String>() + "…"
            } else {
                text
            }
        };
        write!(
            f,
            "{}: expected {}, got {}",
            self.place,
            side(&self.expected),
            side(&self.actual)
        )
    }
}

/// Everything in which our rendering differs from upstream's. `templates` are the user's injection
/// templates; the text of the built-in ones is our own and compared by what it injects, elsewhere.
pub fn differences(
    golden: &Normal,
    ours: &Normal,
    templates: &BTreeSet<String>,
) -> Vec<Difference> {
    let mut found = Found {
        templates,
        differences: Vec::new(),
    };
    found.compare("crds", Some(&golden.crds), Some(&ours.crds));
    let keys: BTreeSet<&String> = golden.objects.keys().chain(ours.objects.keys()).collect();
    for key in keys {
        found.compare(key, golden.objects.get(key), ours.objects.get(key));
    }
    found.differences
}

struct Found<'a> {
    templates: &'a BTreeSet<String>,
    differences: Vec<Difference>,
}

impl Found<'_> {
    fn compare(&mut self, place: &str, expected: Option<&Value>, actual: Option<&Value>) {
        match (expected, actual) {
            (Some(Value::Object(a)), Some(Value::Object(b))) => {
                let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
                for key in keys {
                    self.compare(&format!("{place}.{key}"), a.get(key), b.get(key));
                }
            }
            (Some(Value::Array(a)), Some(Value::Array(b))) => {
                for index in 0..a.len().max(b.len()) {
                    self.compare(&format!("{place}[{index}]"), a.get(index), b.get(index));
                }
            }
            (Some(a), Some(b)) if a == b || same_quantity(place, a, b) => {}
            (Some(_), Some(b))
                if self.is_own_template(place) && b.as_str().is_some_and(|t| t.len() > 100) => {}
            _ => self.differences.push(Difference {
                place: place.to_owned(),
                expected: expected.cloned(),
                actual: actual.cloned(),
            }),
        }
    }

    /// Whether the place is an injection template that is not the user's.
    fn is_own_template(&self, place: &str) -> bool {
        let name = place
            .split_once(".data.config.templates.")
            .map(|(_, name)| name);
        name.is_some_and(|name| !self.templates.contains(name))
    }
}

/// Keys with a quantity as value, or with a map of quantities.
const QUANTITIES: [&str; 8] = [
    ".limits.",
    ".requests.",
    ".divisor",
    ".sizeLimit",
    ".averageValue",
    ".hard.",
    ".storage",
    ".memory",
];

fn same_quantity(place: &str, a: &Value, b: &Value) -> bool {
    let is_quantity = QUANTITIES.iter().any(|key| place.contains(key));
    is_quantity && quantity(a).is_some() && quantity(a) == quantity(b)
}

/// The amount of a quantity in thousandths.
fn quantity(value: &Value) -> Option<f64> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "m" => 1.0,
        "" => 1e3,
        "k" => 1e6,
        "M" => 1e9,
        "G" => 1e12,
        "Ki" => 1e3 * 1024.0,
        "Mi" => 1e3 * 1024.0 * 1024.0,
        "Gi" => 1e3 * 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    digits.parse::<f64>().ok().map(|number| number * factor)
}
