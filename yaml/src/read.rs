//! From YAML text to JSON text.
//!
//! The CRDs of one minor are 180 KB of YAML that stand for 650 KB of objects, and most of them are never looked at. So they
//! become text straight from the parser's events: an alias is a copy of the text of its anchor, and the entries of a map
//! are put in order once it is complete.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::mem;
use std::ops::Range;
use std::sync::Arc;

use granit_parser::{Event, Options, Parser, ScalarStyle, ScanError, Span};
use serde_json::{Number, Value};

use super::{DEEPEST, YamlError};

/// Reads one YAML document. A plain scalar is null, a boolean or a number exactly where JSON would
/// read it so, and where nothing stands at all it is null; everything else is a string (YAML 1.2,
/// section 10.2).
///
/// Only our own charts are read with this, so it has no budget against hostile input.
pub fn read(text: &str) -> Result<Value, YamlError> {
    let json = transcribe(text)?.json;
    if json.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&json).map_err(|error| unplaced(&error))
}

/// Reads one YAML document that is a map, each field as JSON text with sorted keys; no fields if it is none.
pub(super) fn fields(text: &str) -> Result<BTreeMap<String, Arc<str>>, YamlError> {
    let Transcript { json, fields, .. } = transcribe(text)?;
    let field = |Entry { key, value, .. }: Entry<'_>| {
        let json = std::str::from_utf8(&json[value]).map_err(|error| unplaced(&error))?;
        Ok((key.into_owned(), json.into()))
    };
    fields.into_iter().map(field).collect()
}

fn transcribe(text: &str) -> Result<Transcript<'_>, YamlError> {
    let mut options = Options::default();
    options.emit_comments = false;
    let mut transcript = Transcript {
        json: Vec::with_capacity(text.len()),
        ..Transcript::default()
    };
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|error| broken(&error))?;
        transcript.take(event, span)?;
    }
    Ok(transcript)
}

pub(super) fn broken(error: &ScanError) -> YamlError {
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

fn unplaced(error: &impl ToString) -> YamlError {
    YamlError {
        line: None,
        column: None,
        message: error.to_string(),
    }
}

/// JSON text under construction.
#[derive(Default)]
struct Transcript<'t> {
    json: Vec<u8>,
    open: Vec<Collection<'t>>,
    /// The text of every anchor by its number, which the parser counts from 1; 0 means no anchor.
    anchored: Vec<Vec<u8>>,
    /// The entries of the map that is the whole document.
    fields: Vec<Entry<'t>>,
    /// Where a map is put in order; kept for the next one.
    sorted: Vec<u8>,
    /// Where the entries of maps stood that are complete; kept for the next ones.
    spare: Vec<Vec<Entry<'t>>>,
}

/// A list or map whose end has not been seen.
struct Collection<'t> {
    /// Where its text begins.
    start: usize,
    /// The number of its anchor.
    anchor: usize,
    content: Content<'t>,
}

enum Content<'t> {
    List,
    /// The entries, and whether the last one is a key only.
    Map(Vec<Entry<'t>>, bool),
}

/// One entry of a map.
struct Entry<'t> {
    key: Cow<'t, str>,
    /// Where the key stands in the YAML.
    span: Span,
    /// Where `"key":value` begins; it ends with the value.
    start: usize,
    value: Range<usize>,
}

