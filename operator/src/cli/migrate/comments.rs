//! Writes an IstioOperator as YAML with a comment for each change.

use std::collections::BTreeSet;

use istio_operator::api::Path;
use istio_operator::charts::yaml;
use istio_operator::merge::{Change, What, at_path};
use serde_json::{Value, json};

/// The document with its changes as comments: above the field where that is there, and otherwise where it would stand.
pub(super) fn write(document: &Value, changes: &[Change]) -> String {
    let mut text = String::new();
    let mut writer = Writer {
        document,
        changes,
        text: &mut text,
    };
    writer.fields(&Path::default(), document, 0);
    text
}

struct Writer<'w> {
    document: &'w Value,
    changes: &'w [Change],
    text: &'w mut String,
}

/// The first fields of a resource, which are no settings.
const HEAD: [&str; 3] = ["apiVersion", "kind", "metadata"];

impl Writer<'_> {
    /// Writes the fields of a map, and of what stood there.
    fn fields(&mut self, at: &Path, map: &Value, indent: usize) {
        let Some(fields) = map.as_object() else {
            return;
        };
        let mut keys: BTreeSet<String> = fields.keys().cloned().collect();
        let gone = self
            .changes
            .iter()
            .filter(|change| self.home(&change.path) == *at);
        keys.extend(gone.map(|change| next_key(at, &change.path)));
        let (head, rest): (Vec<_>, Vec<_>) = keys
            .into_iter()
            .partition(|key| HEAD.contains(&key.as_str()) && at.to_string().is_empty());
        for key in head.into_iter().chain(rest) {
            let path = at.key(&key);
            self.comments(&path, at, indent);
            if let Some(value) = fields.get(&key) {
                self.field(&path, &key, value, indent);
            }
        }
    }

    fn field(&mut self, path: &Path, key: &str, value: &Value, indent: usize) {
        let is_changed = self.changes.iter().any(|change| {
            let place = change.path.to_string();
            place.starts_with(&path.to_string()) && change.path != *path
        });
        match value {
            Value::Object(fields) if is_changed && !fields.is_empty() => {
                self.block(
                    &yaml::write(&json!({ key: null })).replace(" null", ""),
                    indent,
                );
                self.fields(path, value, indent + 2);
            }
            Value::Array(list) if is_changed && !list.is_empty() => {
                self.block(
                    &yaml::write(&json!({ key: null })).replace(" null", ""),
                    indent,
                );
                self.elements(path, list, indent);
            }
            value => self.block(&yaml::write(&json!({ key: value })), indent),
        }
    }

    fn elements(&mut self, at: &Path, list: &[Value], indent: usize) {
        for (index, element) in list.iter().enumerate() {
            let path = at.index(index);
            self.comments(&path, at, indent);
            if !element.is_object() {
                self.block(&yaml::write(&json!([element])), indent);
                continue;
            }
            let start = self.text.len();
            self.fields(&path, element, indent + 2);
            let written = self.text.split_off(start);
            // The dash belongs to the first field; comments above it stand above the dash too.
            let mut is_begun = false;
            for line in written.lines() {
                let is_first = !is_begun && !line.trim_start().starts_with('#');
                is_begun |= is_first;
                let line = if is_first {
                    format!("{}- {}", " ".repeat(indent), line.trim_start())
                } else {
                    line.to_owned()
                };
                *self.text += &line;
                self.text.push('\n');
            }
        }
    }

    /// The comments of the field at `path`, and of what stood there.
    fn comments(&mut self, path: &Path, at: &Path, indent: usize) {
        let here = self.changes.iter().filter(|change| {
            change.path == *path
                || at_path(self.document, &change.path).is_none()
                    && self.home(&change.path) == *at
                    && at.key(&next_key(at, &change.path)) == *path
        });
        let texts: Vec<_> = here.map(comment).collect();
        for text in texts {
            for line in text.lines() {
                self.block(format!("# {line}").trim_end(), indent);
            }
        }
    }

    /// The nearest map above a field.
    fn home(&self, path: &Path) -> Path {
        let (mut home, mut at) = (Path::default(), Path::default());
        while let Some(next) = self.below(&at, path) {
            if at_path(self.document, &next).is_some_and(Value::is_object) {
                home.clone_from(&next);
            }
            at = next;
        }
        home
    }

    /// One step from `at` on the way to `path`, if there is something on that way.
    fn below(&self, at: &Path, path: &Path) -> Option<Path> {
        let mut steps: Box<dyn Iterator<Item = Path>> = match at_path(self.document, at)? {
            Value::Object(fields) => Box::new(fields.keys().map(|key| at.key(key))),
            Value::Array(list) => Box::new((0..list.len()).map(|index| at.index(index))),
            _ => return None,
        };
        let path = path.to_string();
        steps.find(|step| {
            let rest = path.strip_prefix(&step.to_string());
            rest.is_some_and(|rest| rest.starts_with(['.', '[']))
        })
    }

    fn block(&mut self, block: &str, indent: usize) {
        for line in block.lines() {
            if !line.is_empty() {
                *self.text += &" ".repeat(indent);
            }
            *self.text += line;
            self.text.push('\n');
        }
    }
}

/// The key below `home` on the way to `path`.
fn next_key(home: &Path, path: &Path) -> String {
    let (home, path) = (home.to_string(), path.to_string());
    let rest = path.strip_prefix(&home).unwrap_or(&path);
    if let Some(quoted) = rest.strip_prefix("[\"") {
        return quoted.split("\"]").next().unwrap_or_default().to_owned();
    }
    let rest = rest.trim_start_matches('.');
    rest.split(['.', '[']).next().unwrap_or_default().to_owned()
}

/// What is said about a change.
fn comment(change: &Change) -> String {
    let path = &change.path;
    match &change.what {
        What::Moved { from } => format!("moved from {from}"),
        What::Added { why } => format!("added: {why}"),
        What::Rewritten { was } => format!("was:\n{}", shown(path, was)),
        What::Removed { why, was } => format!("{path}: {why}\n{}", shown(path, was)),
    }
}

/// A field that was written, as YAML.
fn shown(path: &Path, was: &Value) -> String {
    let key = path.last().split('[').next().unwrap_or_default();
    let text = yaml::write(&json!({ key: was }));
    text.lines().flat_map(|line| ["  ", line, "\n"]).collect()
}
