//! The real istiod on the local control plane. istioctl installs it, so these tests do not depend on our charts.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on may stop anywhere"
)]

use std::process::Command;

use e2e::{
    control_plane::ControlPlane,
    error::Error,
    host::go_programs::Bundle,
    istio::istiod::Istiod,
    wait::{SOON, wait_until},
};
use serde_json::{Value, json};

#[tokio::test]
async fn serves_the_webhooks_of_the_api_server() {
    let plane = ControlPlane::start().await.unwrap();
    plane
        .kubectl(["create", "namespace", "istio-system"])
        .unwrap();
    plane.apply(&upstream_install()).unwrap();
    let mut istiod = Istiod::start(&plane, "istio-system", "istiod")
        .await
        .unwrap();

    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "namespace": "mesh"},
        "spec": {"containers": [{"name": "web", "image": "example.com/web"}]},
    });
    let asked = istiod.inject("mesh", &pod).await.unwrap();
    assert!(has_proxy(&asked["spec"]), "{asked:#}");

    let namespace = json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "mesh", "labels": {"istio-injection": "enabled"}},
    });
    plane.apply(&namespace.to_string()).unwrap();
    let is_injected = |created: &Value| has_proxy(&created["spec"]);
    plane.admitted(&pod, is_injected).await.unwrap();

    // It does so only after the API server's call to its own validation webhook came through.
    wait_until(
        "istiod to make its validation fail closed",
        SOON,
        || async {
            let policy = "-o=jsonpath={.items[*].webhooks[*].failurePolicy}";
            match plane
                .kubectl(["get", "validatingwebhookconfigurations", policy])?
                .as_str()
            {
                "Fail" => Ok(()),
                other => Err(Error::Unexpected(other.into())),
            }
        },
    )
    .await
    .unwrap();

    istiod.process().kill().unwrap();
    // A connection that was still open fails in a way of its own.
    wait_until("pods to be refused for want of istiod", SOON, || async {
        let refused = plane.apply(&pod.to_string()).unwrap_err().to_string();
        let is_known = refused.contains("the process that stands for pod istio-system/istiod");
        is_known.then_some(()).ok_or(refused)
    })
    .await
    .unwrap();
}

fn upstream_install() -> String {
    let istioctl = Bundle::Istio.dir().unwrap().join("istioctl");
    let output = Command::new(istioctl)
        .args(["manifest", "generate"])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn has_proxy(spec: &Value) -> bool {
    let lists = ["initContainers", "containers"].map(|list| spec[list].as_array());
    lists
        .into_iter()
        .flatten()
        .flatten()
        .any(|container| container["name"] == "istio-proxy")
}
