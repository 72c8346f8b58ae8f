//! The values that the charts of addons are rendered with, over their defaults.

use serde_json::{Map, Value, json};

use super::{Addons, or_null};
use crate::api::ComponentKind::{self, Grafana, Jaeger, Kiali, Loki, Prometheus, Zipkin};
use crate::api::{format, quantity};
use crate::catalogue::Catalogue;
use crate::charts::tree::at;
use crate::merge::tree::{scalar_text, text_at};

/// How long each addon keeps its data if the CR does not say it.
const RETENTION: [(ComponentKind, &str); 3] = [(Prometheus, "15d"), (Jaeger, "3d"), (Loki, "7d")];

/// What of its volume Prometheus fills, in percent: its log of what is not written yet needs the rest.
const FILLED: u64 = 80;
/// The size of the volume of Prometheus if the CR does not say it; that of its chart.
const PROMETHEUS_BYTES: u64 = 10 << 30;

/// The values of one addon, and the mesh-wide ones that its chart reads.
pub(in crate::merge) fn values(
    addons: Addons<'_>,
    kind: ComponentKind,
    minor: u16,
    catalogue: &Catalogue,
) -> Value {
    let global = at(addons.spec, &["values", "global"]);
    let own = Value::Object(own(addons, kind, minor, catalogue));
    json!({"global": global, "addons": {kind.spec_key(): own}})
}

fn own(
    addons: Addons<'_>,
    kind: ComponentKind,
    minor: u16,
    catalogue: &Catalogue,
) -> Map<String, Value> {
    let empty = json!({});
    let written = addons.get(kind).unwrap_or(&empty);
    let path = addons.path(kind);
    let mut own = Map::new();
    let mut set = |key: &str, value: Value| drop(own.insert(key.to_owned(), value));
    let storage = written.get("storage").filter(|storage| storage.is_object());
    // A newer Prometheus writes what an older one cannot read.
    let newest = storage.is_some() && kind == Prometheus;
    let image_of = if newest { u16::MAX } else { minor };
    if let Some(image) = catalogue.addon_image(kind.spec_key(), image_of) {
        set("hub", image.hub.into());
        set("image", image.image.into());
        set("tag", image.tag.into());
    }
    for key in ["hub", "tag"] {
        let text = written.get(key).and_then(scalar_text);
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            set(key, text.into());
        }
    }
    set("storage", storage.cloned().unwrap_or_default());
    set("path", path.into());
    set("externalURL", or_null(text_at(written, &["externalURL"])));
    set("anonymous", addons.is_anonymous(kind).into());
    set(
        "probe",
        json!({"prefix": if kind == Jaeger { "" } else { path }}),
    );
    let metrics_move = matches!(kind, Prometheus | Grafana);
    set(
        "metrics",
        json!({"prefix": if metrics_move { path } else { "" }}),
    );
    let usual = RETENTION.iter().find(|(addon, _)| *addon == kind);
    if let Some((_, usual)) = usual {
        let hours = text_at(written, &["retention"]).unwrap_or(usual);
        let hours = format::hours(hours).unwrap_or_default();
        // Loki and Jaeger read this form too.
        set("retention", format!("{hours}h").into());
    }
    match kind {
        // A text, because a large number would get an exponent.
        Prometheus => set("retentionBytes", filled(storage).to_string().into()),
        Grafana => {
            let timezone = text_at(written, &["timezone"]).unwrap_or("browser");
            set("timezone", timezone.into());
            set("dataSources", data_sources(addons, written));
        }
        _ => {}
    }
    if kind == Kiali {
        own.extend(kiali(addons, written));
    }
    own
}

/// The bytes of metrics after which Prometheus deletes the oldest.
fn filled(storage: Option<&Value>) -> u64 {
    let size = storage.and_then(|storage| storage.get("size"));
    let bytes = size.and_then(quantity::amount);
    let bytes = bytes.and_then(|nano| u64::try_from(nano / 1_000_000_000).ok());
    let bytes = bytes.unwrap_or(PROMETHEUS_BYTES);
    bytes / 100 * FILLED
}

