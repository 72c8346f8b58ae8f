//! One call to the API server: the only place that writes objects.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace as LiveNamespace;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions};
use kube::core::discovery::Scope;
use kube::core::{ApiResource, ObjectMeta, PartialObjectMeta};
use kube::{Client, core::GroupVersionKind};
use serde::Deserialize;
use serde_json::Value;

use super::preview::whole;
use super::{ApplyError, generated};
use crate::charts::yaml::Manifest;
use crate::cluster::{
    ApplyReason, Kind, LiveObject, MANAGER, ManagingTool, Upkeep, conflicting_manager,
    is_mesh_config,
};
use crate::plan::{Namespace, ObjectToApply, ObjectToDelete, copy_ca};
use crate::render::ObjectKey;

/// The longest that one call may take. The API server gives up a write after 34 s, webhooks included, and the client
/// itself has no limit for an answer that never comes.
const CALL_LIMIT: Duration = Duration::from_secs(45);

/// How long this process may still write, unless its lease is renewed.
pub type TimeLeft = dyn Fn() -> Duration + Send + Sync;

/// A resource version that no object has: the first object that a store takes has a higher one. An apply that carries it
/// creates the object, and conflicts with one that exists.
const ABSENT: &str = "1";

/// Sends writes, while this process may.
#[derive(Clone)]
pub struct Sender {
    client: Client,
    time_left: Arc<TimeLeft>,
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

impl Kind {
    /// What kube needs to know to call this kind.
    #[must_use]
    pub fn resource(&self) -> ApiResource {
        let gvk = GroupVersionKind::gvk(self.group, self.version, self.kind);
        ApiResource::from_gvk_with_plural(&gvk, self.plural)
    }
}

impl Sender {
    /// A sender that asks `time_left` before each write, so that no write outlives the lease.
    #[must_use]
    pub fn new(client: Client, time_left: Arc<TimeLeft>) -> Self {
        Self { client, time_left }
    }

