//! Changes between minors in istiod's injection engine, which is not part of our charts.
//!
//! Found by running the engine of every minor beside that of 1.31, with the same templates and pods.

use serde_json::{Map, Value, json};

/// A change that newer engines make to a pod.
struct Habit {
    /// The first minor that does it.
    since: u16,
    /// Undoes the change; gets the object before and after injection.
    undo: fn(&Value, &mut Value),
}

const HABITS: [Habit; 4] = [
    Habit {
        since: 25,
        undo: restore_lifecycle_hooks,
    },
    Habit {
        since: 27,
        undo: forget_probes_of_injected_pod,
    },
    Habit {
        since: 27,
        undo: leave_out_who_asks_for_anything_but_yes,
    },
    Habit {
        since: 31,
        undo: forget_secure_port,
    },
];

/// Annotations that the engine refuses, where it took them before this minor. Then there is nothing
/// to compare, nor where 1.24 alone refuses: a `sidecar.istio.io/enableCoreDump` that is no boolean.
#[rustfmt::skip]
pub const REFUSALS: [(u16, &str, &str); 3] = [
    (27, "sidecar.istio.io/proxyCPULimit", ""),
    (30, "traffic.sidecar.istio.io/excludeInterfaces", "not/a/name"),
    (31, "prometheus.io/port", "15090"),
];

/// Turns the result of the engine of 1.31 into that of an older minor.
pub fn as_engine_of(minor: u16, before: &Value, object: &mut Value) {
    for habit in HABITS {
        if minor < habit.since {
            (habit.undo)(before, object);
        }
    }
}

const PROBES: &str = "ISTIO_KUBE_APP_PROBERS";

/// HTTP and TCP hooks of the application's lifecycle are called by the agent, as probes have always
/// been: the kubelet cannot reach them through mutual TLS.
fn restore_lifecycle_hooks(before: &Value, object: &mut Value) {
    for container in list(&mut pod_mut(object)["spec"]["containers"]) {
        let of_same_name = |c: &&Value| c["name"] == container["name"];
        let original = items(&pod(before)["spec"]["containers"]).find(of_same_name);
        if let Some(original) = original.filter(|c| c["name"] != "istio-proxy") {
            container["lifecycle"] = original["lifecycle"].clone();
        }
    }
    change_probes(object, |probes| {
        probes.retain(|path, _| !path.starts_with("/app-lifecycle/"));
    });
}

/// A pod that says that it was injected before gets probes even if its sidecar had none.
fn forget_probes_of_injected_pod(before: &Value, object: &mut Value) {
    let annotations = &pod(before)["metadata"]["annotations"];
    let had_probes = containers(before)
        .flat_map(|container| items(&container["env"]))
        .any(|env| env["name"] == PROBES);
    if !annotations["sidecar.istio.io/status"].is_null() && !had_probes {
        change_probes(object, Map::clear);
    }
}

/// "no" and its like, in the label or annotation that asks for injection, mean nothing, as if there
/// were none. Only "false" still means that the pod is left alone.
fn leave_out_who_asks_for_anything_but_yes(before: &Value, object: &mut Value) {
    let asked = |kind: &str| pod(before)["metadata"][kind]["sidecar.istio.io/inject"].as_str();
    let asked = asked("labels").or(asked("annotations")).unwrap_or_default();
    if !["", "y", "yes", "true", "on", "false"].contains(&asked.to_lowercase().as_str()) {
        *object = before.clone();
    }
}

/// Tells Prometheus about the port that proxies serve metrics on with TLS.
fn forget_secure_port(before: &Value, object: &mut Value) {
    let name = "prometheus.istio.io/secure-port";
    if pod(before)["metadata"]["annotations"][name].is_null() {
        let annotations = pod_mut(object).pointer_mut("/metadata/annotations");
        annotations.map(|map| map.as_object_mut().map(|map| map.remove(name)));
    }
}

/// Changes what agents are told to call, which is JSON in a string; with nothing left to call, they
/// are not told.
fn change_probes(object: &mut Value, change: impl Fn(&mut Map<String, Value>)) {
    for kind in ["initContainers", "containers"] {
        for container in list(&mut pod_mut(object)["spec"][kind]) {
            let Some(env) = container.get_mut("env").and_then(Value::as_array_mut) else {
                continue;
            };
            env.retain_mut(|variable| {
                if variable["name"] != PROBES {
                    return true;
                }
                let text = variable["value"].as_str().unwrap();
                let mut probes: Map<String, Value> = serde_json::from_str(text).unwrap();
                let told = probes.len();
                change(&mut probes);
                let some_are_left = !probes.is_empty();
                if probes.len() < told {
                    variable["value"] = Value::Object(probes).to_string().into();
                }
                some_are_left
            });
        }
    }
}

/// The pod itself, or the template of what makes pods.
fn pod(object: &Value) -> &Value {
    let template = &object["spec"]["template"];
    if template.is_null() { object } else { template }
}

fn pod_mut(object: &mut Value) -> &mut Value {
    if object["kind"] == "Pod" {
        object
    } else {
        &mut object["spec"]["template"]
    }
}

fn containers(object: &Value) -> impl Iterator<Item = &Value> {
    let spec = &pod(object)["spec"];
    items(&spec["initContainers"]).chain(items(&spec["containers"]))
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn list(value: &mut Value) -> impl Iterator<Item = &mut Value> {
    value.as_array_mut().into_iter().flatten()
}
#[test]
fn hooks_are_the_applications_own_before_1_25() {
    let hook = json!({"preStop": {"tcpSocket": {"port": "web"}}});
    let app = |lifecycle: &Value| json!({"name": "app", "lifecycle": lifecycle});
    let before = json!({"kind": "Pod", "spec": {"containers": [app(&hook)]}});
    let called = json!({"preStop": {"httpGet": {"path": "/app-lifecycle/app/prestopz"}}});
    let told = json!({"/app-lifecycle/app/prestopz": {"tcpSocket": {"port": 80}}}).to_string();
    let agent = json!({"name": "istio-proxy", "env": [{"name": PROBES, "value": told}]});
    let mut object = json!({"kind": "Pod", "spec": {"containers": [app(&called), agent]}});
    as_engine_of(25, &before, &mut object);
    assert_eq!(object["spec"]["containers"][1], agent);
    as_engine_of(24, &before, &mut object);
    assert_eq!(object["spec"]["containers"][0], app(&hook));
    assert_eq!(object["spec"]["containers"][1]["env"], json!([]));
}

#[test]
fn who_says_no_is_left_alone_before_1_27() {
    let labels = json!({"sidecar.istio.io/inject": "off"});
    let before = json!({"kind": "Pod", "metadata": {"labels": labels}});
    let injected = json!({"kind": "Pod", "metadata": {"labels": labels}, "spec": {}});
    for (minor, expected) in [(26, &before), (27, &injected)] {
        let mut object = injected.clone();
        as_engine_of(minor, &before, &mut object);
        assert_eq!(object, *expected);
    }
}
