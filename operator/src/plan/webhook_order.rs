//! Holds back webhooks that fail closed until the API server accepted the workload that answers them.
//!
//! Otherwise a workload that is refused would leave a cluster in which no pod can start.

use super::component_planner::ObjectPlan;
use super::{ObjectToApply, deployment};
use crate::api::ComponentKind;
use crate::cluster::{Live, Role};
use crate::render::{ObjectKey, Rendered};

/// The Deployment of istiod, if it is rendered.
pub(super) fn istiod(rendered: &Rendered) -> Option<&ObjectKey> {
    let mut components = rendered.components.iter();
    let pilot = components.find(|component| component.kind == ComponentKind::Pilot)?;
    deployment(pilot)
}

/// The workload that answers the webhooks of a component, if it neither exists nor is applied in this pass. Webhooks of
/// base are answered by istiod, which comes in a later pass than base.
pub(super) fn lacking_workload(
    component: ComponentKind,
    decided: &[ObjectPlan],
    istiod: Option<&ObjectKey>,
    live: &Live,
) -> Option<ObjectKey> {
    let is_there = |key: &ObjectKey| live.get(key).is_some_and(|object| !object.terminating);
    if component == ComponentKind::Base {
        return istiod.filter(|key| !is_there(key)).cloned();
    }
    let held_back = decided.iter().filter_map(|object| match object {
        ObjectPlan::Apply(_) => None,
        ObjectPlan::Postpone(send, _) => Some(&send.key),
        ObjectPlan::Skip(key, _) => Some(key),
    });
    let is_workload = |key: &&ObjectKey| matches!(key.kind.as_str(), "Deployment" | "DaemonSet");
    let mut workloads = held_back.filter(is_workload);
    workloads.find(|key| !is_there(key)).cloned()
}

/// Whether an object has a webhook without which the API server refuses requests. That is what an absent policy means.
pub(super) fn fails_closed(object: &ObjectToApply) -> bool {
    if object.kind.role != Role::Webhook {
        return false;
    }
    let webhooks = object.body.field("webhooks");
    let mut webhooks = webhooks.as_array().into_iter().flatten();
    webhooks.any(|webhook| webhook["failurePolicy"] != "Ignore")
}
