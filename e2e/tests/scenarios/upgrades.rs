//! Another `spec.version` is followed in place, step by step, where Istio supports the step, and refused with the way out
//! where it does not.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use e2e::{
    actions::cr::resource,
    control_plane::ControlPlane,
    error::Error,
    observe::{
        audit::Event,
        health::condition,
        history::{Entry, History},
    },
    operator::{self, Operator},
    wait::wait_until,
};
use istio_operator::charts::Charts;
use k8s_openapi::{api::apps::v1::Deployment, jiff::Timestamp};
use kube::api::ApiResource;
use serde_json::{Value, json};

use crate::{
    SOON,
    bystander::{object_writes, quiet},
    healthy, manifest,
    minors::{everything, is_as_printed},
    running,
};

/// Upgrade row 5: from the oldest minor to the newest, one at a time. After each step the cluster holds what a fresh
/// installation of that minor holds, and at no moment is a Deployment without an available pod.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_step_in_place_ends_as_a_fresh_installation() {
    let (plane, operator) = running().await;
    let client = plane.client().await.unwrap();
    let inventory = plane.inventory().await.unwrap();
    let charts = Charts::embedded().unwrap();
    let releases = charts.catalogue().releases();
    let cr = healthy(&plane, &everything(&releases[0])).await;
    // The pods of istiod are simulated, and inject nothing.
    let skipped =
        json!({"metadata": {"annotations": {"install.istio.io/skip-checks": "injection"}}});
    cr.patch(&skipped).await.unwrap();
    let services = uids(&plane);
    plane.apply(&rule().to_string()).unwrap();
    let mut versions = versions_of_crds(&plane);
    let kinds = [resource(), ApiResource::erase::<Deployment>(&())];
    let history = History::record(&client, &kinds).await.unwrap();
    for release in &releases[1..] {
        let minor = release.version.minor_text();
        let text = everything(release);
        let since = Timestamp::now();
        plane.apply(&text).unwrap();
        let told = cr.wait_for("HEALTHY", SOON).await;
        let told = told.unwrap_or_else(|error| panic!("{minor}: {error}")).data;
        assert_eq!(told["status"]["version"], release.version.to_string());
        assert_eq!(told["status"].get("upgrade"), None, "{minor}");
        let items = inventory.owned().await.unwrap();
        is_as_printed(&client, &minor, &items, &operator::render(&text).unwrap()).await;
        templates_follow_istiod(&plane, &operator, since);
        let before = std::mem::replace(&mut versions, versions_of_crds(&plane));
        no_version_is_lost(&before, &versions);
        let took = Timestamp::now().duration_since(since).as_secs_f64();
        println!("to {minor}: {took:.1} s");
    }
    assert_eq!(uids(&plane), services, "Services were made anew");
    let stored = &versions["destinationrules.networking.istio.io"].stored;
    assert_eq!(stored.iter().collect::<Vec<_>>(), ["v1", "v1beta1"]);
    plane
        .kubectl([
            "get",
            "destinationrules.v1beta1.networking.istio.io",
            "from-before",
        ])
        .unwrap();
    never_without_pods(&history.entries().unwrap());
}

/// Upgrade row 5: a gateway whose tag is written down stays in that version, while what has no tag follows istiod.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_is_pinned_by_its_tag_stays_in_its_version() {
    let (plane, _operator) = running().await;
    let mesh = |version: &str| {
        let gateways = json!([
            {"name": "following", "enabled": true},
            {"name": "pinned", "enabled": true, "tag": "1.30.5"},
        ]);
        let spec = json!({
            "profile": "minimal",
            "version": version,
            "components": {"ingressGateways": gateways},
        });
        let mut cr = manifest("mesh", &spec);
        // The pods of istiod are simulated, and inject nothing.
        cr["metadata"]["annotations"] = json!({"install.istio.io/skip-checks": "injection"});
        cr.to_string()
    };
    let images = || {
        ["istiod", "following", "pinned"].map(|name| {
            let image = "-o=jsonpath={.spec.template.spec.containers[0].image}";
            let found = plane.kubectl(["get", "deployment", name, "-n=istio-system", image]);
            let found = found.unwrap();
            found.rsplit(':').next().unwrap_or_default().to_owned()
        })
    };
    let cr = healthy(&plane, &mesh("1.30")).await;
    assert_eq!(images(), ["1.30.5"; 3]);
    plane.apply(&mesh("1.31")).unwrap();
    let told = cr.wait_for("HEALTHY", SOON).await.unwrap().data;
    assert_eq!(told["status"]["version"], "1.31.1");
    assert_eq!(images(), ["1.31.1", "1.31.1", "1.30.5"]);
    let gateways = told["status"]["gateways"].as_array().unwrap().iter();
    let versions: Vec<_> = gateways
        .map(|one| (&one["name"], &one["version"]))
        .collect();
    let expected = [
        (&json!("following"), &json!("1.31.1")),
        (&json!("pinned"), &json!("1.30.5")),
    ];
    assert_eq!(versions, expected);
}

