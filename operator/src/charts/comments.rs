//! What the comments of a chart's `values.yaml` say of its settings.
//!
//! A comment is about the keys below it up to the next comment of the same indentation or an empty line.

use std::collections::BTreeMap;

/// What is said of each key, by the keys that lead to it.
pub type Comments = BTreeMap<Vec<String>, String>;

/// Reads the comments of a file with values per minor. What is said of a whole section is not said of its keys.
pub(super) fn read(text: &str) -> Comments {
    let mut comments = Comments::new();
    // The keys on the way to the present line with their indentation, and the comment that holds at each indentation.
    let mut way: Vec<(usize, String)> = Vec::new();
    let mut holds: BTreeMap<usize, String> = BTreeMap::new();
    let mut is_open = false;
    for line in text.lines() {
        let words = line.trim_start();
        let indent = line.len() - words.len();
        if let Some(comment) = words.strip_prefix('#') {
            let said = holds.entry(indent).or_default();
            if is_open {
                said.push(' ');
            } else {
                said.clear();
            }
            said.push_str(comment.trim());
            is_open = true;
            continue;
        }
        is_open = false;
        if words.is_empty() {
            holds.clear();
            continue;
        }
        let Some((key, _)) = words.split_once(':').filter(|_| !words.starts_with('-')) else {
            continue;
        };
        way.retain(|(above, _)| *above < indent);
        holds.retain(|at, _| *at <= indent);
        way.push((indent, key.trim_matches('"').to_owned()));
        let keys: Vec<_> = way.iter().map(|(_, key)| key.clone()).collect();
        if let (Some(said), Some(path)) = (holds.get(&indent), setting(&keys)) {
            comments
                .entry(path.to_vec())
                .or_insert_with(|| said.clone());
        }
    }
    comments
}

/// The path of a setting in the values; none for the sections around it.
fn setting(keys: &[String]) -> Option<&[String]> {
    let path = match keys {
        [section, path @ ..] if section == "values" => path,
        [section, _, path @ ..] if section == "since" || section == "until" => path,
        _ => return None,
    };
    (!path.is_empty()).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_is_about_the_keys_up_to_the_next_one() {
        let text = "\
# The file.
values:
  # The image,
  # in parts.
  hub: \"\"
  tag: \"\"

  plain: 1
  # Nested.
  cni:
    # Inner.
    enabled: false
  last: 1
since:
  \"1.25\":
    # New.
    env: {}
";
        let comments = read(text);
        let said = |path: &str| {
            let keys: Vec<_> = path.split('.').map(str::to_owned).collect();
            comments.get(&keys).map(String::as_str)
        };
        assert_eq!(said("hub"), Some("The image, in parts."));
        assert_eq!(said("tag"), Some("The image, in parts."));
        assert_eq!(said("plain"), None);
        assert_eq!(said("cni"), Some("Nested."));
        assert_eq!(said("cni.enabled"), Some("Inner."));
        assert_eq!(said("last"), Some("Nested."));
        assert_eq!(said("env"), Some("New."));
        assert_eq!(comments.len(), 6);
    }
}
