//! What the status tells of a control plane that takes the place of another one.

use k8s_openapi::jiff::Timestamp;

use super::upgrade::SECONDS;
use super::{StatusEvent, bounded};
use crate::api::condition::{self, reason};
use crate::api::{CanaryStatus, CanaryStep, ControlPlaneStatus, IstioOperatorStatus};
use crate::apply::Applied;
use crate::plan::Canary;

/// How far a canary came in a pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanaryProgress {
    /// Both control planes.
    pub canary: Canary,
    /// Why a person has to approve what comes next.
    pub awaits: Option<String>,
}

impl CanaryProgress {
    /// Whether tags and gateways still belong to the control plane before.
    #[must_use]
    pub const fn is_unpromoted(&self) -> bool {
        !self.canary.is_promoted
    }

    /// Whether it works and is promoted next.
    #[must_use]
    pub const fn is_next(&self) -> bool {
        self.is_unpromoted() && self.awaits.is_none()
    }

    /// Whether a status tells of it already.
    #[must_use]
    pub fn is_shown(&self, status: Option<&IstioOperatorStatus>) -> bool {
        let shown = status.and_then(|status| status.canary.as_ref());
        let (from, to) = self.canary.status();
        shown.is_some_and(|shown| {
            (&shown.from, &shown.to) == (&from, &to)
                && shown.step.is_promoted() == self.canary.is_promoted
        })
    }

    /// What is said while everything of it works and it is not promoted.
    pub(super) fn message(&self) -> String {
        let (from, to) = self.canary.status();
        match &self.awaits {
            Some(why) => bounded(format!("{} works beside {}; {why}", told(&to), told(&from))),
            None => format!("{} works beside {} and is promoted", told(&to), told(&from)),
        }
    }
}

fn told(plane: &ControlPlaneStatus) -> String {
    format!("revision {} of Istio {}", plane.revision, plane.version)
}

/// Shows a canary that begins, or whose promotion does.
pub(super) fn begin_canary(
    status: &mut IstioOperatorStatus,
    progress: Option<&CanaryProgress>,
    now: Timestamp,
) {
    let Some(progress) = progress.filter(|progress| !progress.is_shown(Some(status))) else {
        return;
    };
    let (step, waiting_for) = if progress.is_unpromoted() {
        (CanaryStep::Installing, "it is installed")
    } else {
        (CanaryStep::Promoting, "tags and gateways move to it")
    };
    set(status, &progress.canary, step, waiting_for.to_owned(), now);
}

/// Shows how far a canary is. `problem` is what a pass found the mesh to lack. One that serves is shown until the control
/// plane before it is gone.
pub(super) fn set_canary(
    status: &mut IstioOperatorStatus,
    progress: Option<&CanaryProgress>,
    problem: Option<String>,
    applied: &Applied,
    now: Timestamp,
) {
    let mut findings = applied.findings.iter();
    let old = findings.find(|finding| finding.condition == condition::OLD_REVISION);
    let old = old.map(|finding| finding.text.clone());
    match (progress, problem) {
        (Some(progress), problem) if progress.is_unpromoted() => {
            let step = match (&progress.awaits, &problem) {
                (Some(_), None) => CanaryStep::AwaitingApproval,
                _ => CanaryStep::Installing,
            };
            let waiting_for = problem.unwrap_or_else(|| progress.message());
            set(status, &progress.canary, step, waiting_for, now);
        }
        (Some(progress), Some(problem)) => {
            set(
                status,
                &progress.canary,
                CanaryStep::Promoting,
                problem,
                now,
            );
        }
        (Some(progress), None) => match old {
            Some(why) => set(status, &progress.canary, CanaryStep::Retiring, why, now),
            None => status.canary = None,
        },
        (None, _) => {
            let retiring = status.canary.take();
            let retiring = retiring.filter(|canary| canary.step == CanaryStep::Retiring);
            status.canary = retiring.zip(old).map(|(canary, waiting_for)| CanaryStatus {
                waiting_for,
                ..canary
            });
        }
    }
}

fn set(
    status: &mut IstioOperatorStatus,
    canary: &Canary,
    step: CanaryStep,
    waiting_for: String,
    now: Timestamp,
) {
    let (from, to) = canary.status();
    let before = status.canary.take();
    let same =
        before.filter(|before| (&before.from, &before.to, before.step) == (&from, &to, step));
    status.canary = Some(CanaryStatus {
        since: same.map_or_else(|| now.strftime(SECONDS).to_string(), |same| same.since),
        from,
        to,
        step,
        waiting_for,
    });
}

/// The Event that tells which step a canary has come to, or that it is over; none if `before` had come there too.
pub(super) fn canary_event(
    before: &IstioOperatorStatus,
    after: &IstioOperatorStatus,
) -> Option<StatusEvent> {
    let identity = |canary: &CanaryStatus| (canary.from.clone(), canary.to.clone(), canary.step);
    let (before, after) = (before.canary.as_ref(), after.canary.as_ref());
    if before.map(identity) == after.map(identity) {
        return None;
    }
    let note = match (before, after) {
        (_, Some(canary)) => format!(
            "from {} to {}, {:?}: {}",
            told(&canary.from),
            told(&canary.to),
            canary.step,
            canary.waiting_for
        ),
        (Some(canary), None) if canary.step.is_promoted() => {
            format!(
                "{} has taken the place of {}",
                told(&canary.to),
                told(&canary.from)
            )
        }
        (canary, None) => {
            let canary = canary?;
            format!(
                "{} is taken back, and {} serves",
                told(&canary.to),
                told(&canary.from)
            )
        }
    };
    Some(StatusEvent {
        is_warning: false,
        reason: reason::CANARY_STEP.to_owned(),
        note: bounded(note),
    })
}
