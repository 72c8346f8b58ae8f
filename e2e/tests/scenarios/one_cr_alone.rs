//! One CR, one watch or one process that is in trouble stops no other: CRs that nobody can decode, that admission refuses,
//! or that are too large; watches that break; an operator that ends.

use std::time::{Duration, Instant};

use e2e::{
    actions::{
        admission_policy::{AdmissionPolicy, Requests},
        api_proxy::{ApiProxy, Fault},
        cr::Cr,
    },
    control_plane::ControlPlane,
    host::probe,
    observe::health::condition,
    operator::{Operator, Options},
    wait::wait_until,
};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{SOON, healthy, manifest, running};

/// A text that must never reach a log.
const SECRET: &str = "hunter2-in-the-spec";

/// A map in a map in a map.
fn nested(levels: usize) -> Value {
    (0..levels).fold(json!(SECRET), |inner, _| json!({"a": inner}))
}

/// A CR with a gateway, and without it.
fn with_gateway(enabled: bool) -> Value {
    json!({
        "profile": "minimal",
        "components": {"ingressGateways": [{"name": "edge", "enabled": enabled}]},
    })
}

fn log_of(operator: &mut Operator) -> String {
    std::fs::read_to_string(operator.process().log()).unwrap()
}

/// Foundation row 3: a CR that is nested too deeply to be decoded says so, and others get their passes after a restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cr_that_is_nested_too_deeply_stops_no_other() {
    let (plane, mut operator) = running().await;
    let good = healthy(&plane, &manifest("good", &with_gateway(false)).to_string()).await;
    let spec = json!({"profile": "minimal", "revision": "deep", "values": nested(125)});
    let text = manifest("deep", &spec).to_string();
    plane
        .kubectl_with_input(["create", "-f", "-"], &text)
        .unwrap();
    operator.process().kill().unwrap();
    operator.process().restart().unwrap();
    operator.wait_until_ready().await.unwrap();

    // Clients that decode objects as a tree cannot read it either; kubectl can.
    let status = [
        "get",
        "istiooperator",
        "deep",
        "-n=istio-system",
        "-o=jsonpath={.status}",
    ];
    let told = wait_until("the deep CR to be refused", SOON, || async {
        let told = plane.kubectl(status).map_err(|error| error.to_string())?;
        let is_told = told.contains("InvalidSpec") && told.contains("spec.values");
        if is_told { Ok(told) } else { Err(told) }
    });
    let told = told.await.unwrap();
    assert!(!told.contains(SECRET), "{told}");
    // Nothing is pruned while nobody knows what the deep one renders; everything else goes on.
    good.patch(&json!({"spec": with_gateway(true)}))
        .await
        .unwrap();
    let gateway = ["get", "deployment", "edge", "-n=istio-system"];
    wait_until("the gateway to be there", SOON, || async {
        plane.kubectl(gateway).map_err(|error| error.to_string())
    })
    .await
    .unwrap();
    good.wait_for("HEALTHY", SOON).await.unwrap();
    let delete = [
        "delete",
        "istiooperator",
        "deep",
        "-n=istio-system",
        "--timeout=60s",
    ];
    plane.kubectl(delete).unwrap();
    let log = log_of(&mut operator);
    assert!(!log.contains(SECRET), "a body is in the log");
}

/// Foundation row 8: a CR whose finalizer and status admission refuses blocks only itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cr_that_admission_refuses_blocks_only_itself() {
    let (plane, _operator) = running().await;
    let good = healthy(&plane, &manifest("good", &with_gateway(true)).to_string()).await;
    let requests = |resource| Requests {
        api_group: "install.istio.io",
        resource,
        operations: &["UPDATE"],
        condition: "object.metadata.name == 'refused'",
    };
    let message = "this one may not be changed";
    let _spec = AdmissionPolicy::refuse(&plane, "spec", requests("istiooperators"), message)
        .await
        .unwrap();
    let _status =
        AdmissionPolicy::refuse(&plane, "status", requests("istiooperators/status"), message)
            .await
            .unwrap();
    let spec = json!({"profile": "minimal", "revision": "refused"});
    Cr::apply(&plane, &manifest("refused", &spec).to_string())
        .await
        .unwrap();
    good.patch(&json!({"spec": with_gateway(false)}))
        .await
        .unwrap();
    gateway_goes(&plane).await;
    good.wait_for("HEALTHY", SOON).await.unwrap();
}

