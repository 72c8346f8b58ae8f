//! The spec that gives an installation: the profile that is nearest to it, and what it has otherwise.

use istio_operator::api::{ComponentKind, IstioOperator, RawSpec};
use istio_operator::charts::Charts;
use istio_operator::charts::tree::merge_over;
use istio_operator::merge::{Cluster, Component, Merged, merge};
use serde_json::{Map, Value, json};

use super::found::{DEFAULT, Found, Gateway};
use super::value_at;
use crate::cli::Failure;
use crate::cli::render::all;

/// The spec of the profile that the values name, or of the one from which the least differs.
pub(super) fn spec(found: &Found, charts: &Charts) -> Result<Value, Failure> {
    let named = value_at(&found.values, &["profile"]).and_then(Value::as_str);
    if let Some(spec) = named.and_then(|profile| of_profile(profile, found, charts).ok()) {
        return Ok(spec);
    }
    let mut best: Option<(usize, Value)> = None;
    for profile in charts.profile_names() {
        let Ok(spec) = of_profile(profile, found, charts) else {
            // A profile for another kind of cluster may not go with these components.
            continue;
        };
        let weight = leaves(&spec["values"]) + leaves(&spec["meshConfig"]);
        let is_usual = profile == "default";
        let is_better = best
            .as_ref()
            .is_none_or(|(least, _)| weight < *least || weight == *least && is_usual);
        if is_better {
            best = Some((weight, spec));
        }
    }
    let best = best.map(|(_, spec)| spec);
    best.ok_or_else(|| Failure::input("no profile goes with what is installed"))
}

fn of_profile(profile: &str, found: &Found, charts: &Charts) -> Result<Value, Failure> {
    let mut spec = json!({
        "profile": profile,
        "version": found.version.minor_text(),
        "components": components(found),
    });
    if found.revision != DEFAULT {
        spec["revision"] = found.revision.as_str().into();
    }
    if found.namespace != "istio-system" {
        spec["values"]["global"]["istioNamespace"] = found.namespace.as_str().into();
    }
    let given = merged(&spec, charts)?;
    labels(&mut spec, found, &given);
    let Some(pilot) = given
        .components
        .iter()
        .find(|one| one.kind == ComponentKind::Pilot)
    else {
        return Ok(spec);
    };
    let defaults = charts.defaults(pilot.kind.info().chart, given.version.minor);
    let defaults = defaults.map_err(Failure::input)?;
    let values = with_defaults(&found.values, &pilot.values, &defaults);
    let mut values = difference(&pilot.values, &values).unwrap_or_default();
    lift(&mut spec, &mut values);
    if let Some(fields) = values.as_object().filter(|fields| !fields.is_empty()) {
        merge_over(&mut spec["values"], Value::Object(fields.clone()));
    }
    merged(&spec, charts)?;
    Ok(spec)
}

fn merged(spec: &Value, charts: &Charts) -> Result<Merged, Failure> {
    let cr = IstioOperator::new("found", RawSpec(spec.clone()));
    merge(&cr, None, Cluster::default(), charts).map_err(|errors| all(&errors))
}

/// Every component, switched as it was found.
fn components(found: &Found) -> Value {
    let gateways = |gateways: &[Gateway]| -> Value {
        let entry = |gateway: &Gateway| {
            let mut entry = json!({"name": gateway.name, "enabled": true});
            if gateway.namespace != found.namespace {
                entry["namespace"] = gateway.namespace.as_str().into();
            }
            entry
        };
        gateways.iter().map(entry).collect()
    };
    let agent = |namespace: &Option<String>| {
        let mut agent = json!({"enabled": namespace.is_some()});
        if let Some(namespace) = namespace.as_ref().filter(|name| **name != found.namespace) {
            agent["namespace"] = namespace.as_str().into();
        }
        agent
    };
    json!({
        "base": {"enabled": true},
        "pilot": {"enabled": true},
        "cni": agent(&found.cni),
        "ztunnel": agent(&found.ztunnel),
        "ingressGateways": gateways(&found.ingress),
        "egressGateways": gateways(&found.egress),
    })
}

/// Gives gateways the labels that their pods are selected by, where the chart would give them others.
fn labels(spec: &mut Value, found: &Found, given: &Merged) {
    for (kind, gateways) in [
        (ComponentKind::IngressGateways, &found.ingress),
        (ComponentKind::EgressGateways, &found.egress),
    ] {
        for (index, gateway) in gateways.iter().enumerate() {
            let rendered = given
                .components
                .iter()
                .find(|one| one.kind == kind && one.name == gateway.name);
            if rendered.and_then(own_labels) != Some(gateway.selector.clone()) {
                spec["components"][kind.spec_key()][index]["label"] = gateway.selector.clone();
            }
        }
    }
}

