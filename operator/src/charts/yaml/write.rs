//! From values to YAML text.

use serde_json::{Map, Value};

use super::style;

/// Writes block style YAML with sorted keys and a line feed at the end. Texts are quoted wherever a
/// YAML 1.1 or 1.2 parser could read them as something else; those of several lines become literal
/// blocks.
#[must_use]
pub fn write(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => write_map(&mut out, map, 0),
        Value::Array(list) if !list.is_empty() => write_list(&mut out, list, 0),
        scalar => {
            write_scalar(&mut out, scalar, 2);
            out.push('\n');
        }
    }
    out
}

/// Writes the entries of a map. The first one stands where `out` ends, so that it can follow a `- `.
fn write_map(out: &mut String, map: &Map<String, Value>, indent: usize) {
    for (index, (key, value)) in map.iter().enumerate() {
        if index > 0 {
            indent_by(out, indent);
        }
        style::write_key(out, key);
        out.push(':');
        match value {
            Value::Object(map) if !map.is_empty() => {
                out.push('\n');
                indent_by(out, indent + 2);
                write_map(out, map, indent + 2);
            }
            Value::Array(list) if !list.is_empty() => {
                out.push('\n');
                indent_by(out, indent);
                write_list(out, list, indent);
            }
            scalar => {
                out.push(' ');
                write_scalar(out, scalar, indent + 2);
                out.push('\n');
            }
        }
    }
}

/// Writes the elements of a list. The first one stands where `out` ends.
fn write_list(out: &mut String, list: &[Value], indent: usize) {
    for (index, value) in list.iter().enumerate() {
        if index > 0 {
            indent_by(out, indent);
        }
        out.push_str("- ");
        match value {
            Value::Object(map) if !map.is_empty() => write_map(out, map, indent + 2),
            Value::Array(list) if !list.is_empty() => write_list(out, list, indent + 2),
            scalar => {
                write_scalar(out, scalar, indent + 2);
                out.push('\n');
            }
        }
    }
}

pub(super) fn indent_by(out: &mut String, mut indent: usize) {
    const SPACES: &str = "                                ";
    while indent > 0 {
        let some = indent.min(SPACES.len());
        out.push_str(&SPACES[..some]);
        indent -= some;
    }
}

fn write_scalar(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::String(text) => style::write_value(out, text, indent),
        // These, `{}` and `[]` are the same in JSON and YAML.
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        other => out.push_str(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::charts::yaml::parse;
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
