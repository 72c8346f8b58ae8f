//! An old revision stays for whoever uses it, and goes by itself once nobody has for the grace period.

use std::time::Duration;

use e2e::{
    actions::{
        api_proxy::{ApiProxy, Fault},
        cr::Cr,
    },
    control_plane::ControlPlane,
    observe::health::condition,
    operator::Operator,
    wait::wait_until,
};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    SOON, healthy, manifest, running,
    what_is_in_use::{deletes, of_revision, until_revision_is_gone},
};

/// Longer than the grace period of these CRs, and than all looks at its end.
const PAST_GRACE: Duration = Duration::from_secs(20);

/// A mesh of this revision, whose old revisions go after a second.
fn mesh(revision: &str) -> Value {
    json!({
        "profile": "minimal",
        "revision": revision,
        "updateStrategy": {"inactiveRevisionGracePeriod": "1s"},
    })
}

/// Somebody who uses the revision `blue`: what is said of them, and their object.
struct User {
    told: &'static str,
    object: Value,
}

impl User {
    fn apply(&self, plane: &ControlPlane) {
        plane.apply(&self.object.to_string()).unwrap();
    }

    fn leave(&self, plane: &ControlPlane) {
        let text = self.object.to_string();
        let delete = [
            "delete",
            "-f=-",
            "--wait=false",
            "--grace-period=0",
            "--force",
        ];
        plane.kubectl_with_input(delete, &text).unwrap();
    }
}

/// Everybody who can use a revision, each in a way of their own.
fn users() -> Vec<User> {
    let blue = json!({"istio.io/rev": "blue"});
    let user = |told, api: &str, kind: &str, metadata: Value, spec: Value| {
        let object = json!({"apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec});
        User { told, object }
    };
    let containers = json!({"containers": [{"name": "web", "image": "example.com/web"}]});
    let template = |labels: Value| json!({"metadata": {"labels": labels}, "spec": containers});
    let asks = json!({"app": "idle", "istio.io/rev": "blue"});
    let mut job = template(asks.clone());
    job["spec"]["restartPolicy"] = "Never".into();
    let apps = |name: &str| json!({"name": name, "namespace": "apps"});
    let mut injected = apps("injected");
    injected["annotations"] = blue.clone();
    let mut gateway = apps("edge");
    gateway["labels"] = blue.clone();
    let mut machine = apps("vm-1");
    machine["annotations"] = json!({"istio.io/workloadController": "istiod-blue-7c9f8d6b5-x2k4p"});
    vec![
        user(
            "namespaces shop",
            "v1",
            "Namespace",
            json!({"name": "shop", "labels": blue.clone()}),
            json!({}),
        ),
        user(
            "pods in namespaces apps",
            "v1",
            "Pod",
            injected,
            containers.clone(),
        ),
        user(
            "Gateways apps/edge",
            "gateway.networking.k8s.io/v1",
            "Gateway",
            gateway,
            json!({"gatewayClassName": "istio", "listeners": []}),
        ),
        user(
            "virtual machines apps/vm-1",
            "networking.istio.io/v1",
            "WorkloadEntry",
            machine,
            json!({"address": "192.0.2.1"}),
        ),
        User {
            told: "tags prod",
            object: json!({
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": "MutatingWebhookConfiguration",
                "metadata": {
                    "name": "istio-revision-tag-prod",
                    "labels": {"istio.io/rev": "blue", "istio.io/tag": "prod"},
                },
            }),
        },
        // Neither has a pod.
        user(
            "Deployment apps/idle",
            "apps/v1",
            "Deployment",
            apps("idle"),
            json!({"replicas": 0, "selector": {"matchLabels": {"app": "idle"}}, "template": template(asks)}),
        ),
        user(
            "CronJob apps/nightly",
            "batch/v1",
            "CronJob",
            apps("nightly"),
            json!({"schedule": "0 3 * * *", "jobTemplate": {"spec": {"template": job}}}),
        ),
    ]
}

/// The Gateway API, as far as the operator looks at it.
pub(crate) fn gateway_api(plane: &ControlPlane) {
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let version = json!({
        "name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": open},
    });
    let crd = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": "gateways.gateway.networking.k8s.io",
            "annotations": {"api-approved.kubernetes.io": "unapproved, for a test"},
        },
        "spec": {
            "group": "gateway.networking.k8s.io",
            "scope": "Namespaced",
            "names": {"plural": "gateways", "singular": "gateway", "kind": "Gateway"},
            "versions": [version],
        },
    });
    plane.apply(&crd.to_string()).unwrap();
}

