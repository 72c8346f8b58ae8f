//! Tells the mesh where to send its traces, when a trace store is installed.
//!
//! That takes a provider and the choice of it. istiod's chart chooses the provider of metrics only while nothing is chosen
//! at all, so whoever chooses one for traces has to choose that one too, or all metrics are gone.

use serde_json::{Map, Value, json};

use super::Addons;
use crate::api::ComponentKind::{self, Jaeger, Zipkin};
use crate::charts::tree::{at, merge_over};
use crate::charts::{ChartError, Charts};
use crate::merge::chart_layers;
use crate::merge::tree::{is_true, set, text_at};

/// The trace store that a CR installs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::merge) struct Tracing {
    /// The addon.
    pub kind: ComponentKind,
    /// The name of its provider in the mesh configuration.
    pub provider: &'static str,
    /// The Service that spans are sent to.
    pub service: &'static str,
}

impl Tracing {
    /// The trace store of a CR, if it installs one.
    pub fn of(addons: Addons<'_>) -> Option<Self> {
        let [jaeger, zipkin] = [
            (Jaeger, "jaeger", "jaeger-collector"),
            (Zipkin, "zipkin", "zipkin"),
        ];
        let mut stores = [jaeger, zipkin].into_iter();
        let (kind, provider, service) = stores.find(|(kind, ..)| addons.get(*kind).is_some())?;
        Some(Self {
            kind,
            provider,
            service,
        })
    }

    /// The provider as the mesh configuration has it.
    fn entry(self, namespace: &str, domain: &str) -> Value {
        let service = format!("{}.{namespace}.svc.{domain}", self.service);
        match self.kind {
            Jaeger => {
                json!({"name": self.provider, "opentelemetry": {"service": service, "port": 4317}})
            }
            _ => json!({"name": self.provider, "zipkin": {"service": service, "port": 9411}}),
        }
    }
}

/// Adds the provider of the trace store and its choice to `values.meshConfig`, and its sampling to istiod's values. What the
/// user wrote there wins.
pub(in crate::merge) fn wire(
    spec: &mut Value,
    namespace: &str,
    minor: u16,
    charts: &Charts,
) -> Result<(), ChartError> {
    let addons = Addons { spec, namespace };
    let Some(tracing) = Tracing::of(addons) else {
        return Ok(());
    };
    let (layers, _) = chart_layers(charts, minor, &spec["values"])?;
    let mut below = charts.defaults("pilot", minor)?;
    merge_over(&mut below, layers);
    let mut values = below.clone();
    merge_over(&mut values, spec["values"].clone());
    let domain = text_at(&values, &["global", "proxy", "clusterDomain"]);
    let namespace = addons.namespace_of(tracing.kind).unwrap_or(namespace);
    let entry = tracing.entry(namespace, domain.unwrap_or("cluster.local"));
    let sampling = addons
        .get(tracing.kind)
        .and_then(|written| written.get("sampling"))
        .filter(|sampling| sampling.is_number())
        .cloned();
    let metrics = metrics(&values);

    let written = &mut spec["values"];
    let is_free = at(written, &["pilot", "traceSampling"]).is_none_or(Value::is_null);
    if let Some(sampling) = sampling.filter(|_| is_free) {
        set(written, &["pilot", "traceSampling"], sampling);
    }
    let mesh = &mut written["meshConfig"];
    if !mesh.is_object() {
        *mesh = json!({});
    }
    let usual = at(&below, &["meshConfig", "extensionProviders"]);
    let providers = field(mesh, "extensionProviders");
    mesh[providers] = joined(&mesh[providers], usual, entry);
    let chosen = field(mesh, "defaultProviders");
    choose(&mut mesh[chosen], tracing.provider, metrics);
    Ok(())
}

/// The name under which a field of the mesh configuration stands there, in either spelling of protocol buffers.
pub(in crate::merge) fn field(mesh: &Value, name: &'static str) -> &'static str {
    let snake = match name {
        "extensionProviders" => "extension_providers",
        _ => "default_providers",
    };
    if mesh.get(snake).is_some() {
        snake
    } else {
        name
    }
}

/// The list of providers with `entry` in it. The user's list replaces that of the profile, and the user's own provider of
/// the same name wins.
fn joined(written: &Value, usual: Option<&Value>, entry: Value) -> Value {
    let has_name = |provider: &Value| provider.get("name") == entry.get("name");
    let mut list = match (written, usual) {
        (Value::Array(list), _) => list.clone(),
        (Value::Null, Some(Value::Array(usual))) => {
            let others = usual.iter().filter(|provider| !has_name(provider));
            others.cloned().collect()
        }
        (Value::Null, _) => Vec::new(),
        // The check of the schema refuses it.
        (other, _) => return other.clone(),
    };
    if !list.iter().any(has_name) {
        list.push(entry);
    }
    Value::Array(list)
}

/// Chooses the provider of traces where the user chose none, and those that istiod's chart would have chosen.
fn choose(chosen: &mut Value, provider: &str, usual: Map<String, Value>) {
    if chosen.is_null() {
        *chosen = json!({});
        if let Value::Object(chosen) = chosen {
            chosen.extend(usual);
        }
    } else if chosen.is_object() {
        let none = |key: &str| chosen.get(key).is_none_or(Value::is_null);
        if none("metrics")
            && let Some(metrics) = usual.get("metrics")
        {
            chosen["metrics"] = metrics.clone();
        }
    }
    if chosen.is_object() && chosen.get("tracing").is_none_or(Value::is_null) {
        chosen["tracing"] = json!([provider]);
    }
}

/// The providers that istiod's chart chooses by itself.
fn metrics(values: &Value) -> Map<String, Value> {
    let telemetry = |keys: &[&str]| is_true(values, &[&["telemetry"], keys].concat());
    let mut usual = Map::new();
    if !telemetry(&["enabled"]) || !telemetry(&["v2", "enabled"]) {
        return usual;
    }
    let names = ["prometheus", "stackdriver"];
    let on: Vec<_> = names
        .into_iter()
        .filter(|name| telemetry(&["v2", name, "enabled"]))
        .collect();
    if !on.is_empty() {
        usual.insert("metrics".to_owned(), json!(on));
    }
    if on.contains(&"stackdriver") {
        usual.insert("accessLogging".to_owned(), json!(["stackdriver"]));
    }
    usual
}
