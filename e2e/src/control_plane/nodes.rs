//! Simulated nodes, which kwok keeps ready.

use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, Client,
    api::{ListParams, PostParams},
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
        nodes.create(&PostParams::default(), &node(number)?).await?;
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

fn node(number: usize) -> Result<Node, Error> {
    let name = format!("node-{number}");
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
            "annotations": {"kwok.x-k8s.io/node": "fake"},
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
