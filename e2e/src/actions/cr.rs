//! One IstioOperator in a cluster: applied, waited for, changed, deleted, as its author would.

use std::time::Duration;

use k8s_openapi::api::core::v1::Event;
use kube::{
    Api, Client,
    api::{
        ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams,
        ResourceExt,
    },
};
use serde_json::{Value, json};

use crate::{
    control_plane::ControlPlane, error::Error, observe::health::condition, wait::wait_until, yaml,
};

/// An IstioOperator that was applied.
#[derive(Clone, Debug)]
pub struct Cr {
    api: Api<DynamicObject>,
    events: Api<Event>,
    name: String,
}

/// The API of IstioOperators, for watches and lists.
#[must_use]
pub fn resource() -> ApiResource {
    let kind = GroupVersionKind::gvk("install.istio.io", "v1alpha1", "IstioOperator");
    ApiResource::from_gvk(&kind)
}

/// An IstioOperator in `istio-system`.
#[must_use]
pub fn manifest(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "install.istio.io/v1alpha1",
        "kind": "IstioOperator",
        "metadata": {"name": name, "namespace": "istio-system"},
        "spec": spec,
    })
}

impl Cr {
    /// Applies an IstioOperator with kubectl, as a user does, and creates its namespace before.
    pub async fn apply(plane: &ControlPlane, text: &str) -> Result<Self, Error> {
        let documents = yaml::documents("IstioOperator", text)?;
        let metadata = documents.first().map(|document| &document["metadata"]);
        let field = |name: &str| metadata.and_then(|metadata| metadata[name].as_str());
        let namespace = field("namespace").unwrap_or("default");
        let name = field("name").unwrap_or_default();
        plane.create_namespace(namespace)?;
        plane.kubectl_with_input(["apply", "-f", "-"], text)?;
        Ok(Self::of(plane.client().await?, namespace, name))
    }

    /// An IstioOperator that is there already.
    #[must_use]
    pub fn of(client: Client, namespace: &str, name: &str) -> Self {
        Self {
            api: Api::namespaced_with(client.clone(), namespace, &resource()),
            events: Api::namespaced(client, namespace),
            name: name.into(),
        }
    }

    /// As it is now.
    pub async fn get(&self) -> Result<DynamicObject, Error> {
        Ok(self.api.get(&self.name).await?)
    }

    /// Changes it by a JSON merge patch.
    pub async fn patch(&self, change: &Value) -> Result<DynamicObject, Error> {
        let params = PatchParams::default();
        Ok(self
            .api
            .patch(&self.name, &params, &Patch::Merge(change))
            .await?)
    }

    /// Gives it another spec.
    pub async fn replace_spec(&self, spec: &Value) -> Result<DynamicObject, Error> {
        let operations = json!([{"op": "replace", "path": "/spec", "value": spec}]);
        let operations = serde_json::from_value(operations)
            .map_err(|error| Error::Unexpected(error.to_string()))?;
        let patch = Patch::Json::<()>(operations);
        let params = PatchParams::default();
        Ok(self.api.patch(&self.name, &params, &patch).await?)
    }

    /// Waits until the operator says of the present generation that it is in `state`, such as
    /// `HEALTHY`; gives the CR as it is then.
    pub async fn wait_for(&self, state: &str, deadline: Duration) -> Result<DynamicObject, Error> {
        let what = format!("{} to be {state}", self.name);
        wait_until(&what, deadline, || async {
            let cr = self.get().await.map_err(|error| error.to_string())?;
            if self::state(&cr) == state {
                return Ok(cr);
            }
            Err(format!("its status is {}", cr.data["status"]))
        })
        .await
    }

