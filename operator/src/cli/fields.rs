//! The fields in which two trees differ.

use std::collections::BTreeSet;

use istio_operator::api::{Path, names_of};
use serde_json::{Map, Value, json};

use super::output::{Paint, Tone};

/// A field that two trees do not have alike.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Difference {
    pub(super) path: Path,
    /// Its value in the first tree, if it is there.
    pub(super) before: Option<Value>,
    /// Its value in the second tree, if it is there.
    pub(super) after: Option<Value>,
}

/// The longest value that a line shows; longer ones are cut.
const LONGEST: usize = 120;

/// The fields in which `after` differs from `before`, in the order of their paths. Elements of lists are compared by their
/// names where all have one, so that an element more does not make all behind it differ.
pub(super) fn differences(before: &Value, after: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(Path::default(), Some(before), Some(after), &mut found);
    found
}

fn compare(path: Path, before: Option<&Value>, after: Option<&Value>, found: &mut Vec<Difference>) {
    match (before, after) {
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            let keys: BTreeSet<_> = before.keys().chain(after.keys()).collect();
            for key in keys {
                compare(path.key(key), before.get(key), after.get(key), found);
            }
        }
        (Some(Value::Array(before)), Some(Value::Array(after))) => {
            lists(&path, before, after, found);
        }
        (before, after) if before == after => {}
        (before, after) => found.push(Difference {
            path,
            before: before.cloned(),
            after: after.cloned(),
        }),
    }
}

fn lists<'v>(path: &Path, before: &'v [Value], after: &'v [Value], found: &mut Vec<Difference>) {
    if let (Some(old), Some(new)) = (names_of(before), names_of(after)) {
        // The order of the second list, then what only the first one has.
        let gone = old.iter().filter(|name| !new.contains(name));
        for name in new.iter().chain(gone) {
            let element = |names: &[&str], list: &'v [Value]| {
                let index = names.iter().position(|other| other == name)?;
                list.get(index)
            };
            let (before, after) = (element(&old, before), element(&new, after));
            compare(path.element(name), before, after, found);
        }
        return;
    }
    for index in 0..before.len().max(after.len()) {
        compare(
            path.index(index),
            before.get(index),
            after.get(index),
            found,
        );
    }
}

/// The elements of a list by their names; none unless each has one of its own.
pub(super) fn by_name(list: &[Value]) -> Option<Map<String, Value>> {
    let names = names_of(list)?.into_iter().map(str::to_owned);
    Some(names.zip(list.iter().cloned()).collect())
}

impl Difference {
    /// A line for people: `+` what is new, `-` what goes, `~` what changes.
    pub(super) fn line(&self, paint: Paint) -> String {
        let path = &self.path;
        match (&self.before, &self.after) {
            (None, Some(after)) => {
                paint.text(Tone::Good, format_args!("+ {path}: {}", short(after)))
            }
            (Some(before), None) => {
                paint.text(Tone::Bad, format_args!("- {path}: {}", short(before)))
            }
            (before, after) => {
                let [before, after] =
                    [before, after].map(|value| value.as_ref().map_or_else(String::new, short));
                paint.text(Tone::Warning, format_args!("~ {path}: {before} -> {after}"))
            }
        }
    }

    /// The same for programs.
    pub(super) fn value(&self) -> Value {
        let mut value = json!({"path": self.path.to_string()});
        for (key, side) in [("before", &self.before), ("after", &self.after)] {
            if let Some(side) = side {
                value[key] = side.clone();
            }
        }
        value
    }
}

/// A value on one line, cut where it is long.
pub(super) fn short(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    let rest = lines.count();
    let shown: String = first.chars().take(LONGEST).collect();
    let is_cut = shown.len() < first.len();
    match (is_cut, rest) {
        (false, 0) => shown,
        (true, 0) => shown + "...",
        (_, rest) => format!("{shown}... (and {rest} lines)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(before: &Value, after: &Value) -> Vec<String> {
        let found = differences(before, after);
        let lines = found.iter().map(|one| one.line(Paint::plain()));
        lines.collect()
    }

    #[test]
    fn fields_differ_by_path() {
        let before = json!({"a": 1, "b": {"c": "x", "d": [1, 2]}, "e": null, "g.h": 1});
        let after = json!({"a": 1, "b": {"c": "y", "d": [1]}, "f": {"g": 1}, "g.h": 2});
        assert_eq!(
            lines(&before, &after),
            [
                "~ b.c: x -> y",
                "- b.d[1]: 2",
                "- e: null",
                r#"+ f: {"g":1}"#,
                r#"~ ["g.h"]: 1 -> 2"#,
            ]
        );
    }

    #[test]
    fn elements_with_names_are_compared_by_name() {
        let element = |name: &str, value: u8| json!({"name": name, "value": value});
        let before = json!([element("A", 1), element("B", 2)]);
        let after = json!([element("C", 3), element("A", 1), element("B", 4)]);
        assert_eq!(
            lines(&before, &after),
            [r#"+ [C]: {"name":"C","value":3}"#, "~ [B].value: 2 -> 4"]
        );
        let twice = json!([element("A", 1), element("A", 2)]);
        assert_eq!(lines(&before, &twice), ["~ [1].name: B -> A"]);
    }

    #[test]
    fn long_values_are_cut() {
        assert_eq!(short(&json!("a\nb\nc")), "a... (and 2 lines)");
        assert_eq!(short(&json!("x".repeat(200))), "x".repeat(120) + "...");
        assert_eq!(short(&json!({"a": [1]})), r#"{"a":[1]}"#);
    }
}
