//! `updateStrategy.type: Canary`: another version stands beside the one that serves, takes its place once it works, and can
//! be taken back until the old one is gone.

use std::time::Duration;

use e2e::{
    actions::cr::Cr,
    control_plane::ControlPlane,
    error::Error,
    observe::{
        health::{ArgoHealth, Kstatus, argo, condition, kstatus},
        history::{Entry, History},
    },
    operator,
    wait::wait_until,
};
use istio_operator::charts::Charts;
use k8s_openapi::{api::apps::v1::Deployment, jiff::Timestamp};
use kube::api::ApiResource;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    SOON,
    bystander::{object_writes, quiet},
    healthy, manifest,
    minors::{everything, is_as_printed},
    plans::approve,
    running,
};

/// For how long nothing may happen.
const TEMPTED: Duration = Duration::from_secs(3);

/// Upgrade row 8: two minors at once. Gateways and tags stay with the old control plane until a person approves the
/// promotion, also over a restart of the operator; then they move, gateways one after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_takes_the_place_of_what_runs_once_it_is_approved() {
    let (plane, mut operator) = running().await;
    let client = plane.client().await.unwrap();
    let cr = healthy(&plane, &mesh("1.29", "InPlace").to_string()).await;
    quiet(&plane, &operator, Duration::from_secs(2)).await;
    let since = Timestamp::now();
    plane.apply(&mesh("1.31", "Canary").to_string()).unwrap();
    let told = at_step(&cr, "AwaitingApproval").await;
    let plan = told["status"]["plan"].clone();
    assert_eq!(
        (argo(&told), kstatus(&told)),
        (ArgoHealth::Progressing, Kstatus::InProgress)
    );
    let status = &told["status"];
    assert_eq!(
        (&status["version"], &status["revision"]),
        (&json!("1.29.8"), &json!("default"))
    );
    assert_eq!(condition(&told, "ApprovalRequired")["status"], "True");
    old_serves(&plane);
    assert_eq!(version(&plane, "deployment/istiod-1-31-1"), "1.31.1");
    let mut written = object_writes(&plane, &operator, since);
    written.retain(|write| {
        ["edge", "tag", "/istiod:"]
            .iter()
            .any(|held| write.contains(held))
    });
    assert_eq!(written, [""; 0], "written before the promotion");
    // The command line comes to the same plan.
    let arguments = ["plan", "-o=json", "istio-system/mesh"];
    let whole = operator::run(&plane.kubeconfig(), &arguments, "").unwrap();
    assert_eq!(whole.json().unwrap()["digest"], plan["digest"]);
    let restarts = plan["restarts"].to_string();
    assert!(
        restarts.contains("edge-one") && !restarts.contains("istiod"),
        "{restarts}"
    );

    operator.process().kill().unwrap();
    operator.process().restart().unwrap();
    operator.wait_until_ready().await.unwrap();
    plane
        .kubectl(["delete", "service", "edge-one", "-n=istio-system"])
        .unwrap();
    wait_until("the gateway to be repaired as it was", SOON, || async {
        let found = plane.kubectl(["get", "service/edge-one", "-n=istio-system", VERSION])?;
        (found == "1.29.8")
            .then_some(())
            .ok_or(Error::Unexpected(found))
    })
    .await
    .unwrap();
    sleep(TEMPTED).await;
    old_serves(&plane);

    let history = History::record(&client, &[ApiResource::erase::<Deployment>(&())])
        .await
        .unwrap();
    cr.patch(&approve(&plan)).await.unwrap();
    let told = cr.wait_for("HEALTHY", SOON).await.unwrap().data;
    let status = &told["status"];
    assert_eq!(
        (&status["version"], &status["revision"]),
        (&json!("1.31.1"), &json!("1-31-1"))
    );
    assert_eq!(status.get("upgrade"), None);
    assert_eq!(revision(&plane, &tag("default")), "1-31-1");
    assert_eq!(revision(&plane, &tag("prod")), "1-31-1");
    one_after_the_other(&history.entries().unwrap());

    until_old_is_gone(&plane, &cr, "istiod").await;
    let mut items = plane.inventory().await.unwrap().owned().await.unwrap();
    // The default tag is not printed.
    items.retain(|item| !item.name().contains("-default"));
    let printed = operator::render(&mesh("1.31", "Canary").to_string()).unwrap();
    is_as_printed(&client, "1.31", &items, &printed).await;
    let steps = cr.events_with_reason("CanaryStep").await.unwrap();
    assert!(steps.len() >= 4, "{steps:?}");
}

