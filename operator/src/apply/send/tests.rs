//! What is sent, call by call.

use serde_json::json;
use tokio::time::Instant;

use super::super::fake_api_server::{Answer, FakeApiServer, to_apply};
use super::*;
use crate::cluster::CrKey;

fn sending(reason: ApplyReason) -> ObjectToApply {
    let key = ObjectKey {
        group: String::new(),
        kind: "ConfigMap".into(),
        namespace: Some("a".into()),
        name: "b".into(),
    };
    ObjectToApply {
        body: Manifest::from(
            &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b"}}),
        ),
        ..to_apply(key, reason)
    }
}

#[tokio::test]
async fn what_is_sent_again_is_not_checked_twice() {
    for (reason, validation) in [
        (ApplyReason::Rollout, "Strict"),
        (ApplyReason::Repair, "Ignore"),
        (ApplyReason::Restore, "Ignore"),
    ] {
        let live = json!({"metadata": {"name": "b", "uid": "1", "resourceVersion": "7"}});
        let api = FakeApiServer::answering([Answer::Object(live)]);
        let live = api.sender().apply(&sending(reason)).await.unwrap();
        assert_eq!((live.uid.as_str(), live.version), ("1", 7));
        let path = &api.calls()[0].path;
        assert!(path.contains("force=true"), "{path}");
        let expected = format!("fieldValidation={validation}");
        assert!(path.contains(&expected), "{reason:?}: {path}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_write_outlives_the_lease() {
    let api = FakeApiServer::answering([Answer::Silence]);
    let start = Instant::now();
    let ends = start + Duration::from_secs(3);
    let sender = api.sender_until(ends);
    let cut = sender.apply(&sending(ApplyReason::Rollout)).await;
    assert_eq!(cut.unwrap_err().reason(), "TimedOut");
    assert_eq!(Instant::now(), ends);
    let late = sender.apply(&sending(ApplyReason::Rollout)).await;
    assert_eq!(late.unwrap_err().reason(), "NotLeader");
    assert_eq!(api.calls().len(), 1);
}

#[tokio::test]
async fn a_secret_is_created_once_and_left_alone() {
    let key = crate::cluster::key("Secret", "grafana");
    let metadata = json!({"name": "grafana", "annotations": {generated::GENERATED: "password"}});
    let secret = ObjectToApply {
        kind: Kind::of(&key).unwrap(),
        key,
        body: Manifest::from(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata})),
        ..new_object()
    };
    let created = Answer::Object(json!({"metadata": {"name": "grafana", "uid": "1"}}));
    let exists = Answer::Failure(409, "secrets \"grafana\" already exists");
    let api = FakeApiServer::answering([created, exists]);
    for _ in 0..2 {
        let live = api.sender().apply(&secret).await.unwrap();
        assert_eq!((live.uid.as_str(), live.our_fields), ("", None));
    }
    let calls = api.calls();
    assert_eq!(calls.len(), 2);
    let made_up = |call: usize| calls[call].body["stringData"]["password"].as_str().unwrap();
    assert_eq!(made_up(0).len(), 32);
    assert_ne!(made_up(0), made_up(1));
}

fn new_object() -> ObjectToApply {
    ObjectToApply {
        is_new: true,
        ..sending(ApplyReason::Rollout)
    }
}

const EXISTS: Answer = Answer::Failure(409, "the object has been modified");

#[tokio::test]
async fn an_object_that_was_not_known_is_created_only() {
    let live = json!({"metadata": {"name": "b", "uid": "1"}});
    let api = FakeApiServer::answering([Answer::Object(live)]);
    api.sender().apply(&new_object()).await.unwrap();
    let calls = api.calls();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].body["metadata"]["resourceVersion"], "1");
}

