//! Asks the API server what a plan would do, object by object, and changes nothing.

use futures::{StreamExt, stream};
use kube::core::DynamicObject;
use serde_json::Value;

use super::{ApplyError, Class, PARALLEL, Sender};
use crate::charts::tree::merge_over;
use crate::cluster::{ApplyReason, Role, Upkeep};
use crate::plan::{ObjectChange, ObjectToApply, Plan, is_workload};
use crate::render::ObjectKey;

/// Whether a plan changes or deletes a workload that exists. No other plan replaces pods. It takes one read per workload.
pub async fn touches_workloads(
    sender: &Sender,
    plan: &Plan,
) -> Result<bool, (ObjectKey, ApplyError)> {
    if plan.obsolete.iter().any(is_workload) {
        return Ok(true);
    }
    for object in rollout(plan).filter(|object| is_workload(&object.key)) {
        let found = sender.find(object.kind, &object.key).await;
        if found
            .map_err(|error| (object.key.clone(), error))?
            .is_some()
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What every object of a rollout becomes; or an object that the API server would not take, and why.
pub async fn preview(
    sender: &Sender,
    plan: &Plan,
) -> Result<Vec<ObjectChange>, (ObjectKey, ApplyError)> {
    // A CRD takes megabytes while it is compared, so only one is at a time.
    let (crds, others): (Vec<_>, Vec<_>) =
        rollout(plan).partition(|object| object.kind.role == Role::Crd);
    let mut changes: Vec<_> = plan.obsolete.iter().map(ObjectChange::deleted).collect();
    for (objects, parallel) in [(crds, 1), (others, PARALLEL)] {
        // Gathered first: the compiler cannot tell that a stream of borrowing calls may move between threads.
        let calls: Vec<_> = objects
            .into_iter()
            .map(|object| change(sender, object))
            .collect();
        let answers = stream::iter(calls).buffer_unordered(parallel);
        for answer in answers.collect::<Vec<_>>().await {
            changes.extend(answer?);
        }
    }
    Ok(changes)
}

/// The objects that a plan changes, drift excepted.
fn rollout(plan: &Plan) -> impl Iterator<Item = &ObjectToApply> {
    let objects = plan.waves.iter().flatten().chain(&plan.postponed);
    objects.filter(|object| object.reason == ApplyReason::Rollout)
}

async fn change(
    sender: &Sender,
    object: &ObjectToApply,
) -> Result<Option<ObjectChange>, (ObjectKey, ApplyError)> {
    let failed = |error| (object.key.clone(), error);
    if object.kind.upkeep == Upkeep::CreatedOnly {
        let answer = sender.create(object, true).await;
        return match answer {
            Ok(is_new) => Ok(is_new.then(|| ObjectChange::created(&object.key))),
            Err(error) if error.class() == Class::Wait => {
                Ok(Some(ObjectChange::created(&object.key)))
            }
            Err(error) => Err(failed(error)),
        };
    }
    let Some(live) = live(sender, object).await.map_err(failed)? else {
        return Ok(Some(ObjectChange::created(&object.key)));
    };
    let new = becomes(sender, object, &live).await.map_err(failed)?;
    Ok(ObjectChange::between(&object.key, &live, &new))
}

/// What an object that is there becomes.
async fn becomes(
    sender: &Sender,
    object: &ObjectToApply,
    live: &Value,
) -> Result<Value, ApplyError> {
    let mut body = object.body.value();
    let answer = match sender.dry_run_whole(object, &body).await {
        // The pass that carries it out keeps the selector.
        Err(ApplyError::Immutable(_)) if !live["spec"]["selector"].is_null() => {
            body["spec"]["selector"] = live["spec"]["selector"].clone();
            sender.dry_run_whole(object, &body).await
        }
        answer => answer,
    };
    match answer {
        Err(error) if error.class() == Class::Wait => {
            // The API server cannot tell before something else is there: what is sent is laid over what is there.
            let mut new = live.clone();
            merge_over(&mut new, body);
            Ok(new)
        }
        answer => answer,
    }
}

/// An object as it is now, if it exists.
async fn live(sender: &Sender, object: &ObjectToApply) -> Result<Option<Value>, ApplyError> {
    let found = sender.find(object.kind, &object.key).await?;
    found.as_ref().map(whole).transpose()
}

/// An object as a JSON value.
pub(super) fn whole(object: &DynamicObject) -> Result<Value, ApplyError> {
    serde_json::to_value(object).map_err(|error| ApplyError::Malformed(error.to_string()))
}
