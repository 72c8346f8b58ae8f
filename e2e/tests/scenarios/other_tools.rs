//! Foundation row 7: an Istio that Helm, Argo CD or Flux manages is neither taken over nor deleted, until the user says
//! so. One that `istioctl` installed is taken over.

use e2e::{
    actions::cr::Cr,
    control_plane::ControlPlane,
    observe::{audit::Event, health::condition},
    wait::wait_until,
};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use crate::{SOON, bystander::object_writes, manifest, running};

const NAMESPACE: &str = "istio-system";

/// The annotation, or its absence, by which the user lets objects be taken over.
fn adopt(value: Option<&str>) -> Value {
    json!({"metadata": {"annotations": {"install.istio.io/adopt": value}}})
}

/// An object of the system namespace.
fn object(kind: &str, name: &str, metadata: &Value) -> Value {
    let api_version = match kind {
        "Role" => "rbac.authorization.k8s.io/v1",
        _ => "v1",
    };
    let mut object = json!({"apiVersion": api_version, "kind": kind, "metadata": metadata});
    object["metadata"]["name"] = name.into();
    object["metadata"]["namespace"] = NAMESPACE.into();
    object
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_written_while_helm_manages_one_object() {
    let (plane, operator) = running().await;
    plane.kubectl(["create", "namespace", NAMESPACE]).unwrap();
    let release = json!({"annotations": {"meta.helm.sh/release-name": "istio-base"}});
    let account = "istio-reader-service-account";
    let helm = object("ServiceAccount", account, &release);
    plane.apply(&helm.to_string()).unwrap();
    let before = read(&plane, "serviceaccount", account);

    let since = Timestamp::now();
    let cr = Cr::apply(&plane, &minimal()).await.unwrap();
    until_managed(
        &cr,
        "ManagedByHelm",
        &format!("ServiceAccount {NAMESPACE}/{account}"),
    )
    .await;
    assert_eq!(object_writes(&plane, &operator, since), [""; 0]);
    cr.delete(SOON).await.unwrap();
    assert_eq!(object_writes(&plane, &operator, since), [""; 0]);
    assert_eq!(read(&plane, "serviceaccount", account), before);

    let cr = Cr::apply(&plane, &minimal()).await.unwrap();
    until_managed(&cr, "ManagedByHelm", account).await;
    cr.patch(&adopt(Some("true"))).await.unwrap();
    let adopted = cr.wait_for("HEALTHY", SOON).await.unwrap();
    assert!(condition(&adopted.data, "OwnershipConflict").is_null());

    // Now it carries our labels, and it is Helm's again.
    cr.patch(&adopt(None)).await.unwrap();
    until_managed(&cr, "ManagedByHelm", account).await;
    cr.delete(SOON).await.unwrap();
    let labels = read(&plane, "serviceaccount", account);
    assert!(labels.contains("owning-resource"), "{labels}");
    let istiod = ["get", "deployment", "istiod", "-n", NAMESPACE];
    assert!(plane.kubectl(istiod).is_err(), "what is ours goes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_of_flux_and_argo_cd_are_told_and_those_of_istioctl_taken_over() {
    let (plane, operator) = running().await;
    plane.kubectl(["create", "namespace", NAMESPACE]).unwrap();
    // As istioctl makes them: without owner label, and with Helm's label though Helm has nothing to do with it.
    let labels = json!({"labels": {"app.kubernetes.io/managed-by": "Helm"}});
    let reader = object("ServiceAccount", "istio-reader-service-account", &labels);
    // Not looked at before the first write, so met by it.
    let tracking = "mesh:rbac.authorization.k8s.io/Role:istio-system/istiod";
    let tracked = json!({"annotations": {"argocd.argoproj.io/tracking-id": tracking}});
    let role = object("Role", "istiod", &tracked);
    // Seen by a watch.
    let labels = json!({"labels": {
        "kustomize.toolkit.fluxcd.io/name": "mesh",
        "install.operator.istio.io/owning-resource": "unknown",
    }});
    let config = object("ConfigMap", "istio", &labels);
    for object in [&reader, &role, &config] {
        plane.apply(&object.to_string()).unwrap();
    }
    let before = read(&plane, "role", "istiod");

    let since = Timestamp::now();
    let cr = Cr::apply(&plane, &minimal()).await.unwrap();
    until_managed(
        &cr,
        "ManagedByFlux",
        &format!("ConfigMap {NAMESPACE}/istio"),
    )
    .await;
    assert_eq!(object_writes(&plane, &operator, since), [""; 0]);
    plane
        .kubectl(["delete", "configmap", "istio", "-n", NAMESPACE])
        .unwrap();
    until_managed(&cr, "ManagedByArgoCD", &format!("Role {NAMESPACE}/istiod")).await;
    assert_eq!(read(&plane, "role", "istiod"), before);
    plane
        .kubectl(["delete", "role", "istiod", "-n", NAMESPACE])
        .unwrap();
    cr.wait_for("HEALTHY", SOON).await.unwrap();
    let reader = read(&plane, "serviceaccount", "istio-reader-service-account");
    assert!(reader.contains("owning-resource"), "{reader}");
}

/// The version of an istiod that Helm installed counts for the step, also once the user lets it be taken over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_istiod_of_helm_skips_no_minor_either() {
    let (plane, operator) = running().await;
    plane.kubectl(["create", "namespace", NAMESPACE]).unwrap();
    let pod = json!({"app": "istiod", "istio": "pilot"});
    let mut istiod = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "istiod", "namespace": NAMESPACE, "labels": {
            "app": "istiod",
            "app.kubernetes.io/managed-by": "Helm",
            "app.kubernetes.io/version": "1.28.10",
            "install.operator.istio.io/owning-resource": "unknown",
            "istio.io/rev": "default",
            "operator.istio.io/component": "Pilot",
        }},
        "spec": {"selector": {"matchLabels": pod}, "template": {
            "metadata": {"labels": pod},
            "spec": {"containers": [{"name": "discovery", "image": "example.com/pilot:1.28.10"}]},
        }},
    });
    istiod["metadata"]["annotations"] = json!({"meta.helm.sh/release-name": "istiod"});
    plane.apply(&istiod.to_string()).unwrap();

    let since = Timestamp::now();
    let cr = Cr::apply(&plane, &minimal()).await.unwrap();
    let told = cr.wait_for("ERROR", SOON).await.unwrap().data;
    let conflict = condition(&told, "OwnershipConflict");
    assert_eq!(conflict["reason"], "ManagedByHelm", "{told}");
    cr.patch(&adopt(Some("true"))).await.unwrap();
    cr.wait_for_no_condition("OwnershipConflict", SOON)
        .await
        .unwrap();
    let told = cr.wait_for("ERROR", SOON).await.unwrap().data;
    let stalled = condition(&told, "Stalled");
    assert_eq!(stalled["reason"], "UpgradeRefused", "{stalled}");
    let message = stalled["message"].as_str().unwrap();
    for part in [
        "from Istio 1.28.10 to",
        "set spec.version to \"1.29\" first",
    ] {
        assert!(message.contains(part), "{message}");
    }
    let written = object_writes(&plane, &operator, since);
    let is_istiod = |write: &String| write.contains("deployments");
    assert!(!written.iter().any(is_istiod), "{written:?}");
}

