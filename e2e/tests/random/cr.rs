//! A random `IstioOperator`.

use istio_operator::api::strict_schema;
use serde_json::{Map, Value, json};

use super::schema::Sampler;

/// Keys of `values` that upstream's charts read and its schema does not know (found by asking
/// istioctl 1.31 about each): `unvalidatedValues` takes them in both.
const FORGOTTEN: [&str; 42] = [
    "base.validationFailurePolicy",
    "cni.ambient.enableAmbientDetectionRetry",
    "cni.ambient.enablementSelectors",
    "cni.ambient.shareHostNetworkNamespace",
    "cni.resources.claims",
    "cni.seLinuxOptions",
    "cni.terminationGracePeriodSeconds",
    "cni.tolerations",
    "cni.updateStrategy",
    "gateways.istio-egressgateway.egressPorts",
    "gateways.istio-egressgateway.externalTrafficPolicy",
    "gateways.istio-egressgateway.loadBalancerIP",
    "gateways.istio-egressgateway.loadBalancerSourceRanges",
    "gateways.istio-egressgateway.podAntiAffinityLabelSelector",
    "gateways.istio-egressgateway.podAntiAffinityTermLabelSelector",
    "gateways.istio-egressgateway.replicaCount",
    "gateways.istio-egressgateway.resources.claims",
    "gateways.istio-egressgateway.tag",
    "gateways.istio-ingressgateway.podAntiAffinityLabelSelector",
    "gateways.istio-ingressgateway.podAntiAffinityTermLabelSelector",
    "gateways.istio-ingressgateway.resources.claims",
    "gateways.istio-ingressgateway.tag",
    "global.defaultResources.limits",
    "global.profile",
    "global.proxy.capNetBindService",
    "global.proxy.resources.claims",
    "global.proxy.variant",
    "global.proxy_init.forceApplyIptables",
    "global.proxy_init.resources.claims",
    "global.waypoint.nodeSelector",
    "global.waypoint.resources.claims",
    "global.waypoint.tolerations",
    "pilot.deploymentAnnotations",
    "pilot.extraContainerArgs",
    "pilot.initContainers",
    "pilot.pdb",
    "pilot.resources.claims",
    "pilot.sidecarInjectorWebhookAnnotations",
    "pilot.terminationMessagePolicy",
    "pilot.trafficDistribution",
    "pilot.trustedZtunnelName",
    "platform",
];

/// Keys of which one is chosen in every other CR, to set about half of the fields below it: see [`Sampler::dense`].
const DENSE: [&str; 12] = [
    "ambient",
    "base",
    "cni",
    "defaultConfig",
    "global",
    "istio-egressgateway",
    "istio-ingressgateway",
    "k8s",
    "pilot",
    "sidecarInjectorWebhook",
    "waypoint",
    "ztunnel",
];

/// A CR with some fields of everything that the schema knows.
pub fn cr(sampler: &mut Sampler) -> Value {
    let mut spec = Map::new();
    if sampler.rng.usize(..2) == 0 {
        sampler.dense = sampler.rng.choice(&DENSE).unwrap();
    }
    let fields = strict_schema()["properties"].as_object().unwrap();
    for (key, field) in fields {
        let chance = match key.as_str() {
            "components" | "values" => 4,
            "meshConfig" | "profile" => 2,
            _ => 1,
        };
        if sampler.rng.usize(..5) >= chance {
            continue;
        }
        let mut place = vec!["spec".to_owned(), key.clone()];
        let value = match key.as_str() {
            "profile" => Some(profile(sampler)),
            "compatibilityVersion" => compatibility(sampler),
            "values" => values(sampler, &mut place),
            "meshConfig" => mesh(sampler, &mut place),
            _ => sampler.value(field, &mut place),
        };
        spec.extend(value.map(|value| (key.clone(), value)));
    }
    let mut spec = Value::Object(spec);
    unvalidated(&mut spec);
    gateways(&mut spec);
    if sampler.rng.usize(..8) > 0 {
        // The CRDs take most of upstream's time, and no setting but one changes them.
        set(&mut spec, &["components", "base", "enabled"], false.into());
    }
    json!({
        "apiVersion": "install.istio.io/v1alpha1",
        "kind": "IstioOperator",
        "metadata": {"name": "random", "namespace": "istio-system"},
        "spec": spec,
    })
}

fn profile(sampler: &mut Sampler) -> Value {
    let names = sampler.charts.profile_names();
    (*sampler.rng.choice(&names).unwrap()).into()
}