/// Upgrade row 3: a step that Istio does not support changes nothing, says why and what to do, and what runs is repaired at
/// its version. The user may take it all the same. CRDs never go back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_that_istio_does_not_support_is_refused() {
    let (plane, mut operator) = running().await;
    let mesh = |version: &str, has_gateway: bool| {
        json!({
            "profile": "minimal",
            "version": version,
            "components": {"ingressGateways": [{"name": "edge", "enabled": has_gateway}]},
        })
    };
    let version = |version: &str| mesh(version, true);
    let cr = healthy(&plane, &manifest("mesh", &version("1.28")).to_string()).await;
    quiet(&plane, &operator, Duration::from_secs(2)).await;

    let since = Timestamp::now();
    // With another edit: a refused change is refused as a whole.
    cr.patch(&json!({"spec": mesh("1.31", false)}))
        .await
        .unwrap();
    let told = cr.wait_for("ERROR", SOON).await.unwrap().data;
    let stalled = condition(&told, "Stalled");
    assert_eq!(stalled["reason"], "UpgradeRefused");
    let message = stalled["message"].as_str().unwrap();
    for part in [
        "set spec.version to \"1.29\" first",
        "skip-checks: version-step",
    ] {
        assert!(message.contains(part), "{message}");
    }
    let status = &told["status"];
    assert_eq!(status["version"], "1.28.10");
    assert_eq!(status["componentStatus"]["Pilot"]["status"], "HEALTHY");
    assert_eq!(result(status, "version-step"), "Failed");
    assert_eq!(result(status, "data-plane"), "Passed");
    let notes = status["upgrade"]["notes"].to_string();
    assert!(notes.contains("1.31: "), "{notes}");
    let written = object_writes(&plane, &operator, since);
    assert!(written.is_empty(), "{written:?}");

    operator.process().kill().unwrap();
    operator.process().restart().unwrap();
    operator.wait_until_ready().await.unwrap();
    plane
        .kubectl(["delete", "deployment", "istiod", "-n=istio-system"])
        .unwrap();
    wait_until("istiod to be back in its version", SOON, || async {
        match plane.kubectl(["get", "deployment", "istiod", "-n=istio-system", "-o=json"])? {
            text if text.contains(":1.28.10\"") => Ok(()),
            text => Err(Error::Unexpected(text)),
        }
    })
    .await
    .unwrap();

    let gateway = ["get", "deployment", "edge", "-n=istio-system"];
    plane.kubectl(gateway).unwrap();

    cr.patch(&json!({"spec": version("1.31")})).await.unwrap();
    let skipped = json!({"metadata": {"annotations": {
        "install.istio.io/skip-checks": "version-step, node-agents, injection",
    }}});
    cr.patch(&skipped).await.unwrap();
    let told = cr.wait_for("HEALTHY", SOON).await.unwrap().data;
    assert_eq!(told["status"]["version"], "1.31.1");
    let events = cr.events_with_reason("ChecksSkipped").await.unwrap();
    assert_eq!(events.len(), 1, "{events:?}");

    let crds = crd_versions(&plane);
    cr.patch(&json!({"spec": version("1.30")})).await.unwrap();
    let told = cr.wait_for("HEALTHY", SOON).await.unwrap().data;
    assert_eq!(told["status"]["version"], "1.30.5");
    assert_eq!(crd_versions(&plane), crds);
}

/// An object whose CRD the API server stores in another version since Istio 1.27.
fn rule() -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1beta1",
        "kind": "DestinationRule",
        "metadata": {"name": "from-before", "namespace": "default"},
        "spec": {"host": "shop.example.com"},
    })
}

/// The versions of a CRD.
struct Versions {
    known: BTreeSet<String>,
    stored: BTreeSet<String>,
}