impl<'t> Transcript<'t> {
    fn take(&mut self, event: Event<'t>, span: Span) -> Result<(), YamlError> {
        match event {
            Event::Scalar(text, _, _, _) if self.wants_key() => {
                return self.key(text, span);
            }
            Event::SequenceEnd | Event::MappingEnd => {
                return self.open.pop().map_or(Ok(()), |ended| self.end(ended));
            }
            _ if self.wants_key() => return Err(wrong(span, "a key must be a string".into())),
            _ => {}
        }
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let start = self.begin();
                let is_plain = style == ScalarStyle::Plain;
                match is_plain.then(|| plain(&text)).flatten() {
                    Some(json) => self.json.extend_from_slice(json.as_bytes()),
                    None => self.string(&text)?,
                }
                self.finish(start, anchor);
            }
            Event::SequenceStart(..) | Event::MappingStart(..) if self.open.len() == DEEPEST => {
                let message = format!("more than {DEEPEST} lists and maps inside each other");
                return Err(wrong(span, message));
            }
            Event::SequenceStart(_, anchor, _) => self.open(anchor, b'[', Content::List),
            Event::MappingStart(_, anchor, _) => {
                let entries = self.spare.pop().unwrap_or_default();
                self.open(anchor, b'{', Content::Map(entries, false));
            }
            Event::Alias(anchor) => {
                let start = self.begin();
                // Inside its own anchor an alias has no value yet; JSON knows no cycles.
                match self.anchored.get(anchor).filter(|json| !json.is_empty()) {
                    Some(json) => self.json.extend_from_slice(json),
                    None => self.json.extend_from_slice(b"null"),
                }
                self.finish(start, 0);
            }
            _ => {}
        }
        Ok(())
    }

    fn wants_key(&self) -> bool {
        let inner = self.open.last().map(|open| &open.content);
        matches!(inner, Some(Content::Map(_, false)))
    }

    fn key(&mut self, key: Cow<'t, str>, span: Span) -> Result<(), YamlError> {
        if self.json.last() != Some(&b'{') {
            self.json.push(b',');
        }
        let start = self.json.len();
        self.string(&key)?;
        self.json.push(b':');
        if let Some(Content::Map(entries, has_key)) = self.open.last_mut().map(|o| &mut o.content) {
            *has_key = true;
            entries.push(Entry {
                key,
                span,
                start,
                value: start..start,
            });
        }
        Ok(())
    }

    fn string(&mut self, text: &str) -> Result<(), YamlError> {
        serde_json::to_writer(&mut self.json, text).map_err(|error| unplaced(&error))
    }

    fn open(&mut self, anchor: usize, bracket: u8, content: Content<'t>) {
        let start = self.begin();
        self.json.push(bracket);
        self.open.push(Collection {
            start,
            anchor,
            content,
        });
    }

    /// Begins a value; gives where.
    fn begin(&mut self) -> usize {
        if let Some(Collection {
            start,
            content: Content::List,
            ..
        }) = self.open.last()
            && self.json.len() > start + 1
        {
            self.json.push(b',');
        }
        self.json.len()
    }

    fn end(&mut self, ended: Collection<'t>) -> Result<(), YamlError> {
        let Collection {
            start,
            anchor,
            content,
        } = ended;
        match content {
            Content::List => self.json.push(b']'),
            Content::Map(mut entries, _) => {
                self.json.push(b'}');
                self.sort(start, &mut entries)?;
                if self.open.is_empty() {
                    self.fields = entries;
                } else {
                    entries.clear();
                    self.spare.push(entries);
                }
            }
        }
        self.finish(start, anchor);
        Ok(())
    }

    /// Puts the entries of the map that begins at `map` and ends here in the order of their keys; no two are the same.
    fn sort(&mut self, map: usize, entries: &mut [Entry<'_>]) -> Result<(), YamlError> {
        if entries.is_sorted_by(|a, b| a.key < b.key) {
            return Ok(());
        }
        entries.sort_by(|a, b| a.key.cmp(&b.key));
        if let Some(pair) = entries.windows(2).find(|pair| pair[0].key == pair[1].key) {
            let message = format!("the key {:?} stands here twice", pair[1].key);
            return Err(wrong(pair[1].span, message));
        }
        let mut sorted = mem::take(&mut self.sorted);
        for entry in entries {
            sorted.push(if sorted.is_empty() { b'{' } else { b',' });
            let moved = map + sorted.len();
            sorted.extend_from_slice(&self.json[entry.start..entry.value.end]);
            entry.value = moved + entry.value.start - entry.start..map + sorted.len();
            entry.start = moved;
        }
        sorted.push(b'}');
        self.json.truncate(map);
        self.json.append(&mut sorted);
        self.sorted = sorted;
        Ok(())
    }

    /// Ends the value that begins at `start`.
    fn finish(&mut self, start: usize, anchor: usize) {
        if anchor > 0 {
            if self.anchored.len() <= anchor {
                self.anchored.resize(anchor + 1, Vec::new());
            }
            self.anchored[anchor] = self.json[start..].to_vec();
        }
        if let Some(Content::Map(entries, has_key)) = self.open.last_mut().map(|o| &mut o.content)
            && let Some(entry) = entries.last_mut()
        {
            entry.value = start..self.json.len();
            *has_key = false;
        }
    }
}

/// What a plain scalar stands for as JSON, unless it is a string.
fn plain(text: &str) -> Option<Cow<'_, str>> {
    match text {
        "" | "~" | "null" => Some("null".into()),
        "true" | "false" => Some(text.into()),
        _ if text.starts_with(|c: char| c.is_ascii_digit() || c == '-') => {
            let number = text.parse::<Number>().ok()?;
            Some(number.to_string().into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::depth;
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
    fn fields_are_texts_with_sorted_keys() {
        let text = "b: &b {z: [1, {y: 1, x: \"\\n\"}], a: {}}\na: {d: *b, c: 1e3}\n";
        let b = r#"{"a":{},"z":[1,{"x":"\n","y":1}]}"#;
        let a = format!(r#"{{"c":1000.0,"d":{b}}}"#);
        let expected = [("a".to_owned(), a.into()), ("b".to_owned(), b.into())];
        assert_eq!(fields(text).unwrap(), expected.into());
    }

    #[test]
    fn errors_are_told_with_their_place() {
        let place = |text: &str| {
            let error = read(text).unwrap_err();
            (error.line, error.column)
        };
        assert_eq!(place("a: 1\nb: 2\na: 3\n"), (Some(3), Some(1)));
        assert_eq!(place("a: 1\n[b]: 2\n"), (Some(2), Some(1)));
        assert_eq!(place("a: *nothing\n").0, Some(1));
        assert_eq!(place("a: [1\nb: 2\n").0, Some(2));
    }

    #[test]
    fn what_is_read_can_be_read_back() {
        let nested =
            |levels: usize| read(&format!("{}1{}", "[".repeat(levels), "]".repeat(levels)));
        assert_eq!(nested(DEEPEST).map(|value| depth(&value)), Ok(DEEPEST));
        let error = nested(DEEPEST + 1).unwrap_err();
        assert_eq!((error.line, error.column), (Some(1), Some(101)));
    }
}
