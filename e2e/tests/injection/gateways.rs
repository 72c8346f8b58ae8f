//! What the real istiod creates for Gateways of the Gateway API.

use std::{collections::BTreeMap, fs, process::Command, time::Duration};

use e2e::{
    control_plane::ControlPlane, error::Error, istiod::Istiod, wait::wait_until, workspace,
    yaml::stream,
};
use serde_json::{Value, json};

/// Gateways of every class, in namespace `edge`. Those of class istio differ in all that a Gateway
/// can ask for; one has its Service and scaling changed through parameters, and waypoints have
/// theirs changed for the whole class.
const GATEWAYS: &str = r#"
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: plain, namespace: edge}
spec:
  gatewayClassName: istio
  listeners: [{name: http, port: 80, protocol: HTTP}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: parameters, namespace: edge}
data:
  service: "spec: {externalTrafficPolicy: Local}"
  horizontalPodAutoscaler: "spec: {minReplicas: 2, maxReplicas: 4}"
  podDisruptionBudget: "spec: {minAvailable: 1}"
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata:
  name: rich
  namespace: edge
  annotations: {sidecar.istio.io/logLevel: debug, gateway.istio.io/service-account: own}
spec:
  gatewayClassName: istio
  addresses: [{type: IPAddress, value: 192.0.2.7}]
  infrastructure:
    labels: {topology.istio.io/network: net2, team: edge}
    annotations: {note: kept}
    parametersRef: {group: "", kind: ConfigMap, name: parameters}
  listeners:
  - {name: http, port: 80, protocol: HTTP}
  - {name: tcp, port: 9000, protocol: TCP}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata:
  name: internal
  namespace: edge
  labels: {topology.istio.io/network: net3, istio.io/dataplane-mode: ambient}
  annotations:
    networking.istio.io/service-type: ClusterIP
    gateway.istio.io/name-override: inside
    sidecar.istio.io/proxyImage: example.com/proxy:9
spec:
  gatewayClassName: istio
  addresses: [{type: IPAddress, value: 192.0.2.8}]
  listeners:
  - {name: dns.udp, port: 53, protocol: UDP}
  - {name: passed, port: 443, protocol: TLS, hostname: a.example, tls: {mode: Passthrough}}
  - {name: passed-too, port: 443, protocol: TLS, hostname: b.example, tls: {mode: Passthrough}}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: waypoints
  namespace: istio-system
  labels: {gateway.istio.io/defaults-for-class: istio-waypoint}
data:
  deployment: |
    spec:
      template:
        spec:
          containers: [{name: istio-proxy, resources: {requests: {cpu: 50m}}}]
          volumes: [{name: workload-socket, emptyDir: null, csi: {driver: csi.spiffe.io, readOnly: true}}]
  horizontalPodAutoscaler: "spec: {minReplicas: 2, maxReplicas: 3}"
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata:
  name: far
  namespace: edge
  labels: {istio.io/waypoint-for: all}
  annotations: {networking.istio.io/traffic-distribution: Any}
spec:
  gatewayClassName: istio-waypoint
  listeners: [{name: mesh, port: 15008, protocol: HBONE}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: edge}
spec:
  gatewayClassName: istio-waypoint
  listeners: [{name: mesh, port: 15008, protocol: HBONE}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: between, namespace: edge, labels: {topology.istio.io/network: net1}}
spec:
  gatewayClassName: istio-east-west
  listeners:
  - name: mesh
    port: 15008
    protocol: HBONE
    tls: {mode: Terminate, options: {gateway.istio.io/tls-terminate-mode: ISTIO_MUTUAL}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: agent, namespace: edge}
spec:
  gatewayClassName: istio-agentgateway
  listeners: [{name: http, port: 8080, protocol: HTTP}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: agent-waypoint, namespace: edge}
spec:
  gatewayClassName: istio-agentgateway-waypoint
  listeners: [{name: mesh, port: 15008, protocol: HBONE}]
"#;

/// The Services that istiod creates for them; each is the last object of its Gateway but for
/// scaling.
const SERVICES: [&str; 8] = [
    "agent",
    "agent-waypoint",
    "between",
    "far",
    "inside",
    "plain-istio",
    "rich-istio",
    "waypoint",
];

/// The autoscalers and disruption budgets that parameters ask for.
const SCALING: usize = 4;

/// istiod starts to create them when it leads, a lease after its start.
const SOON: Duration = Duration::from_mins(1);