fn versions_of_crds(plane: &ControlPlane) -> BTreeMap<String, Versions> {
    let selector = "--selector=install.operator.istio.io/owning-resource";
    let text = plane.kubectl(["get", "crds", "-o=json", selector]).unwrap();
    let list: Value = serde_json::from_str(&text).unwrap();
    let texts = |list: &Value, pointer: &str| {
        let items = list.as_array().unwrap().iter();
        let texts = items.map(|item| item.pointer(pointer).unwrap().as_str().unwrap().to_owned());
        texts.collect()
    };
    let items = list["items"].as_array().unwrap().iter();
    items
        .map(|item| {
            let name = item["metadata"]["name"].as_str().unwrap().to_owned();
            let known = texts(&item["spec"]["versions"], "/name");
            let stored = texts(&item["status"]["storedVersions"], "");
            (name, Versions { known, stored })
        })
        .collect()
}

/// A CRD keeps each version that it had, and those in which objects are stored above all.
fn no_version_is_lost(before: &BTreeMap<String, Versions>, now: &BTreeMap<String, Versions>) {
    for (name, before) in before {
        let now = now.get(name).unwrap_or_else(|| panic!("{name} is gone"));
        assert!(
            now.known.is_superset(&before.known),
            "{name}: {:?}",
            now.known
        );
        assert!(
            now.stored.is_superset(&before.stored),
            "{name}: {:?}",
            now.stored
        );
        assert!(
            now.known.is_superset(&now.stored),
            "{name}: {:?}",
            now.stored
        );
    }
}

/// How a check in a status came out.
fn result<'s>(status: &'s Value, name: &str) -> &'s str {
    let checks = status["upgrade"]["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["name"] == name).unwrap();
    check["result"].as_str().unwrap()
}

/// The injection templates were written after istiod was, and only once.
fn templates_follow_istiod(plane: &ControlPlane, operator: &Operator, since: Timestamp) {
    let writes = |group: &str, resource: &str, name: &str| {
        let audit = plane.audit();
        let mut writes = audit
            .writes_about(operator.user(), group, resource, since)
            .unwrap();
        writes.retain(|event: &Event| event.object_ref.name == name);
        writes
    };
    let istiod = writes("apps", "deployments", "istiod");
    let templates = writes("", "configmaps", "istio-sidecar-injector");
    assert_eq!(templates.len(), 1, "{templates:?}");
    let applied = istiod.last().unwrap();
    assert!(templates[0].received > applied.completed);
}

/// Once a Deployment had an available pod, it always has one.
fn never_without_pods(history: &[Entry]) {
    let mut had: BTreeMap<String, i64> = BTreeMap::new();
    for entry in history {
        if entry.object["kind"] != "Deployment" {
            continue;
        }
        let name = entry.object["metadata"]["name"].to_string();
        let available = entry.object["status"]["availableReplicas"].as_i64();
        let available = available.unwrap_or(0);
        let before = had.get(&name).copied().unwrap_or(0);
        assert!(
            before == 0 || available > 0 && !entry.is_deletion,
            "{name} was without pods: {}",
            entry.object["status"]
        );
        had.insert(name, available);
    }
    assert!(!had.is_empty());
}

/// The UIDs of the Services with owner labels.
fn uids(plane: &ControlPlane) -> BTreeMap<String, String> {
    let selector = "--selector=install.operator.istio.io/owning-resource";
    let text = plane
        .kubectl(["get", "services", "-A", "-o=json", selector])
        .unwrap();
    let list: Value = serde_json::from_str(&text).unwrap();
    let items = list["items"].as_array().unwrap().iter();
    // Since 1.28, each tag has a Service too.
    let items = items.filter(|item| item["metadata"]["labels"].get("istio.io/tag").is_none());
    items
        .map(|item| {
            let field = |name: &str| item["metadata"][name].as_str().unwrap().to_owned();
            (field("name"), field("uid"))
        })
        .collect()
}

/// The Istio version of each CRD, by its label.
fn crd_versions(plane: &ControlPlane) -> BTreeMap<String, String> {
    let selector = "--selector=install.operator.istio.io/owning-resource";
    let text = plane.kubectl(["get", "crds", "-o=json", selector]).unwrap();
    let list: Value = serde_json::from_str(&text).unwrap();
    let items = list["items"].as_array().unwrap().iter();
    items
        .map(|item| {
            let name = item["metadata"]["name"].as_str().unwrap().to_owned();
            let version = item["metadata"]["labels"]["operator.istio.io/version"].as_str();
            (name, version.unwrap().to_owned())
        })
        .collect()
}
