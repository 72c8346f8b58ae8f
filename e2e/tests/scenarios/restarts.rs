//! An operator that is restarted during a rollout keeps the order and repairs what was there.

use e2e::wait::wait_until;
use serde_json::json;
use tokio::time::sleep;

use crate::{SOON, healthy, manifest, running, what_is_in_use::TEMPTED};

/// Images of the same version are rolled out in order too, whenever the operator is restarted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_operator_rolls_gateways_out_after_istiod() {
    let (plane, mut operator) = running().await;
    let spec = json!({"profile": "default", "version": "1.30", "tag": "first"});
    let cr = healthy(&plane, &manifest("mesh", &spec).to_string()).await;
    cordon(&plane);
    cr.patch(&json!({"spec": {"tag": "second"}})).await.unwrap();
    wait_until("istiod to be rolled out", SOON, || async {
        let image = image(&plane, "istiod");
        image.contains(":second").then_some(()).ok_or(image)
    })
    .await
    .unwrap();
    // The Service that comes back shows that the restarted operator has made its plan.
    operator.process().kill().unwrap();
    let service = ["service", "istio-ingressgateway", "-n=istio-system"];
    plane.kubectl(["delete"].iter().chain(&service)).unwrap();
    operator.process().restart().unwrap();
    operator.wait_until_ready().await.unwrap();
    wait_until("the Service to be back", SOON, || async {
        plane.kubectl(["get"].iter().chain(&service))
    })
    .await
    .unwrap();
    sleep(TEMPTED).await;
    let gateway = image(&plane, "istio-ingressgateway");
    assert!(
        gateway.contains(":first"),
        "istiod has no new pod yet: {gateway}"
    );
    for node in nodes(&plane) {
        plane.kubectl(["uncordon", &node]).unwrap();
    }
    cr.wait_for("HEALTHY", SOON).await.unwrap();
    assert!(image(&plane, "istio-ingressgateway").contains(":second"));
}

/// A gateway's Deployment that was lost comes back like its Service, even if another component is not ready.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_gateway_comes_back_while_istiod_is_not_ready() {
    let (plane, mut operator) = running().await;
    let spec = json!({"profile": "default"});
    healthy(&plane, &manifest("mesh", &spec).to_string()).await;
    cordon(&plane);
    plane
        .kubectl(["delete", "pods", "-n=istio-system", "-l=app=istiod"])
        .unwrap();
    operator.process().kill().unwrap();
    let gateway = ["deployment", "istio-ingressgateway", "-n=istio-system"];
    plane.kubectl(["delete"].iter().chain(&gateway)).unwrap();
    operator.process().restart().unwrap();
    operator.wait_until_ready().await.unwrap();
    wait_until("the gateway to be back", SOON, || async {
        plane.kubectl(["get"].iter().chain(&gateway))
    })
    .await
    .unwrap();
}

fn nodes(plane: &e2e::control_plane::ControlPlane) -> Vec<String> {
    let nodes = plane.kubectl(["get", "nodes", "-o=name"]).unwrap();
    nodes.lines().map(str::to_owned).collect()
}

/// No pod that is made from now on is ever ready.
fn cordon(plane: &e2e::control_plane::ControlPlane) {
    for node in nodes(plane) {
        plane.kubectl(["cordon", &node]).unwrap();
    }
}

/// The images of a Deployment.
fn image(plane: &e2e::control_plane::ControlPlane, name: &str) -> String {
    let path = "-o=jsonpath={.spec.template.spec.containers[*].image}";
    plane
        .kubectl(["get", "deployment", name, "-n=istio-system", path])
        .unwrap()
}