/// An install whose istiod serves all these classes.
pub fn gateways_install() -> Value {
    json!({
        "apiVersion": "install.istio.io/v1alpha1",
        "kind": "IstioOperator",
        "metadata": {"name": "install", "namespace": "istio-system"},
        "spec": {
            "components": {"ingressGateways": [{"name": "istio-ingressgateway", "enabled": false}]},
            "values": {
                "pilot": {"env": {
                    "AMBIENT_ENABLE_MULTI_NETWORK": "true",
                    "PILOT_ENABLE_AGENTGATEWAY": "true",
                    "PILOT_ENABLE_AMBIENT": "true",
                }},
                "global": {
                    "imagePullSecrets": ["mirror"],
                    "network": "net1",
                    "waypoint": {"resources": {"limits": {"cpu": "1"}, "requests": {"cpu": null}}},
                },
            },
        },
    })
}

/// Installs, creates the Gateways, and returns what istiod made of them by kind and name, without
/// what differs from one cluster or moment to the next.
pub async fn created(install: &[Value]) -> BTreeMap<String, Value> {
    let plane = ControlPlane::start().await.unwrap();
    plane.apply(&gateway_api()).unwrap();
    for namespace in ["istio-system", "edge"] {
        plane.kubectl(["create", "namespace", namespace]).unwrap();
    }
    plane.apply(&stream(install)).unwrap();
    let _istiod = Istiod::start(&plane, "istio-system", "istiod")
        .await
        .unwrap();
    plane.apply(GATEWAYS).unwrap();
    wait_until("istiod to create the gateways", SOON, || async {
        let found = list(&plane, "services,hpa,pdb")?;
        let names: Vec<&str> = found
            .iter()
            .filter_map(|o| o["metadata"]["name"].as_str())
            .collect();
        let services = SERVICES.iter().filter(|name| names.contains(name)).count();
        if services == SERVICES.len() && found.len() == SERVICES.len() + SCALING {
            return Ok(());
        }
        Err(Error::Unexpected(format!("there are only {names:?}")))
    })
    .await
    .unwrap();
    let all = list(&plane, "serviceaccounts,deployments,services,hpa,pdb").unwrap();
    let mut created: BTreeMap<String, Value> = all
        .into_iter()
        .map(|object| (key(&object), portable(object)))
        .collect();
    leave_replicas_to_autoscalers(&mut created);
    created
}

/// Autoscalers write the replicas of what they scale as soon as the controller-manager gets to it,
/// which may be before or after the objects are listed.
fn leave_replicas_to_autoscalers(created: &mut BTreeMap<String, Value>) {
    let autoscalers = created
        .values()
        .filter(|o| o["kind"] == "HorizontalPodAutoscaler");
    let scaled: Vec<String> = autoscalers
        .filter_map(|o| o["spec"]["scaleTargetRef"]["name"].as_str())
        .map(|name| format!("Deployment {name}"))
        .collect();
    for key in scaled {
        if let Some(deployment) = created.get_mut(&key) {
            deployment["spec"]["replicas"] = Value::Null;
        }
    }
}

fn list(plane: &ControlPlane, kinds: &str) -> Result<Vec<Value>, Error> {
    let label = "gateway.networking.k8s.io/gateway-name";
    let text = plane.kubectl(["get", kinds, "-n", "edge", "-l", label, "-o", "json"])?;
    let list: Value = serde_json::from_str(&text).unwrap();
    Ok(list["items"].as_array().cloned().unwrap_or_default())
}

fn key(object: &Value) -> String {
    let name = &object["metadata"]["name"];
    [&object["kind"], name]
        .map(|part| part.as_str().unwrap_or_default())
        .join(" ")
}

/// The object without addresses, times, counters and identities.
fn portable(mut object: Value) -> Value {
    object["status"] = Value::Null;
    for field in [
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "managedFields",
    ] {
        object["metadata"][field] = Value::Null;
    }
    object["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = Value::Null;
    for owner in items(&mut object["metadata"]["ownerReferences"]) {
        owner["uid"] = Value::Null;
    }
    if object["kind"] == "Service" {
        for field in ["clusterIP", "clusterIPs", "healthCheckNodePort"] {
            object["spec"][field] = Value::Null;
        }
        for port in items(&mut object["spec"]["ports"]) {
            port["nodePort"] = Value::Null;
        }
    }
    object
}

fn items(list: &mut Value) -> impl Iterator<Item = &mut Value> {
    list.as_array_mut().into_iter().flatten()
}

/// The CRDs of the Gateway API in the version that istiod is built with.
fn gateway_api() -> String {
    let mut command = Command::new("go");
    command.args(["mod", "download", "-json", "sigs.k8s.io/gateway-api"]);
    command.current_dir(workspace::root().join("e2e/control-plane/istio"));
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let module: Value = serde_json::from_slice(&output.stdout).unwrap();
    let dir = format!("{}/config/crd/standard", module["Dir"].as_str().unwrap());
    let files = super::files(dir.as_ref());
    let crds = files
        .iter()
        .filter(|file| super::stem(file).starts_with("gateway"));
    let texts: Vec<String> = crds.map(|file| fs::read_to_string(file).unwrap()).collect();
    texts.join("\n---\n")
}
