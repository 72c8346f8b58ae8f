//! A cluster without an istiod of its own: with what the remote profile installs, its pods are injected by the real istiod
//! of another cluster.

use e2e::{
    actions::cr::Cr,
    control_plane::ControlPlane,
    istio::{istioctl, istiod::Istiod},
    operator::Operator,
    yaml,
};
use serde_json::{Value, json};

use crate::{SOON, healthy, manifest};

/// Where the remote cluster finds istiod, in each form that there is.
const IPV4: &str = "192.0.2.10";
const IPV6: &str = "2001:db8::10";
const HOST: &str = "istiod.example.com";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_of_a_remote_cluster_are_injected_by_the_istiod_of_another() {
    let primary = ControlPlane::reuse_or_start().await.unwrap();
    let remote = ControlPlane::reuse_or_start().await.unwrap();
    for plane in [&primary, &remote] {
        // Created, not applied: a later apply of the namespace without annotations then leaves these in place.
        let create = ["create", "--filename=-"];
        plane.kubectl_with_input(create, &namespaces()).unwrap();
    }
    primary.apply(&upstreams(&primary_install())).unwrap();
    let mut istiod = Istiod::start(&primary, "istio-system", "istiod")
        .await
        .unwrap();
    for address in [IPV4, IPV6] {
        istiod.serve_at(address.parse().unwrap(), &remote);
    }

    remote.apply(&upstreams(&remote_install(IPV4))).unwrap();
    introduce(&remote, &primary);
    let expected = injected(&remote).await;
    // These come from the remote cluster's webhook.
    let env = expected.to_string();
    assert!(
        env.contains("\"away\"") && env.contains("\"net2\""),
        "{expected:#}"
    );
    // All objects that lead the API server to istiod.
    let way = "mutatingwebhookconfigurations,services,endpointslices";
    remote
        .kubectl(["delete", way, "--all", "--namespace=istio-system"])
        .unwrap();
    let is_left_alone = |pod: &Value| !is_injected(pod);
    remote.admitted(&pod(), is_left_alone).await.unwrap();

    let _operator = Operator::start(&remote).await.unwrap();
    let install = remote_install(IPV4).to_string();
    let cr = healthy(&remote, &install).await;
    // Closes the connections that were opened by way of the old objects.
    istiod.process().restart().unwrap();
    assert_eq!(injected(&remote).await, expected);

    move_to(&cr, HOST).await;
    let external = "-o=jsonpath={.spec.type} {.spec.externalName}";
    let service = ["service/istiod", "-n=istio-system", external];
    let found = remote.kubectl(["get"].into_iter().chain(service)).unwrap();
    assert_eq!(found, format!("ExternalName {HOST}"));
    move_to(&cr, IPV6).await;
    istiod.process().restart().unwrap();
    assert_eq!(injected(&remote).await, expected);
}

async fn move_to(cr: &Cr, address: &str) {
    let global = json!({"remotePilotAddress": address});
    let change = json!({"spec": {"values": {"global": global}}});
    cr.patch(&change).await.unwrap();
    cr.wait_for("HEALTHY", SOON).await.unwrap();
}

fn namespaces() -> String {
    let namespace = |name: &str, metadata: Value| {
        let mut namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata});
        namespace["metadata"]["name"] = name.into();
        namespace
    };
    // The clusters whose istiod may write its CA here.
    let writers = json!({"annotations": {"topology.istio.io/controlPlaneClusters": "*"}});
    let labels = json!({"labels": {"istio-injection": "enabled"}});
    yaml::stream(&[
        namespace("istio-system", writers),
        namespace("apps", labels),
    ])
}

fn primary_install() -> Value {
    let cluster = json!({"clusterName": "home"});
    let global = json!({"externalIstiod": true, "multiCluster": cluster, "network": "net1"});
    install("minimal", &json!({"global": global}))
}

fn remote_install(address: &str) -> Value {
    let path = "/inject/cluster/away/net/net2";
    let global = json!({"remotePilotAddress": address});
    install(
        "remote",
        &json!({"global": global, "istiodRemote": {"injectionPath": path}}),
    )
}

fn install(profile: &str, values: &Value) -> Value {
    manifest("mesh", &json!({"profile": profile, "values": values}))
}

fn upstreams(cr: &Value) -> String {
    yaml::stream(&istioctl::generate(cr).unwrap().unwrap())
}

/// Gives the istiod of `primary` the rights in `remote` that the remote profile has for it.
fn introduce(remote: &ControlPlane, primary: &ControlPlane) {
    let create = ["create-remote-secret", "--name=away", "-n=istio-system"];
    let secret = istioctl::run(remote, create).unwrap();
    primary.apply(&secret).unwrap();
}

/// A pod as the API server has it once istiod has injected it; it is not stored.
async fn injected(plane: &ControlPlane) -> Value {
    let pod = plane.admitted(&pod(), is_injected).await.unwrap();
    let metadata = &pod["metadata"];
    json!({
        "labels": metadata["labels"],
        "annotations": metadata["annotations"],
        "spec": pod["spec"],
    })
}

fn is_injected(pod: &Value) -> bool {
    pod["spec"].to_string().contains("istio-proxy")
}

fn pod() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "namespace": "apps", "labels": {"app": "web"}},
        "spec": {
            // The token's volume would have a random name.
            "automountServiceAccountToken": false,
            "containers": [{"name": "web", "image": "example.com/web"}],
        },
    })
}
