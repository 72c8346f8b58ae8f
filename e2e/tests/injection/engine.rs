//! Where the engine that injects, which is part of istiod and not of our charts, changed itself.

use serde_json::{Map, Value};

/// Something that the engine does to a pod.
struct Habit {
    /// The first minor that does it.
    since: u16,
    /// How to take it back.
    undo: fn(&mut Value),
}

const HABITS: [Habit; 1] = [Habit {
    since: 25,
    undo: restore_lifecycle_hooks,
}];

/// Makes of what the engine of 1.31 gave what the engine of an older minor would have given.
pub fn as_engine_of(minor: u16, object: &mut Value) {
    for habit in HABITS {
        if minor < habit.since {
            (habit.undo)(object);
        }
    }
}

/// HTTP hooks of the application's lifecycle are called by the agent, as probes have always been:
/// the kubelet cannot reach them through mutual TLS.
fn restore_lifecycle_hooks(object: &mut Value) {
    let path = if object["kind"] == "Pod" {
        "/spec/containers"
    } else {
        "/spec/template/spec/containers"
    };
    let containers = object.pointer_mut(path).and_then(Value::as_array_mut);
    let containers = containers.into_iter().flatten().collect::<Vec<_>>();
    let mut hooks = Map::new();
    let mut moved = Vec::new();
    for container in containers {
        for env in list(&mut container["env"]) {
            if env["name"] == "ISTIO_KUBE_APP_PROBERS" {
                hooks.append(&mut forget_hooks(&mut env["value"]));
            }
        }
        let lifecycle = container
            .get_mut("lifecycle")
            .and_then(Value::as_object_mut);
        moved.extend(lifecycle.into_iter().flat_map(Map::values_mut));
    }
    for hook in moved {
        let original = hook["httpGet"]["path"]
            .as_str()
            .and_then(|path| hooks.get(path));
        if let Some(original) = original {
            hook["httpGet"] = original["httpGet"].clone();
        }
    }
}

/// Takes the hooks out of what the agent is told to call, which is JSON in a string.
fn forget_hooks(value: &mut Value) -> Map<String, Value> {
    let text = value.as_str().unwrap();
    let all: Map<String, Value> = serde_json::from_str(text).unwrap();
    let (hooks, probes): (Map<_, _>, Map<_, _>) = all
        .into_iter()
        .partition(|(path, _)| path.starts_with("/app-lifecycle/"));
    *value = Value::Object(probes).to_string().into();
    hooks
}

fn list(value: &mut Value) -> impl Iterator<Item = &mut Value> {
    value.as_array_mut().into_iter().flatten()
}
