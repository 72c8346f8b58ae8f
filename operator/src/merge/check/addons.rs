//! Checks that the addons of a CR fit together, and tells how far they reach.

use jiff::tz::TimeZone;
use serde_json::Value;

use super::{Checked, Findings};
use crate::api::ComponentKind::{self, Grafana, Jaeger, Kiali, Loki, Pilot, Prometheus, Zipkin};
use crate::api::{Path, format, quantity};
use crate::charts::tree::at;
use crate::merge::addons::{Addons, PROVIDER, Tracing, mesh_field};
use crate::merge::tree::text_at;

/// The bytes of a volume that is meant.
const SMALLEST: i128 = 1 << 20;

/// What Grafana calls the time zone of whoever looks.
const BROWSER: &str = "browser";

pub(super) fn check(checked: &Checked, findings: &mut Findings) {
    if let Some(provider) = text_at(checked.spec, &PROVIDER)
        && !["jaeger", "zipkin"].contains(&provider)
    {
        let problem =
            format!("expected jaeger or zipkin, found {provider:?}: nothing else is installed");
        findings.error(Path::root("spec").keys(&PROVIDER), problem);
    }
    let addons = Addons {
        spec: checked.spec,
        namespace: checked.namespace,
    };
    if !addons.any() {
        return;
    }
    combinations(addons, findings);
    sizes(addons, findings);
    replicas(checked, findings);
    exposure(checked, addons, findings);
    kiali(addons, findings);
    if let Some(tracing) = Tracing::of(addons) {
        traces(checked, addons, tracing, findings);
    }
    metrics(checked, addons, findings);
    logs(checked, addons, findings);
}

fn path(kind: ComponentKind) -> Path {
    Path::root("spec").keys(&kind.spec_keys())
}

/// Refuses addons that cannot do their work.
fn combinations(addons: Addons, findings: &mut Findings) {
    let is_on = |kind| addons.get(kind).is_some();
    let kept = addons
        .get(Loki)
        .and_then(|addon| text_at(addon, &["retention"]));
    if kept.and_then(format::hours).is_some_and(|hours| hours < 24) {
        let problem = "expected at least 1d, because Loki deletes whole days";
        findings.error(path(Loki).key("retention"), problem);
    }
    let zone = addons
        .get(Grafana)
        .and_then(|addon| text_at(addon, &["timezone"]));
    // If it does not look like one, the check of its format says so.
    let is_unknown = |zone: &&str| {
        *zone != BROWSER
            && format::holds("time-zone", &(*zone).into())
            && TimeZone::get(zone).is_err()
    };
    if let Some(zone) = zone.filter(is_unknown) {
        let problem = format!(
            "{zone:?} is no time zone; Grafana would fall back to that of the browser without a word"
        );
        findings.error(path(Grafana).key("timezone"), problem);
    }
    if is_on(Jaeger) && is_on(Zipkin) {
        let problem = "cannot be installed beside jaeger, because both keep the traces; switch one of them off";
        findings.error(path(Zipkin), problem);
    }
    let knows = |kind| {
        addons
            .get(kind)
            .is_some_and(|addon| text_at(addon, &["prometheusURL"]).is_some())
    };
    if is_on(Kiali) && !is_on(Prometheus) && !knows(Kiali) {
        let problem = "is required, because Kiali shows metrics: switch on spec.addonComponents.prometheus, or name \
                       the URL of another Prometheus here";
        findings.error(path(Kiali).key("prometheusURL"), problem);
    }
    if is_on(Grafana) && !is_on(Prometheus) && !knows(Grafana) {
        let text = "shows nothing without metrics: switch on spec.addonComponents.prometheus, or set prometheusURL";
        findings.warn(path(Grafana), text);
    }
}

/// Refuses volumes without room for anything: a number without a unit is one of bytes.
fn sizes(addons: Addons, findings: &mut Findings) {
    for kind in ComponentKind::ALL
        .into_iter()
        .filter(|kind| kind.is_addon())
    {
        let size = addons
            .get(kind)
            .and_then(|addon| at(addon, &["storage", "size"]));
        let bytes = size.and_then(quantity::amount);
        if bytes.is_some_and(|nano| nano < SMALLEST * 1_000_000_000) {
            let problem =
                "expected at least 1Mi; without a unit such as Gi, it is a number of bytes";
            findings.error(path(kind).keys(&["storage", "size"]), problem);
        }
    }
}

/// Refuses a second pod of what keeps data: each would have a part of it.
fn replicas(checked: &Checked, findings: &mut Findings) {
    let addons = checked.components.iter();
    for addon in addons.filter(|component| component.kind.is_addon() && component.kind != Kiali) {
        let count = addon.k8s.get("replicaCount").and_then(Value::as_i64);
        if count.is_some_and(|count| count > 1) {
            let problem = format!("expected at most 1, because {} keeps data", addon.name);
            findings.error(addon.path.key("k8s").key("replicaCount"), problem);
        }
    }
}

/// Warns of addons that everybody can reach from outside and that ask nobody for a name.
fn exposure(checked: &Checked, addons: Addons, findings: &mut Findings) {
    let components = checked.components.iter();
    for addon in components.filter(|component| component.kind.is_addon()) {
        let service = text_at(&addon.k8s, &["service", "type"]);
        let Some(service @ ("NodePort" | "LoadBalancer")) = service else {
            continue;
        };
        if addons.is_anonymous(addon.kind) {
            let name = &addon.name;
            let text = format!(
                "{service} opens {name} to everybody who reaches the nodes, and it asks for no login"
            );
            findings.warn(addon.path.keys(&["k8s", "service", "type"]), text);
        }
    }
}

