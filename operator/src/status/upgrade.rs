//! What the status tells of a change: its plan, and the step from one version to the next.

use k8s_openapi::jiff::Timestamp;

use super::health::Problem;
use super::{StatusEvent, bounded};
use crate::api::condition::reason;
use crate::api::{
    ComponentKind, HeldProxyStatus, IstioOperatorStatus, PlanState, PlanStatus, RollbackStatus,
    StepStatus, UpgradeStatus,
};
use crate::plan::Precheck;

/// How times are written, in UTC.
pub(super) const SECONDS: &str = "%Y-%m-%dT%H:%M:%SZ";

/// Shows what the newest change does. If nothing new is known of it, the last one stays.
pub(super) fn set_plan(status: &mut IstioOperatorStatus, plan: Option<&PlanStatus>, is_done: bool) {
    if let Some(plan) = plan {
        status.plan = Some(plan.clone());
    }
    if let Some(plan) = status.plan.as_mut().filter(|_| is_done) {
        plan.state = PlanState::Done;
    }
}

/// Shows the change of the version from its first pass until it is done. Later passes see the new version running already.
pub(super) fn set_upgrade(
    status: &mut IstioOperatorStatus,
    upgrade: Option<&Precheck>,
    version: &str,
    is_healthy: bool,
) {
    status.upgrade = match (upgrade, status.upgrade.take()) {
        (Some(upgrade), shown) if !is_healthy || upgrade.is_refused() => {
            let shown = shown.filter(|shown| upgrade.is_step_of(shown));
            let progress = shown.and_then(|shown| shown.progress);
            Some(UpgradeStatus {
                progress,
                ..upgrade.status()
            })
        }
        (None, Some(shown)) if !is_healthy && shown.to == version => Some(shown),
        (_, _) => None,
    };
}

/// Shows the image that proxies are held at, and since when their control plane has been healthy.
pub(super) fn set_held_proxy(
    status: &mut IstioOperatorStatus,
    held: Option<&HeldProxyStatus>,
    is_done: bool,
    now: Timestamp,
) {
    let before = status.held_proxy.take();
    let since = before.and_then(|before| before.healthy_since);
    status.held_proxy = held.map(|held| HeldProxyStatus {
        healthy_since: is_done.then(|| since.unwrap_or_else(|| now.strftime(SECONDS).to_string())),
        ..held.clone()
    });
}

/// The Event that tells that proxies are held at an image, or are not any more; `None` if that is not new.
pub(super) fn held_proxy_event(
    before: &IstioOperatorStatus,
    after: &IstioOperatorStatus,
) -> Option<StatusEvent> {
    let image = |status: &IstioOperatorStatus| {
        let held = status.held_proxy.as_ref();
        held.map(|held| (held.image.clone(), held.to.clone()))
    };
    let (reason, note) = match (image(before), image(after)) {
        (before, Some(held)) if before.as_ref() != Some(&held) => {
            let (image, to) = held;
            let note = format!(
                "proxies get {image} until the control plane of Istio {to} was healthy for a while"
            );
            (reason::PROXIES_HELD, note)
        }
        (Some((image, _)), None) => {
            let note = format!("proxies are not held at {image} any more");
            (reason::PROXIES_RELEASED, note)
        }
        _ => return None,
    };
    Some(StatusEvent {
        is_warning: false,
        reason: reason.to_owned(),
        note: bounded(note),
    })
}

/// Shows that a change of the version is taken back; gives whether it is.
pub(super) fn set_rollback(
    status: &mut IstioOperatorStatus,
    rollback: Option<&RollbackStatus>,
) -> bool {
    if let (Some(upgrade), Some(rollback)) = (&mut status.upgrade, rollback) {
        upgrade.rollback = Some(rollback.clone());
    }
    rollback.is_some()
}

/// What is said once a change of the version was taken back.
pub(super) fn rolled_back(
    status: &IstioOperatorStatus,
    rollback: &RollbackStatus,
    version: &str,
) -> String {
    let to = status
        .upgrade
        .as_ref()
        .map_or("another version", |upgrade| &upgrade.to);
    let why = &rollback.reason;
    bounded(format!(
        "Istio {version} is back, because the change to {to} stopped: {why}; an edit of the spec tries it again"
    ))
}

/// Shows the component that a change of the version has come to, and what is waited for there.
pub(super) fn set_step(
    status: &mut IstioOperatorStatus,
    step: Option<(ComponentKind, &Problem)>,
    now: Timestamp,
) {
    let Some(upgrade) = &mut status.upgrade else {
        return;
    };
    let before = upgrade.progress.take();
    upgrade.progress = step.map(|(component, problem)| {
        let step = component.to_string();
        let same = before.filter(|before| before.step == step);
        StepStatus {
            step,
            waiting_for: problem.text.clone(),
            since: same.map_or_else(|| now.strftime(SECONDS).to_string(), |same| same.since),
        }
    });
}

/// The Event that tells which step a change of the version has come to; `None` if `before` had come there too.
pub(super) fn step_event(
    before: &IstioOperatorStatus,
    after: &IstioOperatorStatus,
) -> Option<StatusEvent> {
    let progress = |status: &IstioOperatorStatus| {
        let upgrade = status.upgrade.as_ref()?;
        Some((upgrade.clone(), upgrade.progress.clone()?))
    };
    let (upgrade, progress_now) = progress(after)?;
    let UpgradeStatus { from, to, .. } = &upgrade;
    let is_told = progress(before).is_some_and(|(shown, before)| {
        (&shown.from, &shown.to, &before.step) == (from, to, &progress_now.step)
    });
    let StepStatus {
        step, waiting_for, ..
    } = &progress_now;
    (!is_told).then(|| StatusEvent {
        is_warning: false,
        reason: reason::UPGRADE_STEP.to_owned(),
        note: bounded(format!("from {from} to {to}, at {step}: {waiting_for}")),
    })
}
