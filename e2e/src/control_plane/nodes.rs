//! Nodes: simulated ones, which kwok keeps ready, and those whose pods are processes.

use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams, PostParams, ResourceExt},
};
use serde_json::json;

use crate::{
    error::Error,
    wait::{SOON, wait_until},
};

/// Creates `count` nodes and waits until they are ready.
pub(crate) async fn create(client: Client, count: usize) -> Result<(), Error> {
    let nodes: Api<Node> = Api::all(client);
    for number in 0..count {
        let mut node = node(&format!("node-{number}"))?;
        let fake = ("kwok.x-k8s.io/node".into(), "fake".into());
        node.annotations_mut().extend([fake]);
        nodes.create(&PostParams::default(), &node).await?;
    }
    wait_until("the nodes to be ready", SOON, || async {
        let all = nodes.list(&ListParams::default()).await?.items;
        match all.iter().find(|node| !is_ready(node)) {
            None => Ok(()),
            Some(node) => Err(Error::Unexpected(format!(
                "{:?} is not",
                node.metadata.name
            ))),
        }
    })
    .await
}

/// Creates a node that kwok leaves alone, and says that it is ready. Nobody asks for its heartbeat.
pub(crate) async fn create_own(client: Client, name: &str) -> Result<(), Error> {
    let nodes: Api<Node> = Api::all(client);
    nodes.create(&PostParams::default(), &node(name)?).await?;
    let ready = json!({"type": "Ready", "status": "True", "reason": "KubeletReady"});
    let status = json!({"status": {"conditions": [ready]}});
    nodes
        .patch_status(name, &PatchParams::default(), &Patch::Strategic(status))
        .await?;
    Ok(())
}

fn node(name: &str) -> Result<Node, Error> {
    let room = json!({"cpu": "32", "memory": "256Gi", "pods": "1000"});
    let labels = json!({
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
    });
    let node = json!({
        "metadata": {
            "name": name,
            "labels": labels,
        },
        "status": {"allocatable": room, "capacity": room},
    });
    serde_json::from_value(node).map_err(|error| Error::Unexpected(error.to_string()))
}

fn is_ready(node: &Node) -> bool {
    let conditions = node
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
