//! Checks rules of mesh settings that the schema cannot express.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Checked, Findings, balance, elements, schema::in_camel_case};
use crate::api::Path;
use crate::catalogue::Behavior;
use crate::charts::tree::at;

/// Checks the mesh settings wherever the user may write them.
pub(super) fn check(checked: &Checked, findings: &mut Findings) {
    let spec = Path::root("spec");
    for keys in [&["meshConfig"][..], &["values", "meshConfig"]] {
        if let Some(mesh) = at(checked.user, keys) {
            let (mesh, path) = (&effective(mesh, checked), spec.keys(keys));
            providers(mesh, &path, findings);
            tracers(mesh, &path, findings);
            tracing_tls(mesh, checked, &path, findings);
            balance::check(mesh, &path, findings);
            stackdriver(mesh, &path, findings);
            private_keys(mesh, &path, findings);
            curves(mesh, checked.version.minor, &path, findings);
        }
    }
    networks(checked, findings);
    // A chart refuses these wherever they come from.
    if let Some(mesh) = at(checked.user, &["unvalidatedValues", "meshConfig"]) {
        let path = spec.key("unvalidatedValues").key("meshConfig");
        stackdriver(mesh, &path, findings);
    }
}

/// The mesh settings with their names in camel case, without those at the top that this minor does not know: istiod
/// ignores them, so nothing in them can be wrong.
fn effective(mesh: &Value, checked: &Checked) -> Value {
    let mut mesh = in_camel_case(mesh);
    // A schema that does not compile is an error already.
    let schema = checked.charts.schema(checked.version.minor).ok();
    let known = schema.and_then(|schema| schema.mesh.get("properties"));
    if let (Value::Object(fields), Some(known)) = (&mut mesh, known) {
        fields.retain(|key, _| known.get(key).is_some());
    }
    mesh
}

/// Warns of two providers with one name, of which istiod takes the last, and of a provider without a name, which cannot be
/// used. istiod starts with both.
fn providers(mesh: &Value, path: &Path, findings: &mut Findings) {
    let mut seen = BTreeSet::new();
    let path = path.key("extensionProviders");
    for (path, provider) in elements(mesh.get("extensionProviders"), &path) {
        let path = path.key("name");
        let problem = match provider
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default()
        {
            "" => "a provider without a name cannot be used".to_owned(),
            name if !seen.insert(name) => format!("another provider is called {name} too"),
            _ => continue,
        };
        findings.warn(path, problem);
    }
}

/// The tracers, and the settings that each requires. Of several that are set, Istio takes the last one.
const TRACERS: [(&str, &[&str]); 5] = [
    ("zipkin", &["address"]),
    ("lightstep", &["address", "accessToken"]),
    ("datadog", &["address"]),
    ("stackdriver", &[]),
    ("openCensusAgent", &[]),
];

/// Checks that the tracer knows where to send spans, and warns of further ones.
fn tracers(mesh: &Value, path: &Path, findings: &mut Findings) {
    let path = path.key("defaultConfig").key("tracing");
    let tracing = &mesh["defaultConfig"]["tracing"];
    let is_set = |(tracer, _): &(&str, &[&str])| !tracing[*tracer].is_null();
    let set: Vec<_> = TRACERS.into_iter().filter(is_set).collect();
    let Some((tracer, needed)) = set.last() else {
        return;
    };
    if set.len() > 1 {
        let names: Vec<&str> = set.iter().map(|(name, _)| *name).collect();
        let names = names.join(", ");
        let text = format!(
            "has more than one tracer ({names}), and Istio uses {tracer}; remove the others"
        );
        findings.warn(path.clone(), text);
    }
    for key in *needed {
        let setting = &tracing[*tracer][*key];
        if setting.is_null() || *setting == "" {
            let problem = format!("is required by the {tracer} tracer");
            findings.error(path.key(tracer).key(key), problem);
        }
    }
}

/// Checks the TLS settings of the connection that spans are sent over.
fn tracing_tls(mesh: &Value, checked: &Checked, path: &Path, findings: &mut Findings) {
    let tracing = &mesh["defaultConfig"]["tracing"];
    let path = path.key("defaultConfig").key("tracing");
    let path = path.key("tlsSettings");
    for (key, problem) in credentials(&tracing["tlsSettings"], checked) {
        findings.error(path.key(key), problem);
    }
}

