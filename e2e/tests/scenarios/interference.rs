//! Changes by others to objects of an installation are noticed, whichever field manager they use. They are repaired and
//! reported, and after three rounds left alone.

use std::time::{Duration, Instant};

use e2e::{
    actions::cr::Cr,
    control_plane::ControlPlane,
    observe::{health::condition, inventory::MANAGER},
    operator::Operator,
    wait::wait_until,
};
use k8s_openapi::jiff::Timestamp;
use kube::{
    Api,
    api::{DynamicObject, Patch, PatchParams, ResourceExt},
};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    SOON,
    bystander::{object_writes, quiet},
    healthy, manifest, running,
};

/// If the operator did something wrong, it would do so within this time.
const TEMPTED: Duration = Duration::from_secs(3);
/// A label that every object has, with the value that the operator sets.
const LABEL: (&str, &str) = ("operator.istio.io/managed", "Reconcile");
const CONFIG: [&str; 3] = ["configmap", "istio", "-n=istio-system"];

/// Foundation row 4: a change under the name of the operator's own field manager is repaired within a second and told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_under_our_own_name_is_repaired_and_told() {
    let (plane, operator) = running().await;
    let cr = healthy(&plane, &minimal()).await;
    quiet(&plane, &operator, Duration::from_secs(2)).await;
    let since = Timestamp::now();
    let mut scaler = last_applied(&plane, &operator, "horizontalpodautoscalers", "istiod");
    let wanted = scaler["spec"]["maxReplicas"].to_string();
    scaler["spec"]["maxReplicas"] = 9.into();
    plane
        .kubectl_with_input(
            [
                "apply",
                "--server-side",
                "--field-manager=istio-operator",
                "-f",
                "-",
            ],
            &scaler.to_string(),
        )
        .unwrap();
    let start = Instant::now();
    let replicas = [
        "get",
        "hpa",
        "istiod",
        "-n=istio-system",
        "-o=jsonpath={.spec.maxReplicas}",
    ];
    wait_until("maxReplicas as before", SOON, || async {
        let now = plane.kubectl(replicas).map_err(|error| error.to_string())?;
        if now == wanted { Ok(()) } else { Err(now) }
    })
    .await
    .unwrap();
    let took = start.elapsed();
    println!("repaired within {} ms", took.as_millis());
    assert!(took < Duration::from_secs(1), "{took:?}");
    let note = event(&plane, "Overwritten").await;
    for part in [
        "istio-operator (operation Apply)",
        "HorizontalPodAutoscaler istio-system/istiod",
        "Z;",
    ] {
        assert!(note.contains(part), "{note}");
    }
    cr.wait_for("HEALTHY", SOON).await.unwrap();
    let writes = object_writes(&plane, &operator, since);
    assert_eq!(writes.len(), 1, "{writes:?}");
}

/// Foundation row 4: the same in the very second in which the operator wrote itself, for kinds with and without a
/// generation; then it is quiet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_under_our_own_name_in_the_second_of_our_own_write_is_repaired() {
    let (plane, operator) = running().await;
    healthy(&plane, &minimal()).await;
    quiet(&plane, &operator, Duration::from_secs(2)).await;
    let client = plane.client().await.unwrap();
    let items = plane.inventory().await.unwrap().owned().await.unwrap();
    let kinds = [
        "ConfigMap",
        "ServiceAccount",
        "Service",
        "Deployment",
        "HorizontalPodAutoscaler",
        "ClusterRole",
        "MutatingWebhookConfiguration",
    ];
    let mut same_second = 0;
    for kind in kinds {
        let item = items.iter().find(|item| item.resource.kind == kind);
        let item = item.unwrap();
        let api = item.api(client.clone());
        let name = item.object.name_any();
        let mut body = last_applied(&plane, &operator, &item.resource.plural, &name);
        body["metadata"]["labels"][LABEL.0] = "x".into();
        begin_second().await;
        overwrite(&api, &name, &body).await;
        let repaired = until_labeled(&api, &name).await;
        let overwritten = overwrite(&api, &name, &body).await;
        if written_at(&repaired) == written_at(&overwritten) {
            same_second += 1;
        }
        until_labeled(&api, &name).await;
    }
    println!(
        "{same_second} of {} in the second of our own write",
        kinds.len()
    );
    assert!(same_second >= kinds.len() / 2, "{same_second}");
    let since = Timestamp::now();
    quiet(&plane, &operator, TEMPTED).await;
    let writes = object_writes(&plane, &operator, since);
    println!("{} late writes", writes.len());
}

