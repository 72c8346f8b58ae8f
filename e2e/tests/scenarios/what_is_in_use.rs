//! The operator never takes away what a mesh may still use: old revisions, what another CR may need, the istiod behind
//! the default tag. And it never says HEALTHY of objects that belong to somebody else.

use std::time::Duration;

use e2e::{
    actions::cr::{Cr, state},
    control_plane::ControlPlane,
    observe::{
        health::condition,
        inventory::{Inventory, OWNER},
    },
    operator::Operator,
    wait::wait_until,
};
use k8s_openapi::jiff::Timestamp;
use kube::api::ResourceExt;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{SOON, healthy, manifest, running};

/// If the operator did something wrong, it would do so within this time.
pub(crate) const TEMPTED: Duration = Duration::from_secs(5);

/// A pod of istiod that no node has room for, or one that fits.
pub(crate) fn istiod_cpu(cpu: &str) -> Value {
    json!({"spec": {"components": {"pilot": {"k8s": {"resources": {"requests": {"cpu": cpu}}}}}}})
}

/// Foundation row 1: an edit of `spec.revision` leaves the old control plane in place until the user lets it go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edited_revision_leaves_the_old_control_plane_in_place() {
    let (plane, operator) = running().await;
    let inventory = plane.inventory().await.unwrap();
    let spec = json!({"profile": "minimal", "revision": "blue"});
    let cr = healthy(&plane, &manifest("mesh", &spec).to_string()).await;
    let blue = of_revision(&inventory, "blue").await;
    assert!(
        blue.iter()
            .any(|(name, _)| name == "Deployment istio-system/istiod-blue")
    );

    let since = Timestamp::now();
    cr.patch(&json!({"spec": {"revision": "green"}}))
        .await
        .unwrap();
    cr.wait_for("HEALTHY", SOON).await.unwrap();
    let told = cr
        .wait_for_condition("OldRevision", "True", None, SOON)
        .await
        .unwrap();
    assert_eq!(state(&told), "HEALTHY");
    let message = condition(&told.data, "OldRevision")["message"]
        .as_str()
        .unwrap();
    assert!(message.contains("revision blue"), "{message}");
    assert!(
        message.contains("Deployment istio-system/istiod-blue"),
        "{message}"
    );
    sleep(TEMPTED).await;
    let names = |objects: &[(String, String)], word: &str| -> Vec<(String, String)> {
        let named = objects.iter().filter(|(name, _)| name.contains(word));
        named.cloned().collect()
    };
    assert_eq!(
        names(&of_revision(&inventory, "blue").await, "blue"),
        names(&blue, "blue"),
        "gone or made anew"
    );
    assert_eq!(deletes(&plane, &operator, since), [""; 0]);
    let told = cr.events_with_reason("Unused").await.unwrap();
    assert_eq!(told.len(), 1, "{told:?}");

    let since = Timestamp::now();
    let allowed = json!({"metadata": {"annotations": {"install.istio.io/prune-revision": "blue"}}});
    cr.patch(&allowed).await.unwrap();
    until_revision_is_gone(&inventory, "blue").await;
    let deleted = deletes(&plane, &operator, since);
    let position = |resource: &str| deleted.iter().position(|name| name.starts_with(resource));
    assert!(
        position("mutatingwebhookconfigurations") < position("deployments"),
        "{deleted:?}"
    );
    let status = cr.wait_for("HEALTHY", SOON).await.unwrap().data;
    cr.wait_for_no_condition("OldRevision", SOON).await.unwrap();
    assert_eq!(status["status"]["revision"], "green");
    assert!(!of_revision(&inventory, "green").await.is_empty());
}

/// Foundation row 2: what a CR that cannot be read may need is protected from another CR's deletion, which waits and
/// says for whom.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_waits_for_a_cr_that_cannot_be_read() {
    let (plane, operator) = running().await;
    let spec = json!({"profile": "minimal", "components": {"cni": {"enabled": true}}});
    let cr = healthy(&plane, &manifest("mesh", &spec).to_string()).await;
    let spec = json!({"profile": "no-such-profile", "revision": "canary"});
    let broken = Cr::apply(&plane, &manifest("broken", &spec).to_string())
        .await
        .unwrap();
    broken.wait_for("ERROR", SOON).await.unwrap();

    let since = Timestamp::now();
    cr.start_deletion().await.unwrap();
    cr.wait_for_message("istio-system/broken", SOON)
        .await
        .unwrap();
    sleep(TEMPTED).await;
    assert_eq!(deletes(&plane, &operator, since), [""; 0]);
    plane
        .kubectl(["get", "daemonset", "istio-cni-node", "-n", "istio-system"])
        .unwrap();

    broken.delete(SOON).await.unwrap();
    cr.wait_until_gone(SOON).await.unwrap();
}

/// Foundation row 5: the default tag never leads to an istiod that was deleted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn istiod_stays_until_the_default_tag_has_moved() {
    let (plane, operator) = running().await;
    let spec = json!({"profile": "minimal"});
    let cr = healthy(&plane, &manifest("mesh", &spec).to_string()).await;
    let canary = unready_canary(&plane).await;

    let since = Timestamp::now();
    cr.start_deletion().await.unwrap();
    cr.wait_for_message("the default tag", SOON).await.unwrap();
    sleep(TEMPTED).await;
    assert_eq!(deletes(&plane, &operator, since), [""; 0]);
    assert_eq!(tag_revision(&plane), "default");

    canary.patch(&istiod_cpu("100m")).await.unwrap();
    cr.wait_until_gone(SOON).await.unwrap();
    assert_eq!(tag_revision(&plane), "canary");
    canary.wait_for("HEALTHY", SOON).await.unwrap();
    canary.delete(SOON).await.unwrap();
    let tag = [
        "get",
        "mutatingwebhookconfiguration",
        "istio-revision-tag-default",
    ];
    assert!(plane.kubectl(tag).is_err(), "it goes with the last CR");
}

