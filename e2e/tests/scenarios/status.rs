//! Status under trouble: refusals that may pass are progress, a short dip changes nothing, and conditions of other writers
//! stay.

use std::time::{Duration, Instant};

use e2e::{
    actions::{
        admission_policy::{AdmissionPolicy, Requests},
        api_proxy::{ApiProxy, Fault},
        cr::{Cr, resource, state},
    },
    control_plane::ControlPlane,
    observe::{health::condition, history::History},
    operator::Operator,
};
use k8s_openapi::jiff::Timestamp;
use kube::api::DynamicObject;
use serde_json::json;
use tokio::time::sleep;

use crate::{SOON, healthy, manifest, running};

/// An IstioOperator of the smallest profile in a namespace of its own.
fn minimal(name: &str) -> String {
    let mut cr = manifest(name, &json!({"profile": "minimal", "revision": name}));
    cr["metadata"]["namespace"] = name.into();
    cr.to_string()
}

/// Foundation row 11: what a policy refuses is progress for a minute, then an error; it ends by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_that_may_pass_is_an_error_only_after_a_minute() {
    let (plane, _operator) = running().await;
    let requests = Requests::NEW_DEPLOYMENTS;
    let policy = AdmissionPolicy::refuse(&plane, "no-deployments", requests, "not yet")
        .await
        .unwrap();
    let cr = Cr::apply(&plane, &minimal("refused")).await.unwrap();
    let told = cr
        .wait_for_condition("Reconciling", "True", Some("Retrying"), SOON)
        .await
        .unwrap();
    assert_eq!(state(&told), "RECONCILING");
    let message = told.data["status"]["message"].as_str().unwrap();
    assert!(message.contains("not yet"), "{message}");
    let failed = cr.wait_for("ERROR", SOON).await.unwrap();
    // By the operator's own clock, because a busy machine shows both statuses late.
    let since = |cr: &DynamicObject, condition_type| -> Timestamp {
        let condition = condition(&cr.data, condition_type);
        let time = condition["lastTransitionTime"].as_str().unwrap();
        time.parse().unwrap()
    };
    let lasted = since(&failed, "Stalled").duration_since(since(&told, "Reconciling"));
    println!("ERROR after {lasted:?}");
    assert!(
        (59..90).contains(&lasted.as_secs()),
        "an error after {lasted:?} instead of a minute"
    );
    policy.lift().await.unwrap();
    // By now the time between two tries may have grown to five minutes and a fifth.
    cr.wait_for("HEALTHY", 2 * SOON).await.unwrap();
}

/// Foundation row 13: an install is told once, and scaling is no news.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scaling_is_no_news() {
    let (plane, _operator) = running().await;
    let cr = healthy(&plane, &minimal("scaled")).await;
    let client = plane.client().await.unwrap();
    let history = History::record(&client, &[resource()]).await.unwrap();
    for replicas in [5, 2, 4] {
        let replicas = format!("--replicas={replicas}");
        let scale = [
            "-n",
            "istio-system",
            "scale",
            "deployment/istiod-scaled",
            &replicas,
        ];
        plane.kubectl(scale).unwrap();
        let wait = [
            "-n",
            "istio-system",
            "rollout",
            "status",
            "deployment/istiod-scaled",
        ];
        plane.kubectl(wait).unwrap();
    }
    sleep(Duration::from_secs(2)).await;
    for entry in history.entries().unwrap() {
        let status = &entry.object["status"];
        assert_eq!(status["status"], "HEALTHY", "{status}");
        assert_eq!(
            condition(&entry.object, "Ready")["status"],
            "True",
            "{status}"
        );
    }
    let events = cr.events().await.unwrap();
    let reasons: Vec<_> = events
        .iter()
        .filter_map(|event| event.reason.as_deref())
        .collect();
    assert_eq!(reasons, ["Installed"]);
}

/// Foundation row 18: four CRs for which the API server does not answer do not hold up the first status of others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_passes_do_not_hold_up_the_first_status_of_others() {
    let plane = ControlPlane::reuse_or_start().await.unwrap();
    let proxy = ApiProxy::start(&plane.kubeconfig()).await.unwrap();
    proxy.inject(Fault::Hang, |call| {
        call.is_write() && call.path.contains("slow-")
    });
    let _operator = Operator::start_behind(&plane, &proxy).await.unwrap();
    for number in 0..4 {
        let slow = minimal(&format!("slow-{number}"));
        Cr::apply(&plane, &slow).await.unwrap();
    }
    sleep(Duration::from_secs(1)).await;
    let mut slowest = Duration::ZERO;
    for number in 0..8 {
        let quick = Cr::apply(&plane, &minimal(&format!("quick-{number}")))
            .await
            .unwrap();
        let start = Instant::now();
        quick
            .wait_for_condition("Reconciling", "True", None, Duration::from_secs(5))
            .await
            .unwrap();
        slowest = slowest.max(start.elapsed());
    }
    println!("the slowest first status came after {slowest:?}");
}

/// Foundation row 18: a condition that another writer sets while the operator's status is on its way stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conditions_of_other_writers_stay() {
    let plane = ControlPlane::reuse_or_start().await.unwrap();
    let proxy = ApiProxy::start(&plane.kubeconfig()).await.unwrap();
    let _operator = Operator::start_behind(&plane, &proxy).await.unwrap();
    let cr = healthy(&plane, &minimal("shared")).await;
    proxy.inject(Fault::Delay(Duration::from_secs(2)), |call| {
        call.is_write() && call.path.ends_with("/status")
    });
    let edit = json!({"spec": {"values": {"global": {"logAsJson": true}}}});
    cr.patch(&edit).await.unwrap();
    sleep(Duration::from_millis(500)).await;
    let approved = json!([{"op": "add", "path": "/status/conditions/-", "value": {
        "type": "Approved",
        "status": "True",
        "reason": "Person",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }}]);
    let patch = format!("--patch={approved}");
    plane
        .kubectl([
            "-n",
            "shared",
            "patch",
            "istiooperator/shared",
            "--subresource=status",
            "--type=json",
            &patch,
        ])
        .unwrap();
    let told = cr.wait_for("HEALTHY", SOON).await.unwrap();
    assert_eq!(condition(&told.data, "Approved")["reason"], "Person");
}

/// Foundation row 18: a finalizer that cannot be removed is told, and the CR goes once it can be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_finalizer_that_cannot_be_removed_is_told() {
    let (plane, _operator) = running().await;
    let cr = healthy(&plane, &minimal("held")).await;
    let requests = Requests {
        api_group: "install.istio.io",
        resource: "istiooperators",
        operations: &["UPDATE"],
        condition: "has(oldObject.metadata.finalizers) && !has(object.metadata.finalizers)",
    };
    let policy = AdmissionPolicy::refuse(&plane, "keep-finalizers", requests, "it stays")
        .await
        .unwrap();
    cr.start_deletion().await.unwrap();
    let message = "the finalizer cannot be removed: admission refuses it";
    cr.wait_for_message(message, SOON).await.unwrap();
    policy.lift().await.unwrap();
    cr.wait_until_gone(SOON).await.unwrap();
}
