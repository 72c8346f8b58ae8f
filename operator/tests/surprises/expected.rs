//! What tables of answers expect of rendered objects.

use serde_json::Value;

/// The differences between what `expect` says of fields and what `found` gives for the name of an object and a JSON pointer.
/// `expect` holds a map of pointers for each object; `ABSENT` stands for a field that must be absent.
pub fn differing(expect: &Value, found: impl Fn(&str, &str) -> Option<Value>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, fields) in expect.as_object().into_iter().flatten() {
        for (pointer, expected) in fields.as_object().unwrap() {
            let expected = Some(expected).filter(|value| **value != "ABSENT");
            let found = found(name, pointer);
            if found.as_ref() != expected {
                wrong.push(format!(
                    "{name} {pointer}: expected {expected:?}, found {found:?}"
                ));
            }
        }
    }
    wrong
}
