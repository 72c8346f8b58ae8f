//! The finalizer that keeps a CR until its objects are gone.
//!
//! Written as JSON patches that test what they were computed from, so that the finalizers of others are never lost. It
//! works on metadata alone: a CR whose spec is wrong can be deleted like any other.

use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

use crate::api::{IstioOperator, StoredCr};
use crate::apply::{ApplyError, Sender};
use crate::cluster::MANAGER;

/// The name that Istio's own operator used, so that CRs which it left behind can be deleted.
const FINALIZER: &str = "istio-finalizer.install.istio.io";

/// Whether a CR is on its way out.
pub fn is_deleting(cr: &IstioOperator) -> bool {
    cr.metadata.deletion_timestamp.is_some()
}

/// Whether a CR waits for us to go.
pub fn is_present(cr: &IstioOperator) -> bool {
    cr.finalizers().iter().any(|name| name == FINALIZER)
}

/// Holds a CR that is not held; gives it as it is then, or nothing if it is gone.
pub async fn ensure(sender: &Sender, cr: &IstioOperator) -> Result<Option<StoredCr>, ApplyError> {
    send(sender, cr, patch_that_adds(cr.finalizers())).await
}

/// Lets a CR go. One that is gone already is no error.
pub async fn remove(sender: &Sender, cr: &IstioOperator) -> Result<(), ApplyError> {
    send(sender, cr, patch_that_removes(cr.finalizers()))
        .await
        .map(drop)
}

/// The patch that adds our finalizer to `finalizers`.
fn patch_that_adds(finalizers: &[String]) -> Value {
    if finalizers.is_empty() {
        json!([
            {"op": "test", "path": "/metadata/finalizers", "value": null},
            {"op": "add", "path": "/metadata/finalizers", "value": [FINALIZER]},
        ])
    } else {
        json!([
            {"op": "test", "path": "/metadata/finalizers", "value": finalizers},
            {"op": "add", "path": "/metadata/finalizers/-", "value": FINALIZER},
        ])
    }
}

/// The patch that removes our finalizer from `finalizers`.
fn patch_that_removes(finalizers: &[String]) -> Value {
    let index = finalizers
        .iter()
        .position(|name| name == FINALIZER)
        .unwrap_or_default();
    let path = format!("/metadata/finalizers/{index}");
    json!([
        {"op": "test", "path": path, "value": FINALIZER},
        {"op": "remove", "path": path},
    ])
}

async fn send(
    sender: &Sender,
    cr: &IstioOperator,
    mut operations: Value,
) -> Result<Option<StoredCr>, ApplyError> {
    if let Some(operations) = operations.as_array_mut() {
        // Bound to the UID, so that a CR of the same name that came later is not touched.
        let same = json!({"op": "test", "path": "/metadata/uid", "value": cr.metadata.uid});
        operations.insert(0, same);
    }
    let operations = serde_json::from_value(operations)
        .map_err(|error| ApplyError::Invalid(error.to_string()))?;
    let namespace = cr.metadata.namespace.as_deref().unwrap_or_default();
    let api: Api<StoredCr> = Api::namespaced(sender.client().clone(), namespace);
    let params = PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let patch = Patch::Json::<()>(operations);
    let name = cr.name_any();
    let call = async {
        match api.patch(&name, &params, &patch).await {
            Err(error) if ApplyError::is_gone(&error) => Ok(None),
            other => other.map(Some),
        }
    };
    sender.write(call).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::fake_api_server::{Answer, FakeApiServer, refusals, told};

    fn cr(finalizers: &[&str]) -> IstioOperator {
        serde_json::from_value(object(finalizers)).unwrap()
    }

    fn object(finalizers: &[&str]) -> Value {
        json!({
            "apiVersion": "install.istio.io/v1alpha1",
            "kind": "IstioOperator",
            "metadata": {"name": "cr", "namespace": "a", "uid": "1", "finalizers": finalizers},
        })
    }

    #[tokio::test]
    async fn the_very_cr_that_was_seen_is_held_and_let_go() {
        let api = FakeApiServer::answering([
            Answer::Object(object(&[FINALIZER])),
            Answer::Object(object(&[])),
        ]);
        let held = ensure(&api.sender(), &cr(&[])).await.unwrap().unwrap();
        assert!(is_present(&held));
        remove(&api.sender(), &held).await.unwrap();
        let calls = api.calls();
        assert_eq!(calls.len(), 2);
        let is_same = json!({"op": "test", "path": "/metadata/uid", "value": "1"});
        assert!(calls.iter().all(|call| call.body[0] == is_same));
    }

    #[tokio::test(start_paused = true)]
    async fn a_patch_that_is_not_taken_is_left_to_the_next_pass() {
        for (answer, reason, class) in refusals() {
            let api = FakeApiServer::answering([answer.clone(), answer]);
            let held = ensure(&api.sender(), &cr(&[])).await;
            let released = remove(&api.sender(), &cr(&[FINALIZER])).await;
            assert_eq!(told(&held.unwrap_err()), (reason, class));
            assert_eq!(told(&released.unwrap_err()), (reason, class));
        }
    }

    #[tokio::test]
    async fn a_cr_that_is_gone_is_no_error() {
        let gone = Answer::Failure(404, "istiooperators.install.istio.io \"cr\" not found");
        let api = FakeApiServer::answering([gone.clone(), gone]);
        assert!(ensure(&api.sender(), &cr(&[])).await.unwrap().is_none());
        remove(&api.sender(), &cr(&[FINALIZER])).await.unwrap();
    }

    #[test]
    fn patches_test_what_they_change() {
        assert_eq!(
            patch_that_adds(&[]),
            json!([
                {"op": "test", "path": "/metadata/finalizers", "value": null},
                {"op": "add", "path": "/metadata/finalizers", "value": [FINALIZER]},
            ])
        );
        assert_eq!(
            patch_that_adds(&["other".to_owned()])[0]["value"],
            json!(["other"])
        );
        assert_eq!(
            patch_that_removes(&["other".to_owned(), FINALIZER.to_owned()]),
            json!([
                {"op": "test", "path": "/metadata/finalizers/1", "value": FINALIZER},
                {"op": "remove", "path": "/metadata/finalizers/1"},
            ])
        );
    }
}
