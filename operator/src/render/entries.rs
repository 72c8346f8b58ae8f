//! Gives every variable and every port of a container one entry, where a chart writes two.
//!
//! A chart writes what it sets itself and what the user sets. The API server refuses both together. Upstream renders both.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::Object;
use super::values::ChartValues;
use crate::charts::tree::at;

/// The environment variables that the user's values set.
pub(super) struct Variables {
    /// Those that are listed as entries.
    listed: Value,
    /// Those of the component.
    own: Value,
    /// Those of all proxies.
    of_proxies: Value,
}

/// Leaves one entry of every variable and port in the workloads among these objects.
pub(super) fn merge(objects: &mut [Object], set: &Variables) {
    let workloads = ["Deployment", "DaemonSet"];
    let of_workloads = |object: &&mut Object| workloads.contains(&object.key.kind.as_str());
    for object in objects.iter_mut().filter(of_workloads) {
        let mut spec = object.body.field("spec");
        if merge_pod(&mut spec, set) {
            object.body.change("spec", |old| *old = spec);
        }
    }
}

/// Does it in the spec of a workload, and tells whether anything changed.
fn merge_pod(spec: &mut Value, set: &Variables) -> bool {
    let mut changed = false;
    let containers = spec.pointer_mut("/template/spec/containers");
    for container in containers
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if let Some(Value::Array(variables)) = container.get_mut("env") {
            let name = |entry: &Value| entry.get("name").cloned();
            changed |= keep_one(variables, name, |entry| set.rank(entry));
        }
        if let Some(Value::Array(ports)) = container.get_mut("ports") {
            let number = |port: &Value| {
                let number = port.get("containerPort")?;
                Some(Value::from(vec![number.clone(), port["protocol"].clone()]))
            };
            // A port with a name is the chart's own, which others refer to.
            changed |= keep_one(ports, number, |port| u8::from(port.get("name").is_some()));
        }
    }
    changed
}

/// Keeps one of the entries with the same key: the last of those with the highest rank. It tells whether there were others.
fn keep_one(
    list: &mut Vec<Value>,
    key: impl Fn(&Value) -> Option<Value>,
    rank: impl Fn(&Value) -> u8,
) -> bool {
    let keys: Vec<String> = list
        .iter()
        .enumerate()
        .map(|(index, entry)| key(entry).map_or(index.to_string(), |key| key.to_string()))
        .collect();
    if keys.iter().collect::<BTreeSet<_>>().len() == keys.len() {
        return false;
    }
    let mut best: BTreeMap<&str, (u8, usize)> = BTreeMap::new();
    for (index, (key, entry)) in keys.iter().zip(list.iter()).enumerate() {
        let found = (rank(entry), index);
        let kept = best.entry(key).or_insert(found);
        *kept = found.max(*kept);
    }
    let kept: BTreeSet<usize> = best.into_values().map(|(_, index)| index).collect();
    let mut index = 0;
    list.retain(|_| {
        index += 1;
        kept.contains(&(index - 1))
    });
    true
}

impl Variables {
    pub(super) fn of(values: &ChartValues) -> Self {
        let own = |key: &str| values.own.get(key).cloned().unwrap_or_default();
        let metadata = ["meshConfig", "defaultConfig", "proxyMetadata"];
        Self {
            listed: own("envVarFrom"),
            own: own("env"),
            of_proxies: at(&values.values, &metadata).cloned().unwrap_or_default(),
        }
    }

    /// Who wrote an entry of a container's variables: 0 for the chart; the user's settings have higher ranks the nearer
    /// they are to the component.
    fn rank(&self, entry: &Value) -> u8 {
        let listed = self.listed.as_array();
        if listed.is_some_and(|listed| listed.contains(entry)) {
            3
        } else if sets(&self.own, entry) {
            2
        } else {
            u8::from(sets(&self.of_proxies, entry))
        }
    }
}

