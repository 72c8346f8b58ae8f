//! Requests go where the mesh says, and workloads talk to each other in secret: through real proxies, which the real istiod
//! configures from what the operator installed.

use std::{collections::BTreeSet, net::Ipv4Addr, time::Instant};

use e2e::{
    control_plane::ControlPlane,
    error::Error,
    host::{http, ports},
    istio::{app::App, ingress::Ingress, mesh::Mesh},
    wait::wait_until,
};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{ListParams, ResourceExt},
};
use serde_json::{Value, json};

use crate::{SOON, healthy, running, sample};

/// The port of the nodes in the sample.
const NODE_PORT: u16 = 30080;

const PAGE: &str = "http://shop.example.com/productpage";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateway_of_the_acceptance_sample_answers_on_its_node_port() {
    let (plane, _operator) = running().await;
    let cr = healthy(&plane, &sample("acceptance.yaml")).await;
    let mesh = Mesh::start(&plane, "istio-system", "istiod").await.unwrap();
    let mut ingress = open(&plane, &mesh).await;
    assert_eq!(ingress.address().port(), NODE_PORT);
    two_serve(&plane, &mesh, &mut ingress).await;

    let app = App::start("productpage").await.unwrap();
    plane.apply(&routes(&app)).unwrap();
    all_are_configured(&ingress).await;
    let answer = http::get(ingress.address(), PAGE).await.unwrap();
    assert_eq!(answer.header("server"), "istio-envoy");
    let seen: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(seen["app"], "productpage", "{seen}");
    assert!(seen["headers"]["x-request-id"].is_string(), "{seen}");
    let status = async |url: &str| http::get(ingress.address(), url).await.unwrap().status;
    assert_eq!(status("http://shop.example.com/elsewhere").await, 404);
    // Nobody is where simulated pods seem to be, and nobody is asked.
    assert_eq!(status("http://shop.example.com/simulated").await, 503);
    assert_eq!(status("http://other.example.com/productpage").await, 404);

    every_proxy_serves(&ingress).await;

    // A change of the CR rolls the gateway, and its new pods serve.
    let before = names(&ingress);
    let mut gateways =
        cr.get().await.unwrap().data["spec"]["components"]["ingressGateways"].clone();
    gateways[0]["k8s"]["podAnnotations"] = json!({"example.com/change": "1"});
    cr.patch(&json!({"spec": {"components": {"ingressGateways": gateways}}}))
        .await
        .unwrap();
    let started = Instant::now();
    while !names(&ingress).is_disjoint(&before) || names(&ingress).len() < 2 {
        assert!(started.elapsed() < SOON, "{:?}", names(&ingress));
        ingress.follow(&plane, &mesh).await.unwrap();
    }
    all_are_configured(&ingress).await;
    every_proxy_serves(&ingress).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn injected_workloads_talk_by_mutual_tls_and_plain_text_is_refused() {
    let (plane, _operator) = running().await;
    healthy(&plane, &sample("default.yaml")).await;
    let mesh = Mesh::start(&plane, "istio-system", "istiod").await.unwrap();
    let app = App::start("server").await.unwrap();
    let (server, client) = (ports::address().unwrap(), ports::address().unwrap());
    plane.apply(&workloads(&app, server, client)).unwrap();
    let start = async |name: &str, address: Ipv4Addr| {
        let pod = injected(&plane, name).await;
        mesh.sidecar(&plane, pod, address).await.unwrap()
    };
    let _server = start("server", server).await;
    let _client = start("client", client).await;

    let through_the_mesh = async || {
        http::get_through(
            (client, 15002).into(),
            "http://server.apps.svc.cluster.local/",
        )
        .await
    };
    let plain = async || http::get((server, 9080).into(), "http://server.apps/").await;
    let answer = wait_until("the client to reach the server", SOON, || async {
        let answer = through_the_mesh().await?;
        match answer.status.as_u16() {
            200 => Ok(answer),
            status => Err(Error::Unexpected(format!("{status}: {}", answer.body))),
        }
    })
    .await
    .unwrap();
    let seen: Value = serde_json::from_str(&answer.body).unwrap();
    let certified = seen["headers"]["x-forwarded-client-cert"].as_str().unwrap();
    assert!(
        certified.contains("URI=spiffe://cluster.local/ns/apps/sa/client"),
        "{certified}"
    );
    let refused = plain().await.map(|answer| answer.status);
    assert!(refused.is_err(), "{refused:?}");

    // It is the policy that refuses, and nothing else.
    let mode = |mode: &str| plane.apply(&strictness(mode)).unwrap();
    mode("PERMISSIVE");
    wait_until("plain text to be taken", SOON, || async {
        let status = plain().await?.status;
        (status == 200)
            .then_some(())
            .ok_or_else(|| Error::Unexpected(status.to_string()))
    })
    .await
    .unwrap();
    mode("STRICT");
    wait_until("plain text to be refused", SOON, || async {
        match plain().await {
            Err(_) => Ok(()),
            Ok(answer) => Err(answer.status),
        }
    })
    .await
    .unwrap();
    assert_eq!(through_the_mesh().await.unwrap().status, 200);
}

/// The pod of a Deployment, which the API server sent through istiod's webhook.
async fn injected(plane: &ControlPlane, app: &str) -> Pod {
    let pods: Api<Pod> = Api::namespaced(plane.client().await.unwrap(), "apps");
    let chosen = ListParams::default().labels(&format!("app={app}"));
    wait_until("an injected pod with an address", SOON, || async {
        // Pods that came before the webhook was ready are replaced.
        let delete = [
            "delete",
            "pods",
            "-n=apps",
            "-l=!security.istio.io/tlsMode",
            "--wait=false",
        ];
        plane.kubectl(delete)?;
        let pods = pods.list(&chosen).await?.items;
        let has_address = |pod: &Pod| {
            pod.status
                .as_ref()
                .is_some_and(|status| status.pod_ip.is_some())
        };
        let is_injected = |pod: &Pod| pod.labels().contains_key("security.istio.io/tlsMode");
        let found = pods
            .into_iter()
            .find(|pod| is_injected(pod) && has_address(pod));
        found.ok_or_else(|| Error::Unexpected("there is none".into()))
    })
    .await
    .unwrap()
}

/// A client and a server. A `WorkloadEntry` is the server's address on this machine, where its pod has none; nothing is
/// captured, so `Sidecar`s say where the proxies listen.
fn workloads(app: &App, server: Ipv4Addr, client: Ipv4Addr) -> String {
    let port = app.address().port();
    let namespace = "
apiVersion: v1
kind: Namespace
metadata: {name: apps, labels: {istio-injection: enabled}}
";
    let entry = format!(
        "
apiVersion: v1
kind: Service
metadata: {{name: server, namespace: apps}}
spec:
  selector: {{reached: directly}}
  ports: [{{name: http, port: 80, targetPort: 9080}}]
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: server, namespace: apps}}
spec:
  address: {server}
  labels: {{reached: directly}}
  serviceAccount: server
  ports: {{http: 9080}}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: server, namespace: apps}}
