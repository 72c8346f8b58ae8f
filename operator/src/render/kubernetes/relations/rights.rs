//! Relations in roles.

use serde_json::Value;

use super::{Broken, Fields, maps, one, text, when};
use crate::render::kubernetes::formats::Format;
use crate::render::kubernetes::place::Place;

/// A rule is about resources of groups, or about paths.
pub(super) fn subject(rule: &Fields) -> Vec<Broken> {
    let is_filled = |key: &str| {
        let list = rule.get(key).and_then(Value::as_array);
        list.is_some_and(|list| !list.is_empty())
    };
    if is_filled("nonResourceURLs") {
        let both = is_filled("apiGroups") || is_filled("resources");
        return when(both, &["nonResourceURLs"], "cannot stand beside resources");
    }
    let absent = ["apiGroups", "resources"]
        .into_iter()
        .filter(|key| !is_filled(key));
    absent.flat_map(|key| one(&[key], "is required")).collect()
}

/// An account has a name of its kind.
pub(super) fn account(subject: &Fields) -> Vec<Broken> {
    let name = Format::DnsName;
    let is_account = text(subject, "kind") == "ServiceAccount";
    let is_wrong = is_account && !name.holds(text(subject, "name"));
    when(is_wrong, &["name"], format!("expected {}", name.expected()))
}

/// Where a binding has no namespace, its accounts say theirs.
pub(super) fn accounts(binding: &Fields) -> Vec<Broken> {
    let accounts =
        maps(binding, "subjects").filter(|(_, one)| text(one, "kind") == "ServiceAccount");
    let homeless = accounts.filter(|(_, one)| text(one, "namespace").is_empty());
    let told = homeless.map(|(index, _)| {
        let place = Place::of(&["subjects"]).then(index).then("namespace");
        (place, "is required".to_owned())
    });
    told.collect()
}
