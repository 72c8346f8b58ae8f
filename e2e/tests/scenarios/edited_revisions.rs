//! An edit of the revision, in whichever way it comes, leaves every control plane in place that pods may use.

use e2e::{actions::cr::Cr, observe::health::condition, wait::wait_until};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    SOON, healthy, manifest, running,
    what_is_in_use::{TEMPTED, deletes, until_revision_is_gone},
};

/// A user who edits the revision twice has two old control planes; one condition names both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_condition_names_all_old_revisions() {
    let (plane, operator) = running().await;
    let spec = json!({"profile": "minimal", "revision": "blue"});
    let cr = healthy(&plane, &manifest("mesh", &spec).to_string()).await;
    let since = Timestamp::now();
    for revision in ["green", "red"] {
        cr.patch(&json!({"spec": {"revision": revision}}))
            .await
            .unwrap();
        healthy_with(&cr, "OldRevision").await;
    }
    wait_until("both revisions in one condition", SOON, || async {
        let cr = cr.get().await.map_err(|error| error.to_string())?;
        let message = condition(&cr.data, "OldRevision")["message"].to_string();
        let is_named = |name: &str| message.contains(&format!("istio-system/istiod-{name}"));
        if is_named("blue") && is_named("green") && cr.data["status"]["revision"] == "red" {
            Ok(())
        } else {
            Err(cr.data["status"].to_string())
        }
    })
    .await
    .unwrap();
    assert_eq!(deletes(&plane, &operator, since), [""; 0]);

    // Somebody who deletes the old objects by hand does not hear of each of them again.
    let told = cr.events_with_reason("Unused").await.unwrap().len();
    plane
        .kubectl([
            "delete",
            "deployments,services,configmaps",
            "-n=istio-system",
            "-l=istio.io/rev=blue",
        ])
        .unwrap();
    sleep(TEMPTED).await;
    assert_eq!(cr.events_with_reason("Unused").await.unwrap().len(), told);
}

/// `revision: default` names another control plane than no revision, although labels call both `default`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn naming_the_default_revision_leaves_the_nameless_one_in_place() {
    let (plane, operator) = running().await;
    let cr = healthy(
        &plane,
        &manifest("mesh", &json!({"profile": "minimal"})).to_string(),
    )
    .await;
    let since = Timestamp::now();
    cr.patch(&json!({"spec": {"revision": "default"}}))
        .await
        .unwrap();
    let status = healthy_with(&cr, "OldRevision").await;
    let message = condition(&status, "OldRevision")["message"].to_string();
    assert!(
        message.contains("Deployment istio-system/istiod,"),
        "{message}"
    );
    sleep(TEMPTED).await;
    assert_eq!(deletes(&plane, &operator, since), [""; 0]);

    let allowed =
        json!({"metadata": {"annotations": {"install.istio.io/prune-revision": "default"}}});
    cr.patch(&allowed).await.unwrap();
    wait_until("the nameless istiod to go", SOON, || async {
        match plane.kubectl(["get", "deployment", "istiod", "-n=istio-system"]) {
            Ok(there) => Err(there),
            Err(_) => Ok(()),
        }
    })
    .await
    .unwrap();
    plane
        .kubectl(["get", "deployment", "istiod-default", "-n=istio-system"])
        .unwrap();
}

/// While a webhook of an old revision cannot be deleted, the istiod that answers it stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn istiod_stays_while_its_webhook_cannot_be_deleted() {
    let (plane, operator) = running().await;
    let spec = json!({"profile": "minimal", "revision": "blue"});
    let cr = healthy(&plane, &manifest("mesh", &spec).to_string()).await;
    // Somebody else's finalizer holds the webhook.
    let injector = [
        "mutatingwebhookconfiguration",
        "istio-sidecar-injector-blue",
        "--type=merge",
    ];
    let hold = r#"-p={"metadata":{"finalizers":["example.com/hold"]}}"#;
    plane
        .kubectl(["patch"].iter().chain(&injector).chain(&[hold]))
        .unwrap();
    let change = json!({
        "metadata": {"annotations": {"install.istio.io/prune-revision": "blue"}},
        "spec": {"revision": "green"},
    });
    let since = Timestamp::now();
    cr.patch(&change).await.unwrap();
    wait_until("the webhook to be deleted", SOON, || async {
        let deleted = deletes(&plane, &operator, since);
        if deleted.iter().any(|name| name.contains("injector-blue")) {
            Ok(())
        } else {
            Err(format!("{deleted:?}"))
        }
    })
    .await
    .unwrap();
    sleep(TEMPTED).await;
    plane
        .kubectl(["get", "deployment", "istiod-blue", "-n=istio-system"])
        .unwrap();
    let release = r#"-p={"metadata":{"finalizers":null}}"#;
    plane
        .kubectl(["patch"].iter().chain(&injector).chain(&[release]))
        .unwrap();
    let inventory = plane.inventory().await.unwrap();
    until_revision_is_gone(&inventory, "blue").await;
}

/// Waits until a CR is HEALTHY and has a condition; gives it as it is then.
async fn healthy_with(cr: &Cr, kind: &str) -> Value {
    cr.wait_for("HEALTHY", SOON).await.unwrap();
    let cr = cr.wait_for_condition(kind, "True", None, SOON).await;
    cr.unwrap().data
}