/// Foundation row 9: a CR that asks for too much is refused with words, and probes answer while a large one is rendered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cr_that_is_too_large_is_refused_and_a_large_one_stops_nobody() {
    let (plane, operator) = running().await;
    let gateways = |count: usize| {
        let gateway = |number| json!({"name": format!("g{number}"), "enabled": true});
        let gateways: Vec<_> = (0..count).map(gateway).collect();
        json!({"profile": "empty", "components": {"ingressGateways": gateways}})
    };
    let large = manifest("large", &gateways(1001)).to_string();
    let large = Cr::apply(&plane, &large).await.unwrap();
    let told = large.wait_for("ERROR", SOON).await.unwrap().data;
    let message = told["status"]["message"].to_string();
    assert!(message.contains("1001 gateways"), "{message}");

    large.patch(&json!({"spec": gateways(300)})).await.unwrap();
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        let start = Instant::now();
        probe::get(operator.port(), "/healthz").unwrap();
        slowest = slowest.max(start.elapsed());
        sleep(Duration::from_millis(50)).await;
    }
    println!("slowest probe while 300 gateways are rendered and applied: {slowest:?}");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
}

/// Foundation row 16: after SIGTERM nothing is written once the lease is given up, and another operator takes over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_write_comes_after_the_lease_was_given_up() {
    let plane = ControlPlane::reuse_or_start().await.unwrap();
    let mut first = Operator::start(&plane).await.unwrap();
    let cr = Cr::apply(
        &plane,
        &manifest("mesh", &json!({"profile": "default"})).to_string(),
    )
    .await
    .unwrap();
    cr.wait_for_condition("Reconciling", "True", None, SOON)
        .await
        .unwrap();
    let status = first.process().stop(Duration::from_secs(30)).unwrap();
    assert!(status.success(), "{status}");
    let ended = Timestamp::now();
    sleep(Duration::from_secs(2)).await;
    let late = plane.audit().writes_by(first.user(), ended).unwrap();
    assert!(late.is_empty(), "{late:?}");
    let second = Options {
        pod_name: "istio-operator-1".into(),
        ..Options::default()
    };
    let start = Instant::now();
    let _second = Operator::start_with(&plane, second).await.unwrap();
    cr.wait_for("HEALTHY", SOON).await.unwrap();
    println!(
        "HEALTHY {:?} after the second operator started",
        start.elapsed()
    );
}

/// Foundation row 17: health that nobody observes is not told for longer than two minutes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_breaks_makes_ready_unknown() {
    let plane = ControlPlane::reuse_or_start().await.unwrap();
    let proxy = ApiProxy::start(&plane.kubeconfig()).await.unwrap();
    let _operator = Operator::start_behind(&plane, &proxy).await.unwrap();
    let cr = healthy(
        &plane,
        &manifest("mesh", &json!({"profile": "minimal"})).to_string(),
    )
    .await;
    proxy.inject(Fault::refuse(500), |call| {
        call.is_about("deployments") && !call.is_write()
    });
    let told = cr
        .wait_for_condition("WatchBroken", "True", None, SOON)
        .await
        .unwrap()
        .data;
    let ready = condition(&told, "Ready");
    assert_eq!(ready["status"], "Unknown", "{ready}");
    assert_eq!(ready["reason"], "WatchBroken");
    assert_ne!(told["status"]["status"], "HEALTHY");
    proxy.clear_faults();
    cr.wait_for_no_condition("WatchBroken", SOON).await.unwrap();
    cr.wait_for("HEALTHY", SOON).await.unwrap();
}

/// Waits until the gateway that is not rendered any more is pruned.
async fn gateway_goes(plane: &ControlPlane) {
    let gateway = ["get", "deployment", "edge", "-n=istio-system"];
    wait_until("the gateway to be pruned", SOON, || async {
        match plane.kubectl(gateway) {
            Err(_) => Ok(()),
            Ok(there) => Err(there),
        }
    })
    .await
    .unwrap();
}