/// Foundation row 10: whoever deletes an object again and again, or takes its owner label away, is fought three times
/// and then told of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_deletes_or_disowns_an_object_again_and_again_is_told_of() {
    let (plane, operator) = running().await;
    let cr = healthy(&plane, &minimal()).await;
    let uid = |object: [&str; 3]| {
        plane.kubectl(
            ["get"]
                .iter()
                .chain(&object)
                .chain(&["-o=jsonpath={.metadata.uid}"]),
        )
    };
    for _ in 0..3 {
        let before = uid(CONFIG).unwrap();
        plane.kubectl(["delete"].iter().chain(&CONFIG)).unwrap();
        wait_until("the ConfigMap to be back", SOON, || async {
            match uid(CONFIG) {
                Ok(now) if now != before => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await
        .unwrap();
    }
    cr.wait_for("HEALTHY", SOON).await.unwrap();
    let since = Timestamp::now();
    plane.kubectl(["delete"].iter().chain(&CONFIG)).unwrap();
    until_conflict(&cr, "ConfigMap istio-system/istio: it keeps being deleted").await;
    sleep(TEMPTED).await;
    assert!(uid(CONFIG).is_err(), "it came back");
    assert_eq!(object_writes(&plane, &operator, since), [""; 0]);

    let account = ["serviceaccount", "istiod", "-n=istio-system"];
    let owner = "install.operator.istio.io/owning-resource";
    let disown = || {
        let label = format!("{owner}-");
        let args = ["label"].into_iter().chain(account).chain([label.as_str()]);
        plane.kubectl(args).unwrap();
    };
    let read = r"-o=jsonpath={.metadata.labels.install\.operator\.istio\.io/owning-resource}";
    for _ in 0..3 {
        disown();
        wait_until("the label to be back", SOON, || async {
            match plane.kubectl(["get"].iter().chain(&account).chain(&[read])) {
                Ok(now) if now == "mesh" => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await
        .unwrap();
    }
    let since = Timestamp::now();
    disown();
    let text = "ServiceAccount istio-system/istiod: it keeps losing its owner label";
    until_conflict(&cr, text).await;
    sleep(TEMPTED).await;
    assert_eq!(object_writes(&plane, &operator, since), [""; 0]);
}

/// Foundation rows 10 and 19: admission that takes the owner label away makes no endless loop.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_label_that_admission_takes_away_is_told_of() {
    let (plane, operator) = running().await;
    for object in [strip_policy(), strip_binding()] {
        plane.apply(&object.to_string()).unwrap();
    }
    wait_until("the policy to work", SOON, || async {
        let probe = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
            "name": "istio", "namespace": "default", "labels": {OWNER: "x"}}});
        let made = plane.kubectl_with_input(
            [
                "create",
                "--dry-run=server",
                "-o=jsonpath={.metadata.labels}",
                "-f",
                "-",
            ],
            &probe.to_string(),
        );
        match made {
            Ok(labels) if !labels.contains(OWNER) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap();
    let since = Timestamp::now();
    let cr = Cr::apply(&plane, &minimal()).await.unwrap();
    until_conflict(
        &cr,
        "ConfigMap istio-system/istio: it keeps losing its owner label",
    )
    .await;
    sleep(TEMPTED).await;
    let writes = object_writes(&plane, &operator, since);
    let config = "/api/v1/namespaces/istio-system/configmaps/istio?";
    let count = writes.iter().filter(|write| write.contains(config)).count();
    println!("{count} writes of the ConfigMap");
    assert!(count <= 4, "{count}");
}

/// Foundation row 15: every delete is bound to the state that was judged, and an object that another CR got meanwhile
/// stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delete_is_bound_to_the_state_that_was_judged() {
    let (plane, operator) = running().await;
    let cr = healthy(&plane, &minimal()).await;
    let since = Timestamp::now();
    let start = Instant::now();
    cr.delete(SOON).await.unwrap();
    println!("deleted within {} ms", start.elapsed().as_millis());
    let writes = plane.audit().writes_by(operator.user(), since).unwrap();
    let deletes: Vec<_> = writes
        .iter()
        .filter(|write| write.verb == "delete")
        .collect();
    assert!(deletes.len() > 20, "{}", deletes.len());
    for delete in &deletes {
        let preconditions = &delete.request_object["preconditions"];
        let is_bound =
            preconditions["uid"].is_string() && preconditions["resourceVersion"].is_string();
        assert!(is_bound, "{} {}", delete.request_uri, delete.request_object);
    }
    let conflicts = deletes
        .iter()
        .filter(|delete| delete.response_status.code == 409);
    println!("{} deletes, {} conflicts", deletes.len(), conflicts.count());
}

const OWNER: &str = "install.operator.istio.io/owning-resource";

fn strip_policy() -> Value {
    let labels = format!("object.metadata.labels[\"{OWNER}\"]");
    let expression = format!(
        "[JSONPatch{{op: \"remove\", path: \"/metadata/labels/\" + jsonpatch.escapeKey(\"{OWNER}\")}}]"
    );
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": "strip"},
        "spec": {
            "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"],
                "operations": ["CREATE", "UPDATE"], "resources": ["configmaps"]}]},
            "matchConditions": [{"name": "labeled", "expression": format!(
                "object.metadata.name == \"istio\" && has(object.metadata.labels) && \"{OWNER}\" in object.metadata.labels && {labels} != \"\"")}],
            "failurePolicy": "Fail",
            "reinvocationPolicy": "Never",
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}],
        },
    })
}

