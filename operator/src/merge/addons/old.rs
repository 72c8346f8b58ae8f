//! The settings of addons as Istio's own operator had them until 1.7: `addonComponents.tracing`, and
//! `values.{prometheus,grafana,kiali,tracing}`.

use serde_json::{Map, Value, json};

use crate::api::Path;
use crate::charts::tree::{at, merge_over};
use crate::merge::check::Findings;
use crate::merge::tree::{is_true, set, text_at};

/// The fields of `values` with settings of addons.
pub(in crate::merge) const SECTIONS: [&str; 4] = ["prometheus", "grafana", "kiali", "tracing"];

/// The keys that lead to the kind of trace store.
pub(in crate::merge) const PROVIDER: [&str; 3] = ["values", "tracing", "provider"];

/// What an old setting is called now: its section, its keys below that, and the keys of the addon that it became.
const RENAMED: [(&str, &[&str], &[&str]); 17] = [
    ("", &["enabled"], &["enabled"]),
    ("", &["hub"], &["hub"]),
    ("", &["retention"], &["retention"]),
    ("", &["resources"], &["k8s", "resources"]),
    ("", &["nodeSelector"], &["k8s", "nodeSelector"]),
    ("", &["tolerations"], &["k8s", "tolerations"]),
    ("", &["podAnnotations"], &["k8s", "podAnnotations"]),
    (
        "",
        &["service", "annotations"],
        &["k8s", "serviceAnnotations"],
    ),
    ("", &["service", "type"], &["k8s", "service", "type"]),
    (
        "",
        &["service", "loadBalancerIP"],
        &["k8s", "service", "loadBalancerIP"],
    ),
    (
        "",
        &["service", "loadBalancerSourceRanges"],
        &["k8s", "service", "loadBalancerSourceRanges"],
    ),
    ("kiali", &["dashboard", "viewOnlyMode"], &["viewOnly"]),
    ("kiali", &["dashboard", "grafanaURL"], &["grafanaURL"]),
    (
        "kiali",
        &["dashboard", "grafanaInClusterURL"],
        &["grafanaURL"],
    ),
    ("kiali", &["dashboard", "jaegerURL"], &["jaegerURL"]),
    (
        "kiali",
        &["dashboard", "jaegerInClusterURL"],
        &["jaegerURL"],
    ),
    ("tracing", &["jaeger", "hub"], &["hub"]),
];

const IMAGE: &str =
    "the image is that of the Istio minor, and another one is named in spec.addonComponents";
const PATH: &str = "the path is that of externalURL in spec.addonComponents";
const AFFINITY: &str = "use k8s.affinity in spec.addonComponents";
const LOGIN: &str = "Kiali knows no passwords any more; log in with a token";
const STRATEGY: &str =
    "people log in with a token, or nobody has to where auth of kiali is Anonymous";
const PORT: &str = "name and port of the Service are fixed";

/// Old settings that mean nothing any more: section, keys, and what there is instead.
const DROPPED: [(&str, &[&str], &str); 33] = [
    ("", &["tag"], IMAGE),
    ("", &["image"], IMAGE),
    ("", &["contextPath"], PATH),
    ("", &["podAntiAffinityLabelSelector"], AFFINITY),
    ("", &["podAntiAffinityTermLabelSelector"], AFFINITY),
    ("", &["accessMode"], "a volume is written by one node"),
    (
        "",
        &["security"],
        "addons have no certificates of Istio; for a login see auth in spec.addonComponents",
    ),
    ("", &["service", "name"], PORT),
    ("", &["service", "externalPort"], PORT),
    (
        "prometheus",
        &["scrapeInterval"],
        "everything is scraped every 15 seconds",
    ),
    (
        "prometheus",
        &["provisionPrometheusCert"],
        "metrics are scraped without certificates",
    ),
    (
        "grafana",
        &["datasources"],
        "the data sources follow from the other addons",
    ),
    (
        "grafana",
        &["dashboardProviders"],
        "Grafana keeps dashboards of your own in its storage",
    ),
    (
        "grafana",
        &["env"],
        "use k8s.env in spec.addonComponents.grafana",
    ),
    (
        "grafana",
        &["envSecrets"],
        "use k8s.env in spec.addonComponents.grafana",
    ),
    ("kiali", &["createDemoSecret"], LOGIN),
    ("kiali", &["dashboard", "secretName"], LOGIN),
    ("kiali", &["dashboard", "usernameKey"], LOGIN),
    ("kiali", &["dashboard", "passphraseKey"], LOGIN),
    (
        "kiali",
        &["prometheusNamespace"],
        "use prometheusURL in spec.addonComponents.kiali",
    ),
    ("tracing", &["jaeger", "tag"], IMAGE),
    ("tracing", &["jaeger", "image"], IMAGE),
    (
        "tracing",
        &["jaeger", "accessMode"],
        "a volume is written by one node",
    ),
    (
        "tracing",
        &["jaeger", "memory"],
        "Jaeger keeps traces on a volume",
    ),
    (
        "tracing",
        &["jaeger", "spanStorageType"],
        "Jaeger keeps traces on a volume",
    ),
    ("tracing", &["zipkin", "tag"], IMAGE),
    ("tracing", &["zipkin", "image"], IMAGE),
    ("tracing", &["zipkin", "queryPort"], PORT),
    (
        "tracing",
        &["zipkin", "javaOptsHeap"],
        "use k8s.env in spec.addonComponents.zipkin",
    ),
    (
        "tracing",
        &["zipkin", "maxSpans"],
        "use k8s.env in spec.addonComponents.zipkin",
    ),
    (
        "tracing",
        &["zipkin", "probeStartupDelay"],
        "the probes are fixed",
    ),
    (
        "tracing",
        &["jaeger", "resources"],
        "use k8s.resources in spec.addonComponents.jaeger",
    ),
    (
        "tracing",
        &["zipkin", "resources"],
        "use k8s.resources in spec.addonComponents.zipkin",
    ),
];

