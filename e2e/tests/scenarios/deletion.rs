//! Deleting a CR removes everything but CRDs and namespaces, even if its spec is invalid by then.

use e2e::{
    actions::cr::Cr,
    observe::inventory::{Inventory, snapshot},
};
use kube::api::ResourceExt;
use serde_json::{Value, json};

use crate::{SOON, healthy, manifest, running, sample};

/// A spec with errors of several kinds.
fn broken_spec() -> Value {
    json!({"spec": {"profile": "no-such-profile", "components": {"pilot": {"enabled": "maybe"}}}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_cr_leaves_only_crds_and_namespaces() {
    let (plane, _operator) = running().await;
    let inventory = plane.inventory().await.unwrap();

    let sound = healthy(&plane, &sample("gateways-in-other-namespaces.yaml")).await;
    assert!(!sound.get().await.unwrap().finalizers().is_empty());
    sound.delete(SOON).await.unwrap();
    only_crds_are_left(&inventory).await;
    for namespace in ["istio-system", "edge", "internal"] {
        plane.kubectl(["get", "namespace", namespace]).unwrap();
    }

    let cr = healthy(&plane, &sample("default.yaml")).await;
    let installed = snapshot(&inventory.owned().await.unwrap());
    cr.patch(&broken_spec()).await.unwrap();
    cr.wait_for("ERROR", SOON).await.unwrap();
    let untouched = snapshot(&inventory.owned().await.unwrap());
    assert_eq!(
        installed, untouched,
        "an invalid spec must not touch what runs"
    );
    cr.delete(SOON).await.unwrap();
    only_crds_are_left(&inventory).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cr_that_never_was_valid_can_be_deleted() {
    let (plane, _operator) = running().await;
    for (name, spec) in [
        ("wrong", broken_spec()["spec"].clone()),
        ("text", json!("profile: default")),
        ("list", json!({"components": [], "values": 7})),
    ] {
        let cr = manifest(name, &spec).to_string();
        let cr = Cr::apply(&plane, &cr).await.unwrap();
        cr.wait_for("ERROR", SOON).await.unwrap();
        cr.delete(SOON).await.unwrap();
    }
    let inventory = plane.inventory().await.unwrap();
    assert_eq!(snapshot(&inventory.owned().await.unwrap()).len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orphaning_cr_leaves_everything() {
    let (plane, _operator) = running().await;
    let inventory = plane.inventory().await.unwrap();
    // A misspelled value is an error, and nothing is deleted because of it.
    for (policy, state) in [("Orphan", "HEALTHY"), ("orphan", "ERROR")] {
        let cr = healthy(&plane, &sample("minimal.yaml")).await;
        let installed = snapshot(&inventory.owned().await.unwrap());
        let orphaning = json!({"spec": {"deletionPolicy": policy}});
        cr.patch(&orphaning).await.unwrap();
        cr.wait_for(state, SOON).await.unwrap();
        cr.delete(SOON).await.unwrap();
        let left = snapshot(&inventory.owned().await.unwrap());
        assert_eq!(installed, left, "{policy}");
    }
}

pub async fn only_crds_are_left(inventory: &Inventory) {
    let left = inventory.owned().await.unwrap();
    let others: Vec<_> = left
        .iter()
        .filter(|item| item.resource.kind != "CustomResourceDefinition")
        .map(e2e::observe::inventory::Item::name)
        .collect();
    assert!(others.is_empty(), "{others:?}");
    assert!(!left.is_empty(), "CRDs must stay");
}