/// Whether an entry is what a map of variables says.
fn sets(variables: &Value, entry: &Value) -> bool {
    let written = entry["name"].as_str().and_then(|name| variables.get(name));
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    written.is_some_and(|written| {
        entry
            .get("value")
            .is_some_and(|value| *value == text(written))
    })
}

/// Removes from a variable of `container` what the chart set, where the user's entry in `written` sets the other of `value`
/// and `valueFrom`, or another source.
pub(super) fn keep_the_users_source(workload: &mut Value, container: &str, written: &Value) {
    let containers = workload.pointer_mut("/spec/template/spec/containers");
    let containers = containers
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten();
    let named = containers.filter(|found| found["name"] == container);
    for variables in named.filter_map(|found| found.get_mut("env")?.as_array_mut()) {
        for user in written.as_array().into_iter().flatten() {
            let same = |entry: &&mut Value| entry.get("name") == user.get("name");
            if let Some(Value::Object(entry)) = variables.iter_mut().find(same) {
                keep_source(entry, user);
            }
        }
    }
}

const SOURCE: &str = "valueFrom";

fn keep_source(entry: &mut Map<String, Value>, user: &Value) {
    let sets = |key: &str| user.get(key).is_some_and(|value| !value.is_null());
    match (sets("value"), sets(SOURCE)) {
        (true, false) => _ = entry.remove(SOURCE),
        (false, true) => {
            entry.remove("value");
            let wanted = user[SOURCE].as_object();
            if let (Some(Value::Object(sources)), Some(wanted)) = (entry.get_mut(SOURCE), wanted) {
                sources.retain(|source, _| wanted.contains_key(source));
            }
        }
        // Both are an error, which the check of the whole object tells.
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_users_entry_replaces_the_charts() {
        let set = Variables::of(&ChartValues {
            values: json!({"meshConfig": {"defaultConfig": {"proxyMetadata": {"A": "m", "B": "m", "C": "m"}}}}),
            own: json!({"env": {"A": 1, "C": "u", "N": null}, "envVarFrom": [{"name": "C", "valueFrom": {}}]}),
            user: json!({}),
        });
        let mut list = vec![
            json!({"name": "N", "value": "x"}),
            json!({"name": "A", "valueFrom": {}}),
            json!({"name": "A", "value": "1"}),
            json!({"name": "C", "value": "u"}),
            json!({"name": "C", "valueFrom": {}}),
            json!({"name": "A", "value": "m"}),
            json!({"name": "B", "value": "m"}),
            json!({"name": "C", "value": "m"}),
            json!({"name": "N", "value": ""}),
            json!({"name": "B", "value": "chart"}),
            json!({"name": "D", "value": "1"}),
            json!({"name": "D", "value": "2"}),
        ];
        let name = |entry: &Value| entry.get("name").cloned();
        assert!(keep_one(&mut list, name, |entry| set.rank(entry)));
        assert_eq!(
            Value::from(list.clone()),
            json!([
                {"name": "A", "value": "1"},
                {"name": "C", "valueFrom": {}},
                {"name": "B", "value": "m"},
                {"name": "N", "value": ""},
                {"name": "D", "value": "2"},
            ])
        );
        assert!(!keep_one(&mut list, name, |entry| set.rank(entry)));
    }

    #[test]
    fn a_variable_has_the_source_that_the_user_wrote() {
        let chart =
            json!({"name": "A", "value": "1", "valueFrom": {"fieldRef": {}, "secretKeyRef": {}}});
        for (user, expected) in [
            (json!({"value": "1"}), json!({"name": "A", "value": "1"})),
            (
                json!({"valueFrom": {"secretKeyRef": {}}}),
                json!({"name": "A", "valueFrom": {"secretKeyRef": {}}}),
            ),
            (json!({"value": null}), chart.clone()),
        ] {
            let mut entry = chart.as_object().unwrap().clone();
            keep_source(&mut entry, &user);
            assert_eq!(Value::Object(entry), expected, "{user}");
        }
    }
}
