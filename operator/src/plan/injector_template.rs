//! Keeps the injection templates from being newer than the oldest istiod that runs.
//!
//! istiod reads them at once. One that does not know a field or function of a newer template fails on it, and then the API
//! server refuses every new pod (measured from 1.30 to 1.31). So on the way up the templates follow istiod; on the way
//! down they go first, because configuration does. A newer istiod works with the older templates.

use super::component_planner::ComponentPlanner;
use crate::cluster::LiveObject;
use crate::render::ObjectKey;

/// The name of the `ConfigMap` with the templates; a revision is appended to it.
const CONFIG_MAP: &str = "istio-sidecar-injector";

/// What newer templates than those in the cluster have to wait for.
pub(super) fn wait_reason(
    planner: &ComponentPlanner<'_>,
    key: &ObjectKey,
    there: &LiveObject,
) -> Option<String> {
    if key.kind != "ConfigMap" || !key.name.starts_with(CONFIG_MAP) {
        return None;
    }
    let version = planner.plane.version;
    if there.istio_version() >= Some(version) {
        return None;
    }
    let istiod = planner.input.live.get(planner.deployment.as_ref()?)?;
    let is_applied = istiod.istio_version() == Some(version);
    match &planner.unready {
        None if is_applied => None,
        Some(why) if is_applied => Some(format!("the templates follow istiod {version}: {why}")),
        _ => Some(format!("the templates follow istiod {version}")),
    }
}