    /// The client that the calls go through.
    #[must_use]
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// Runs one read within the time limit.
    pub async fn read<T>(
        &self,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, ApplyError> {
        limit(CALL_LIMIT, call).await
    }

    /// Runs one write within the time limit and within what is left of the lease.
    pub async fn write<T>(
        &self,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, ApplyError> {
        let left = (self.time_left)();
        if left.is_zero() {
            return Err(ApplyError::NotLeader);
        }
        limit(left.min(CALL_LIMIT), call).await
    }

    /// Applies one object. The answer carries metadata only: it is all that is needed to notice later changes.
    ///
    /// An object that was not known and exists all the same is not taken over from another tool.
    pub(super) async fn apply(&self, send: &ObjectToApply) -> Result<LiveObject, ApplyError> {
        tracing::debug!(object = %send.key, reason = ?send.reason, "applying");
        if send.kind.upkeep == Upkeep::CreatedOnly {
            return self.create(send, false).await.map(|_| as_sent(send));
        }
        let api = self.api(send.kind, &send.key);
        // For the strict check the API server parses the body once more, an eighth of its work on a large CRD. What is
        // sent again as it was has passed that check.
        let params = match send.reason {
            ApplyReason::Rollout => PatchParams::apply(MANAGER).validation_strict(),
            _ => PatchParams::apply(MANAGER).validation_ignore(),
        };
        // Forced, because what a chart renders is ours; what is not was left out by the plan.
        let params = params.force();
        let mut body = send.body.value();
        if let Some(source) = &send.ca_from {
            self.copy_ca(source, &mut body).await?;
        }
        let name = &send.key.name;
        let apply = async |body: &Value| {
            let patch = Patch::Apply(body);
            let answer = self
                .write(api.patch_metadata(name, &params, &patch))
                .await?;
            Ok(LiveObject::read(send.kind.kind, &answer.metadata))
        };
        if let Some(version) = send.judged_version.filter(|version| *version > 0) {
            body["metadata"]["resourceVersion"] = version.to_string().into();
        }
        if send.is_new {
            body["metadata"]["resourceVersion"] = ABSENT.into();
            match apply(&body).await {
                Err(ApplyError::Conflict(_)) => {}
                answer => return answer,
            }
            if let Some(tool) = self.managing_tool(send.kind, &send.key).await? {
                return Err(ApplyError::ManagedBy(tool));
            }
            if let Some(metadata) = body["metadata"].as_object_mut() {
                metadata.remove("resourceVersion");
            }
        }
        apply(&body).await
    }

    /// Asks what [`Sender::apply`] would give, and changes nothing.
    pub(super) async fn dry_run(&self, object: &ObjectToApply) -> Result<LiveObject, ApplyError> {
        let params = PatchParams::apply(MANAGER).validation_strict();
        let params = params.dry_run().force();
        let patch = Patch::Apply(object.body.value());
        let api = self.api(object.kind, &object.key);
        let call = api.patch_metadata(&object.key.name, &params, &patch);
        let answer = self.write(call).await?;
        Ok(LiveObject::read(object.kind.kind, &answer.metadata))
    }

    /// As [`Sender::dry_run`], with the whole object in the answer.
    pub(super) async fn dry_run_whole(
        &self,
        object: &ObjectToApply,
        body: &Value,
    ) -> Result<Value, ApplyError> {
        let params = PatchParams::apply(MANAGER).dry_run().force();
        let patch = Patch::Apply(body);
        let api = self.api(object.kind, &object.key);
        let call = api.patch(&object.key.name, &params, &patch);
        whole(&self.write(call).await?)
    }

    /// Asks for the whole object that [`Sender::apply`] would give, and changes nothing.
    pub async fn preview(&self, object: &ObjectToApply) -> Result<DynamicObject, ApplyError> {
        let params = PatchParams::apply(MANAGER).validation_strict();
        let params = params.dry_run().force();
        let patch = Patch::Apply(object.body.value());
        let api = self.api(object.kind, &object.key);
        self.write(api.patch(&object.key.name, &params, &patch))
            .await
    }

    /// Reads an object, if it exists. Of one that is only created, nothing but its metadata is read.
    pub async fn find(
        &self,
        kind: &Kind,
        key: &ObjectKey,
    ) -> Result<Option<DynamicObject>, ApplyError> {
        let api = self.api(kind, key);
        let call = async {
            let found = if kind.upkeep == Upkeep::CreatedOnly {
                let metadata = api.get_metadata_opt(&key.name).await;
                metadata.map(|found| {
                    found.map(|found| DynamicObject {
                        types: None,
                        metadata: found.metadata,
                        data: Value::Null,
                    })
                })
            } else {
                api.get_opt(&key.name).await
            };
            match found {
                Err(error) if ApplyError::is_gone(&error) => Ok(None),
                other => other,
            }
        };
        self.read(call).await
    }

    /// Creates an object if there is none, and leaves one that is there as it is; gives whether there was none.
    pub(super) async fn create(
        &self,
        object: &ObjectToApply,
        dry_run: bool,
    ) -> Result<bool, ApplyError> {
        let mut body = object.body.value();
        generated::fill(&mut body).map_err(|error| ApplyError::NoRandomness(error.to_string()))?;
        let body = DynamicObject::deserialize(&body)
            .map_err(|error| ApplyError::Malformed(error.to_string()))?;
        let params = PostParams {
            dry_run,
            field_manager: Some(MANAGER.to_owned()),
        };
        let api = self.api(object.kind, &object.key);
        let call = async {
            match api.create(&params, &body).await {
                Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(false),
                other => other.map(|_| true),
            }
        };
        self.write(call).await
    }

    /// Reads the UID and the selector of a workload, if it exists and is one.
    pub(super) async fn selector(
        &self,
        object: &ObjectToApply,
    ) -> Result<Option<(String, Value)>, ApplyError> {
        if !matches!(object.key.kind.as_str(), "Deployment" | "DaemonSet") {
            return Ok(None);
        }
        let api = self.api(object.kind, &object.key);
        let live = self.read(api.get_opt(&object.key.name)).await?;
        Ok(live.and_then(|live| {
            let selector = live.data["spec"]["selector"].clone();
            Some((live.metadata.uid?, selector))
        }))
    }

    /// Reads which other tool manages an object, if it exists.
    pub(super) async fn managing_tool(
        &self,
        kind: &Kind,
        key: &ObjectKey,
    ) -> Result<Option<ManagingTool>, ApplyError> {
        let api = self.api(kind, key);
        let call = async {
            let found = if is_mesh_config(key) {
                api.get_opt(&key.name).await
            } else {
                let found = api.get_metadata_opt(&key.name).await;
                found.map(|found| found.map(metadata_alone))
            };
            match found {
                // A kind that is not served has no objects.
                Err(error) if ApplyError::is_gone(&error) => Ok(None),
                other => other,
            }
        };
        let object = self.read(call).await?;
        Ok(object.and_then(|object| ManagingTool::of_unlabeled(key, &object)))
    }

    /// Deletes the object that was judged, in the very state that was judged; gives whether it is gone already.
    ///
    /// An object that changed meanwhile, if only its status, is read again. It is deleted if it is the same object and
    /// still belongs to the same CR.
    pub(super) async fn delete(&self, object: &ObjectToDelete) -> Result<bool, ApplyError> {
        if object.version > 0 {
            match self.delete_version(object, object.version).await {
                Err(ApplyError::Conflict(_)) => {}
                answer => return answer,
            }
        }
        let api = self.api(object.kind, &object.key);
        let Some(found) = self.read(api.get_metadata_opt(&object.key.name)).await? else {
            return Ok(true);
        };
        let found = LiveObject::read(object.kind.kind, &found.metadata);
        if found.uid != object.uid || !found.is_owned_by(&object.owner) {
            let why = "it does not belong to this IstioOperator any more";
            return Err(ApplyError::Conflict(why.to_owned()));
        }
        self.delete_version(object, found.version).await
    }

    /// Deletes an object if it has this resource version; gives whether it is gone already.
    async fn delete_version(
        &self,
        object: &ObjectToDelete,
        version: u64,
    ) -> Result<bool, ApplyError> {
        let api = self.api(object.kind, &object.key);
        let preconditions = Preconditions {
            uid: Some(object.uid.clone()),
            resource_version: (version > 0).then(|| version.to_string()),
        };
        let params = DeleteParams::background().preconditions(preconditions);
        let call = async {
            match api.delete(&object.key.name, &params).await {
                Err(error) if ApplyError::is_gone(&error) => Ok(true),
                // An answer without the object, or with one that is not on its way out, means that it is gone.
                answer => answer.map(|answer| {
                    let object = answer.left();
                    object.is_none_or(|object| object.metadata.deletion_timestamp.is_none())
                }),
            }
        };
        self.write(call).await
    }

    /// Whether a namespace exists.
    pub async fn has_namespace(&self, name: &str) -> Result<bool, ApplyError> {
        let api: Api<LiveNamespace> = Api::all(self.client.clone());
        let found = self.read(api.get_metadata_opt(name)).await?;
        Ok(found.is_some())
    }

    /// Creates a namespace; gives whether it was not there before.
    pub(super) async fn create_namespace(&self, namespace: &Namespace) -> Result<bool, ApplyError> {
        let api: Api<LiveNamespace> = Api::all(self.client.clone());
        let label = |network: &String| ("topology.istio.io/network".to_owned(), network.clone());
        let labels = namespace.network.iter().map(label).collect();
        let body = LiveNamespace {
            metadata: ObjectMeta {
                name: Some(namespace.name.clone()),
                labels: Some(labels),
                ..ObjectMeta::default()
            },
            ..LiveNamespace::default()
        };
        let params = PostParams {
            field_manager: Some(MANAGER.to_owned()),
            ..Default::default()
        };
        let call = async {
            match api.create(&params, &body).await {
                Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(false),
                other => other.map(|_| true),
            }
        };
        self.write(call).await
    }

    /// Gives the webhooks of `body` that name no CA the one that the webhooks of `source` have now.
    async fn copy_ca(&self, source: &ObjectKey, body: &mut Value) -> Result<(), ApplyError> {
        let Some(kind) = Kind::of(source) else {
            return Ok(());
        };
        let api = self.api(kind, source);
        if let Some(live) = self.read(api.get_opt(&source.name)).await? {
            copy_ca(&live.data, body);
        }
        Ok(())
    }

    /// Who else holds a field that `body` sets.
    pub(super) async fn conflicting_manager(
        &self,
        key: &ObjectKey,
        body: &Manifest,
    ) -> Result<Option<(String, String)>, ApplyError> {
        let Some(kind) = Kind::of(key) else {
            return Ok(None);
        };
        let api = self.api(kind, key);
        let live = self.read(api.get_metadata_opt(&key.name)).await?;
        let entries = live
            .and_then(|live| live.metadata.managed_fields)
            .unwrap_or_default();
        Ok(conflicting_manager(&body.value(), &entries))
    }

    fn api(&self, kind: &Kind, key: &ObjectKey) -> Api<DynamicObject> {
        let scope = if kind.namespaced {
            Scope::Namespaced
        } else {
            Scope::Cluster
        };
        let api = Api::dynamic(self.client.clone(), &kind.resource(), &scope);
        api.constrain(key.namespace.as_deref().unwrap_or_default())
    }
}

/// What is known of an object that is only created. Nothing of it is read back, so that is what was sent.
pub(super) fn as_sent(object: &ObjectToApply) -> LiveObject {
    let metadata = object.body.field("metadata");
    let metadata = ObjectMeta::deserialize(&metadata).unwrap_or_default();
    LiveObject::read(object.kind.kind, &metadata)
}

/// An object of which only the metadata was read.
fn metadata_alone(object: PartialObjectMeta<DynamicObject>) -> DynamicObject {
    DynamicObject {
        types: None,
        metadata: object.metadata,
        data: Value::Null,
    }
}

async fn limit<T>(
    limit: Duration,
    call: impl Future<Output = kube::Result<T>>,
) -> Result<T, ApplyError> {
    match tokio::time::timeout(limit, call).await {
        Ok(answer) => answer.map_err(ApplyError::from),
        Err(_) => Err(ApplyError::TimedOut),
    }
}

#[cfg(test)]
mod tests;