spec:
  workloadSelector: {{labels: {{app: server}}}}
  ingress:
    - port: {{number: 9080, name: http, protocol: HTTP}}
      bind: {server}
      captureMode: NONE
      defaultEndpoint: 127.0.0.1:{port}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: client, namespace: apps}}
spec:
  workloadSelector: {{labels: {{app: client}}}}
  egress:
    - port: {{number: 15002, name: proxy, protocol: HTTP_PROXY}}
      bind: {client}
      captureMode: NONE
      hosts: [./*]
"
    );
    let workload = |name: &str| {
        format!(
            "
apiVersion: v1
kind: ServiceAccount
metadata: {{name: {name}, namespace: apps}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, namespace: apps}}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata:
      labels: {{app: {name}}}
      annotations: {{sidecar.istio.io/interceptionMode: NONE}}
    spec:
      serviceAccountName: {name}
      containers: [{{name: app, image: example.com/app}}]
"
        )
    };
    [
        namespace,
        &entry,
        &strictness("STRICT"),
        &workload("server"),
        &workload("client"),
    ]
    .join("---")
}

fn strictness(mode: &str) -> String {
    format!(
        "
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: default, namespace: apps}}
spec: {{mtls: {{mode: {mode}}}}}
"
    )
}

/// Opens the node port; another test of this machine may have it for a while.
async fn open(plane: &ControlPlane, mesh: &Mesh) -> Ingress {
    wait_until("the node port to be free", SOON, || async {
        Ingress::start(plane, mesh, "istio-system", "istio-ingressgateway", 80).await
    })
    .await
    .unwrap()
}

/// Waits until the autoscaler has brought the gateway to its minimum.
async fn two_serve(plane: &ControlPlane, mesh: &Mesh, ingress: &mut Ingress) {
    let started = Instant::now();
    while ingress.proxies().len() < 2 && started.elapsed() < SOON {
        ingress.follow(plane, mesh).await.unwrap();
    }
    assert_eq!(ingress.proxies().len(), 2);
}

fn routes(app: &App) -> String {
    let port = app.address().port();
    format!(
        "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: shop, namespace: default}}
spec:
  selector: {{istio: ingressgateway}}
  servers:
    - port: {{number: 80, name: http, protocol: HTTP}}
      hosts: [shop.example.com]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: shop, namespace: default}}
spec:
  hosts: [shop.example.com]
  gateways: [shop]
  http:
    - match: [{{uri: {{exact: /productpage}}}}]
      route: [{{destination: {{host: productpage, port: {{number: 9080}}}}}}]
    - match: [{{uri: {{exact: /simulated}}}}]
      route: [{{destination: {{host: istiod.istio-system.svc.cluster.local, port: {{number: 15014}}}}}}]
---
apiVersion: v1
kind: Service
metadata: {{name: productpage, namespace: default}}
spec:
  selector: {{app: productpage}}
  ports: [{{name: http, port: 9080}}]
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: productpage, namespace: default}}
spec:
  address: 127.0.0.1
  labels: {{app: productpage}}
  ports: {{http: {port}}}
"
    )
}

/// Waits until each proxy knows the way to the page.
async fn all_are_configured(ingress: &Ingress) {
    wait_until("the gateway's proxies to be configured", SOON, || async {
        for proxy in ingress.proxies() {
            let status = http::get((proxy.address(), 8080).into(), PAGE)
                .await?
                .status;
            if status != 200 {
                return Err(Error::Unexpected(status.to_string()));
            }
        }
        Ok(())
    })
    .await
    .unwrap();
}

fn names(ingress: &Ingress) -> BTreeSet<String> {
    let proxies = ingress.proxies().iter();
    proxies.map(|proxy| proxy.pod().name_any()).collect()
}

/// Requests over new connections are answered by one pod's Envoy after the other's.
async fn every_proxy_serves(ingress: &Ingress) {
    let mut served = BTreeSet::new();
    for _ in 0..20 {
        let answer = http::get(ingress.address(), PAGE).await;
        assert_eq!(answer.unwrap().status, 200);
        let (version, name) = ingress.last().unwrap().identity().await.unwrap();
        assert!(version.starts_with("1."), "{version}");
        served.insert(name);
    }
    assert_eq!(served.len(), ingress.proxies().len(), "{served:?}");
    let of_pods = |pod: &String| served.iter().any(|name| name.contains(pod.as_str()));
    assert!(names(ingress).iter().all(of_pods), "{served:?}");
}
