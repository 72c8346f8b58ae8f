//! Before anything of a change is written, the API server is asked whether it takes all of it.

use e2e::{
    actions::{
        admission_policy::{AdmissionPolicy, Requests},
        cr::Cr,
    },
    control_plane::ControlPlane,
    observe::{audit::Event, health::condition},
    operator::Operator,
    wait::wait_until,
};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use crate::{SOON, bystander::object_writes, healthy, manifest, running};

/// A CR with two gateways; `overlay` is one of the second.
fn gateways(overlay: &Value) -> Value {
    json!({
        "profile": "minimal",
        "values": {"pilot": {"traceSampling": 50}},
        "components": {"ingressGateways": [
            {"name": "edge", "enabled": true},
            {"name": "second", "enabled": true, "k8s": {"overlays": [overlay]}},
        ]},
    })
}

/// An address that no Service of this cluster can have, which only the API server knows.
fn impossible_address() -> Value {
    json!({
        "kind": "Service",
        "name": "second",
        "patches": [{"path": "spec.clusterIP", "value": "203.0.113.7"}],
    })
}

/// The successful writes of the operator to one resource, in order.
fn writes(plane: &ControlPlane, operator: &Operator, group: &str, resource: &str) -> Vec<Event> {
    let since = Timestamp::UNIX_EPOCH;
    let audit = plane.audit();
    let mut writes = audit
        .writes_about(operator.user(), group, resource, since)
        .unwrap();
    writes.retain(Event::succeeded);
    writes
}

/// Accepted row 1: a change that the API server would refuse in part is not begun, and what runs is cared for meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_is_refused_in_part_is_not_begun() {
    let (plane, operator) = running().await;
    let one = json!({
        "profile": "minimal",
        "components": {"ingressGateways": [{"name": "edge", "enabled": true}]},
    });
    let cr = healthy(&plane, &manifest("mesh", &one).to_string()).await;

    let since = Timestamp::now();
    cr.patch(&json!({"spec": gateways(&impossible_address())}))
        .await
        .unwrap();
    let told = cr.wait_for("ERROR", SOON).await.unwrap().data;
    let stalled = condition(&told, "Stalled");
    assert_eq!(stalled["reason"], "ApplyRefused");
    let message = stalled["message"].as_str().unwrap();
    for part in ["Service istio-system/second", "spec.clusterIP"] {
        assert!(message.contains(part), "{message}");
    }
    let components = &told["status"]["componentStatus"];
    assert_eq!(components["Pilot"]["status"], "RECONCILING", "{components}");
    let begun = object_writes(&plane, &operator, since);
    assert!(begun.is_empty(), "{begun:?}");

    plane
        .kubectl(["delete", "service", "istiod", "-n=istio-system"])
        .unwrap();
    let service = ["get", "service", "istiod", "-n=istio-system"];
    wait_until("the lost Service to be back", SOON, || async {
        plane.kubectl(service)
    })
    .await
    .unwrap();
    assert_eq!(object_writes(&plane, &operator, since).len(), 1);

    let harmless = json!({
        "kind": "Service",
        "name": "second",
        "patches": [{"path": "spec.sessionAffinity", "value": "None"}],
    });
    cr.patch(&json!({"spec": gateways(&harmless)}))
        .await
        .unwrap();
    cr.wait_for("HEALTHY", SOON).await.unwrap();
    let second = ["get", "deployment", "second", "-n=istio-system"];
    plane.kubectl(second).unwrap();
}

/// Accepted row 1: an admission policy that refuses one object of a new installation leaves the cluster as it was, and the
/// installation goes on by itself once the policy is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_installation_that_admission_refuses_in_part_writes_nothing() {
    let (plane, operator) = running().await;
    plane.create_namespace("istio-system").unwrap();
    let requests = Requests {
        condition: "object.metadata.name == 'edge'",
        ..Requests::NEW_DEPLOYMENTS
    };
    let policy = AdmissionPolicy::refuse(&plane, "no-edge", requests, "no gateways here")
        .await
        .unwrap();
    let spec = json!({"components": {"ingressGateways": [{"name": "edge", "enabled": true}]}});
    let cr = Cr::apply(&plane, &manifest("mesh", &spec).to_string())
        .await
        .unwrap();
    cr.wait_for_message("no gateways here", SOON).await.unwrap();
    let written = object_writes(&plane, &operator, Timestamp::UNIX_EPOCH);
    assert!(written.is_empty(), "{written:?}");
    policy.lift().await.unwrap();
    cr.wait_for("HEALTHY", SOON).await.unwrap();
}

