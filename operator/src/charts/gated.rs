//! The file format of values and profiles: what holds in every minor, and what a range of minors
//! changes.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::tree::merge_removing;
use crate::catalogue::parse_minor;

/// A tree of values with gates.
///
/// ```yaml
/// values: {a: 1, b: 2}       # in every minor
/// since: {"1.28": {a: 3}}    # laid over from 1.28 on
/// until: {"1.27": {b: null}} # laid over up to 1.27; a null removes the key
/// ```
#[derive(Clone, Debug)]
pub(super) struct Gated {
    values: Value,
    since: BTreeMap<u16, Value>,
    until: BTreeMap<u16, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    values: Map<String, Value>,
    #[serde(default)]
    since: BTreeMap<String, Value>,
    #[serde(default)]
    until: BTreeMap<String, Value>,
}

impl Gated {
    /// Reads a file; the error says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let file: File = super::yaml::parse(text).map_err(|e| e.message)?;
        Ok(Self {
            values: Value::Object(file.values),
            since: gates(file.since)?,
            until: gates(file.until)?,
        })
    }

    /// The tree as it is in one minor: the `since` gates that hold, oldest first, then the `until`
    /// gates.
    pub(super) fn at(&self, minor: u16) -> Value {
        let mut values = self.values.clone();
        let since = self.since.range(..=minor);
        let until = self.until.range(minor..);
        for (_, change) in since.chain(until) {
            merge_removing(&mut values, change.clone());
        }
        values
    }
}

fn gates(written: BTreeMap<String, Value>) -> Result<BTreeMap<u16, Value>, String> {
    let gate = |(minor, change): (String, Value)| match (parse_minor(&minor), &change) {
        (Some(minor), Value::Object(_)) => Ok((minor, change)),
        (None, _) => Err(format!("gate {minor:?} is not a minor such as 1.28")),
        (Some(_), _) => Err(format!("gate {minor:?} is not a map")),
    };
    written.into_iter().map(gate).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn gates_hold_on_both_ends_and_lay_over_in_order() {
        let text = "
values: {a: 1, b: 1, c: 1}
since: {'1.28': {a: 2, d: 1}, '1.30': {a: 3}}
until: {'1.27': {b: null, c: 2}}";
        let gated = Gated::parse(text).unwrap();
        assert_eq!(gated.at(27), json!({"a": 1, "c": 2}));
        assert_eq!(gated.at(28), json!({"a": 2, "b": 1, "c": 1, "d": 1}));
        assert_eq!(gated.at(30), json!({"a": 3, "b": 1, "c": 1, "d": 1}));
    }

    #[test]
    fn wrong_gates_are_refused() {
        assert!(
            Gated::parse("since: {latest: {}}")
                .unwrap_err()
                .contains("latest")
        );
        assert!(
            Gated::parse("since: {'1.28': 1}")
                .unwrap_err()
                .contains("not a map")
        );
        assert!(Gated::parse("value: {}").unwrap_err().contains("value"));
    }
}