/// Warns of what Kiali cannot do, and of what everybody can do with it.
fn kiali(addons: Addons, findings: &mut Findings) {
    let Some(kiali) = addons.get(Kiali) else {
        return;
    };
    let path = path(Kiali);
    let has_grafana = addons.get(Grafana).is_some() && kiali.get("grafanaURL").is_none();
    if has_grafana && !addons.is_anonymous(Grafana) && !addons.share_namespace(Kiali, Grafana) {
        let text = "makes no links to Grafana, because it cannot read the password in another namespace; install both \
                    into one, or set auth of grafana to Anonymous";
        findings.warn(path.clone(), text);
    }
    if addons.get(Zipkin).is_some() {
        findings.warn(
            path.clone(),
            "shows no traces, because it can read Jaeger's but not Zipkin's",
        );
    }
    if addons.is_anonymous(Kiali) && kiali.get("viewOnly") == Some(&Value::Bool(false)) {
        let text = "lets everybody who reaches Kiali change the mesh, because auth is Anonymous";
        findings.warn(path.key("viewOnly"), text);
    }
}

/// Warns of settings of the mesh that keep traces away from the store.
fn traces(checked: &Checked, addons: Addons, tracing: Tracing, findings: &mut Findings) {
    let store = path(tracing.kind);
    let provider = tracing.provider;
    let mesh = at(checked.spec, &["values", "meshConfig"]).unwrap_or(&Value::Null);
    let chosen = &mesh[mesh_field(mesh, "defaultProviders")];
    let mesh = |key: &str| mesh.get(key);
    if !checked
        .components
        .iter()
        .any(|component| component.kind == Pilot)
    {
        let namespace = addons.namespace_of(tracing.kind).unwrap_or_default();
        let text = format!(
            "gets no traces by itself, because istiod is not part of this IstioOperator; where istiod is installed, \
             name {}.{namespace} in meshConfig.extensionProviders and choose it in defaultProviders.tracing",
            tracing.service
        );
        findings.warn(store.clone(), text);
    }
    let chosen = chosen.get("tracing");
    let first = chosen
        .and_then(|chosen| chosen.get(0))
        .and_then(Value::as_str);
    if chosen.is_some() && first != Some(provider) {
        let text = format!(
            "gets no traces, because meshConfig.defaultProviders.tracing does not begin with {provider}"
        );
        findings.warn(store.clone(), text);
    }
    if mesh("enableTracing") == Some(&Value::Bool(false)) {
        findings.warn(
            store.clone(),
            "gets no traces, because meshConfig.enableTracing is false",
        );
    }
    if mesh("discoverySelectors").is_some_and(|selectors| *selectors != Value::Array(Vec::new())) {
        let namespace = addons.namespace_of(tracing.kind).unwrap_or_default();
        let text = format!(
            "gets traces only if meshConfig.discoverySelectors select the namespace {namespace}"
        );
        findings.warn(store.clone(), text);
    }
    let sampling = addons
        .get(tracing.kind)
        .and_then(|addon| addon.get("sampling"));
    let used = at(checked.spec, &["values", "pilot", "traceSampling"]);
    if sampling.is_some() && sampling != used {
        findings.warn(
            store.key("sampling"),
            "has no effect, because values.pilot.traceSampling is set",
        );
    }
}

/// Warns of default providers that take the metrics away which addons show. Where traces are stored, they are added.
fn metrics(checked: &Checked, addons: Addons, findings: &mut Findings) {
    let shows = [Prometheus, Grafana, Kiali]
        .iter()
        .any(|kind| addons.get(*kind).is_some());
    if !shows || Tracing::of(addons).is_some() {
        return;
    }
    for place in [&["meshConfig"][..], &["values", "meshConfig"]] {
        let Some(mesh) = at(checked.user, place) else {
            continue;
        };
        let field = mesh_field(mesh, "defaultProviders");
        let lacks =
            |chosen: &Value| chosen.is_object() && chosen.get("metrics").is_none_or(Value::is_null);
        if mesh.get(field).is_some_and(lacks) {
            let path = Path::root("spec").keys(place).key(field);
            let text = "takes all metrics of requests away; add metrics: [prometheus]";
            findings.warn(path, text);
        }
    }
}

/// Warns of providers that send access logs to Loki. Envoy sends them by gRPC, in a protocol of its own or in that of
/// OpenTelemetry, and Loki takes the latter by HTTP only. A collector between them is a seventh program, which nobody asked for.
fn logs(checked: &Checked, addons: Addons, findings: &mut Findings) {
    let Some(namespace) = addons.namespace_of(Loki) else {
        return;
    };
    let of_loki = format!("loki.{namespace}");
    for place in [&["meshConfig"][..], &["values", "meshConfig"]] {
        let Some(mesh) = at(checked.user, place) else {
            continue;
        };
        let field = mesh_field(mesh, "extensionProviders");
        let providers = mesh.get(field).and_then(Value::as_array);
        for (index, provider) in providers.into_iter().flatten().enumerate() {
            let kinds = ["envoyOtelAls", "envoyHttpAls", "envoyTcpAls"];
            let sends = |kind: &&str| {
                let service = text_at(provider, &[kind, "service"]).unwrap_or_default();
                let name = service.rsplit('/').next().unwrap_or_default();
                name == of_loki || name.starts_with(&format!("{of_loki}."))
            };
            if let Some(kind) = kinds.into_iter().find(sends) {
                let path = Path::root("spec").keys(place).key(field);
                let text = format!(
                    "sends logs by gRPC, and Loki takes none that way; name an OpenTelemetry collector here, and have it \
                     export to http://{of_loki}:3100/otlp"
                );
                findings.warn(path.index(index).key(kind).key("service"), text);
            }
        }
    }
}
