//! From values to YAML text.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::{
    order::InOrder,
    style::{self, indent_by},
};

/// Writes block style YAML with keys in Go's order and a line feed at the end. Texts are quoted wherever a
/// YAML 1.1 or 1.2 parser could read them as something else; those of several lines become literal
/// blocks.
#[must_use]
pub fn write(value: &Value) -> String {
    let mut out = String::new();
    put(&mut out, Place::Manifest, InOrder(value));
    out
}

/// [`write`] in the order given for the entries of a map, of which each is a key and JSON text that was written here.
pub(super) fn write_fields<'f>(out: &mut String, fields: impl Iterator<Item = (&'f str, &'f str)>) {
    let start = out.len();
    for (key, json) in fields {
        style::write_key(out, key);
        out.push(':');
        put(
            out,
            Place::Entry,
            &mut serde_json::Deserializer::from_str(json),
        );
    }
    if out.len() == start {
        out.push_str("{}\n");
    }
}

fn put<'de>(out: &mut String, place: Place, value: impl Deserializer<'de>) {
    let node = Node {
        out,
        indent: 0,
        place,
    };
    // Whatever a value holds can be written.
    let _ = node.deserialize(value);
}

/// Writes a value while it is read, so that nobody needs a tree of it.
struct Node<'o> {
    out: &'o mut String,
    /// The indentation of the map or list that the value stands in.
    indent: usize,
    place: Place,
}

/// Where a value stands.
enum Place {
    Manifest,
    /// After a key and its colon.
    Entry,
    /// After the dash of a list.
    Element,
}

impl Node<'_> {
    fn inner(&mut self, indent: usize, place: Place) -> Node<'_> {
        Node {
            out: self.out,
            indent,
            place,
        }
    }

    /// Goes to where the first entry or element stands: after a key that is the next line, otherwise here.
    fn begin(&mut self, indent: usize) {
        if let Place::Entry = self.place {
            self.out.push('\n');
            indent_by(self.out, indent);
        }
    }

    fn scalar(self, write: impl FnOnce(&mut String, usize)) {
        if let Place::Entry = self.place {
            self.out.push(' ');
        }
        write(self.out, self.indent + 2);
        self.out.push('\n');
    }

    /// Writes what is the same in JSON and YAML.
    fn word(self, word: &str) {
        self.scalar(|out, _| out.push_str(word));
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<(), A::Error> {
        let indent = match self.place {
            Place::Manifest => 0,
            Place::Entry | Place::Element => self.indent + 2,
        };
        let Some(mut key) = entries.next_key::<String>()? else {
            self.word("{}");
            return Ok(());
        };
        self.begin(indent);
        loop {
            style::write_key(self.out, &key);
            self.out.push(':');
            entries.next_value_seed(self.inner(indent, Place::Entry))?;
            match entries.next_key()? {
                Some(next) => key = next,
                None => return Ok(()),
            }
            indent_by(self.out, indent);
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<(), A::Error> {
        let indent = match self.place {
            Place::Manifest => 0,
            Place::Entry => self.indent,
            Place::Element => self.indent + 2,
        };
        let start = self.out.len();
        self.begin(indent);
        let mut end = start;
        loop {
            self.out.push_str("- ");
            let element = self.inner(indent, Place::Element);
            if elements.next_element_seed(element)?.is_none() {
                break;
            }
            end = self.out.len();
            indent_by(self.out, indent);
        }
        self.out.truncate(end);
        if end == start {
            self.word("[]");
        }
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.scalar(|out, indent| style::write_value(out, text, indent));
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.word("null");
        Ok(())
    }

    fn visit_bool<E>(self, flag: bool) -> Result<(), E> {
        self.word(if flag { "true" } else { "false" });
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.word(&number.to_string());
        Ok(())
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.word(&number.to_string());
        Ok(())
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        self.word(&Value::from(number).to_string());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;
    use serde_json::json;

    #[test]
    fn structures_are_written_in_block_style() {
        let value = json!({
            "a": {"b": [1, {"c": "x", "d": [true, null]}, [1, 2]], "e": {}, "f": []},
            "g": "two\nlines\n",
        });
        let expected = "\
a:
  b:
  - 1
  - c: x
    d:
    - true
    - null
  - - 1
    - 2
  e: {}
  f: []
g: |
  two
  lines
";
        assert_eq!(write(&value), expected);
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        let texts = [
            "",
            " ",
            "a b",
            "yes",
            "No",
            "on",
            "y",
            "~",
            "null",
            "1",
            "1.5",
            "0x1f",
            "1e3",
            "012",
            "1:30",
            ".inf",
            "- a",
            "a: b",
            "a #b",
            "#a",
            "*x",
            "&x",
            "!x",
            "%x",
            "@x",
            "`x",
            "{{ x }}",
            "[x]",
            "'x'",
            "\"x\"",
            "a\\b",
            "a\nb",
            "a\nb\n",
            "a\nb\n\n",
            "\na\nb",
            " a\nb",
            "a\n\n  b\n",
            "a\n \nb",
            "\n",
            "a\tb",
            "\u{1}",
            "ü",
            "é\nü",
            "2020-01-01",
            "<<",
            "=",
            "---",
            "a\n---\nb",
            "/etc/x",
            "*/*",
            "a:b",
            "a,b",
            "?",
            ":",
            "-",
            "x\r\ny",
            "\u{85}x\ny",
            "istio.io/rev",
            "Infinity",
            "nan",
            ".nan",
        ];
        for text in texts {
            let value = json!({"k": text, "l": [text, [text], {"m": text}], (text): 1});
            let read: Value = parse(&write(&value)).unwrap();
            assert_eq!(read, value, "{}", write(&value));
        }
        for value in [
            json!(1),
            json!("a"),
            json!([]),
            json!({}),
            json!(["a"]),
            json!(null),
        ] {
            assert_eq!(parse::<Value>(&write(&value)).unwrap(), value);
        }
    }
}
