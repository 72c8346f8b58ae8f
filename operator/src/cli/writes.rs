//! What commands write by themselves: IstioOperators, namespaces and the operator. Everything that Istio needs is written by `apply`.

use istio_operator::api::StoredCr;
use istio_operator::cluster::CrKey;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::ResourceExt;
use kube::api::{
    Api, DeleteParams, DynamicObject, ObjectMeta, Patch, PatchParams, PostParams, Preconditions,
};
use serde_json::Value;

use super::Failure;
use super::connection::Connection;
use super::observed::said;

/// The field manager of IstioOperators that are applied here.
const MANAGER: &str = "istio-operator-cli";
/// The finalizer that holds an IstioOperator until its objects are gone.
const FINALIZER: &str = "istio-finalizer.install.istio.io";

/// Applies an IstioOperator. Fields that somebody else holds are taken only with `force`.
pub(super) async fn apply_cr(
    connection: &Connection,
    key: &CrKey,
    cr: &Value,
    force: bool,
) -> Result<StoredCr, Failure> {
    let api: Api<StoredCr> = Api::namespaced(connection.client.clone(), &key.namespace);
    let params = PatchParams {
        force,
        ..PatchParams::apply(MANAGER)
    };
    let applied = api.patch(&key.name, &params, &Patch::Apply(cr)).await;
    applied.map_err(|error| Failure::input(format_args!("IstioOperator {key}: {}", said(&error))))
}

/// Applies an object of the operator itself.
pub(super) async fn apply_object(
    api: &Api<DynamicObject>,
    name: &str,
    body: &Value,
    force: bool,
    dry_run: bool,
) -> Result<DynamicObject, kube::Error> {
    let params = PatchParams {
        force,
        dry_run,
        ..PatchParams::apply(MANAGER)
    };
    api.patch(name, &params, &Patch::Apply(body)).await
}

/// Deletes an object of the operator itself, unless another one has its name by now.
pub(super) async fn delete_object(
    api: &Api<DynamicObject>,
    object: &DynamicObject,
) -> Result<(), kube::Error> {
    let params = DeleteParams::background().preconditions(Preconditions {
        uid: object.uid(),
        resource_version: None,
    });
    api.delete(&object.name_any(), &params).await.map(drop)
}

/// What the API server would make of a pod. Nothing is created.
pub(super) async fn pod_in_dry_run(
    connection: &Connection,
    namespace: &str,
    pod: &Pod,
) -> Result<Pod, kube::Error> {
    let api: Api<Pod> = Api::namespaced(connection.client.clone(), namespace);
    let dry_run = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    api.create(&dry_run, pod).await
}

/// Deletes an IstioOperator; the operator removes what it installed.
pub(super) async fn delete_cr(connection: &Connection, key: &CrKey) -> Result<(), Failure> {
    let api: Api<StoredCr> = Api::namespaced(connection.client.clone(), &key.namespace);
    let deleted = api.delete(&key.name, &DeleteParams::default()).await;
    let failed = |error| Failure::input(format_args!("IstioOperator {key}: {}", said(&error)));
    deleted.map(drop).map_err(failed)
}

/// Whether the user may do something in the whole cluster. The question is an object that is created, and nothing of it stays.
pub(super) async fn may(
    connection: &Connection,
    verb: &str,
    group: &str,
    resource: &str,
) -> Result<bool, String> {
    let text = |text: &str| Some(text.to_owned());
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                verb: text(verb),
                group: text(group),
                resource: text(resource),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let api: Api<SelfSubjectAccessReview> = Api::all(connection.client.clone());
    let answer = api.create(&PostParams::default(), &review).await;
    let answer = answer.map_err(|error| said(&error))?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

/// Lets an IstioOperator go that no operator serves.
pub(super) async fn release_cr(connection: &Connection, key: &CrKey) -> Result<(), Failure> {
    let api: Api<StoredCr> = Api::namespaced(connection.client.clone(), &key.namespace);
    let failed = |error| Failure::input(format_args!("IstioOperator {key}: {}", said(&error)));
    let Some(cr) = api.get_opt(&key.name).await.map_err(failed)? else {
        return Ok(());
    };
    let held = cr.metadata.finalizers.clone().unwrap_or_default();
    let kept: Vec<_> = held.iter().filter(|name| *name != FINALIZER).collect();
    if kept.len() == held.len() {
        return Ok(());
    }
    let patch = serde_json::json!({"metadata": {
        "finalizers": kept,
        "resourceVersion": cr.metadata.resource_version,
    }});
    let released = api
        .patch(&key.name, &PatchParams::default(), &Patch::Merge(patch))
        .await;
    released.map(drop).map_err(failed)
}

/// Creates a namespace if it is not there; gives whether it was not.
pub(super) async fn ensure_namespace(connection: &Connection, name: &str) -> Result<bool, Failure> {
    let api: Api<Namespace> = Api::all(connection.client.clone());
    let failed = |error| Failure::input(format_args!("namespace {name}: {}", said(&error)));
    if api.get_opt(name).await.map_err(failed)?.is_some() {
        return Ok(false);
    }
    let namespace = Namespace {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    };
    api.create(&PostParams::default(), &namespace)
        .await
        .map_err(failed)?;
    Ok(true)
}
