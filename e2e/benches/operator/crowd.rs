//! Many CRs among many pods.

use std::time::Duration;

use e2e::{
    actions::cr::{Cr, manifest},
    control_plane::ControlPlane,
    operator::Operator,
    yaml,
};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, api::PostParams};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::table::{Row, memory, row};

/// CRs, with the one of the earlier measurements.
const CRS: usize = 50;

/// Pods that do not concern the operator.
const PODS: usize = 5_000;

/// Nodes with room for all of them, at 1,000 pods each.
pub const NODES: usize = 6;

/// How many pods are created at once.
const PARALLEL: usize = 8;

/// Enough for all of it; what takes longer failed.
const LIMIT: Duration = Duration::from_mins(10);

/// What the operator holds in memory with every CR healthy.
pub async fn crowding(plane: &ControlPlane, operator: &mut Operator) -> Row {
    let client = plane.client().await.unwrap();
    fill(&client).await;
    let crs: Vec<_> = (1..CRS).map(cr).collect();
    plane
        .kubectl_with_input(["apply", "-f", "-"], &yaml::stream(&crs))
        .unwrap();
    for cr in crs {
        let name = cr["metadata"]["name"].as_str().unwrap_or_default();
        let cr = Cr::of(client.clone(), "istio-system", name);
        cr.wait_for("HEALTHY", LIMIT).await.unwrap();
    }
    // The last writes of becoming healthy are done by then.
    sleep(Duration::from_secs(5)).await;
    row(
        "resident memory, 50 CRs and 5,000 pods",
        memory(operator.process().usage().unwrap()),
        "<= 64 MiB",
        "-",
    )
}

/// An installation beside the others: its own revision, and its own gateway in its own namespace.
fn cr(number: usize) -> Value {
    let gateway = json!({
        "name": format!("ingress-{number}"),
        "namespace": format!("team-{number}"),
        "enabled": true,
    });
    let spec = json!({
        "profile": "default",
        "revision": format!("r{number}"),
        "meshConfig": {"accessLogFile": "/dev/stdout"},
        "components": {"ingressGateways": [gateway]},
    });
    manifest(&format!("mesh-{number}"), &spec)
}

/// Creates the pods, each on its node already, so that no scheduler has to look at them.
async fn fill(client: &Client) {
    let pods: Api<Pod> = Api::namespaced(client.clone(), "default");
    let create = |number| {
        let pods = pods.clone();
        async move {
            let pod = json!({
                "metadata": {"name": format!("bystander-{number}")},
                "spec": {
                    "nodeName": format!("node-{}", number % NODES),
                    "containers": [{"name": "main", "image": "main"}],
                },
            });
            let pod = serde_json::from_value(pod).unwrap();
            pods.create(&PostParams::default(), &pod).await
        }
    };
    stream::iter((0..PODS).map(create))
        .buffer_unordered(PARALLEL)
        .try_for_each(|_| async { Ok(()) })
        .await
        .unwrap();
}
