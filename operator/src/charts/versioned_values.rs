//! The file format of values and profiles: a tree of values for every minor, and changes to it for some minors.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::tree::merge_removing;
use crate::catalogue::parse_minor;

/// A tree of values that differs by minor.
///
/// ```yaml
/// values: {a: 1, b: 2}       # in every minor
/// since: {"1.28": {a: 3}}    # laid over from 1.28 on
/// until: {"1.27": {b: null}} # laid over up to 1.27; a null removes the key
/// ```
#[derive(Clone, Debug)]
pub(super) struct VersionedValues {
    values: Value,
    /// Changes from a minor on.
    since: BTreeMap<u16, Value>,
    /// Changes up to a minor.
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

impl VersionedValues {
    /// Reads the text of a file. The error says what is wrong with the text.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let file: File = super::yaml::parse(text).map_err(|e| e.message)?;
        Ok(Self {
            values: Value::Object(file.values),
            since: by_minor(file.since)?,
            until: by_minor(file.until)?,
        })
    }

    /// The tree in one minor. Of the changes that hold in it, those of `since` are laid over the tree first, the oldest minor
    /// first, then those of `until`.
    pub(super) fn for_minor(&self, minor: u16) -> Value {
        let mut values = self.values.clone();
        let since = self.since.range(..=minor);
        let until = self.until.range(minor..);
        for (_, change) in since.chain(until) {
            merge_removing(&mut values, change.clone());
        }
        values
    }

    /// The minors under which changes stand, each with the name of its section.
    #[cfg(test)]
    pub(super) fn gates(&self) -> impl Iterator<Item = (&'static str, u16)> {
        let since = self.since.keys().map(|minor| ("since", *minor));
        since.chain(self.until.keys().map(|minor| ("until", *minor)))
    }
}

/// The changes of a section by the minor that they are written under.
fn by_minor(written: BTreeMap<String, Value>) -> Result<BTreeMap<u16, Value>, String> {
    let parsed = |(minor, change): (String, Value)| match (parse_minor(&minor), &change) {
        (Some(minor), Value::Object(_)) => Ok((minor, change)),
        (None, _) => Err(format!("{minor:?} is not a minor such as 1.28")),
        (Some(_), _) => Err(format!("what stands under {minor:?} is not a map")),
    };
    written.into_iter().map(parsed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_bounds_are_included_and_changes_lay_over_in_order() {
        let text = "
values: {a: 1, b: 1, c: 1}
since: {'1.28': {a: 2, d: 1}, '1.30': {a: 3}}
until: {'1.27': {b: null, c: 2}}";
        let values = VersionedValues::parse(text).unwrap();
        assert_eq!(values.for_minor(27), json!({"a": 1, "c": 2}));
        assert_eq!(
            values.for_minor(28),
            json!({"a": 2, "b": 1, "c": 1, "d": 1})
        );
        assert_eq!(
            values.for_minor(30),
            json!({"a": 3, "b": 1, "c": 1, "d": 1})
        );
    }

    #[test]
    fn wrong_minors_and_keys_are_refused() {
        assert!(
            VersionedValues::parse("since: {latest: {}}")
                .unwrap_err()
                .contains("latest")
        );
        assert!(
            VersionedValues::parse("since: {'1.28': 1}")
                .unwrap_err()
                .contains("not a map")
        );
        assert!(
            VersionedValues::parse("value: {}")
                .unwrap_err()
                .contains("value")
        );
    }
}
