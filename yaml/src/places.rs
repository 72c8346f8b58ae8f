//! Where the values of a YAML document stand.

use std::collections::BTreeMap;

use granit_parser::{Event, Options, Parser};

use super::YamlError;
use super::read::broken;

/// The line of every value of a document, counted from 1, by its JSON pointer. The line of a map or list is that of its key.
pub fn places(text: &str) -> Result<BTreeMap<String, usize>, YamlError> {
    let mut options = Options::default();
    options.emit_comments = false;
    let mut found = BTreeMap::new();
    // The collections that are open: the pointer of each, and what comes next in it.
    let mut open: Vec<(String, Next)> = Vec::new();
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|error| broken(&error))?;
        let line = span.start.line();
        match &event {
            Event::SequenceEnd | Event::MappingEnd => {
                open.pop();
                continue;
            }
            Event::Scalar(key, ..) => {
                if let Some((_, next @ Next::Key)) = open.last_mut() {
                    *next = Next::Value(key.replace('~', "~0").replace('/', "~1"), line);
                    continue;
                }
            }
            Event::Alias(_) | Event::SequenceStart(..) | Event::MappingStart(..) => {}
            _ => continue,
        }
        let (pointer, line) = match open.last_mut() {
            None => (String::new(), line),
            Some((above, Next::Element(index))) => {
                let pointer = format!("{above}/{index}");
                *index += 1;
                (pointer, line)
            }
            Some((above, next)) => {
                let Next::Value(key, line) = std::mem::replace(next, Next::Key) else {
                    continue;
                };
                (format!("{above}/{key}"), line)
            }
        };
        found.insert(pointer.clone(), line);
        match event {
            Event::SequenceStart(..) => open.push((pointer, Next::Element(0))),
            Event::MappingStart(..) => open.push((pointer, Next::Key)),
            _ => {}
        }
    }
    Ok(found)
}

/// What comes next in a collection.
enum Next {
    Key,
    /// The value of this key, which stands on this line.
    Value(String, usize),
    Element(usize),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_pointer() {
        let text = "a: 1\nb:\n  - c: {d: 2}\n  -\n    e/f: |\n      x\n\n  - [3,\n     4]\n";
        let places = places(text).unwrap();
        for (pointer, line) in [
            ("/a", 1),
            ("/b", 2),
            ("/b/0/c", 3),
            ("/b/0/c/d", 3),
            ("/b/1/e~1f", 5),
            ("/b/2/0", 8),
            ("/b/2/1", 9),
        ] {
            assert_eq!(places.get(pointer), Some(&line), "{pointer}");
        }
    }
}
