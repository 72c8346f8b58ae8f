//! From YAML text to values.
//!
//! The CRDs of one minor are 180 KB of text that stand for 650 KB of objects. Going through serde
//! takes four times as long for them as this: a value is built straight from the parser's events,
//! and an alias is a copy of the finished value of its anchor.

use granit_parser::{Event, Options, Parser, ScalarStyle, ScanError, Span};
use serde_json::{Map, Number, Value};

use super::YamlError;

/// Reads one YAML document. A plain scalar is null, a boolean or a number exactly where JSON would
/// read it so, and where nothing stands at all it is null; everything else is a string (YAML 1.2,
/// section 10.2).
///
/// Only our own charts are read with this, so it has no budget against hostile input.
pub fn read(text: &str) -> Result<Value, YamlError> {
    let mut options = Options::default();
    options.emit_comments = false;
    let mut builder = Builder::default();
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|error| broken(&error))?;
        builder.take(event, span)?;
    }
    Ok(builder.root)
}

fn broken(error: &ScanError) -> YamlError {
    YamlError {
        line: Some(error.marker().line()),
        column: Some(error.marker().col() + 1),
        message: error.info().clone(),
    }
}

fn wrong(span: Span, message: String) -> YamlError {
    YamlError {
        line: Some(span.start.line()),
        column: Some(span.start.col() + 1),
        message,
    }
}

/// Values under construction.
#[derive(Default)]
struct Builder {
    open: Vec<Collection>,
    /// By anchor number, which the parser counts from 1; 0 means no anchor.
    anchored: Vec<Value>,
    root: Value,
}

/// A list or map whose end has not been seen, with the number of its anchor.
enum Collection {
    List(Vec<Value>, usize),
    Map(Map<String, Value>, Option<String>, usize),
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), YamlError> {
        match event {
            Event::Scalar(text, style, anchor, _) => {
                if let Some(Collection::Map(map, key @ None, _)) = self.open.last_mut() {
                    if map.contains_key(text.as_ref()) {
                        return Err(wrong(span, format!("the key {text:?} stands here twice")));
                    }
                    *key = Some(text.into_owned());
                } else {
                    let is_plain = style == ScalarStyle::Plain;
                    let plain = is_plain.then(|| plain(&text)).flatten();
                    let value = plain.unwrap_or_else(|| Value::String(text.into_owned()));
                    self.put(value, anchor);
                }
            }
            Event::SequenceStart(_, anchor, _) => {
                self.refuse_as_key(span)?;
                self.open.push(Collection::List(Vec::new(), anchor));
            }
            Event::MappingStart(_, anchor, _) => {
                self.refuse_as_key(span)?;
                self.open.push(Collection::Map(Map::new(), None, anchor));
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Collection::List(list, anchor)) => self.put(Value::Array(list), anchor),
                Some(Collection::Map(map, _, anchor)) => self.put(Value::Object(map), anchor),
                None => {}
            },
            Event::Alias(anchor) => {
                self.refuse_as_key(span)?;
                // Inside its own anchor an alias has no value yet; JSON knows no cycles.
                let value = self.anchored.get(anchor).cloned().unwrap_or_default();
                self.put(value, 0);
            }
            _ => {}
        }
        Ok(())
    }

    /// Puts a finished value where it belongs.
    fn put(&mut self, value: Value, anchor: usize) {
        if anchor > 0 {
            if self.anchored.len() <= anchor {
                self.anchored.resize(anchor + 1, Value::Null);
            }
            self.anchored[anchor] = value.clone();
        }
        match self.open.last_mut() {
            Some(Collection::List(list, _)) => list.push(value),
            Some(Collection::Map(map, key, _)) => {
                map.insert(key.take().unwrap_or_default(), value);
            }
            None => self.root = value,
        }
    }

    fn refuse_as_key(&self, span: Span) -> Result<(), YamlError> {
        match self.open.last() {
            Some(Collection::Map(_, None, _)) => Err(wrong(span, "a key must be a string".into())),
            _ => Ok(()),
        }
    }
}

/// What a plain scalar stands for, unless it is a string.
fn plain(text: &str) -> Option<Value> {
    match text {
        "" | "~" | "null" => Some(Value::Null),
        "true" => Some(Value::Bool(true)),
        "false" => Some(Value::Bool(false)),
        _ if text.starts_with(|c: char| c.is_ascii_digit() || c == '-') => {
            text.parse::<Number>().ok().map(Value::Number)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn scalars_are_what_json_takes_them_for() {
        let text = "[1, -2, 1.5, 1e3, 012, 1.2.3, 0x1f, '1', true, True, yes, null, ~, '', {a: b}]";
        let expected = json!([
            1, -2, 1.5, 1000.0, "012", "1.2.3", "0x1f", "1", true, "True", "yes", null, null, "",
            {"a": "b"}
        ]);
        assert_eq!(read(text).unwrap(), expected);
        assert_eq!(read("a:\nb: -x\n").unwrap(), json!({"a": null, "b": "-x"}));
        assert_eq!(read("").unwrap(), Value::Null);
    }

    #[test]
    fn an_alias_is_a_copy() {
        let text = "a: &x {b: &y [1], c: *y}\nd: *x\ne: &z z\nf: *z\n";
        let a = json!({"b": [1], "c": [1]});
        assert_eq!(
            read(text).unwrap(),
            json!({"a": a, "d": a, "e": "z", "f": "z"})
        );
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        let place = |text: &str| {
            let error = read(text).unwrap_err();
            (error.line, error.column)
        };
        assert_eq!(place("a: 1\nb: 2\na: 3\n"), (Some(3), Some(1)));
        assert_eq!(place("a: 1\n[b]: 2\n"), (Some(2), Some(1)));
        assert_eq!(place("a: *nothing\n").0, Some(1));
        assert_eq!(place("a: [1\nb: 2\n").0, Some(2));
    }
}