    /// Waits until a condition has this status and, if one is named, this reason; gives the CR as it is then. The
    /// condition may be one of an earlier generation: wait with [`Cr::wait_for`] first where that matters.
    pub async fn wait_for_condition(
        &self,
        kind: &str,
        status: &str,
        reason: Option<&str>,
        deadline: Duration,
    ) -> Result<DynamicObject, Error> {
        let is_met = |found: &Value| {
            found["status"] == status && reason.is_none_or(|reason| found["reason"] == reason)
        };
        let what = format!("{kind}={status} {reason:?} of {}", self.name);
        self.wait_for_condition_that(&what, kind, is_met, deadline)
            .await
    }

    /// Waits until there is no condition of this type.
    pub async fn wait_for_no_condition(
        &self,
        kind: &str,
        deadline: Duration,
    ) -> Result<DynamicObject, Error> {
        let what = format!("{} to have no condition {kind}", self.name);
        self.wait_for_condition_that(&what, kind, Value::is_null, deadline)
            .await
    }

    async fn wait_for_condition_that(
        &self,
        what: &str,
        kind: &str,
        is_met: impl Fn(&Value) -> bool,
        deadline: Duration,
    ) -> Result<DynamicObject, Error> {
        wait_until(what, deadline, || async {
            let cr = self.get().await.map_err(|error| error.to_string())?;
            if is_met(condition(&cr.data, kind)) {
                return Ok(cr);
            }
            Err(format!("its status is {}", cr.data["status"]))
        })
        .await
    }

    /// Waits until `status.message` contains this text.
    pub async fn wait_for_message(&self, text: &str, deadline: Duration) -> Result<(), Error> {
        let what = format!("{} to have a message with {text:?}", self.name);
        wait_until(&what, deadline, || async {
            let cr = self.get().await.map_err(|error| error.to_string())?;
            let message = cr.data["status"]["message"].as_str().unwrap_or_default();
            if message.contains(text) {
                Ok(())
            } else {
                Err(format!("its message is {message:?}"))
            }
        })
        .await
    }

    /// The Events about it, oldest first. Repetitions are one Event with a count.
    pub async fn events(&self) -> Result<Vec<Event>, Error> {
        let fields = format!(
            "involvedObject.kind=IstioOperator,involvedObject.name={}",
            self.name
        );
        let mut events = self
            .events
            .list(&ListParams::default().fields(&fields))
            .await?
            .items;
        events.sort_by_key(|event| event.metadata.creation_timestamp.clone());
        Ok(events)
    }

    /// The Events about it that have this reason.
    pub async fn events_with_reason(&self, reason: &str) -> Result<Vec<Event>, Error> {
        let mut events = self.events().await?;
        events.retain(|event| event.reason.as_deref() == Some(reason));
        Ok(events)
    }

    /// Deletes it; it is there until the operator lets it go.
    pub async fn start_deletion(&self) -> Result<(), Error> {
        self.api
            .delete(&self.name, &DeleteParams::default())
            .await?;
        Ok(())
    }

    /// Deletes it and waits until it is gone.
    pub async fn delete(&self, deadline: Duration) -> Result<(), Error> {
        self.start_deletion().await?;
        self.wait_until_gone(deadline).await
    }

    /// Waits until it is gone.
    pub async fn wait_until_gone(&self, deadline: Duration) -> Result<(), Error> {
        let what = format!("{} to be gone", self.name);
        wait_until(&what, deadline, || async {
            match self.api.get_opt(&self.name).await {
                Ok(None) => Ok(()),
                Ok(Some(cr)) => Err(format!(
                    "finalizers {:?}, status {}",
                    cr.finalizers(),
                    cr.data["status"]
                )),
                Err(error) => Err(error.to_string()),
            }
        })
        .await
    }
}

/// `status.status`, or nothing if the operator has not seen the present generation.
#[must_use]
pub fn state(cr: &DynamicObject) -> &str {
    let status = &cr.data["status"];
    if status["observedGeneration"].as_i64() == cr.metadata.generation {
        status["status"].as_str().unwrap_or_default()
    } else {
        ""
    }
}