/// Upgrade row 8: while somebody uses the old control plane it stays, and an edit of the version leads back to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_is_taken_back_by_an_edit() {
    let (plane, operator) = running().await;
    let mesh = |version: &str| {
        let mut mesh = mesh(version, "Canary");
        mesh["spec"]["updateStrategy"]["approval"] = "Automatic".into();
        mesh.to_string()
    };
    let cr = healthy(&plane, &mesh("1.26")).await;
    assert_eq!(version(&plane, "deployment/istiod-1-26-8"), "1.26.8");
    assert_eq!(revision(&plane, &tag("default")), "1-26-8");
    let user = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "user", "namespace": "apps", "annotations": {"istio.io/rev": "1-26-8"}},
        "spec": {"containers": [{"name": "web", "image": "example.com/web"}]},
    });
    plane.create_namespace("apps").unwrap();
    plane.apply(&user.to_string()).unwrap();

    let since = Timestamp::now();
    plane.apply(&mesh("1.28")).unwrap();
    let told = at_step(&cr, "Retiring").await;
    assert_eq!(told["status"]["status"], "HEALTHY");
    assert_eq!(told["status"]["version"], "1.28.10");
    let waits = told["status"]["canary"]["waitingFor"].to_string();
    assert!(waits.contains("pods in namespaces apps"), "{waits}");
    sleep(TEMPTED).await;
    let deleted = |write: &String| write.starts_with("delete") && write.contains("1-26-8");
    let written = object_writes(&plane, &operator, since);
    assert!(!written.iter().any(deleted), "{written:?}");

    plane.apply(&mesh("1.26")).unwrap();
    let told = at_step(&cr, "Retiring").await;
    assert_eq!(told["status"]["version"], "1.26.8");
    assert_eq!(told["status"]["revision"], "1-26-8");
    assert_eq!(version(&plane, "deployment/edge-one"), "1.26.8");
    assert_eq!(revision(&plane, &tag("default")), "1-26-8");
    until_old_is_gone(&plane, &cr, "istiod-1-28-10").await;
    assert_eq!(version(&plane, "deployment/istiod-1-26-8"), "1.26.8");
}

/// Upgrade row 8: before its promotion, a canary that does not come up touches nothing, and an edit takes it away. Three
/// minors at once are refused. Ambient: CNI agents and ztunnel stay with the old control plane.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_that_does_not_come_up_touches_nothing() {
    let (plane, operator) = running().await;
    let charts = Charts::embedded().unwrap();
    let release = charts.catalogue().releases().iter().rev().nth(1).unwrap();
    let mut text: Value = serde_json::from_str(&everything(release)).unwrap();
    text["metadata"]["annotations"] = json!({"install.istio.io/skip-checks": "injection"});
    let strategy = json!({"type": "Canary", "timeout": "8s", "inactiveRevisionGracePeriod": "1s"});
    text["spec"]["updateStrategy"] = strategy;
    // 1.27 does not know its settings.
    text["spec"]["values"]["global"] = json!({});
    let cr = healthy(&plane, &text.to_string()).await;
    quiet(&plane, &operator, Duration::from_secs(2)).await;
    let back = json!({"spec": {"version": release.version.minor_text()}});

    let since = Timestamp::now();
    cr.patch(&json!({"spec": {"version": "1.27"}}))
        .await
        .unwrap();
    let told = cr.wait_for("ERROR", SOON).await.unwrap().data;
    assert_eq!(
        condition(&told, "Stalled")["reason"],
        "UpgradeRefused",
        "{told}"
    );
    assert_eq!(object_writes(&plane, &operator, since), [""; 0]);
    cr.patch(&back).await.unwrap();
    cr.wait_for("HEALTHY", SOON).await.unwrap();

    let nodes = plane.kubectl(["get", "nodes", "-o=name"]).unwrap();
    for node in nodes.lines() {
        plane.kubectl(["cordon", node]).unwrap();
    }
    cr.patch(&json!({"spec": {"version": "1.31"}}))
        .await
        .unwrap();
    let told = cr.wait_for("ERROR", SOON).await.unwrap().data;
    assert_eq!(
        condition(&told, "Stalled")["reason"],
        "DeadlineExceeded",
        "{told}"
    );
    assert_eq!(told["status"]["canary"]["step"], "Installing");
    assert_eq!(told["status"]["version"], release.version.to_string());
    let mut written = object_writes(&plane, &operator, since);
    written
        .retain(|write| !write.contains("1-31-1") && !write.contains("customresourcedefinitions"));
    let held = |write: &&String| {
        ["daemonsets", "deployments", "tag", "delete"]
            .iter()
            .any(|it| write.contains(it))
    };
    let touched: Vec<_> = written.iter().filter(held).collect();
    assert!(touched.is_empty(), "{touched:?}");

    cr.patch(&back).await.unwrap();
    cr.wait_for("HEALTHY", SOON).await.unwrap();
    until_old_is_gone(&plane, &cr, "istiod-1-31-1").await;
}

