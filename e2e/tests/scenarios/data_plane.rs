//! The status says which proxies there are: of which revision, and of which version.

use e2e::{actions::cr::Cr, control_plane::ControlPlane, istio::istiod::Istiod, wait::wait_until};
use istio_operator::dataplane::PROXY_VERSION;
use serde_json::{Value, json};

use crate::{SOON, healthy, manifest, running};

/// Upgrade row 9: sidecars of the real injector, gateways, waypoints and ztunnels are counted, and a version that nothing
/// tells is called unknown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proxies_are_counted_by_revision_and_version() {
    let (plane, _operator) = running().await;
    let spec = json!({"profile": "ambient", "components": {"ingressGateways": [{"name": "edge", "enabled": true}]}});
    let cr = healthy(&plane, &manifest("mesh", &spec).to_string()).await;
    let _istiod = Istiod::start(&plane, "istio-system", "istiod")
        .await
        .unwrap();
    plane.create_injected_namespace("apps").unwrap();
    // The webhook fails closed once istiod has patched it.
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "probe", "namespace": "apps"},
        "spec": {"containers": [{"name": "web", "image": "example.com/web"}]},
    });
    let is_injected = |pod: &Value| pod["metadata"]["annotations"][PROXY_VERSION] == "1.31.1";
    plane.admitted(&pod, is_injected).await.unwrap();
    plane
        .apply(&deployment("web", 3, &json!({}), &json!({})).to_string())
        .unwrap();
    let nodes = plane
        .kubectl(["get", "nodes", "-o=name"])
        .unwrap()
        .lines()
        .count();
    let mut expected = json!([{
        "version": "1.31.1", "sidecars": 3, "gateways": 1, "waypoints": 0, "ztunnels": nodes,
    }]);
    proxies(&cr, &expected).await;

    // From before: nothing tells its version. Of istiod: the image does. Their namespace is not injected.
    plane.create_namespace("old").unwrap();
    let from_before = json!({"istio.io/rev": "default", "sidecar.istio.io/status": "{}"});
    plane
        .apply(&bare("from-before", "web:1", &json!({}), &from_before))
        .unwrap();
    let managed = json!({"gateway.istio.io/managed": "istio.io-mesh-controller"});
    let revision = json!({"istio.io/rev": "default"});
    plane
        .apply(&bare("waypoint", "proxyv2:1.30.5", &managed, &revision))
        .unwrap();
    // Somebody else's, and one that has ended.
    plane
        .apply(&bare("plain", "web:1", &json!({}), &json!({})))
        .unwrap();
    let other = json!({"istio.io/rev": "other"});
    plane
        .apply(&bare("of-other", "web:1", &json!({}), &other))
        .unwrap();
    let rows = expected.as_array_mut().unwrap();
    let row = |version: &str, sidecars: u32, waypoints: u32| {
        json!({
            "version": version, "sidecars": sidecars, "gateways": 0, "waypoints": waypoints, "ztunnels": 0,
        })
    };
    rows.insert(0, row("1.30.5", 0, 1));
    rows.push(row("unknown", 1, 0));
    proxies(&cr, &expected).await;

    plane.kubectl(["delete", "namespace", "old"]).unwrap();
    let rows = expected.as_array_mut().unwrap();
    rows.remove(0);
    rows.pop();
    proxies(&cr, &expected).await;
}

/// Waits until the status tells these proxies of the only revision.
async fn proxies(cr: &Cr, expected: &Value) {
    wait_until(&format!("the proxies {expected}"), SOON, || async {
        let cr = cr.get().await.map_err(|error| error.to_string())?;
        let told = &cr.data["status"]["revisions"];
        let is_told = told[0]["name"] == "default" && told[0]["proxies"] == *expected;
        if is_told && told.as_array().map(Vec::len) == Some(1) {
            Ok(())
        } else {
            Err(told.to_string())
        }
    })
    .await
    .unwrap();
}

/// A Deployment in the namespace `apps`.
fn deployment(name: &str, replicas: u32, labels: &Value, annotations: &Value) -> Value {
    let mut pod_labels = labels.clone();
    pod_labels["app"] = name.into();
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "apps"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": pod_labels, "annotations": annotations},
                "spec": {"containers": [{"name": "web", "image": "example.com/web"}]},
            },
        },
    })
}

/// A pod in the namespace `old` whose only container is called as the proxy is.
fn bare(name: &str, image: &str, labels: &Value, annotations: &Value) -> String {
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "old", "labels": labels, "annotations": annotations},
        "spec": {"containers": [{"name": "istio-proxy", "image": image}]},
    });
    pod.to_string()
}

/// The version that injected pods tell follows the image of the proxy, not the charts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_version_that_pods_tell_is_that_of_the_proxy_image() {
    let (plane, _operator) = running().await;
    let annotation = |plane: &ControlPlane| {
        let path = "-o=jsonpath={.data.config}";
        let name = [
            "get",
            "configmap",
            "istio-sidecar-injector",
            "-n=istio-system",
            path,
        ];
        let config = plane.kubectl(name).unwrap();
        let mut lines = config.lines().filter(|line| line.contains(PROXY_VERSION));
        lines.next().map(|line| line.trim().to_owned())
    };
    let told = |version: &str| Some(format!("{PROXY_VERSION}: {version}"));
    let spec = json!({"profile": "minimal", "version": "1.31", "tag": "ours-42"});
    let cr = healthy(&plane, &manifest("mesh", &spec).to_string()).await;
    assert_eq!(annotation(&plane), told("1.31.1"));
    for (spec, version) in [
        (json!({"tag": "1.31.0-distroless"}), told("1.31.0")),
        (
            json!({"values": {"global": {"proxy": {"image": "registry.example/proxyv2:1.30.5"}}}}),
            told("1.30.5"),
        ),
        (
            json!({"values": {"global": {"proxy": {"image": "registry.example/proxyv2@sha256:12"}}}}),
            None,
        ),
    ] {
        cr.patch(&json!({"spec": spec})).await.unwrap();
        cr.wait_for("HEALTHY", SOON).await.unwrap();
        assert_eq!(annotation(&plane), version, "{spec}");
    }
}