/// Accepted row 1: a webhook that fails closed comes after the workload that answers it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks_that_fail_closed_follow_istiod() {
    let (plane, operator) = running().await;
    let spec = json!({
        "profile": "minimal",
        "values": {"base": {"validationFailurePolicy": "Fail"}},
    });
    healthy(&plane, &manifest("mesh", &spec).to_string()).await;
    let istiod = &writes(&plane, &operator, "apps", "deployments")[0];
    for resource in [
        "validatingwebhookconfigurations",
        "mutatingwebhookconfigurations",
    ] {
        let webhooks = writes(&plane, &operator, "admissionregistration.k8s.io", resource);
        assert!(!webhooks.is_empty(), "{resource}");
        for webhook in webhooks {
            let is_closed = webhook.request_object["webhooks"]
                .as_array()
                .is_some_and(|list| list.iter().any(|hook| hook["failurePolicy"] != "Ignore"));
            let follows = webhook.received >= istiod.completed;
            assert!(!is_closed || follows, "{webhook} came before {istiod}");
        }
    }
}

/// Accepted row 8: a new label of a running gateway goes on its pods; the selector, which nobody can change, stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_label_leaves_the_selector_of_a_running_gateway() {
    let (plane, _operator) = running().await;
    let gateway = |labels: &Value| {
        json!({
            "profile": "minimal",
            "components": {"ingressGateways": [
                {"name": "edge", "enabled": true, "label": labels},
            ]},
        })
    };
    let spec = gateway(&json!({"istio": "edge"}));
    let cr = healthy(&plane, &manifest("mesh", &spec).to_string()).await;
    let (selector, _, service) = labels(&plane);
    assert!(selector.get("team").is_none(), "{selector}");

    let spec = gateway(&json!({"istio": "edge", "team": "platform"}));
    cr.patch(&json!({"spec": spec})).await.unwrap();
    let told = cr
        .wait_for_condition("Warnings", "True", None, SOON)
        .await
        .unwrap()
        .data;
    let warning = condition(&told, "Warnings")["message"].to_string();
    let remedy = "kubectl delete deployment edge -n istio-system --cascade=orphan";
    assert!(warning.contains(remedy), "{warning}");
    cr.wait_for("HEALTHY", SOON).await.unwrap();
    let (selector_now, pods, service_now) = labels(&plane);
    assert_eq!((&selector_now, &service_now), (&selector, &service));
    assert_eq!(pods["team"], "platform");

    let remedy = remedy.split(' ').skip(1);
    plane.kubectl(remedy).unwrap();
    cr.wait_for_no_condition("Warnings", SOON).await.unwrap();
    cr.wait_for("HEALTHY", SOON).await.unwrap();
    let (selector, _, service) = labels(&plane);
    assert_eq!(
        (&selector["team"], &service["team"]),
        (&json!("platform"), &json!("platform"))
    );
}

/// The labels that the Deployment of the gateway selects, those of its pods, and those that its Service selects.
fn labels(plane: &ControlPlane) -> (Value, Value, Value) {
    let read = |kind: &str| -> Value {
        let text = plane.kubectl(["get", kind, "edge", "-n=istio-system", "-o=json"]);
        serde_json::from_str(&text.unwrap()).unwrap()
    };
    let (deployment, service) = (read("deployment"), read("service"));
    (
        deployment["spec"]["selector"]["matchLabels"].clone(),
        deployment["spec"]["template"]["metadata"]["labels"].clone(),
        service["spec"]["selector"].clone(),
    )
}
