//! `updateStrategy.dataPlane.image: Hold`: proxies keep the image from before an update until istiod was healthy for a while.

use e2e::{control_plane::ControlPlane, wait::wait_until};
use serde_json::{Value, json};

use crate::{SOON, healthy, manifest, running};

/// Upgrade row 6: while no proxy is newer, the update can be taken back; over a restart of the operator, too. Afterwards
/// proxies get the image of their istiod.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proxies_keep_their_image_until_istiod_was_healthy_for_a_while() {
    let (plane, mut operator) = running().await;
    let cr = healthy(&plane, &mesh().to_string()).await;
    let version = |version: &str| json!({"spec": {"version": version}});
    cr.patch(&version("1.31")).await.unwrap();
    let told = cr.wait_for("HEALTHY", SOON).await.unwrap().data;
    assert_eq!(told["status"]["version"], "1.31.1");
    proxies_have(&plane, "1.30.5");
    let held = &told["status"]["heldProxy"];
    assert!(
        held["image"].as_str().unwrap().ends_with("proxyv2:1.30.5"),
        "{held}"
    );
    assert!(held["healthySince"].is_string(), "{held}");

    operator.process().kill().unwrap();
    operator.process().restart().unwrap();
    operator.wait_until_ready().await.unwrap();
    let edit = json!({"spec": {"meshConfig": {"accessLogFile": "/dev/stdout"}}});
    cr.patch(&edit).await.unwrap();
    cr.wait_for("HEALTHY", SOON).await.unwrap();
    proxies_have(&plane, "1.30.5");

    cr.patch(&version("1.30")).await.unwrap();
    let told = cr.wait_for("HEALTHY", SOON).await.unwrap().data;
    assert_eq!(told["status"]["version"], "1.30.5");
    assert_eq!(told["status"].get("heldProxy"), None);
    proxies_have(&plane, "1.30.5");

    cr.patch(&version("1.31")).await.unwrap();
    cr.wait_for("HEALTHY", SOON).await.unwrap();
    proxies_have(&plane, "1.30.5");
    let soak = json!({"spec": {"updateStrategy": {"dataPlane": {"soak": "1s"}}}});
    cr.patch(&soak).await.unwrap();
    wait_until("proxies to be released", SOON, || async {
        let status = cr.get().await.map_err(|error| error.to_string())?.data["status"].clone();
        let is_released = status.get("heldProxy").is_none() && status["status"] == "HEALTHY";
        is_released.then_some(()).ok_or_else(|| status.to_string())
    })
    .await
    .unwrap();
    proxies_have(&plane, "1.31.1");
    for reason in ["ProxiesHeld", "ProxiesReleased"] {
        let events = cr.events_with_reason(reason).await.unwrap();
        assert!(!events.is_empty(), "{reason}");
    }
}

fn mesh() -> Value {
    let spec = json!({
        "profile": "minimal",
        "version": "1.30",
        "updateStrategy": {"dataPlane": {"image": "Hold", "soak": "1h"}},
        "components": {"ingressGateways": [{"name": "edge", "enabled": true}]},
    });
    let mut cr = manifest("mesh", &spec);
    // The pods of istiod are simulated, and inject nothing.
    cr["metadata"]["annotations"] = json!({"install.istio.io/skip-checks": "injection"});
    cr
}

/// What is injected, and the gateway, have a proxy of this version.
fn proxies_have(plane: &ControlPlane, version: &str) {
    let image = "-o=jsonpath={.spec.template.spec.containers[0].image}";
    let gateway = plane
        .kubectl(["get", "deployment", "edge", "-n=istio-system", image])
        .unwrap();
    assert!(
        gateway.ends_with(&format!("proxyv2:{version}")),
        "{gateway}"
    );
    let values = "-o=jsonpath={.data.values}";
    let injector = [
        "get",
        "configmap",
        "istio-sidecar-injector",
        "-n=istio-system",
        values,
    ];
    let values: Value = serde_json::from_str(&plane.kubectl(injector).unwrap()).unwrap();
    let image = values["global"]["proxy"]["image"].as_str().unwrap();
    let follows = image == "proxyv2" && values["global"]["tag"] == version;
    assert!(
        follows || image.ends_with(&format!("proxyv2:{version}")),
        "{image}"
    );
}