/// Upgrade row 7: every kind of user alone keeps an old revision, and is named. When the last one leaves, the revision goes
/// after the grace period, and an Event says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_revision_stays_for_everybody_who_uses_it_and_then_goes() {
    let plane = ControlPlane::reuse_or_start().await.unwrap();
    gateway_api(&plane);
    plane.wait_until_served("gateways").await.unwrap();
    let operator = Operator::start(&plane).await.unwrap();
    let inventory = plane.inventory().await.unwrap();
    let cr = healthy(&plane, &manifest("mesh", &mesh("blue")).to_string()).await;
    plane.create_namespace("apps").unwrap();
    let users = users();
    for user in &users {
        user.apply(&plane);
    }

    let since = Timestamp::now();
    cr.patch(&json!({"spec": {"revision": "green"}}))
        .await
        .unwrap();
    cr.wait_for("HEALTHY", SOON).await.unwrap();
    let watched = users.iter().filter(|user| {
        user.object["spec"]["template"].is_null() && user.object["kind"] != "CronJob"
    });
    let all: Vec<_> = watched.map(|user| user.told).collect();
    until_used_by(&cr, &all).await;
    let told = condition(&cr.get().await.unwrap().data, "OldRevision").clone();
    assert_eq!(told["reason"], "InUse");
    assert!(
        told["message"]
            .to_string()
            .contains("Deployment istio-system/istiod-blue"),
        "{told}"
    );

    for (number, user) in users.iter().enumerate() {
        user.leave(&plane);
        let left = &users[number + 1..];
        let words: Vec<_> = left.iter().map(|user| user.told).collect();
        if let [next, ..] = words[..] {
            until_used_by(&cr, &[next]).await;
        }
        let names = of_revision(&inventory, "blue").await;
        if !left.is_empty() {
            assert!(
                names.iter().any(|(name, _)| name.ends_with("/istiod-blue")),
                "{names:?}"
            );
            assert_eq!(
                deletes(&plane, &operator, since),
                [""; 0],
                "after {}",
                user.told
            );
        }
    }
    until_revision_is_gone(&inventory, "blue").await;
    let events = cr.events_with_reason("OldRevisionDeleted").await.unwrap();
    let notes: Vec<_> = events
        .iter()
        .filter_map(|event| event.message.as_deref())
        .collect();
    assert!(
        notes
            .iter()
            .any(|note| note.contains("revision blue is deleted")),
        "{notes:?}"
    );
    cr.wait_for_no_condition("OldRevision", SOON).await.unwrap();
    let status = cr.wait_for("HEALTHY", SOON).await.unwrap().data;
    assert_eq!(status["status"]["revisions"].as_array().unwrap().len(), 1);
}

/// Waits until the status says that these use the old revision, as far as each of them is told.
async fn until_used_by(cr: &Cr, expected: &[&str]) {
    wait_until(&format!("{expected:?}"), SOON, || async {
        let cr = cr.get().await.map_err(|error| error.to_string())?;
        let told = condition(&cr.data, "OldRevision")["message"].to_string();
        let is_told = expected.iter().all(|user| told.contains(user));
        is_told.then_some(()).ok_or(told)
    })
    .await
    .unwrap();
}

/// Upgrade row 7: where pods cannot be listed, or their watch does not work any more, nothing is known, and what is not known
/// deletes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_pods_are_not_known_an_old_revision_stays() {
    let plane = ControlPlane::reuse_or_start().await.unwrap();
    let proxy = ApiProxy::start(&plane.kubeconfig()).await.unwrap();
    let mut operator = Operator::start_behind(&plane, &proxy).await.unwrap();
    let inventory = plane.inventory().await.unwrap();
    let cr = healthy(&plane, &manifest("mesh", &mesh("blue")).to_string()).await;
    // Without the right, a process that starts cannot list them.
    let refuse = || proxy.inject(Fault::refuse(403), |call| call.path == "/api/v1/pods");
    refuse();
    operator.process().kill().unwrap();
    operator.process().restart().unwrap();
    operator.wait_until_ready().await.unwrap();
    let since = Timestamp::now();
    cr.patch(&json!({"spec": {"revision": "green"}}))
        .await
        .unwrap();
    cr.wait_for("HEALTHY", SOON).await.unwrap();
    until_used_by(&cr, &["pods cannot be listed"]).await;
    stays(&plane, &operator, &cr, since).await;
    proxy.clear_faults();
    until_revision_is_gone(&inventory, "blue").await;

    // One that runs has its watches cut off.
    let mut namespace = users().remove(0);
    namespace.object["metadata"]["labels"] = json!({"istio.io/rev": "green"});
    namespace.apply(&plane);
    let since = Timestamp::now();
    cr.patch(&json!({"spec": {"revision": "red"}}))
        .await
        .unwrap();
    until_used_by(&cr, &["namespaces shop"]).await;
    refuse();
    wait_until("the watch to count as broken", SOON, || async {
        let cr = cr.get().await.map_err(|error| error.to_string())?;
        let gaps = cr.data["status"]["revisions"][1]["unknown"].to_string();
        let is_told = gaps.contains("the watch of pods does not work");
        is_told.then_some(()).ok_or(gaps)
    })
    .await
    .unwrap();
    namespace.leave(&plane);
    until_used_by(&cr, &["the watch of pods does not work"]).await;
    stays(&plane, &operator, &cr, since).await;
    proxy.clear_faults();
    until_revision_is_gone(&inventory, "green").await;
}