/// A mesh whose promotions a person approves.
fn mesh(version: &str, kind: &str) -> Value {
    let strategy = json!({
        "type": kind,
        "approval": "Manual",
        "inactiveRevisionGracePeriod": "1s",
    });
    with_gateways_and_tag(version, &strategy)
}

/// istiod, two gateways and a tag.
pub fn with_gateways_and_tag(version: &str, strategy: &Value) -> Value {
    let spec = json!({
        "profile": "minimal",
        "version": version,
        "updateStrategy": strategy,
        "components": {"ingressGateways": [
            {"name": "edge-one", "enabled": true},
            {"name": "edge-two", "enabled": true},
        ]},
        "values": {"revisionTags": ["prod"]},
    });
    let mut cr = manifest("mesh", &spec);
    // The pods of istiod are simulated, and inject nothing.
    cr["metadata"]["annotations"] = json!({"install.istio.io/skip-checks": "injection"});
    cr
}

/// Waits until the canary of the present generation is at a step; gives the CR as it is then.
async fn at_step(cr: &Cr, step: &str) -> Value {
    wait_until(step, SOON, || async {
        let cr = cr.get().await.map_err(|error| error.to_string())?;
        let status = &cr.data["status"];
        let is_current = status["observedGeneration"].as_i64() == cr.metadata.generation;
        if is_current && status["canary"]["step"] == step {
            Ok(serde_json::to_value(&cr).unwrap())
        } else {
            Err(format!("its status is {status}"))
        }
    })
    .await
    .unwrap()
}

/// Gateways and tags belong to the old control plane, which is there.
pub fn old_serves(plane: &ControlPlane) {
    for workload in [
        "deployment/istiod",
        "deployment/edge-one",
        "deployment/edge-two",
    ] {
        assert_eq!(version(plane, workload), "1.29.8", "{workload}");
    }
    for name in ["default", "prod"] {
        assert_eq!(revision(plane, &tag(name)), "default", "{name}");
    }
}

/// Prints the Istio version of an object.
const VERSION: &str = r"-o=jsonpath={.metadata.labels.operator\.istio\.io/version}";

/// The Istio version of an object of Istio's namespace, or of none.
pub fn version(plane: &ControlPlane, object: &str) -> String {
    plane
        .kubectl(["get", object, "-n=istio-system", VERSION])
        .unwrap()
}

/// The revision of an object of the whole cluster.
pub fn revision(plane: &ControlPlane, object: &str) -> String {
    let revision = r"-o=jsonpath={.metadata.labels.istio\.io/rev}";
    plane.kubectl(["get", object, revision]).unwrap()
}

/// The webhooks of a tag.
pub fn tag(name: &str) -> String {
    format!("mutatingwebhookconfiguration/istio-revision-tag-{name}")
}

/// While one gateway changes, the other one does not.
fn one_after_the_other(history: &[Entry]) {
    let label = "/metadata/labels/operator.istio.io~1version";
    let mut is_ready = true;
    let mut moved = Vec::new();
    for entry in history {
        let name = entry.object["metadata"]["name"].as_str().unwrap();
        let is_new = entry.object.pointer(label).is_some_and(|it| it == "1.31.1");
        if !name.starts_with("edge") || !is_new {
            continue;
        }
        if moved.last().is_none_or(|last| last != name) {
            assert!(is_ready, "{name} changed while {moved:?} did");
            moved.push(name.to_owned());
        }
        let status = &entry.object["status"];
        let is_observed = status["observedGeneration"] == entry.object["metadata"]["generation"];
        is_ready = is_observed
            && status["updatedReplicas"] == status["replicas"]
            && status["availableReplicas"] == status["replicas"];
    }
    assert_eq!(moved, ["edge-one", "edge-two"]);
}

/// Waits until an old istiod is gone and nothing is said of a canary any more.
async fn until_old_is_gone(plane: &ControlPlane, cr: &Cr, name: &str) {
    wait_until(name, SOON, || async {
        let istiods = plane.kubectl(["get", "deployments", "-n=istio-system", "-o=name"])?;
        let status = cr.get().await?.data["status"].clone();
        let is_gone = !istiods
            .lines()
            .any(|line| line == format!("deployment.apps/{name}"));
        if is_gone && status.get("canary").is_none() && status["status"] == "HEALTHY" {
            Ok(())
        } else {
            Err(Error::Unexpected(format!("{istiods} {status}")))
        }
    })
    .await
    .unwrap();
}
