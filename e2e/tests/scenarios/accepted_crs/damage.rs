//! Damages a CR as people do: values of wrong types, entries that are there twice, odd names, overlays of every sort.

use fastrand::Rng;
use serde_json::{Value, json};

/// Damages one to three places of a spec.
pub(super) fn damage(rng: &mut Rng, spec: &mut Value) {
    for _ in 0..=rng.usize(..3) {
        match rng.usize(..5) {
            0 => add_overlay(rng, spec),
            1 => add_setting(rng, spec),
            _ => damage_somewhere(rng, spec),
        }
    }
}

/// Goes down from `node` to a random place and damages what is there.
fn damage_somewhere(rng: &mut Rng, node: &mut Value) {
    let goes_on = rng.usize(..8) > 0;
    match node {
        Value::Object(map) if !map.is_empty() && goes_on => {
            let chosen = rng.usize(..map.len());
            if let Some((_, below)) = map.iter_mut().nth(chosen) {
                damage_somewhere(rng, below);
            }
        }
        Value::Array(list) if !list.is_empty() && goes_on => {
            let chosen = rng.usize(..list.len());
            damage_somewhere(rng, &mut list[chosen]);
        }
        Value::Object(map) => _ = map.insert(odd_text(rng), json!("x")),
        Value::Array(list) => list.extend(list.first().cloned()),
        Value::Null => {}
        scalar => *scalar = odd_value(rng, scalar),
    }
}

fn odd_text(rng: &mut Rng) -> String {
    let long = "x".repeat(70);
    let texts = [
        "A b", "-", "", "1", "a/b/c", "ok", "true", "a: b", "[a]", "Upper", "a.b.c", "100%", "x_y",
        &long,
    ];
    (*rng.choice(&texts).unwrap()).to_owned()
}

fn odd_value(rng: &mut Rng, old: &Value) -> Value {
    match (old, rng.usize(..6)) {
        (_, 0) => json!(["x"]),
        (_, 1) => json!({"x": "y"}),
        (Value::Number(_), 2) => json!(-1),
        (Value::Number(_), 3) => json!(70000),
        (Value::Number(number), 4) => number.to_string().into(),
        (Value::Bool(flag), 2 | 3) => flag.to_string().into(),
        (Value::String(_), 2) => json!(5),
        _ => odd_text(rng).into(),
    }
}

const COMPONENTS: [&str; 3] = ["pilot", "cni", "ztunnel"];

/// Fields of workloads, of every type.
const FIELDS: [&str; 18] = [
    "metadata.labels.added",
    "metadata.annotations.added",
    "spec.template.metadata.labels.added",
    "spec.template.spec.containers.[0].args",
    "spec.template.spec.containers.[0].args.[-1]",
    "spec.template.spec.containers.[0].env.[-1]",
    "spec.template.spec.containers.[0].image",
    "spec.template.spec.containers.[0].imagePullPolicy",
    "spec.template.spec.containers.[0].ports.[-1]",
    "spec.template.spec.containers.[0].readinessProbe.httpGet.port",
    "spec.template.spec.containers.[0].resources.limits.cpu",
    "spec.template.spec.containers.[0].securityContext.privileged",
    "spec.template.spec.containers.[0].volumeMounts.[-1]",
    "spec.template.spec.hostNetwork",
    "spec.template.spec.nodeSelector",
    "spec.template.spec.terminationGracePeriodSeconds",
    "spec.template.spec.tolerations",
    "spec.template.spec.volumes.[-1]",
];

/// Values as people write them into overlays, many as text.
fn overlay_values() -> Vec<Value> {
    let plain = json!([
        "true", "30", "-1", "a: b", "- {operator: Exists}", "[--x, --y]", "{name: x, value: y}", "text", "",
        "name: extra\nemptyDir: {}\n", "name: extra\nmountPath: /extra\n", "containerPort: 8080\n", "http-debug",
        5, 0, true, null, ["a"], [], {},
        {"name": "POD_NAME", "value": "x"}, {"name": "extra", "emptyDir": {}}, {"name": "config-volume", "emptyDir": {}},
        {"name": "extra", "mountPath": "/extra"}, {"name": "config-volume", "mountPath": "/extra"},
        {"containerPort": 15010, "protocol": "TCP"}, {"containerPort": 9000, "name": "more"},
        [{"key": "a", "operator": "Exists", "value": "b"}], [{"operator": "Exists"}], {"a": "b c"}
    ]);
    plain.as_array().cloned().unwrap_or_default()
}