/// The look costs one read for each component of a new installation, and every object is sent once. How many statuses
/// are written depends on how long the pods take.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_look_before_the_first_write_is_cheap() {
    let (plane, operator) = running().await;
    let since = Timestamp::now();
    let text = manifest("mesh", &json!({"profile": "default"})).to_string();
    let cr = Cr::apply(&plane, &text).await.unwrap();
    cr.wait_for("HEALTHY", SOON).await.unwrap();
    let mut requests = plane.audit().by(operator.user(), since).unwrap();
    // A request for no resource is one of the operator's start, such as that for the version of the API server.
    requests.retain(|event| {
        !["watch", "list"].contains(&event.verb.as_str())
            && !["", "leases"].contains(&event.object_ref.resource.as_str())
    });
    let all = requests.len();
    let others = ["events", "istiooperators", "namespaces"];
    requests.retain(|event| !others.contains(&event.object_ref.resource.as_str()));
    let (reads, writes): (Vec<_>, Vec<_>) = requests.iter().partition(|event| event.verb == "get");
    // One of each component, the mesh configuration, and of both workloads whether there are pods that would be replaced.
    assert_eq!(reads.len(), 3 + 1 + 2, "{reads:#?}");
    let (writes, dry_runs): (Vec<_>, Vec<_>) =
        writes.into_iter().partition(|event| event.is_write());
    println!(
        "{all} requests: {} writes of objects, {} dry runs",
        writes.len(),
        dry_runs.len()
    );
    assert!(all <= 110, "{all}");
    for mut sent in [requests_of(&writes), requests_of(&dry_runs)] {
        let count = sent.len();
        assert!(count > 30, "{sent:#?}");
        sent.sort();
        sent.dedup();
        assert_eq!(sent.len(), count, "one was sent twice");
    }
}

fn requests_of(events: &[&Event]) -> Vec<String> {
    let request = |event: &&Event| format!("{} {}", event.verb, event.request_uri);
    events.iter().map(request).collect()
}

fn minimal() -> String {
    manifest("mesh", &json!({"profile": "minimal"})).to_string()
}

/// The metadata of an object.
fn read(plane: &ControlPlane, kind: &str, name: &str) -> String {
    let output = "-o=jsonpath={.metadata}";
    plane
        .kubectl(["get", kind, name, "-n", NAMESPACE, output])
        .unwrap()
}

/// Waits until a CR says that another tool manages an object.
async fn until_managed(cr: &Cr, reason: &str, object: &str) {
    wait_until(&format!("{reason} of {object}"), SOON, || async {
        let cr = cr.get().await.map_err(|error| error.to_string())?;
        let conflict = condition(&cr.data, "OwnershipConflict");
        let ready = condition(&cr.data, "Ready");
        let message = conflict["message"].as_str().unwrap_or_default();
        let is_told = conflict["reason"] == reason
            && message.contains(object)
            && ready["status"] == "False"
            && ready["reason"] == reason;
        if is_told {
            Ok(())
        } else {
            Err(cr.data["status"].to_string())
        }
    })
    .await
    .unwrap();
}
