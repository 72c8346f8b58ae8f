//! Values for fields whose schema does not say which values make sense.

use std::sync::LazyLock;

use istio_operator::charts::yaml;
use serde_json::{Map, Value, json};

use fastrand::Rng;

/// Choices by the last keys of a place.
static SAMPLES: LazyLock<Map<String, Value>> =
    LazyLock::new(|| yaml::parse(include_str!("samples.yaml")).unwrap());

/// What the samples say about a place.
pub enum Sample {
    /// There is no sample; the schema says what fits.
    Unknown,
    /// Never set it: upstream ignores it, or it belongs elsewhere.
    Never,
    /// This value.
    Value(Value),
}

/// A sample for the field at `place`, by the entry with the most keys.
pub fn at(place: &[String], rng: &mut Rng) -> Sample {
    for start in 0..place.len() {
        if let Some(Value::Array(choices)) = SAMPLES.get(&place[start..].join(".")) {
            let chosen = (!choices.is_empty()).then(|| choices[rng.usize(..choices.len())].clone());
            return chosen.map_or(Sample::Never, Sample::Value);
        }
    }
    Sample::Unknown
}

/// A value of a format that the schema names; none for one that it never leaves open.
pub fn format(format: &str, rng: &mut Rng) -> Option<Value> {
    let choices: &[&str] = match format {
        "address" | "optional-address" => &["collector.obs:9411", "192.0.2.5:80"],
        "cidr-list" => &["*", "10.0.0.0/8", "10.0.0.0/8,2001:db8::/32", ""],
        "connect-timeout" | "whole-milliseconds" => &["5s", "250ms"],
        "drain-time" => &["30s", "1m30s"],
        "duration" | "detection-time" | "time-span" => &["10s", "0s", "1h2m", "500ms"],
        "gateway-name" => &["gw-a", "gw.b"],
        "host" => &["*", "*.example.com", "shop.example.com"],
        "hub" => &[
            "docker.io/istio",
            "mirror.example:5000/istio",
            "quay.example/a/b",
        ],
        "port" => return Some(json!([1, 8080, 15001, 65535][rng.usize(..4)])),
        "port-list" => &["*", "8080,9090", "22", ""],
        "quantity" => &["10m", "1", "0.5", "64Mi", "2Gi", "1500m", "1e3"],
        "revision" => &["canary", "v1-31", "default", "stable-2"],
        "tag" => &["1.31.0", "1.30.2-distroless", "latest"],
        "trust-domain" => &["cluster.local", "corp.example"],
        _ => return None,
    };
    Some((*rng.choice(choices).unwrap()).into())
}

/// A short text that no template changes.
pub fn text(rng: &mut Rng) -> Value {
    rng.choice(["alpha", "b-2", "team.example/x", "", "Some words here"])
        .unwrap()
        .into()
}

/// A text or a number, for fields that take both.
pub fn word(rng: &mut Rng) -> Value {
    let choices = [
        json!("v1"),
        json!("1.31.1-custom"),
        json!(7),
        json!("latest"),
    ];
    choices[rng.usize(..choices.len())].clone()
}

/// A key of a free map.
pub fn key(place: &[String], rng: &mut Rng) -> &'static str {
    match place.last().map(String::as_str) {
        Some("limits" | "requests") => rng.choice(["cpu", "memory", "ephemeral-storage"]).unwrap(),
        _ => rng
            .choice(["app", "example.com/key", "team", "B_2"])
            .unwrap(),
    }
}

/// A number that the field can hold.
pub fn number(place: &[String], rng: &mut Rng) -> i64 {
    let name = place.last().map(String::as_str).unwrap_or_default();
    if name.ends_with("Port") || name == "port" {
        return [1, 8080, 15020, 30080][rng.usize(..4)];
    }
    if name.starts_with("runAs") || name == "fsGroup" {
        return [0, 1337, 5000][rng.usize(..3)];
    }
    [0, 1, 2, 3, 5, 60][rng.usize(..6)]
}