/// Nothing is deleted although the grace period would have passed.
async fn stays(plane: &ControlPlane, operator: &Operator, cr: &Cr, since: Timestamp) {
    sleep(PAST_GRACE).await;
    assert_eq!(deletes(plane, operator, since), [""; 0]);
    let told = condition(&cr.get().await.unwrap().data, "OldRevision").clone();
    assert_eq!(told["reason"], "MayBeInUse");
}

/// Upgrade row 7: a second CR that renders the old revision takes it over, and it serves on although the first one lets it
/// go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_cr_takes_the_old_revision_over() {
    let (plane, operator) = running().await;
    let inventory = plane.inventory().await.unwrap();
    let first = healthy(&plane, &manifest("first", &mesh("blue")).to_string()).await;
    let before = of_revision(&inventory, "blue").await;
    let since = Timestamp::now();
    let second = Cr::apply(&plane, &manifest("second", &mesh("blue")).to_string())
        .await
        .unwrap();
    second.wait_for("ERROR", SOON).await.unwrap();
    first
        .patch(&json!({"spec": {"revision": "green"}}))
        .await
        .unwrap();
    first.wait_for("HEALTHY", SOON).await.unwrap();
    second.wait_for("HEALTHY", SOON).await.unwrap();
    sleep(PAST_GRACE).await;
    let named = |objects: Vec<(String, String)>| {
        let blue = objects
            .into_iter()
            .filter(|(name, _)| name.contains("blue"));
        blue.collect::<Vec<_>>()
    };
    assert_eq!(named(of_revision(&inventory, "blue").await), named(before));
    let deleted = deletes(&plane, &operator, since);
    assert!(
        !deleted.iter().any(|name| name.contains("blue")),
        "{deleted:?}"
    );
}

/// Upgrade row 7: killed in the grace period, the operator waits for a whole one again; killed after any of the deletes, it
/// goes on, and the end is the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_that_is_killed_meanwhile_deletes_the_old_revision_all_the_same() {
    let plane = ControlPlane::reuse_or_start().await.unwrap();
    let proxy = ApiProxy::start(&plane.kubeconfig()).await.unwrap();
    let mut operator = Operator::start_behind(&plane, &proxy).await.unwrap();
    let inventory = plane.inventory().await.unwrap();
    let mut spec = mesh("blue");
    spec["updateStrategy"]["inactiveRevisionGracePeriod"] = "15s".into();
    let cr = healthy(&plane, &manifest("mesh", &spec).to_string()).await;
    cr.patch(&json!({"spec": {"revision": "green"}}))
        .await
        .unwrap();
    cr.wait_for("HEALTHY", SOON).await.unwrap();
    until_used_by(&cr, &["until nobody has used them"]).await;
    sleep(Duration::from_secs(8)).await;
    operator.process().kill().unwrap();
    operator.process().restart().unwrap();
    operator.wait_until_ready().await.unwrap();
    let since = Timestamp::now();
    sleep(Duration::from_secs(10)).await;
    assert_eq!(
        deletes(&plane, &operator, since),
        [""; 0],
        "the time starts anew"
    );
    let mut kills = 0;
    loop {
        let writes = deletes(&plane, &operator, since).len();
        let left = of_revision(&inventory, "blue").await;
        let is_gone = !left.iter().any(|(name, _)| name.contains("blue"));
        if is_gone {
            break;
        }
        if writes > kills {
            operator.process().kill().unwrap();
            operator.process().restart().unwrap();
            operator.wait_until_ready().await.unwrap();
            kills += 1;
        }
        sleep(Duration::from_millis(2)).await;
    }
    println!("killed {kills} times while it deleted");
    cr.wait_for("HEALTHY", SOON).await.unwrap();
    cr.wait_for_no_condition("OldRevision", SOON).await.unwrap();
}

/// A CR that is deleted keeps its control plane while pods use it, says for whom, and goes once they left; or at once if its
/// user says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_waits_for_pods_that_use_the_control_plane() {
    let (plane, operator) = running().await;
    plane.create_namespace("apps").unwrap();
    let pod = users().remove(1);
    for says_so in [false, true] {
        let mut spec = mesh("blue");
        // Its own gateway goes along, and holds nothing.
        spec["components"] = json!({"ingressGateways": [{"name": "edge", "enabled": true}]});
        let cr = healthy(&plane, &manifest("mesh", &spec).to_string()).await;
        pod.apply(&plane);
        let since = Timestamp::now();
        cr.start_deletion().await.unwrap();
        cr.wait_for_message("pods in namespaces apps", SOON)
            .await
            .unwrap();
        sleep(Duration::from_secs(5)).await;
        assert_eq!(deletes(&plane, &operator, since), [""; 0]);
        if says_so {
            let annotation = json!({"install.istio.io/prune-revision": "blue"});
            cr.patch(&json!({"metadata": {"annotations": annotation}}))
                .await
                .unwrap();
            cr.wait_until_gone(SOON).await.unwrap();
            pod.leave(&plane);
        } else {
            pod.leave(&plane);
            cr.wait_until_gone(SOON).await.unwrap();
        }
    }
}
