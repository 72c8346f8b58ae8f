//! Injected pods as they are in a cluster, where the node leads their connections to their proxies.
//!
//! Nothing is captured on this machine. So the proxies' own listeners for captured connections are moved to where they are
//! reached without it, all on the pod's address. All other objects of a mesh then count as they do in a cluster.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use k8s_openapi::api::core::v1::Pod;
use kube::api::ResourceExt;
use serde_json::{Value, json};

use crate::{
    bookinfo::{self, Calls, Log, Workload},
    control_plane::container_config::ContainerConfig,
    error::Error,
    host::server::Server,
    istio::{
        pod_process::{INBOUND, OUTBOUND},
        proxy,
    },
};

/// The port of a sidecar for all that its application sends, which nothing is led to here.
const CATCH_ALL: u16 = 15001;

/// The setting of the mesh by which every sidecar has an HTTP proxy at [`OUTBOUND`] for its application. It knows what the
/// listeners for captured connections know, but only services at port 80 by the names that applications use.
#[must_use]
pub fn mesh_config() -> Value {
    json!({"proxyHttpPort": OUTBOUND})
}

/// Starts the service that the container of a pod is, behind a sidecar at this address.
pub(crate) async fn service(pod: &Pod, sidecar: Ipv4Addr, log: &Log) -> Result<Server, Error> {
    let name = pod.name_any();
    let spec = pod.spec.as_ref();
    let mut containers = spec.into_iter().flat_map(|spec| &spec.containers);
    let container = containers.find(|container| container.name != proxy::CONTAINER);
    let container = container.map_or("", |container| &container.name);
    let args = ContainerConfig::of_pod(pod, container)?.args;
    let task = bookinfo::task_of(&args);
    let workload = Workload {
        task: task.map_err(|error| Error::Unexpected(format!("{name}: {error}")))?,
        pod: name.clone(),
        calls: Calls {
            captured: [(80, (sidecar, OUTBOUND).into())].into(),
        },
        log: Arc::clone(log),
    };
    Server::start(&name, workload.routes()).await
}

/// Moves the listeners of the sidecar at `address`: captured connections of others come to the port of the application, and
/// those of the application, which would be captured too, to its HTTP proxy. What comes in goes on to `app`.
pub(crate) fn sidecar_on_loopback(namespace: &str, address: Ipv4Addr, app: SocketAddr) -> Value {
    let at = |address: String, port: u16| json!({"socket_address": {"address": address, "port_value": port}});
    let listener = |context: &str, chosen: Value, port: u16| {
        let value = json!({"address": at(address.to_string(), port)});
        patch(
            "LISTENER",
            context,
            address,
            &json!({"listener": chosen}),
            &value,
        )
    };
    let endpoint = json!({"endpoint": {"address": at(app.ip().to_string(), app.port())}});
    let cluster = json!({
        "type": "STATIC",
        "lb_policy": "LEAST_REQUEST",
        "load_assignment": {
            "cluster_name": "app",
            "endpoints": [{"lb_endpoints": [endpoint]}],
        },
    });
    let of_app = json!({"cluster": {"portNumber": INBOUND}});
    json!({
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": {"name": format!("loopback-{address}"), "namespace": namespace},
        "spec": {"configPatches": [
            listener("SIDECAR_INBOUND", json!({"name": "virtualInbound"}), INBOUND),
            listener("SIDECAR_OUTBOUND", json!({"name": "virtualOutbound"}), CATCH_ALL),
            listener("SIDECAR_OUTBOUND", json!({"portNumber": OUTBOUND}), OUTBOUND),
            patch("CLUSTER", "SIDECAR_INBOUND", address, &of_app, &cluster),
        ]},
    })
}

/// That a proxy stands for a pod: a `WorkloadEntry` with the labels of the pod, so that the same Services choose it. The pod
/// itself has no address in the cluster.
pub(crate) fn entry(pod: &Pod, address: Ipv4Addr) -> Value {
    let mut spec = json!({"address": address, "labels": pod.labels()});
    // With an account, others would speak TLS to it, which of the pods themselves only injected ones are asked for.
    if pod.labels().contains_key("security.istio.io/tlsMode") {
        let of_pod = pod.spec.as_ref();
        spec["serviceAccount"] = json!(of_pod.and_then(|spec| spec.service_account_name.clone()));
    }
    json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "WorkloadEntry",
        "metadata": {"name": pod.name_any(), "namespace": pod.namespace()},
        "spec": spec,
    })
}

fn patch(kind: &str, context: &str, address: Ipv4Addr, chosen: &Value, value: &Value) -> Value {
    let mut matched = json!({
        "context": context,
        "proxy": {"metadata": {"LOOPBACK": address.to_string()}},
    });
    if let (Some(matched), Some(chosen)) = (matched.as_object_mut(), chosen.as_object()) {
        matched.extend(chosen.clone());
    }
    json!({
        "applyTo": kind,
        "match": matched,
        "patch": {"operation": "MERGE", "value": value},
    })
}