/// Mostly one that the minor knows.
fn compatibility(sampler: &mut Sampler) -> Option<Value> {
    let release = sampler.charts.catalogue().release(sampler.minor)?;
    let known: Vec<&str> = release.compatibility.iter().map(String::as_str).collect();
    let unknown = sampler.rng.usize(..20) == 0;
    Some(
        if unknown {
            "1.9"
        } else {
            sampler.rng.choice(&known).unwrap()
        }
        .into(),
    )
}

fn mesh(sampler: &mut Sampler, place: &mut Vec<String>) -> Option<Value> {
    let schema = sampler.schema();
    let mesh = sampler.value_inside(&schema.mesh, place)?;
    let is_snake_case = sampler.rng.usize(..8) == 0;
    Some(if is_snake_case {
        snake_case(mesh)
    } else {
        mesh
    })
}

/// The same protocol buffers message with its fields in the other spelling: `snake_case` or `camelCase`.
fn snake_case(message: Value) -> Value {
    let Value::Object(fields) = message else {
        return message;
    };
    let renamed = fields.into_iter().map(|(key, value)| {
        let key = key.chars().flat_map(|letter| {
            let separator = letter.is_ascii_uppercase().then_some('_');
            separator.into_iter().chain([letter.to_ascii_lowercase()])
        });
        (key.collect(), value)
    });
    Value::Object(renamed.collect())
}

fn values(sampler: &mut Sampler, place: &mut Vec<String>) -> Option<Value> {
    let schema = sampler.schema();
    let mut values = sampler.value(&schema.values, place)?;
    if sampler.rng.usize(..8) == 0
        && let Some(version) = compatibility(sampler)
    {
        values["compatibilityVersion"] = version;
    }
    if sampler.rng.usize(..4) == 0 {
        place.push("meshConfig".to_owned());
        if let Some(mesh) = mesh(sampler, place) {
            values["meshConfig"] = mesh;
        }
        place.pop();
    }
    if sampler.dense == "ztunnel" || sampler.rng.usize(..4) == 0 {
        let defaults = sampler.charts.defaults("ztunnel", sampler.minor).unwrap();
        place.push("ztunnel".to_owned());
        if let Some(own) = sampler.value(&like(&defaults), place) {
            values["ztunnel"] = own;
        }
        place.pop();
    }
    Some(values)
}

/// A schema of values like this one.
fn like(example: &Value) -> Value {
    match example {
        Value::Object(map) if !map.is_empty() => {
            let fields: Map<_, _> = map.iter().map(|(k, v)| (k.clone(), like(v))).collect();
            json!({"type": "object", "properties": fields})
        }
        Value::Object(_) => json!({"type": "object", "additionalProperties": {"type": "string"}}),
        Value::Bool(_) => json!({"type": "boolean"}),
        Value::Number(_) => json!({"type": "integer"}),
        Value::String(_) => json!({"type": "string"}),
        Value::Array(_) | Value::Null => json!({}),
    }
}

/// Moves keys of `values` that upstream's schema does not know to `unvalidatedValues`.
fn unvalidated(spec: &mut Value) {
    for path in FORGOTTEN {
        let keys: Vec<&str> = path.split('.').collect();
        let Some((last, above)) = keys.split_last() else {
            continue;
        };
        let above = at_mut(spec, &[&["values"], above].concat());
        let taken = above
            .and_then(Value::as_object_mut)
            .and_then(|map| map.remove(*last));
        if let Some(value) = taken {
            set(spec, &[&["unvalidatedValues"], &keys[..]].concat(), value);
        }
    }
}

/// Gives every gateway a name of its own, because we refuse two of one name.
fn gateways(spec: &mut Value) {
    let mut number = 0;
    for list in ["ingressGateways", "egressGateways"] {
        let list = at_mut(spec, &["components", list]).and_then(Value::as_array_mut);
        for gateway in list.into_iter().flatten() {
            let name = gateway["name"].as_str().unwrap_or("gateway").to_owned();
            gateway["name"] = if number == 0 {
                name
            } else {
                format!("{name}-{number}")
            }
            .into();
            number += 1;
        }
    }
}

fn at_mut<'v>(value: &'v mut Value, keys: &[&str]) -> Option<&'v mut Value> {
    keys.iter()
        .try_fold(value, |value, key| value.get_mut(*key))
}

pub fn set(value: &mut Value, keys: &[&str], new: Value) {
    let mut place = value;
    for key in keys {
        if !place.is_object() {
            *place = json!({});
        }
        place = &mut place[*key];
    }
    *place = new;
}