/// What Grafana asks: each addon that is there, under an identity of its own that dashboards refer to.
fn data_sources(addons: Addons<'_>, grafana: &Value) -> Value {
    let prometheus = text_at(grafana, &["prometheusURL"]).map(str::to_owned);
    let prometheus = prometheus.or_else(|| addons.url(Prometheus, "prometheus", 9090));
    let sources = [
        ("Prometheus", "prometheus", prometheus),
        ("Loki", "loki", addons.url(Loki, "loki", 3100)),
        ("Jaeger", "jaeger", addons.url(Jaeger, "tracing", 80)),
        ("Zipkin", "zipkin", addons.url(Zipkin, "zipkin", 9411)),
    ];
    let sources = sources.into_iter().filter_map(|(name, id, url)| {
        let is_default = id == "prometheus";
        let options = if is_default {
            json!({"timeInterval": "15s"})
        } else {
            json!({})
        };
        Some(json!({
            "name": name,
            "uid": id,
            "type": id,
            "access": "proxy",
            "url": url?,
            "isDefault": is_default,
            "editable": false,
            "jsonData": options,
        }))
    });
    sources.collect()
}

fn kiali(addons: Addons<'_>, written: &Value) -> Map<String, Value> {
    let is_view_only = written.get("viewOnly") != Some(&Value::Bool(false));
    let url = |key| text_at(written, &[key]).map(str::to_owned);
    let prometheus = url("prometheusURL").or_else(|| addons.url(Prometheus, "prometheus", 9090));
    let namespace = text_at(addons.spec, &["values", "global", "istioNamespace"]);
    let namespace = namespace.unwrap_or(addons.namespace);
    let root = at(addons.spec, &["values", "meshConfig"]);
    let root = root.and_then(|mesh| text_at(mesh, &["rootNamespace"]));
    let external = url("grafanaURL");
    let (grafana, reads_password) = grafana(addons, external.as_deref());
    let fields = json!({
        "viewOnly": is_view_only,
        "istioNamespace": namespace,
        "rootNamespace": root.unwrap_or(namespace),
        "prometheus": {"url": prometheus},
        "grafana": grafana,
        "readsGrafanaPassword": reads_password,
        "tracing": tracing(addons, url("jaegerURL")),
        "server": server(addons),
    });
    match fields {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// How Kiali reaches Grafana, and whether it needs the password of its Secret for that.
fn grafana(addons: Addons<'_>, external: Option<&str>) -> (Value, bool) {
    if let Some(url) = external {
        let grafana = json!({"enabled": true, "internal_url": url, "external_url": url});
        return (grafana, false);
    }
    let Some(internal) = addons.url(Grafana, "grafana", 3000) else {
        return (json!({"enabled": false}), false);
    };
    let written = addons.get(Grafana);
    let external = written.and_then(|grafana| text_at(grafana, &["externalURL"]));
    let is_open = addons.is_anonymous(Grafana);
    let reads_password = !is_open && addons.share_namespace(Grafana, Kiali);
    let mut grafana = json!({
        "enabled": is_open || reads_password,
        "internal_url": internal,
        "external_url": external.unwrap_or_default(),
    });
    if reads_password {
        grafana["auth"] = json!({
            "type": "basic",
            "username": "admin",
            "password": "/kiali-override-secrets/grafana-password/value.txt",
        });
    }
    (grafana, reads_password)
}

/// How Kiali reaches Jaeger. It cannot read Zipkin.
fn tracing(addons: Addons<'_>, external: Option<String>) -> Value {
    if let Some(url) = external {
        return json!({
            "enabled": true,
            "provider": "jaeger",
            "internal_url": url,
            "external_url": url,
            "use_grpc": false,
        });
    }
    let Some(internal) = addons.url(Jaeger, "tracing", 16685) else {
        return json!({"enabled": false});
    };
    let written = addons.get(Jaeger);
    let external = written.and_then(|jaeger| text_at(jaeger, &["externalURL"]));
    json!({
        "enabled": true,
        "provider": "jaeger",
        "internal_url": internal,
        "external_url": external.unwrap_or_default(),
        "use_grpc": true,
    })
}

/// Where browsers reach Kiali, for the links that it makes.
fn server(addons: Addons<'_>) -> Value {
    let Some(url) = addons.external_url(Kiali) else {
        return json!({});
    };
    let usual = if url.scheme == "https" { 443 } else { 80 };
    json!({
        "web_fqdn": url.host,
        "web_port": url.port.unwrap_or(usual).to_string(),
        "web_schema": url.scheme,
    })
}
