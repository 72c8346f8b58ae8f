//! Files of the repository that are generated from the types and the charts. `UPDATE=1` rewrites them.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod editor_schema;
mod reference;
mod resource;

use std::fs;

use serde_json::Value;

/// Compares a file with what it is generated from, or rewrites it. Paths are those from the folder of the operator.
fn is_current(file: &str, generated: &str) {
    let path = format!("{}/{file}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, generated).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == generated,
        "{file} is out of date; run this test with UPDATE=1"
    );
}

/// Takes the descriptions out of a schema.
fn undescribed(node: &mut Value) {
    match node {
        Value::Object(map) => {
            // A field may be called like this too, and is an object then.
            map.retain(|key, value| key != "description" || !value.is_string());
            map.values_mut().for_each(undescribed);
        }
        Value::Array(list) => list.iter_mut().for_each(undescribed),
        _ => {}
    }
}
