//! Kiali cannot run in tests. So each key of its configuration stands in a table of what its server reads, and each URL
//! leads to a Service of the same CR.

use istio_operator::charts::{Charts, yaml};
use istio_operator::render::Object;
use serde_json::{Value, json};

use super::{addon_objects, minors};

/// Whether a value has the type that the server reads.
type Holds = fn(&Value) -> bool;

/// The keys that the server reads, with the type of each. Below `server.web_*` and `external_url` are what browsers need.
const KEYS: [(&str, Holds); 30] = [
    ("auth.strategy", is_strategy),
    ("deployment.cluster_wide_access", Value::is_boolean),
    ("deployment.instance_name", Value::is_string),
    ("deployment.namespace", Value::is_string),
    ("deployment.view_only_mode", Value::is_boolean),
    (
        "external_services.custom_dashboards.enabled",
        Value::is_boolean,
    ),
    ("external_services.grafana.auth.password", Value::is_string),
    ("external_services.grafana.auth.type", Value::is_string),
    ("external_services.grafana.auth.username", Value::is_string),
    ("external_services.grafana.enabled", Value::is_boolean),
    ("external_services.grafana.external_url", is_url),
    ("external_services.grafana.internal_url", is_url),
    ("external_services.istio.config_map_name", Value::is_string),
    (
        "external_services.istio.istiod_deployment_name",
        Value::is_string,
    ),
    ("external_services.istio.root_namespace", Value::is_string),
    ("external_services.prometheus.url", is_url),
    ("external_services.tracing.enabled", Value::is_boolean),
    ("external_services.tracing.external_url", is_url),
    ("external_services.tracing.internal_url", is_url),
    ("external_services.tracing.provider", Value::is_string),
    ("external_services.tracing.use_grpc", Value::is_boolean),
    ("istio_namespace", Value::is_string),
    ("login_token.signing_key", Value::is_string),
    ("server.observability.metrics.enabled", Value::is_boolean),
    ("server.observability.metrics.port", Value::is_number),
    ("server.port", Value::is_number),
    ("server.web_fqdn", Value::is_string),
    ("server.web_port", Value::is_string),
    ("server.web_root", is_path),
    ("server.web_schema", Value::is_string),
];

fn is_strategy(value: &Value) -> bool {
    value == "token" || value == "anonymous"
}

/// An absolute URL, or nothing.
fn is_url(value: &Value) -> bool {
    let is_one = |text: &str| text.is_empty() || text.starts_with("http");
    value.as_str().is_some_and(is_one)
}

fn is_path(value: &Value) -> bool {
    value.as_str().is_some_and(|path| path.starts_with('/'))
}

/// The values of a configuration by their keys, joined by dots.
fn leaves<'v>(value: &'v Value, path: &str, into: &mut Vec<(String, &'v Value)>) {
    match value.as_object() {
        None => into.push((path.to_owned(), value)),
        Some(fields) => {
            for (key, field) in fields {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                leaves(field, &path, into);
            }
        }
    }
}

fn configuration(objects: &[Object]) -> Value {
    let is_it = |object: &&Object| object.key.kind == "ConfigMap" && object.key.name == "kiali";
    let map = objects.iter().find(is_it).unwrap().body.value();
    yaml::parse(map["data"]["config.yaml"].as_str().unwrap()).unwrap()
}

/// The CRs that between them write every key.
fn specs() -> Vec<Value> {
    let usual = json!({"prometheus": {}, "grafana": {}, "jaeger": {}, "kiali": {}});
    let everywhere = json!({
        "prometheus": {"namespace": "metrics", "externalURL": "https://mesh.example.com/prometheus"},
        "grafana": {"namespace": "boards", "auth": "Anonymous", "externalURL": "https://mesh.example.com/grafana"},
        "jaeger": {"namespace": "traces", "externalURL": "https://mesh.example.com/traces"},
        "kiali": {"namespace": "console", "auth": "Anonymous", "externalURL": "https://mesh.example.com:8443/console"},
    });
    let alone = json!({"prometheus": {}, "kiali": {"viewOnly": false}});
    let mut specs = Vec::new();
    for addons in [usual, everywhere, alone] {
        let spec = json!({"profile": "empty", "addonComponents": addons});
        let mut elsewhere = spec.clone();
        elsewhere["values"] = json!({"global": {"istioNamespace": "mesh"}});
        elsewhere["revision"] = "canary".into();
        specs.extend([spec, elsewhere]);
    }
    specs
}