fn strip_binding() -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": "strip"},
        "spec": {"policyName": "strip"},
    })
}

fn minimal() -> String {
    manifest("mesh", &json!({"profile": "minimal"})).to_string()
}

/// What the operator applied last to an object.
fn last_applied(plane: &ControlPlane, operator: &Operator, resource: &str, name: &str) -> Value {
    let writes = plane
        .audit()
        .writes_by(operator.user(), Timestamp::UNIX_EPOCH)
        .unwrap();
    let mut patches = writes.iter().rev().filter(|write| write.verb == "patch");
    let last = patches
        .find(|write| write.object_ref.resource == resource && write.object_ref.name == name);
    let mut body = last.unwrap().request_object.clone();
    if let Some(metadata) = body["metadata"].as_object_mut() {
        metadata.remove("resourceVersion");
    }
    body
}

/// Applies `body` under the name of the operator's field manager.
async fn overwrite(api: &Api<DynamicObject>, name: &str, body: &Value) -> DynamicObject {
    let params = PatchParams::apply(MANAGER).force();
    api.patch(name, &params, &Patch::Apply(body)).await.unwrap()
}

/// Waits until an object has the label that the operator sets.
async fn until_labeled(api: &Api<DynamicObject>, name: &str) -> DynamicObject {
    let start = Instant::now();
    loop {
        let object = api.get(name).await.unwrap();
        if object.labels()[LABEL.0] == LABEL.1 {
            return object;
        }
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "{name} stays overwritten"
        );
        sleep(Duration::from_millis(5)).await;
    }
}

/// When an apply under the operator's name changed an object last.
fn written_at(object: &DynamicObject) -> Option<Timestamp> {
    let mut entries = object.managed_fields().iter();
    let ours = entries.find(|entry| {
        entry.manager.as_deref() == Some(MANAGER) && entry.operation.as_deref() == Some("Apply")
    })?;
    ours.time.as_ref().map(|time| time.0)
}

/// Waits for the begin of a second.
async fn begin_second() {
    let past = u64::try_from(Timestamp::now().subsec_millisecond()).unwrap();
    sleep(Duration::from_millis(1_000 - past)).await;
}

async fn until_conflict(cr: &Cr, text: &str) {
    wait_until(&format!("a Conflict with {text:?}"), SOON, || async {
        let cr = cr.get().await.map_err(|error| error.to_string())?;
        let conflict = condition(&cr.data, "Conflict");
        let message = conflict["message"].as_str().unwrap_or_default();
        if message.contains(text) {
            Ok(())
        } else {
            Err(cr.data["status"].to_string())
        }
    })
    .await
    .unwrap();
}

/// The note of the Event with this reason.
async fn event(plane: &ControlPlane, reason: &str) -> String {
    let selector = format!("--field-selector=reason={reason}");
    wait_until(reason, SOON, || async {
        let events = plane
            .kubectl([
                "get",
                "events",
                "-A",
                "-o=jsonpath={.items[*].message}",
                &selector,
            ])
            .map_err(|error| error.to_string())?;
        if events.is_empty() {
            Err("no Event")
        } else {
            Ok(events)
        }
        .map_err(str::to_owned)
    })
    .await
    .unwrap()
}