/// The labels that a gateway is rendered with.
fn own_labels(component: &Component) -> Option<Value> {
    let gateways = value_at(&component.values, &["gateways"])?;
    let key = component.kind.gateway_key()?;
    value_at(gateways, &[key, "labels"]).cloned()
}

/// Moves settings to the fields that users write them in.
fn lift(spec: &mut Value, values: &mut Value) {
    for (field, keys) in [
        ("hub", &["global", "hub"][..]),
        ("tag", &["global", "tag"]),
        ("meshConfig", &["meshConfig"]),
    ] {
        if let Some(value) = value_at(values, keys).cloned() {
            spec[field] = value;
            remove(values, keys);
        }
    }
    // They follow from the components.
    for keys in [
        &["pilot", "enabled"][..],
        &["pilot", "cni", "enabled"],
        &["revision"],
        &["profile"],
    ] {
        remove(values, keys);
    }
}

/// Removes a field, and the maps that are empty then.
fn remove(tree: &mut Value, keys: &[&str]) {
    let (Some(fields), [key, rest @ ..]) = (tree.as_object_mut(), keys) else {
        return;
    };
    let is_empty = match fields.get_mut(*key) {
        Some(below) if !rest.is_empty() => {
            remove(below, rest);
            below.as_object().is_some_and(Map::is_empty)
        }
        _ => true,
    };
    if is_empty {
        fields.remove(*key);
    }
}

/// The values that were found, with the chart's defaults of what only a profile sets: Helm installs without one, so they were
/// in effect.
fn with_defaults(found: &Value, given: &Value, defaults: &Value) -> Value {
    let (Some(given), Some(fields)) = (given.as_object(), found.as_object()) else {
        return found.clone();
    };
    let mut fields = fields.clone();
    for (key, given) in given {
        let Some(default) = defaults.get(key).filter(|default| !default.is_null()) else {
            continue;
        };
        let value = match (fields.get(key), default) {
            (None, Value::Object(_)) => with_defaults(&json!({}), given, default),
            (None, _) => default.clone(),
            (Some(found), _) => with_defaults(found, given, default),
        };
        if value != json!({}) {
            fields.insert(key.clone(), value);
        }
    }
    Value::Object(fields)
}

/// What has to be laid over `from` to give `to`; none if they are alike.
pub(super) fn difference(from: &Value, to: &Value) -> Option<Value> {
    let (Some(before), Some(after)) = (from.as_object(), to.as_object()) else {
        return (from != to).then(|| to.clone());
    };
    let mut fields = Map::new();
    for (key, value) in after {
        let found = match before.get(key) {
            Some(known) => difference(known, value),
            None => Some(value.clone()),
        };
        fields.extend(found.map(|found| (key.clone(), found)));
    }
    for key in before.keys().filter(|key| !after.contains_key(*key)) {
        fields.insert(key.clone(), Value::Null);
    }
    (!fields.is_empty()).then_some(Value::Object(fields))
}

/// How many settings a tree has.
fn leaves(tree: &Value) -> usize {
    match tree {
        Value::Object(fields) => fields.values().map(leaves).sum(),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_laid_over_the_first_gives_the_second() {
        let from = json!({"a": 1, "b": {"c": [1], "d": "x"}, "e": true});
        let to = json!({"a": 1, "b": {"c": [2], "d": "x", "f": null}});
        let difference = difference(&from, &to).unwrap();
        assert_eq!(difference, json!({"b": {"c": [2], "f": null}, "e": null}));
        assert_eq!(super::difference(&to, &to), None);
    }

    #[test]
    fn what_a_profile_sets_and_nobody_chose_has_the_default_of_the_chart() {
        let given = json!({"global": {"a": true, "b": 1, "c": 1}, "gateways": {"d": 1}});
        let defaults = json!({"global": {"a": true, "b": 2, "e": 1}, "meshConfig": {}});
        let found = json!({"global": {"b": 3}});
        let expected = json!({"global": {"a": true, "b": 3}});
        assert_eq!(with_defaults(&found, &given, &defaults), expected);
        let expected = json!({"global": {"a": true, "b": 2}});
        assert_eq!(with_defaults(&json!({}), &given, &defaults), expected);
    }

    #[test]
    fn settings_are_lifted_to_where_users_write_them() {
        let mut spec = json!({});
        let mut values = json!({
            "global": {"hub": "h", "tag": "t"},
            "meshConfig": {"enableTracing": true},
            "pilot": {"enabled": true, "cni": {"enabled": false}, "env": {"A": "b"}},
        });
        lift(&mut spec, &mut values);
        assert_eq!(
            spec,
            json!({"hub": "h", "tag": "t", "meshConfig": {"enableTracing": true}})
        );
        assert_eq!(values, json!({"pilot": {"env": {"A": "b"}}}));
    }
}