#[test]
fn every_key_is_one_that_kiali_reads() {
    let charts = Charts::embedded().unwrap();
    let mut written = Vec::new();
    for minor in minors(&charts) {
        for spec in specs() {
            let configuration = configuration(&addon_objects(&spec, &minor, &charts));
            let mut found = Vec::new();
            leaves(&configuration, "", &mut found);
            for (key, value) in found {
                let known = KEYS.iter().find(|(known, _)| *known == key);
                let (_, fits) = known.unwrap_or_else(|| panic!("{minor}: Kiali knows no {key}"));
                assert!(fits(value), "{minor}: {key}: {value}");
                written.push(key);
            }
            let is_open = configuration["auth"]["strategy"] == "anonymous";
            let key = configuration["login_token"]["signing_key"]
                .as_str()
                .unwrap();
            assert!(
                is_open || key.starts_with("/kiali-override-secrets/"),
                "{key}"
            );
        }
    }
    for (key, _) in KEYS {
        assert!(written.iter().any(|it| it == key), "no CR makes {key}");
    }
}

#[test]
fn every_url_leads_to_a_service_of_the_same_cr() {
    let charts = Charts::embedded().unwrap();
    let minor = minors(&charts).pop().unwrap();
    let mut count = 0;
    for spec in specs() {
        let objects = addon_objects(&spec, &minor, &charts);
        let configuration = configuration(&objects);
        let services = &configuration["external_services"];
        for pointer in [
            "/prometheus/url",
            "/grafana/internal_url",
            "/tracing/internal_url",
        ] {
            let Some(url) = services.pointer(pointer).and_then(Value::as_str) else {
                continue;
            };
            let address = url.strip_prefix("http://").unwrap();
            let (address, path) = address.split_at(address.find('/').unwrap_or(address.len()));
            let (host, port) = address.split_once(':').unwrap();
            let (name, namespace) = host.split_once('.').unwrap();
            let is_it = |object: &&Object| {
                let key = &object.key;
                let namespace = Some(namespace) == key.namespace.as_deref();
                key.kind == "Service" && key.name == name && namespace
            };
            let service = objects.iter().find(is_it);
            let service = service
                .unwrap_or_else(|| panic!("{url} leads nowhere"))
                .body
                .value();
            let ports = service["spec"]["ports"].as_array().unwrap();
            let port: u16 = port.parse().unwrap();
            assert!(ports.iter().any(|it| it["port"] == port), "{url}");
            // Kiali's version check of Jaeger leaves the port of gRPC away.
            let has_80 = ports.iter().any(|it| it["port"] == 80);
            assert!(port != 16685 || has_80, "{url}");
            assert!(serves(&objects, name, path), "{url}: {path}");
            count += 1;
        }
    }
    assert_eq!(count, 14);
}

/// Whether what stands behind a Service is told to serve this path.
fn serves(objects: &[Object], service: &str, path: &str) -> bool {
    let text = |kind: &str, name: &str| {
        let is_it = |o: &&Object| o.key.kind == kind && o.key.name == name;
        objects.iter().find(is_it).unwrap().body.value().to_string()
    };
    match service {
        "tracing" => text("ConfigMap", "jaeger").contains(&format!("base_path: {path}")),
        workload => path.is_empty() || text("Deployment", workload).contains(&format!("{path}/")),
    }
}