#[tokio::test]
async fn an_object_that_exists_is_taken_over_unless_another_tool_manages_it() {
    let helm = json!({"annotations": {"meta.helm.sh/release-name": "x"}});
    let api = FakeApiServer::answering([EXISTS, Answer::Object(json!({"metadata": helm}))]);
    let refused = api.sender().apply(&new_object()).await;
    assert_eq!(refused, Err(ApplyError::ManagedBy(ManagingTool::Helm)));
    assert_eq!(api.calls().len(), 2);

    let istioctl = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "Helm"}}});
    let taken = json!({"metadata": {"name": "b", "uid": "1"}});
    let api = FakeApiServer::answering([EXISTS, Answer::Object(istioctl), Answer::Object(taken)]);
    let live = api.sender().apply(&new_object()).await.unwrap();
    assert_eq!(live.uid, "1");
    let calls = api.calls();
    assert_eq!(calls[2].body["metadata"].get("resourceVersion"), None);
}

fn deleting() -> ObjectToDelete {
    let ObjectToApply { key, kind, .. } = sending(ApplyReason::Rollout);
    ObjectToDelete {
        key,
        kind,
        uid: "1".into(),
        version: 7,
        owner: CrKey {
            namespace: "mesh".into(),
            name: "one".into(),
        },
    }
}

fn owned_by(name: &str) -> Answer {
    let labels = json!({
        "install.operator.istio.io/owning-resource": name,
        "install.operator.istio.io/owning-resource-namespace": "mesh",
    });
    let entry = json!({"manager": MANAGER, "operation": "Apply", "fieldsV1": {}});
    Answer::Object(
        json!({"metadata": {"uid": "1", "resourceVersion": "9", "labels": labels,
        "managedFields": [entry]}}),
    )
}

fn done() -> Answer {
    Answer::Object(json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}))
}

#[tokio::test]
async fn a_delete_is_bound_to_the_state_that_was_judged() {
    let api = FakeApiServer::answering([done()]);
    assert_eq!(api.sender().delete(&deleting()).await, Ok(true));
    let preconditions = &api.calls()[0].body["preconditions"];
    assert_eq!(*preconditions, json!({"uid": "1", "resourceVersion": "7"}));
}

#[tokio::test]
async fn an_object_that_changed_is_judged_again_before_it_is_deleted() {
    let api = FakeApiServer::answering([EXISTS, owned_by("one"), done()]);
    assert_eq!(api.sender().delete(&deleting()).await, Ok(true));
    let preconditions = &api.calls()[2].body["preconditions"];
    assert_eq!(*preconditions, json!({"uid": "1", "resourceVersion": "9"}));

    let api = FakeApiServer::answering([EXISTS, owned_by("other")]);
    let kept = api.sender().delete(&deleting()).await;
    assert_eq!(kept.unwrap_err().reason(), "Conflict");
    assert_eq!(api.calls().len(), 2);
}

#[tokio::test]
async fn webhooks_are_sent_with_the_ca_of_the_live_ones() {
    let injector = ObjectKey {
        group: "admissionregistration.k8s.io".into(),
        kind: "MutatingWebhookConfiguration".into(),
        namespace: None,
        name: "injector".into(),
    };
    let webhooks = json!([{"clientConfig": {"caBundle": "Q0E="}}]);
    let live = json!({"metadata": {"name": "injector"}, "webhooks": webhooks});
    let send = ObjectToApply {
        body: Manifest::from(&json!({"webhooks": [{"clientConfig": {}}]})),
        ca_from: Some(injector),
        ..sending(ApplyReason::Rollout)
    };
    let answer = json!({"metadata": {"name": "tag"}});
    let api = FakeApiServer::answering([live, answer].map(Answer::Object));
    api.sender().apply(&send).await.unwrap();
    let [first, second] = &api.calls()[..] else {
        panic!("{:?}", api.calls())
    };
    assert!(
        first
            .path
            .ends_with("/mutatingwebhookconfigurations/injector")
    );
    assert_eq!(second.body, json!({"webhooks": webhooks}));
}
