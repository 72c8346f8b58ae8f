//! Writes out what Istio before 1.24 knew of gateways without being told.
//!
//! It laid the list of a CR over that of the profile by name, so that a gateway of the profile stayed when the CR named
//! another one, and one without `enabled` was as the profile had it. Today the list replaces the profile's. And
//! `values.gateways.NAME.enabled` switched the gateway of this name.

use serde_json::{Value, json};

use super::{Change, Migration, What, place};
use crate::api::Path;
use crate::charts::tree::at;
use crate::merge::tree::set;

/// A list of gateways, the one that profiles have in it, and the profiles that install it; an empty name is no profile.
const LISTS: [(&str, &str, &[&str]); 2] = [
    (
        "ingressGateways",
        "istio-ingressgateway",
        &["", "default", "demo", "openshift", "preview"],
    ),
    ("egressGateways", "istio-egressgateway", &["demo"]),
];

/// Writes everything out. What only an old Istio did counts if the spec may be one of it.
pub(super) fn write_out(migration: &mut Migration, is_old: bool) {
    let profile = at(&migration.spec, &["profile"]).and_then(Value::as_str);
    let profile = profile.unwrap_or_default().to_owned();
    for (list, name, profiles) in LISTS {
        let is_of_profile = profiles.contains(&profile.as_str());
        switch_by_values(migration, list, name);
        if is_old && is_of_profile {
            keep_gateway_of_profile(migration, list, name);
        }
    }
}

fn path_of(list: &str) -> Path {
    Path::root("spec").key("components").key(list)
}

/// The entry of this name in a list, if there is one.
fn entry<'s>(spec: &'s mut Value, list: &str, name: &str) -> Option<(usize, &'s mut Value)> {
    let entries = spec.get_mut("components")?.get_mut(list)?.as_array_mut()?;
    let mut entries = entries.iter_mut().enumerate();
    entries.find(|(_, entry)| entry["name"] == name)
}

fn switch_by_values(migration: &mut Migration, list: &str, name: &str) {
    let from = Path::root("spec").keys(&["values", "gateways", name, "enabled"]);
    let switch = at(&migration.spec, &["values", "gateways", name, "enabled"]);
    let Some(switch) = switch.filter(|switch| switch.is_boolean()).cloned() else {
        return;
    };
    place::take(&mut migration.spec, &from);
    let index = match entry(&mut migration.spec, list, name) {
        Some((index, entry)) => {
            entry["enabled"] = switch;
            index
        }
        None => append(
            &mut migration.spec,
            list,
            json!({"name": name, "enabled": switch}),
        ),
    };
    migration.moved(from, path_of(list).index(index).key("enabled"));
}

fn keep_gateway_of_profile(migration: &mut Migration, list: &str, name: &str) {
    let is_list = at(&migration.spec, &["components", list]).is_some_and(Value::is_array);
    if !is_list {
        return;
    }
    let path = path_of(list);
    let (path, why) = match entry(&mut migration.spec, list, name) {
        Some((_, entry)) if entry.get("enabled").is_some_and(|it| !it.is_null()) => return,
        Some((index, entry)) => {
            entry["enabled"] = true.into();
            let why = "the profile switched this gateway on";
            (path.index(index).key("enabled"), why)
        }
        None => {
            let index = append(
                &mut migration.spec,
                list,
                json!({"name": name, "enabled": true}),
            );
            let why = "the profile installed this gateway beside those that were listed";
            (path.index(index), why)
        }
    };
    let why = why.to_owned();
    migration.changes.push(Change {
        path,
        what: What::Added { why },
    });
}

/// Appends an entry to a list; gives its index.
fn append(spec: &mut Value, list: &str, entry: Value) -> usize {
    let keys = ["components", list];
    let mut entries = match at(spec, &keys) {
        Some(Value::Array(entries)) => entries.clone(),
        _ => Vec::new(),
    };
    entries.push(entry);
    let index = entries.len() - 1;
    set(spec, &keys, entries.into());
    index
}
