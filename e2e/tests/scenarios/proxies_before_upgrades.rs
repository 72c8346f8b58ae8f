//! The version of istiod follows what its proxies can work with: a step that would leave them behind waits until they are
//! restarted, and no step makes istiod older than one of them.

use e2e::{actions::cr::Cr, control_plane::ControlPlane, observe::health::condition};
use istio_operator::dataplane::PROXY_VERSION;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use crate::{SOON, bystander::object_writes, healthy, manifest, running};

/// A pod with a proxy of this version.
fn put_pod(plane: &ControlPlane, version: &str) {
    let annotations = json!({"istio.io/rev": "default", PROXY_VERSION: version});
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "namespace": "shop", "annotations": annotations},
        "spec": {"containers": [{"name": "web", "image": "example.com/web"}]},
    });
    let _ = plane.kubectl([
        "delete",
        "pod",
        "web",
        "-n=shop",
        "--grace-period=0",
        "--force",
    ]);
    plane.apply(&pod.to_string()).unwrap();
}

/// Upgrade row 3: a step that would leave proxies behind is refused and names their namespaces; when they are restarted, it
/// goes on by itself. A step back to an istiod older than a proxy is refused, unless the user wants it all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_proxy_is_left_behind_and_none_is_newer_than_istiod() {
    let (plane, operator) = running().await;
    plane.create_namespace("shop").unwrap();
    let spec = json!({
        "profile": "minimal",
        "version": "1.29",
        "components": {"ingressGateways": [{"name": "edge", "enabled": true}]},
    });
    let cr = healthy(&plane, &manifest("mesh", &spec).to_string()).await;
    // The pods of istiod are simulated, and inject nothing.
    let skipped = |checks: &str| json!({"metadata": {"annotations": {"install.istio.io/skip-checks": checks}}});
    cr.patch(&skipped("injection")).await.unwrap();
    put_pod(&plane, "1.29.8");
    let version = |version: &str| json!({"spec": {"version": version}});
    // One minor ahead of the proxy.
    cr.patch(&version("1.30")).await.unwrap();
    let told = cr.wait_for("HEALTHY", SOON).await.unwrap().data;
    assert_eq!(told["status"]["version"], "1.30.5");

    let since = Timestamp::now();
    cr.patch(&version("1.31")).await.unwrap();
    refused(
        &cr,
        &["1.29.8 in namespaces shop", "restart these pods first"],
    )
    .await;
    assert!(object_writes(&plane, &operator, since).is_empty());
    put_pod(&plane, "1.30.5");
    let told = cr.wait_for("HEALTHY", SOON).await.unwrap().data;
    assert_eq!(told["status"]["version"], "1.31.1");

    put_pod(&plane, "1.31.1");
    let since = Timestamp::now();
    cr.patch(&version("1.30")).await.unwrap();
    refused(
        &cr,
        &["1.31.1 in namespaces shop", "skip-checks: data-plane"],
    )
    .await;
    assert!(object_writes(&plane, &operator, since).is_empty());
    cr.patch(&skipped("data-plane, injection")).await.unwrap();
    let told = cr.wait_for("HEALTHY", SOON).await.unwrap().data;
    assert_eq!(told["status"]["version"], "1.30.5");
}

/// Waits until the change of the version is refused with these words.
async fn refused(cr: &Cr, words: &[&str]) {
    let told = cr.wait_for("ERROR", SOON).await.unwrap().data;
    let stalled: &Value = condition(&told, "Stalled");
    assert_eq!(stalled["reason"], "UpgradeRefused");
    let message = stalled["message"].as_str().unwrap();
    for word in words {
        assert!(message.contains(word), "{message}");
    }
}
