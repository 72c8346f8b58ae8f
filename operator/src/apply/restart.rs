//! Restarts workloads of users: an annotation on the template of their pods, as `kubectl rollout restart` does it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ApiResource, ListParams, Patch, PatchParams};
use kube::core::{GroupVersionKind, NotUsed, Object, PartialObjectMeta};
use serde_json::json;

use super::{ApplyError, Sender};
use crate::dataplane::{Budget, RESTARTED_FOR, RunSpec, RunStatus, TemplateKind, Workload};

/// The field manager of restarts; another one than for objects of Istio, so that each shows who wrote what.
const RESTART_MANAGER: &str = "istio-operator-restarts";

impl TemplateKind {
    fn resource(self) -> ApiResource {
        let gvk = GroupVersionKind::gvk(self.group, self.version, self.kind);
        ApiResource::from_gvk_with_plural(&gvk, self.plural)
    }
}

impl Sender {
    /// Reads a workload; none if there is none.
    pub async fn workload(
        &self,
        kind: TemplateKind,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Workload>, ApplyError> {
        let client = self.client().clone();
        let api: Api<Object<RunSpec, RunStatus>> =
            Api::namespaced_with(client, namespace, &kind.resource());
        let found = self.read(api.get_opt(name)).await?;
        Ok(found.map(|found| Workload {
            kind,
            meta: found.metadata,
            spec: found.spec,
            status: found.status.unwrap_or_default(),
        }))
    }

    /// Reads the disruption budgets of a namespace.
    pub async fn budgets(&self, namespace: &str) -> Result<Vec<Budget>, ApplyError> {
        let gvk = GroupVersionKind::gvk("policy", "v1", "PodDisruptionBudget");
        let resource = ApiResource::from_gvk_with_plural(&gvk, "poddisruptionbudgets");
        let api: Api<Budget> = Api::namespaced_with(self.client().clone(), namespace, &resource);
        let list = self.read(api.list(&ListParams::default())).await?;
        Ok(list.items)
    }

    /// Reads the namespaces that a label selector names.
    pub async fn namespaces(&self, selector: &str) -> Result<Vec<ObjectMeta>, ApplyError> {
        let gvk = GroupVersionKind::gvk("", "v1", "Namespace");
        let resource = ApiResource::from_gvk_with_plural(&gvk, "namespaces");
        let api: Api<Object<NotUsed, NotUsed>> = Api::all_with(self.client().clone(), &resource);
        let params = ListParams::default().labels(selector);
        let list = self.read(api.list_metadata(&params)).await?;
        Ok(list.items.into_iter().map(|item| item.metadata).collect())
    }

    /// Restarts the very workload that was judged; one that changed since is a conflict.
    ///
    /// A Rollout of Argo replaces its pods at a time of its own field; a changed template would begin a release.
    pub async fn restart(
        &self,
        workload: &Workload,
        target: &str,
        now: Timestamp,
    ) -> Result<(), ApplyError> {
        let ObjectMeta {
            uid,
            resource_version,
            namespace,
            name,
            ..
        } = &workload.meta;
        let mark = json!({RESTARTED_FOR: target});
        let mut change = json!({"metadata": {"uid": uid, "resourceVersion": resource_version}});
        if workload.kind.kind == "Rollout" {
            change["metadata"]["annotations"] = mark;
            change["spec"] = json!({"restartAt": now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()});
        } else {
            change["spec"] = json!({"template": {"metadata": {"annotations": mark}}});
        }
        let api: Api<Object<RunSpec, RunStatus>> = Api::namespaced_with(
            self.client().clone(),
            namespace.as_deref().unwrap_or_default(),
            &workload.kind.resource(),
        );
        let params = PatchParams {
            field_manager: Some(RESTART_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let (name, change) = (name.as_deref().unwrap_or_default(), Patch::Merge(change));
        let call = api.patch_metadata(name, &params, &change);
        let _: PartialObjectMeta<Object<RunSpec, RunStatus>> = self.write(call).await?;
        Ok(())
    }
}