/// Foundation row 6: a second CR of one revision says whose the objects are, and is not healthy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cr_whose_objects_belong_to_another_says_so() {
    let (plane, operator) = running().await;
    let spec = json!({"profile": "minimal"});
    let first = healthy(&plane, &manifest("first", &spec).to_string()).await;
    let since = Timestamp::now();
    let second = Cr::apply(&plane, &manifest("second", &spec).to_string())
        .await
        .unwrap();
    let second_status = second.wait_for("ERROR", SOON).await.unwrap().data;
    let ready = condition(&second_status, "Ready");
    assert_eq!(ready["reason"], "OwnedByAnotherIstioOperator", "{ready}");
    let conflict = condition(&second_status, "OwnershipConflict")["message"].to_string();
    assert!(conflict.contains("istio-system/first"), "{conflict}");
    assert!(
        conflict.contains("Deployment istio-system/istiod"),
        "{conflict}"
    );
    assert_eq!(second_status["status"]["version"], Value::Null);
    let sent = plane.audit().object_writes_by(operator.user(), since);
    let sent = sent.unwrap();
    assert!(sent.is_empty(), "{sent:?}");

    // Several revisions on one base are no conflict.
    let spec = json!({"profile": "minimal", "revision": "canary"});
    healthy(&plane, &manifest("canary", &spec).to_string()).await;
    first.delete(SOON).await.unwrap();
    let status = second.wait_for("HEALTHY", SOON).await.unwrap().data;
    assert!(
        condition(&status, "OwnershipConflict").is_null(),
        "{status}"
    );
}

/// Foundation row 14: what was rolled out before comes back after a restart although istiod is not ready.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_gateway_service_comes_back_while_istiod_is_not_ready() {
    let (plane, mut operator) = running().await;
    let spec = json!({"profile": "default"});
    let cr = healthy(&plane, &manifest("mesh", &spec).to_string()).await;
    let nodes = plane.kubectl(["get", "nodes", "-o=name"]).unwrap();
    for node in nodes.lines() {
        plane.kubectl(["cordon", node]).unwrap();
    }
    plane
        .kubectl(["delete", "pods", "-n", "istio-system", "-l", "app=istiod"])
        .unwrap();
    operator.process().kill().unwrap();
    let service = ["service", "istio-ingressgateway", "-n", "istio-system"];
    plane.kubectl(["delete"].iter().chain(&service)).unwrap();
    operator.process().restart().unwrap();
    operator.wait_until_ready().await.unwrap();
    wait_until("the Service to be back", SOON, || async {
        plane.kubectl(["get"].iter().chain(&service))
    })
    .await
    .unwrap();
    let available = [
        "get",
        "deployment",
        "istiod",
        "-n=istio-system",
        "-o=jsonpath={.status.availableReplicas}",
    ];
    assert_eq!(plane.kubectl(available).unwrap(), "", "istiod has no pod");
    cr.wait_for("RECONCILING", SOON).await.unwrap();
}

/// The objects of a revision but CRDs, with their UIDs.
pub(crate) async fn of_revision(inventory: &Inventory, revision: &str) -> Vec<(String, String)> {
    let owned = inventory.owned().await.unwrap();
    owned
        .iter()
        .filter(|item| item.resource.kind != "CustomResourceDefinition")
        .filter(|item| item.object.labels().contains_key(OWNER))
        .filter(|item| {
            item.object
                .labels()
                .get("istio.io/rev")
                .is_some_and(|rev| rev == revision)
        })
        .map(|item| (item.name(), item.object.uid().unwrap_or_default()))
        .collect()
}

/// What the operator deleted, in order, such as `services/istiod`.
pub(crate) fn deletes(plane: &ControlPlane, operator: &Operator, since: Timestamp) -> Vec<String> {
    let writes = plane.audit().writes_by(operator.user(), since).unwrap();
    let deletes = writes.iter().filter(|write| write.verb == "delete");
    deletes
        .map(|write| format!("{}/{}", write.object_ref.resource, write.object_ref.name))
        .collect()
}

pub(crate) fn tag_revision(plane: &ControlPlane) -> String {
    let tag = [
        "get",
        "mutatingwebhookconfiguration",
        "istio-revision-tag-default",
        r"-o=jsonpath={.metadata.labels.istio\.io/rev}",
    ];
    plane.kubectl(tag).unwrap()
}

/// A CR of the revision `canary` whose istiod is not ready until [`istiod_cpu`] makes it fit a node.
pub(crate) async fn unready_canary(plane: &ControlPlane) -> Cr {
    let spec = json!({"profile": "minimal", "revision": "canary"});
    let mut canary = manifest("canary", &spec);
    canary["spec"]["components"] = istiod_cpu("10000")["spec"]["components"].clone();
    let canary = Cr::apply(plane, &canary.to_string()).await.unwrap();
    canary.wait_for("RECONCILING", SOON).await.unwrap();
    canary
}

/// Waits until no object is left that has the name of this revision in its own.
pub(crate) async fn until_revision_is_gone(inventory: &Inventory, revision: &str) {
    wait_until("the old revision to go", SOON, || async {
        let mut left = of_revision(inventory, revision).await;
        left.retain(|(name, _)| name.contains(revision));
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    })
    .await
    .unwrap();
}
