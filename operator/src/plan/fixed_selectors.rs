//! Keeps the selectors of workloads that exist: Kubernetes lets nobody change them.
//!
//! A new label of a gateway is part of its selector in the charts. It goes on the pods alone. The Service, the disruption
//! budget and the network policy go on selecting what they selected, so that running pods keep their traffic.

use serde_json::{Map, Value, json};

use crate::cluster::Live;
use crate::render::{Object, ObjectKey, RenderedComponent};

/// Gives the workloads of a component, and the other objects that select the same pods, the selector that the workload has in
/// the cluster. Returns a warning for each workload whose selector stays another than the rendered one.
pub(super) fn keep(component: &mut RenderedComponent, live: &Live) -> Vec<String> {
    let fixed = component.objects.iter().filter_map(|object| {
        let selector = live.fixed_selector(&object.key)?.clone();
        let rendered = object.body.field("spec")["selector"].take();
        (rendered != selector).then(|| (object.key.clone(), rendered, selector))
    });
    let fixed: Vec<_> = fixed.collect();
    fixed
        .into_iter()
        .map(|(key, rendered, selector)| {
            for object in &mut component.objects {
                if object.key == key {
                    select_in_workload(object, &selector);
                } else {
                    select_alike(object, &rendered, &selector);
                }
            }
            warning(&key, &selector)
        })
        .collect()
}

/// Gives a workload its selector, and its pods the labels that this selects.
fn select_in_workload(object: &mut Object, selector: &Value) {
    object.body.change("spec", |spec| {
        spec["selector"] = selector.clone();
        let labels = &mut spec["template"]["metadata"]["labels"];
        if !labels.is_object() {
            *labels = json!({});
        }
        for (label, value) in match_labels(selector).into_iter().flatten() {
            labels[label] = value.clone();
        }
    });
}

/// Gives an object that selects what the workload was rendered to select the workload's selector.
fn select_alike(object: &mut Object, rendered: &Value, selector: &Value) {
    let (rendered, labels) = (match_labels(rendered), match_labels(selector));
    let (Some(rendered), Some(labels)) = (rendered, labels) else {
        return;
    };
    let place = match object.key.kind.as_str() {
        "Service" => "/selector",
        "PodDisruptionBudget" => "/selector/matchLabels",
        "NetworkPolicy" => "/podSelector/matchLabels",
        _ => return,
    };
    object.body.change("spec", |spec| {
        if let Some(Value::Object(selected)) = spec.pointer_mut(place)
            && selected == rendered
        {
            selected.clone_from(labels);
        }
    });
}

fn match_labels(selector: &Value) -> Option<&Map<String, Value>> {
    selector.get("matchLabels")?.as_object()
}

fn warning(key: &ObjectKey, selector: &Value) -> String {
    let labels = match_labels(selector).into_iter().flatten();
    let labels: Vec<_> = labels
        .map(|(label, value)| format!("{label}={}", value.as_str().unwrap_or_default()))
        .collect();
    let (kind, namespace) = (
        key.kind.to_lowercase(),
        key.namespace.as_deref().unwrap_or_default(),
    );
    format!(
        "{key}: Kubernetes does not let a selector change, so it stays {}, and other labels are set on the pods only; to \
         change it, run kubectl delete {kind} {} -n {namespace} --cascade=orphan: the {kind} is created again, and the old \
         pods run until you delete them",
        labels.join(","),
        key.name,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ComponentKind;
    use crate::catalogue::Version;
    use crate::charts::yaml::Manifest;
    use crate::cluster::{LiveObject, key};
    use crate::merge::ControlPlane;

    fn object(kind: &str, spec: &Value) -> Object {
        Object {
            key: key(kind, "edge"),
            version: "v1".into(),
            body: Manifest::from(&json!({"spec": spec})),
        }
    }

    fn gateway(labels: &Value) -> RenderedComponent {
        RenderedComponent {
            kind: ComponentKind::IngressGateways,
            name: "edge".into(),
            plane: ControlPlane {
                version: Version {
                    minor: 31,
                    patch: 1,
                },
                revision: String::new(),
            },
            objects: vec![
                object(
                    "Deployment",
                    &json!({
                        "selector": {"matchLabels": labels},
                        "template": {"metadata": {"labels": labels}},
                    }),
                ),
                object("Service", &json!({"selector": labels})),
                object(
                    "NetworkPolicy",
                    &json!({"podSelector": {"matchLabels": labels}}),
                ),
                object(
                    "PodDisruptionBudget",
                    &json!({"selector": {"matchLabels": {"app": "x"}}}),
                ),
            ],
        }
    }

    fn live(uid: &str) -> Live {
        let mut live = Live::default();
        let deployment = LiveObject {
            uid: uid.into(),
            ..LiveObject::default()
        };
        live.put(key("Deployment", "edge"), deployment);
        live.put_fixed_selector(
            key("Deployment", "edge"),
            "1".into(),
            json!({"matchLabels": {"istio": "edge"}}),
        );
        live
    }

    #[test]
    fn new_labels_go_on_pods_and_select_nothing() {
        let mut component = gateway(&json!({"istio": "new", "team": "a"}));
        let warnings = keep(&mut component, &live("1"));
        let [workload, service, policy, budget] = &component.objects[..] else {
            panic!()
        };
        assert_eq!(
            workload.body.field("spec"),
            json!({
                "selector": {"matchLabels": {"istio": "edge"}},
                "template": {"metadata": {"labels": {"istio": "edge", "team": "a"}}},
            })
        );
        assert_eq!(
            service.body.field("spec"),
            json!({"selector": {"istio": "edge"}})
        );
        assert_eq!(
            policy.body.field("spec"),
            json!({"podSelector": {"matchLabels": {"istio": "edge"}}})
        );
        let untouched = json!({"selector": {"matchLabels": {"app": "x"}}});
        assert_eq!(budget.body.field("spec"), untouched);
        let [warning] = &warnings[..] else { panic!() };
        assert!(warning.contains("so it stays istio=edge,"), "{warning}");
        let remedy = "kubectl delete deployment edge -n istio-system --cascade=orphan";
        assert!(warning.contains(remedy), "{warning}");
    }

    #[test]
    fn a_workload_that_was_created_anew_gets_what_is_rendered() {
        for labels in [json!({"istio": "edge"}), json!({"istio": "new"})] {
            let uid = if labels["istio"] == "edge" { "1" } else { "2" };
            let mut component = gateway(&labels);
            assert!(keep(&mut component, &live(uid)).is_empty());
            assert_eq!(component.objects, gateway(&labels).objects);
        }
    }
}
