//! One IstioOperator in a cluster: applied, waited for, changed, deleted, as its author would.

use std::time::Duration;

use kube::{
    Api, Client,
    api::{
        ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, ResourceExt,
    },
};
use serde_json::{Value, json};

use crate::{control_plane::ControlPlane, error::Error, wait::wait_until, yaml};

/// An IstioOperator that was applied.
#[derive(Clone, Debug)]
pub struct Cr {
    api: Api<DynamicObject>,
    name: String,
}

/// The API of IstioOperators, for watches and lists.
#[must_use]
pub fn resource() -> ApiResource {
    let kind = GroupVersionKind::gvk("install.istio.io", "v1alpha1", "IstioOperator");
    ApiResource::from_gvk(&kind)
}

impl Cr {
    /// Applies an IstioOperator with kubectl, as a user does, and creates its namespace before.
    pub async fn apply(plane: &ControlPlane, text: &str) -> Result<Self, Error> {
        let documents = yaml::documents("IstioOperator", text)?;
        let metadata = documents.first().map(|document| &document["metadata"]);
        let field = |name: &str| metadata.and_then(|metadata| metadata[name].as_str());
        let namespace = field("namespace").unwrap_or("default");
        let name = field("name").unwrap_or_default();
        plane.apply(
            &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
                .to_string(),
        )?;
        plane.kubectl_with_input(["apply", "-f", "-"], text)?;
        Ok(Self::of(plane.client().await?, namespace, name))
    }

    /// An IstioOperator that is there already.
    #[must_use]
    pub fn of(client: Client, namespace: &str, name: &str) -> Self {
        Self {
            api: Api::namespaced_with(client, namespace, &resource()),
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

    /// Deletes it and waits until it is gone.
    pub async fn delete(&self, deadline: Duration) -> Result<(), Error> {
        self.api
            .delete(&self.name, &DeleteParams::default())
            .await?;
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
