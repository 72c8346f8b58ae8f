//! The default tag never leads to an istiod that was taken away, and never vanishes beside an istiod that stays,
//! whichever way a CR lets go of either.

use e2e::{actions::cr::Cr, wait::wait_until};
use k8s_openapi::jiff::Timestamp;
use serde_json::json;
use tokio::time::sleep;

use crate::{
    SOON, healthy, manifest, running,
    what_is_in_use::{TEMPTED, deletes, istiod_cpu, tag_revision, unready_canary},
};

const PAUSE: &str = "install.istio.io/ignoreReconcile";

/// A CR that installs istiod no more keeps it while the default tag leads to it and cannot move yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn istiod_is_not_pruned_before_the_default_tag_has_moved() {
    let (plane, operator) = running().await;
    let cr = healthy(
        &plane,
        &manifest("mesh", &json!({"profile": "minimal"})).to_string(),
    )
    .await;
    let canary = unready_canary(&plane).await;

    let since = Timestamp::now();
    cr.patch(&json!({"spec": {"components": {"pilot": {"enabled": false}}}}))
        .await
        .unwrap();
    sleep(TEMPTED).await;
    let deleted = deletes(&plane, &operator, since);
    assert!(
        !deleted
            .iter()
            .any(|name| name == "deployments/istiod" || name == "services/istiod"),
        "{deleted:?}"
    );
    assert_eq!(tag_revision(&plane), "default");

    canary.patch(&istiod_cpu("100m")).await.unwrap();
    wait_until("istiod to go after the tag", SOON, || async {
        match plane.kubectl(["get", "deployment", "istiod", "-n=istio-system"]) {
            Ok(there) => Err(there),
            Err(_) => Ok(()),
        }
    })
    .await
    .unwrap();
    assert_eq!(tag_revision(&plane), "canary");
    cr.wait_for("HEALTHY", SOON).await.unwrap();
    canary.wait_for("HEALTHY", SOON).await.unwrap();
}

/// A paused CR of the same revision keeps all that it renders when the CR goes that owns it, the default tag included.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_cr_keeps_the_tag_with_its_istiod() {
    let (plane, operator) = running().await;
    let spec = json!({"profile": "minimal"});
    let first = healthy(&plane, &manifest("first", &spec).to_string()).await;
    let mut second = manifest("second", &spec);
    second["metadata"]["annotations"] = json!({PAUSE: "true"});
    let second = Cr::apply(&plane, &second.to_string()).await.unwrap();
    wait_until("the CR to be paused", SOON, || async {
        let cr = second.get().await.map_err(|error| error.to_string())?;
        let conditions = cr.data["status"]["conditions"].to_string();
        conditions
            .contains("Suspended")
            .then_some(())
            .ok_or(conditions)
    })
    .await
    .unwrap();
    let since = Timestamp::now();
    first.delete(SOON).await.unwrap();
    assert_eq!(deletes(&plane, &operator, since), [""; 0]);
    assert_eq!(tag_revision(&plane), "default");
}

/// A paused CR does not take the tag, so a deletion does not wait for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_a_paused_cr_to_take_the_tag() {
    let (plane, _operator) = running().await;
    let spec = json!({"profile": "minimal"});
    let mesh = healthy(&plane, &manifest("mesh", &spec).to_string()).await;
    let spec = json!({"profile": "minimal", "revision": "canary"});
    let canary = healthy(&plane, &manifest("canary", &spec).to_string()).await;
    let paused = json!({"metadata": {"annotations": {PAUSE: "true"}}});
    canary.patch(&paused).await.unwrap();
    mesh.delete(SOON).await.unwrap();
    let tag = [
        "get",
        "mutatingwebhookconfiguration",
        "istio-revision-tag-default",
    ];
    assert!(
        plane.kubectl(tag).is_err(),
        "it led to the istiod that went"
    );
    plane
        .kubectl(["get", "deployment", "istiod-canary", "-n=istio-system"])
        .unwrap();
    canary
        .patch(&json!({"metadata": {"annotations": {PAUSE: null}}}))
        .await
        .unwrap();
    wait_until("the free tag to be taken", SOON, || async {
        plane.kubectl(tag)
    })
    .await
    .unwrap();
    assert_eq!(tag_revision(&plane), "canary");
}

/// A tag that the user set leads to the istiod of a CR that is deleted: the deletion waits for the user and says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_of_the_user_holds_the_deletion() {
    let (plane, operator) = running().await;
    let spec = json!({"profile": "minimal"});
    let mesh = healthy(&plane, &manifest("mesh", &spec).to_string()).await;
    let tag = "mutatingwebhookconfiguration/istio-revision-tag-default";
    let owner = "install.operator.istio.io/owning-resource-";
    let revision = json!({"spec": {"values": {"global": {"operatorManageWebhooks": true}}}});
    mesh.patch(&revision).await.unwrap();
    mesh.wait_for("HEALTHY", SOON).await.unwrap();
    let _ = plane.kubectl(["label", tag, owner]);
    let webhook = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {
            "name": "istio-revision-tag-default",
            "labels": {"istio.io/rev": "default", "istio.io/tag": "default"},
        },
    });
    plane.apply(&webhook.to_string()).unwrap();
    let since = Timestamp::now();
    plane
        .kubectl([
            "delete",
            "istiooperator",
            "mesh",
            "-n=istio-system",
            "--wait=false",
        ])
        .unwrap();
    mesh.wait_for_message("istioctl tag set", SOON)
        .await
        .unwrap();
    sleep(TEMPTED).await;
    assert_eq!(deletes(&plane, &operator, since), [""; 0]);
    plane.kubectl(["delete", tag]).unwrap();
    mesh.wait_until_gone(SOON).await.unwrap();
}
