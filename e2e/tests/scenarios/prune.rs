//! Objects that a CR no longer renders are deleted, and no others.

use std::collections::BTreeMap;

use e2e::{
    actions::cr::Cr,
    control_plane::ControlPlane,
    error::Error,
    observe::inventory::{Inventory, Item, OWNER},
    wait::wait_until,
};
use kube::api::ResourceExt;
use serde_json::{Value, json};

use crate::{SOON, healthy, manifest, running, sample};

/// An ingress and an egress gateway, each with its own namespace; the lists are replaced by patches.
fn spec(ingress: &str, egress: bool) -> Value {
    let gateway = |name: &str, namespace: &str, enabled: bool| json!({"name": name, "namespace": namespace, "enabled": enabled});
    json!({
        "profile": "minimal",
        "components": {
            "ingressGateways": [gateway(ingress, "edge", true)],
            "egressGateways": [gateway("out", "exit", egress)],
        },
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_rendered_any_more_goes_away() {
    let (plane, _operator) = running().await;
    let inventory = plane.inventory().await.unwrap();
    let cr = apply(&plane, "mesh", &spec("in", true)).await;
    // A copy of one of our objects with all its labels, made by a user; the operator never applied it.
    plane.apply(&copy("exit").to_string()).unwrap();
    let whole = uids(&inventory).await;

    cr.patch(&json!({"spec": spec("in", false)})).await.unwrap();
    let (gone, kept) = split(&whole, |name| {
        is_in(name, "exit") && !name.contains("copied")
    });
    assert!(gone.len() >= 5, "{gone:?}");
    let added = settle(&cr, &inventory, &whole, &kept).await;
    assert!(added.is_empty(), "{added:?}");
    plane
        .kubectl(["get", "configmap", "copied", "-n", "exit"])
        .unwrap();

    cr.patch(&json!({"spec": spec("in", true)})).await.unwrap();
    cr.wait_for("HEALTHY", SOON).await.unwrap();
    let again = uids(&inventory).await;
    assert!(again.keys().eq(whole.keys()), "{:?}", again.keys());

    cr.patch(&json!({"spec": spec("renamed", true)}))
        .await
        .unwrap();
    let (_, kept) = split(&again, |name| is_in(name, "edge"));
    let renamed = settle(&cr, &inventory, &again, &kept).await;
    assert!(
        renamed
            .iter()
            .all(|name| is_in(name, "edge") && name.contains("renamed")),
        "{renamed:?}"
    );

    cr.patch(&json!({"spec": {"components": {"pilot": {"enabled": false}}}}))
        .await
        .unwrap();
    cr.wait_for("HEALTHY", SOON).await.unwrap();
    cr.patch(&json!({"spec": {"components": {"pilot": {"enabled": true}}}}))
        .await
        .unwrap();
    cr.wait_for("HEALTHY", SOON).await.unwrap();
    assert!(
        uids(&inventory)
            .await
            .contains_key("Deployment istio-system/istiod")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_of_others_are_taken_over_or_left_in_place() {
    let (plane, _operator) = running().await;
    let inventory = plane.inventory().await.unwrap();
    let mesh = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "istio", "namespace": "istio-system"},
        "data": {"mesh": "by hand", "other": "stays"},
    });
    plane
        .apply(r#"{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "istio-system"}}"#)
        .unwrap();
    plane.apply(&mesh.to_string()).unwrap();

    // Objects without owner are taken over if they are rendered, as istioctl does, and stay if they are not.
    let first = healthy(&plane, &sample("minimal.yaml")).await;
    let data = plane.kubectl([
        "get",
        "configmap",
        "istio",
        "-n",
        "istio-system",
        "-o=jsonpath={.data}",
    ]);
    let data: Value = serde_json::from_str(&data.unwrap()).unwrap();
    assert_ne!(data["mesh"], "by hand");
    assert_eq!(data["other"], "stays");

    // Objects of another CR that renders them too stay with it, and are handed over when it is deleted.
    let before = uids(&inventory).await;
    let text = manifest("second", &json!({"profile": "minimal"})).to_string();
    let second = Cr::apply(&plane, &text).await.unwrap();
    second.wait_for("ERROR", SOON).await.unwrap();
    assert_eq!(owners(&inventory).await, ["minimal"]);
    first.delete(SOON).await.unwrap();
    let handed = wait_until("the second CR to own everything", SOON, || async {
        let owners = owners(&inventory).await;
        if owners == ["second"] {
            Ok(())
        } else {
            Err(format!("{owners:?}"))
        }
    });
    handed.await.unwrap();
    assert_eq!(
        uids(&inventory).await,
        before,
        "nothing may have been deleted meanwhile"
    );
    second.wait_for("HEALTHY", SOON).await.unwrap();
    second.delete(SOON).await.unwrap();
    assert!(uids(&inventory).await.is_empty());
}

async fn apply(plane: &ControlPlane, name: &str, spec: &Value) -> Cr {
    healthy(plane, &manifest(name, spec).to_string()).await
}

fn copy(namespace: &str) -> Value {
    let labels = json!({
        OWNER: "mesh",
        format!("{OWNER}-namespace"): "istio-system",
        "operator.istio.io/component": "EgressGateways",
        "operator.istio.io/managed": "Reconcile",
    });
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "copied", "namespace": namespace, "labels": labels},
    })
}

/// All owned objects but CRDs, which are never deleted, with their UIDs.
async fn uids(inventory: &Inventory) -> BTreeMap<String, String> {
    let owned = installed(inventory).await;
    owned
        .iter()
        .map(|item| (item.name(), item.object.uid().unwrap_or_default()))
        .collect()
}

async fn owners(inventory: &Inventory) -> Vec<String> {
    let owned = installed(inventory).await;
    let mut owners: Vec<_> = owned
        .iter()
        .map(|item| item.object.labels()[OWNER].clone())
        .collect();
    owners.sort();
    owners.dedup();
    owners
}

async fn installed(inventory: &Inventory) -> Vec<Item> {
    let mut owned = inventory.owned().await.unwrap();
    owned.retain(|item| item.resource.kind != "CustomResourceDefinition");
    owned
}

fn is_in(name: &str, namespace: &str) -> bool {
    name.contains(&format!(" {namespace}/"))
}

type Uids = BTreeMap<String, String>;

/// Those that `is_first` chooses, and the others.
fn split(all: &Uids, is_first: impl Fn(&str) -> bool) -> (Uids, Uids) {
    let all = all.clone().into_iter();
    all.partition(|(name, _)| is_first(name))
}

/// Waits until the CR is HEALTHY and of the objects in `before` only `kept` exist, with the same UIDs; gives the names of
/// new ones.
async fn settle(cr: &Cr, inventory: &Inventory, before: &Uids, kept: &Uids) -> Vec<String> {
    wait_until("what is not rendered to be pruned", SOON, || async {
        cr.wait_for("HEALTHY", SOON).await?;
        let now = uids(inventory).await;
        let is_same = |(name, uid): &(&String, &String)| now.get(*name) == Some(uid);
        let lost: Vec<_> = kept.iter().filter(|object| !is_same(object)).collect();
        assert!(lost.is_empty(), "lost or made anew: {lost:?}");
        let is_added = |name: &&String| !kept.contains_key(*name);
        let added: Vec<_> = now.keys().filter(is_added).cloned().collect();
        match added.iter().find(|name| before.contains_key(*name)) {
            Some(old) => Err(Error::Unexpected(format!("{old} is still there"))),
            None => Ok(added),
        }
    })
    .await
    .unwrap()
}