fn add_overlay(rng: &mut Rng, spec: &mut Value) {
    let workloads = [
        ("Deployment", "istiod"),
        ("DaemonSet", "istio-cni-node"),
        ("DaemonSet", "ztunnel"),
    ];
    let chosen = rng.usize(..COMPONENTS.len());
    let (kind, name) = workloads[chosen];
    let values = overlay_values();
    let patches: Vec<Value> = (0..=rng.usize(..2))
        .map(|_| {
            let (path, value) = (
                FIELDS[rng.usize(..FIELDS.len())],
                &values[rng.usize(..values.len())],
            );
            json!({"path": path, "value": value})
        })
        .collect();
    let overlay = json!({"kind": kind, "name": name, "patches": patches});
    set(spec, COMPONENTS[chosen], "overlays", json!([overlay]));
}

/// Settings of the `k8s` block that are wrong more often than not.
fn settings() -> Vec<(&'static str, Value)> {
    vec![
        ("env", json!([{"name": "POD_NAMESPACE", "value": "x"}])),
        (
            "env",
            json!([{"name": "A", "value": "x"}, {"name": "A", "value": "y"}]),
        ),
        (
            "env",
            json!([{"name": "A", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]),
        ),
        (
            "env",
            json!([{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s"}}}]),
        ),
        ("hpaSpec", json!({"minReplicas": 9})),
        (
            "hpaSpec",
            json!({"metrics": [{"type": "Resource", "resource": {"name": "cpu"}}]}),
        ),
        ("hpaSpec", json!({"maxReplicas": 3, "minReplicas": 0})),
        ("podDisruptionBudget", json!({"minAvailable": "200%"})),
        ("podDisruptionBudget", json!({"maxUnavailable": 1})),
        ("podAnnotations", json!({"A B": "x"})),
        ("nodeSelector", json!({"a": "b c"})),
        ("readinessProbe", json!({"tcpSocket": {"port": 1}})),
        ("readinessProbe", json!({"httpGet": {"port": "A"}})),
        (
            "resources",
            json!({"requests": {"cpu": "4"}, "limits": {"cpu": "1"}}),
        ),
        ("resources", json!({"limits": {"gpu": 1}})),
        ("securityContext", json!({"runAsUser": -1})),
        (
            "service",
            json!({"ports": [{"name": "a", "port": 1}, {"name": "a", "port": 2}]}),
        ),
        ("service", json!({"ports": [{"port": 1}, {"port": 2}]})),
        ("service", json!({"type": "Loadbalancer"})),
        ("service", json!({"externalTrafficPolicy": "Local"})),
        (
            "strategy",
            json!({"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}),
        ),
        ("strategy", json!({"type": "Recreate"})),
        (
            "strategy",
            json!({"type": "Recreate", "rollingUpdate": null}),
        ),
        (
            "tolerations",
            json!([{"key": "a", "operator": "Exists", "value": "b"}]),
        ),
        ("tolerations", json!([{"value": "b"}])),
    ]
}

fn add_setting(rng: &mut Rng, spec: &mut Value) {
    let settings = settings();
    let (key, value) = settings[rng.usize(..settings.len())].clone();
    set(spec, COMPONENTS[rng.usize(..2)], key, value);
}

/// Sets a field of a component's `k8s` block, if everything above it is a map.
fn set(spec: &mut Value, component: &str, key: &str, value: Value) {
    let mut node = spec;
    for key in ["components", component, "k8s"] {
        let Value::Object(map) = node else { return };
        let below = map.entry(key).or_insert_with(|| json!({}));
        if below.is_null() {
            *below = json!({});
        }
        node = below;
    }
    if let Value::Object(map) = node {
        map.insert(key.to_owned(), value);
    }
}
