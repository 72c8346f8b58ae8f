//! The finalizer that keeps a CR until its objects are gone.
//!
//! Written as JSON patches that test what they were computed from, so that the finalizers of others are never lost. It
//! works on metadata alone: a CR whose spec is wrong can be deleted like any other.

use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

use crate::api::IstioOperator;
use crate::apply::{ApplyError, Sender};
use crate::plan::MANAGER;

/// The name that Istio's own operator used, so that CRs which it left behind can be deleted.
const FINALIZER: &str = "istio-finalizer.install.istio.io";

/// Whether a CR is on its way out.
pub fn is_deleting(cr: &IstioOperator) -> bool {
    cr.metadata.deletion_timestamp.is_some()
}

/// Whether a CR waits for us to go.
pub fn is_held(cr: &IstioOperator) -> bool {
    cr.finalizers().iter().any(|name| name == FINALIZER)
}

/// Holds a CR; gives it as it is then, if it was not held before.
pub async fn hold(
    sender: &Sender,
    cr: &IstioOperator,
) -> Result<Option<IstioOperator>, ApplyError> {
    if is_held(cr) {
        return Ok(None);
    }
    send(sender, cr, added(cr.finalizers())).await
}

/// Lets a CR go. One that is gone already is no error.
pub async fn release(sender: &Sender, cr: &IstioOperator) -> Result<(), ApplyError> {
    send(sender, cr, removed(cr.finalizers())).await.map(drop)
}

/// The patch that adds our finalizer to `finalizers`.
fn added(finalizers: &[String]) -> Value {
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
fn removed(finalizers: &[String]) -> Value {
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
) -> Result<Option<IstioOperator>, ApplyError> {
    if let Some(operations) = operations.as_array_mut() {
        // Bound to the UID, so that a CR of the same name that came later is not touched.
        let same = json!({"op": "test", "path": "/metadata/uid", "value": cr.metadata.uid});
        operations.insert(0, same);
    }
    let operations = serde_json::from_value(operations)
        .map_err(|error| ApplyError::Invalid(error.to_string()))?;
    let namespace = cr.metadata.namespace.as_deref().unwrap_or_default();
    let api: Api<IstioOperator> = Api::namespaced(sender.client().clone(), namespace);
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

    #[test]
    fn patches_test_what_they_change() {
        assert_eq!(
            added(&[]),
            json!([
                {"op": "test", "path": "/metadata/finalizers", "value": null},
                {"op": "add", "path": "/metadata/finalizers", "value": [FINALIZER]},
            ])
        );
        assert_eq!(added(&["other".to_owned()])[0]["value"], json!(["other"]));
        assert_eq!(
            removed(&["other".to_owned(), FINALIZER.to_owned()]),
            json!([
                {"op": "test", "path": "/metadata/finalizers/1", "value": FINALIZER},
                {"op": "remove", "path": "/metadata/finalizers/1"},
            ])
        );
    }
}