/// The TLS settings that contradict each other: the key and what is wrong with it.
fn credentials(tls: &Value, checked: &Checked) -> Vec<(&'static str, &'static str)> {
    let set = |key: &str| match &tls[key] {
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        _ => false,
    };
    let is = |word: &str, number: i64| tls["mode"] == word || tls["mode"] == number;
    let (is_simple, is_mutual) = (is("SIMPLE", 1), is("MUTUAL", 2));
    let mut wrong = Vec::new();
    let name = tls["credentialName"].as_str().unwrap_or_default();
    let reads_config_maps = checked.has(Behavior::KnowsConfigMapCredentials);
    if reads_config_maps && name.starts_with("configmap://") {
        wrong.push(("credentialName", "cannot be a ConfigMap for the whole mesh"));
    }
    if tls["insecureSkipVerify"] == true && (is_simple || is_mutual) {
        let checked = ["caCertificates", "subjectAltNames", "credentialName"];
        let checked = checked.into_iter().take(if is_simple { 3 } else { 2 });
        let problem = "cannot be set beside insecureSkipVerify";
        wrong.extend(checked.filter(|key| set(key)).map(|key| (key, problem)));
    }
    if (is_simple || is_mutual) && set("credentialName") {
        let files = ["clientCertificate", "caCertificates", "privateKey", "caCrl"];
        let problem = "cannot be set beside credentialName";
        wrong.extend(
            files
                .into_iter()
                .filter(|key| set(key))
                .map(|key| (key, problem)),
        );
    } else if is_mutual {
        let needed = ["clientCertificate", "privateKey"];
        let problem = "is required by the mode MUTUAL";
        wrong.extend(
            needed
                .into_iter()
                .filter(|key| !set(key))
                .map(|key| (key, problem)),
        );
    }
    wrong
}

/// Refuses the settings of the Stackdriver tracer, which were removed from Istio.
fn stackdriver(mesh: &Value, path: &Path, findings: &mut Findings) {
    let path = path.key("defaultConfig").key("tracing");
    for key in super::support::STACKDRIVER {
        if at(mesh, &["defaultConfig", "tracing", "stackdriver", key])
            .is_some_and(|v| !v.is_null() && v != "")
        {
            let path = path.key("stackdriver").key(key);
            findings.error(path, super::support::STACKDRIVER_REMOVED);
        }
    }
}

/// Checks that a provider of private keys is one of the two that exist, and has its poll delay.
fn private_keys(mesh: &Value, path: &Path, findings: &mut Findings) {
    let path = path.key("defaultConfig").key("privateKeyProvider");
    let Some(provider @ Value::Object(_)) = at(mesh, &["defaultConfig", "privateKeyProvider"])
    else {
        return;
    };
    let set = |tree: &Value, key: &str| tree.get(key).is_some_and(|value| !value.is_null());
    let (path, problem) = match ["cryptomb", "qat"]
        .into_iter()
        .find(|name| set(provider, name))
    {
        None => (path, "expected cryptomb or qat, found neither".to_owned()),
        Some(name) if set(&provider[name], "pollDelay") => return,
        Some(name) => {
            let problem = format!("is required by the {name} provider");
            (path.key(name).key("pollDelay"), problem)
        }
    };
    findings.error(path, problem);
}

/// The curves that proxies know, and the minor since which they do.
const CURVES: [(&str, u16); 7] = [
    ("P-224", 0),
    ("P-256", 0),
    ("P-384", 0),
    ("P-521", 0),
    ("X25519", 0),
    ("X25519Kyber768Draft00", 0),
    ("X25519MLKEM768", 26),
];

/// Refuses curves for traffic inside of the mesh, where they are fixed, and warns of others that proxies leave out.
fn curves(mesh: &Value, minor: u16, path: &Path, findings: &mut Findings) {
    let mut seen = BTreeSet::new();
    let other = path.key("tlsDefaults").key("ecdhCurves");
    for (path, curve) in elements(at(mesh, &["tlsDefaults", "ecdhCurves"]), &other) {
        let name = curve.as_str().unwrap_or_default();
        let is_known = |(known, since): &(&str, u16)| *known == name && *since <= minor;
        if !CURVES.iter().any(is_known) {
            findings.warn(path, "is no curve that proxies know, so they leave it out");
        } else if !seen.insert(name) {
            findings.warn(path, "is in the list already");
        }
    }
    let curves = at(mesh, &["meshMTLS", "ecdhCurves"]).and_then(Value::as_array);
    if curves.is_some_and(|curves| !curves.is_empty()) {
        let problem = "is not for traffic inside of the mesh; use tlsDefaults.ecdhCurves";
        let path = path.key("meshMTLS").key("ecdhCurves");
        findings.error(path, problem);
    }
}

/// Refuses the form of `meshNetworks` in a mesh config, where the networks are one level deeper than in `values`.
fn networks(checked: &Checked, findings: &mut Findings) {
    let keys = ["values", "global", "meshNetworks", "networks"];
    let nested = at(checked.user, &keys).and_then(Value::as_object);
    // A network may have any name, this one too.
    let is_network = |fields: &serde_json::Map<String, Value>| {
        fields.is_empty()
            || fields
                .keys()
                .any(|key| ["endpoints", "gateways"].contains(&key.as_str()))
    };
    if nested.is_some_and(|fields| !is_network(fields)) {
        let problem =
            "is one level too deep; write its networks directly below values.global.meshNetworks";
        findings.error(Path::root("spec").keys(&keys), problem);
    }
}