/// Writes the old settings of a merged spec where the new ones stand. A new one wins over an old one.
pub(in crate::merge) fn translate(spec: &mut Value, findings: &mut Findings) {
    let has_old = SECTIONS
        .iter()
        .any(|section| at(spec, &["values", section]).is_some())
        || at(spec, &["addonComponents", "tracing"]).is_some();
    if !has_old {
        return;
    }
    let store = match text_at(spec, &PROVIDER) {
        Some("zipkin") => "zipkin",
        _ => "jaeger",
    };
    let old = spec
        .get_mut("addonComponents")
        .and_then(Value::as_object_mut);
    let old = old.and_then(|addons| addons.remove("tracing"));
    if let Some(mut addon @ Value::Object(_)) = old {
        let keys = ["addonComponents", store];
        if let Some(written) = at(spec, &keys) {
            merge_over(&mut addon, written.clone());
        }
        set(spec, &keys, addon);
    }
    for section in SECTIONS {
        let Some(old @ Value::Object(_)) = at(spec, &["values", section]).cloned() else {
            continue;
        };
        warn(section, &old, findings);
        let name = if section == "tracing" { store } else { section };
        let mut addon = translated(section, store, &old);
        if let Some(written) = at(spec, &["addonComponents", name]) {
            merge_over(&mut addon, written.clone());
        } else if addon.get("enabled").is_none() {
            // Settings of an addon that is not switched on.
            continue;
        }
        set(spec, &["addonComponents", name], addon);
    }
}

/// The settings of one section under their new names.
fn translated(section: &str, store: &str, old: &Value) -> Value {
    let mut addon = Value::Object(Map::new());
    for (of, from, to) in RENAMED {
        let is_meant =
            (of.is_empty() || of == section) && (from[0] != "jaeger" || store == "jaeger");
        if let Some(value) = at(old, from).filter(|value| is_meant && !value.is_null()) {
            set(&mut addon, to, value.clone());
        }
    }
    // Persistence was a switch with a size of its own.
    let kept = if section == "tracing" {
        &old[store]
    } else {
        old
    };
    if is_true(kept, &["persist"]) {
        let class = kept.get("storageClassName").cloned();
        let class = class.filter(|class| *class != "").unwrap_or_default();
        set(
            &mut addon,
            &["storage"],
            json!({"size": "5Gi", "storageClassName": class}),
        );
    }
    if section == "tracing"
        && store == "zipkin"
        && let Some(hub) = at(old, &["zipkin", "hub"])
    {
        set(&mut addon, &["hub"], hub.clone());
    }
    if is_true(old, &["service", "nodePort", "enabled"]) {
        let mut port = json!({"port": 9090});
        if let Some(number) = at(old, &["service", "nodePort", "port"]) {
            port["nodePort"] = number.clone();
        }
        set(
            &mut addon,
            &["k8s", "service"],
            json!({"type": "NodePort", "ports": [port]}),
        );
    }
    if text_at(old, &["dashboard", "auth", "strategy"]) == Some("anonymous") {
        set(&mut addon, &["auth"], "Anonymous".into());
    }
    if let Some(address) = text_at(old, &["prometheusAddr"]) {
        let has_scheme = address.contains("://");
        let url = if has_scheme {
            address.to_owned()
        } else {
            format!("http://{address}")
        };
        set(&mut addon, &["prometheusURL"], url.into());
    }
    addon
}

/// Says of each old setting without a meaning what there is instead.
fn warn(section: &str, old: &Value, findings: &mut Findings) {
    let path = Path::root("spec").key("values").key(section);
    for (of, keys, instead) in DROPPED {
        let is_meant = of.is_empty() || of == section;
        if is_meant && at(old, keys).is_some_and(|value| !value.is_null()) {
            findings.warn(path.keys(keys), format!("has no effect; {instead}"));
        }
    }
    let strategy = ["dashboard", "auth", "strategy"];
    if text_at(old, &strategy).is_some_and(|name| !["anonymous", "token"].contains(&name)) {
        findings.warn(path.keys(&strategy), format!("has no effect; {STRATEGY}"));
    }
}
