//! [`Applied`] → `IstioOperatorStatus`: what was observed, in the words that Argo CD, Flux and people read.
//!
//! Computing it is pure: the time is handed in. [`publish`] sends it, and only if something changed.
//!
//! The contract: `observedGeneration` moves together with everything else, so what is shown belongs to one generation.
//! `Reconciling` and `Stalled` are never both there, because kstatus takes whichever comes first.
//!
//! `HEALTHY` is said only after every workload ran its newest generation with all its pods available, once for this
//! generation of the spec and after each rollout by this operator. From then on a dip is no news: scaling, a replaced pod
//! and a joining node keep `HEALTHY`. `Ready` turns `False` (`ScalingOrRollingOut`) when less is available than was for
//! longer than [`DIP_PATIENCE`], or at once when nothing is.
//!
//! What may pass by itself is not `ERROR` at once, because Argo CD fails a sync on that word: refusals get a minute, an
//! outage ten minutes, a component `updateStrategy.timeout`, each counted from when it began. A wrong spec is `ERROR` at once.

mod broken_watches;
mod canary;
mod conditions;
mod deleting;
mod findings;
mod health;
mod history;
mod missing_rights;
mod overwrites;
mod pass_events;
mod publish;
mod upgrade;

use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;

use crate::api::condition::{self, Kept, reason};
use crate::api::{
    HeldProxyStatus, InstallState, IstioOperatorStatus, PlanStatus, RollbackStatus, Warning,
};
use crate::apply::{Applied, ApplyError};
use crate::catalogue::Version;
use crate::cluster::Live;
use crate::plan::Precheck;
use crate::render::ObjectKey;
use canary::{begin_canary, set_canary};
use conditions::{Conditions, Truth};
use deleting::set_deleting;
use findings::{set_findings, set_if_any};
use health::{Health, Judge, Problem, Severity};
use history::Before;
use upgrade::{rolled_back, set_held_proxy, set_plan, set_rollback, set_step, set_upgrade};

pub use broken_watches::add_broken_watches;
pub use canary::CanaryProgress;
pub use history::{DIP_PATIENCE, History};
pub use missing_rights::{add_missing_rights, missing_rights_message};
pub use overwrites::overwrite_event;
pub use pass_events::{gone_revisions_event, skipped_checks_event};
pub use publish::{Publisher, StatusEvent, is_reworded, patch, status_events};

/// The longest message; a condition may hold 32 KiB, and a person reads far less.
const MAX_MESSAGE: usize = 4096;
/// Names that a list in a message spells out.
const MAX_NAMES: usize = 5;

/// What a pass found out about a CR.
#[derive(Debug)]
pub enum PassResult {
    /// A generation that was not seen before; nothing of it is done.
    Started(Box<InstallStart>),
    /// The spec cannot be followed; nothing was touched.
    Rejected {
        /// A reason of [`condition::reason`].
        reason: &'static str,
        /// Everything that is wrong, one text each.
        errors: Vec<String>,
        /// The request for a pass that is answered.
        request: Option<String>,
    },
    /// The CR is paused by its annotation.
    Paused,
    /// The spec was followed as far as possible.
    Applied(Box<InstallProgress>),
    /// The CR is being deleted.
    Deleting(DeletionProgress),
}

/// What begins with a new generation or a new version.
#[derive(Debug)]
pub struct InstallStart {
    /// The Istio version that the spec asks for.
    pub version: Version,
    /// The change of the version that begins.
    pub upgrade: Option<Precheck>,
    /// What the change does.
    pub plan: Option<PlanStatus>,
    /// Why the last healthy version comes back.
    pub rollback: Option<RollbackStatus>,
    /// The canary that begins, or whose promotion does.
    pub canary: Option<CanaryProgress>,
    /// The image that proxies are held at.
    pub held_proxy: Option<HeldProxyStatus>,
}

/// How far a pass came.
#[derive(Clone, Debug)]
pub struct InstallProgress {
    /// The Istio version that the spec asks for.
    pub version: Version,
    /// The revision, `default` if the spec names none.
    pub revision: String,
    /// Settings that have no effect.
    pub warnings: Vec<String>,
    /// The change of the version that the spec asks for.
    pub upgrade: Option<Precheck>,
    /// What the change does that the spec asks for.
    pub plan: Option<PlanStatus>,
    /// Why nothing is rolled out.
    pub held_by: Option<String>,
    /// Why the last healthy version was applied instead of the one that the spec asks for.
    pub rollback: Option<RollbackStatus>,
    /// The control plane that takes the place of another one.
    pub canary: Option<CanaryProgress>,
    /// The image that proxies are held at.
    pub held_proxy: Option<HeldProxyStatus>,
    /// Why it is not proven that istiod injects, which a change of the version waits for.
    pub unproven: Option<String>,
    /// How long one component may take to become ready.
    pub timeout: Duration,
    /// The request for a pass that is answered.
    pub request: Option<String>,
    /// What became of every object.
    pub applied: Applied,
}

impl InstallProgress {
    /// Whether the change of the version is refused that the spec asks for.
    fn is_refused(&self) -> bool {
        self.upgrade.as_ref().is_some_and(Precheck::is_refused)
    }

    /// The version that the change leads to that is under way.
    fn next_version(&self) -> Version {
        let canary = self.canary.as_ref();
        canary.map_or(self.version, |progress| progress.canary.to.version)
    }

    /// The canary that is not promoted yet.
    fn unpromoted(&self) -> Option<&CanaryProgress> {
        self.canary.as_ref().filter(|canary| canary.is_unpromoted())
    }

    /// What waits for a person's approval.
    fn awaits(&self) -> Option<&String> {
        let held_by = self.held_by.as_ref().filter(|_| !self.is_refused());
        held_by.or_else(|| self.unpromoted()?.awaits.as_ref())
    }
}

/// How far a deletion came.
#[derive(Clone, Debug, Default)]
pub struct DeletionProgress {
    /// Objects that are still there.
    pub remaining: Vec<ObjectKey>,
    /// Objects that could not be deleted.
    pub refused: Vec<(ObjectKey, ApplyError)>,
    /// What holds the deletion apart from objects.
    pub blocked_by: Option<String>,
}

/// The CR whose status is computed.
#[derive(Clone, Copy, Debug)]
pub struct StatusInput<'a> {
    /// Its generation.
    pub generation: i64,
    /// Its status so far.
    pub before: &'a IstioOperatorStatus,
    /// The present, for people.
    pub now: Timestamp,
    /// The present, by the monotonic clock.
    pub instant: Instant,
    /// What upstream does not support in the version that the result is about.
    pub outdated: &'a [Warning],
}

impl PassResult {
    /// The request for a pass that this one answers. A CR that is paused, or that goes, gets no answer.
    fn request(&self) -> Option<&String> {
        match self {
            Self::Applied(progress) => progress.request.as_ref(),
            Self::Rejected { request, .. } => request.as_ref(),
            Self::Started(_) | Self::Paused | Self::Deleting(_) => None,
        }
    }

    /// The Istio version that the spec asks for, where it is known.
    #[must_use]
    pub const fn version(&self) -> Option<Version> {
        match self {
            Self::Started(start) => Some(start.version),
            Self::Applied(progress) => Some(progress.version),
            Self::Rejected { .. } | Self::Paused | Self::Deleting(_) => None,
        }
    }
}

/// A status, and how soon it changes although nothing happens.
#[derive(Debug)]
pub struct Computed {
    /// The status.
    pub status: IstioOperatorStatus,
    /// When a problem will have lasted too long; absent if no problem gets worse by time.
    pub next_change: Option<Duration>,
}

/// Computes the status that follows from `result`, and takes it into the history of the CR.
#[must_use]
pub fn of(
    input: StatusInput<'_>,
    result: &PassResult,
    live: &Live,
    history: &mut History,
) -> Computed {
    let mut status = IstioOperatorStatus {
        observed_generation: Some(input.generation),
        ..input.before.clone()
    };
    let mut conditions = Conditions::new(&input.before.conditions, input.generation, input.now);
    let mut next_change = None;
    if let Some(request) = result.request() {
        status.last_handled_reconcile_at = Some(request.clone());
    }
    match result {
        PassResult::Started(start) => {
            mark_reconciling(&mut status, &mut conditions, start.version);
            begin_canary(&mut status, start.canary.as_ref(), input.now);
            if start.held_proxy.is_some() {
                status.held_proxy.clone_from(&start.held_proxy);
            }
            set_plan(&mut status, start.plan.as_ref(), false);
            if !set_rollback(&mut status, start.rollback.as_ref()) {
                let version = start.version.to_string();
                set_upgrade(&mut status, start.upgrade.as_ref(), &version, false);
            }
        }
        PassResult::Rejected { reason, errors, .. } => {
            let message = bounded(errors.join("; "));
            status.status = Some(InstallState::Error);
            stall(&mut conditions, reason, &message);
            status.message = Some(message);
        }
        PassResult::Paused => {
            history.end_waits();
            conditions.keep(&[Kept::WhilePaused, Kept::UntilKnown]);
            let message = "the annotation install.istio.io/ignoreReconcile is true";
            if input.before.observed_generation != Some(input.generation) {
                // Nothing is done of this spec, so whoever waits for it goes on waiting.
                status.observed_generation = input.before.observed_generation;
                status.status = Some(InstallState::Reconciling);
                status.message = Some(format!("the change waits: {message}"));
            }
            conditions.set(condition::SUSPENDED, Truth::True, reason::PAUSED, message);
        }
        PassResult::Applied(progress) => {
            history.begin(input.generation);
            let mut judge = Judge {
                live,
                before: before(input),
                now: input.instant,
                history: &mut *history,
                timeout: progress.timeout,
                unproven: progress.unproven.as_deref(),
            };
            let health = Health::of(&progress.applied, input.before, &mut judge);
            let unpruned = unpruned(&progress.applied, &mut judge);
            next_change = history.end();
            status.default_tag = Some(live.has_default_tag(&progress.revision));
            set_progress(
                &mut status,
                &mut conditions,
                input,
                progress,
                &health,
                &unpruned,
            );
        }
        PassResult::Deleting(deletion) => set_deleting(&mut status, &mut conditions, deletion),
    }
    match result.version() {
        Some(_) => {
            let told = input.outdated.iter().map(ToString::to_string);
            let reason = reason::OUT_OF_SUPPORT;
            set_if_any(&mut conditions, condition::OUTDATED, reason, told);
        }
        // What is installed stays what it is.
        None => conditions.keep(&[Kept::WithoutVersion]),
    }
    status.conditions = conditions.finish();
    Computed {
        status,
        next_change,
    }
}

/// What the last status says of this generation.
fn before(input: StatusInput<'_>) -> Before {
    let is_current =
        |condition: &&Condition| condition.observed_generation == Some(input.generation);
    let holds = |kind| conditions::holds(&input.before.conditions, kind).filter(is_current);
    if holds(condition::READY).is_some() {
        Before::Healthy
    } else if holds(condition::STALLED).is_some() {
        Before::Stalled
    } else {
        Before::Other
    }
}

/// The first write for a new generation: what was said of the old one does not hold any more, errors least of all. Its
/// warnings stay until the new ones are known, or each edit of a CR would have them told again.
fn mark_reconciling(
    status: &mut IstioOperatorStatus,
    conditions: &mut Conditions<'_>,
    version: Version,
) {
    let state = under_way(status, version);
    let message = format!("installing Istio {version}");
    status.status = Some(state);
    conditions.set(
        condition::READY,
        Truth::Unknown,
        reason::PROGRESSING,
        &message,
    );
    conditions.set(
        condition::RECONCILING,
        Truth::True,
        reason::PROGRESSING,
        &message,
    );
    conditions.keep(&[Kept::UntilKnown]);
    status.message = Some(message);
}

/// The state while things go on: another version than the installed one is an update.
fn under_way(status: &IstioOperatorStatus, version: Version) -> InstallState {
    match &status.version {
        Some(installed) if *installed != version.to_string() => InstallState::Updating,
        _ => InstallState::Reconciling,
    }
}

fn set_progress(
    status: &mut IstioOperatorStatus,
    conditions: &mut Conditions<'_>,
    input: StatusInput<'_>,
    progress: &InstallProgress,
    health: &Health,
    unpruned: &[Problem],
) {
    let InstallProgress {
        version,
        upgrade,
        plan,
        held_by,
        rollback,
        ..
    } = progress;
    let is_refused = progress.is_refused();
    let installed = version.to_string();
    let mut problems = health.problems();
    // What waits for a person waits as long as that takes.
    problems.retain(|problem| held_by.is_none() || problem.severity != Severity::Waiting);
    let worst = problems.first().copied().or(unpruned.first());
    status.component_status = health.component_status(&installed, input.before);
    status.gateways = health.gateways();
    let unpromoted = progress.unpromoted();
    let is_done = worst.is_none() && held_by.is_none() && unpromoted.is_none();
    let problem = worst.map(|worst| bounded(worst.text.clone()));
    set_canary(
        status,
        progress.canary.as_ref(),
        problem,
        &progress.applied,
        input.now,
    );
    if !set_rollback(status, rollback.as_ref()) {
        let next = progress.next_version().to_string();
        set_upgrade(status, upgrade.as_ref(), &next, is_done);
    }
    set_step(status, health.step(), input.now);
    set_held_proxy(status, progress.held_proxy.as_ref(), is_done, input.now);
    set_plan(status, plan.as_ref(), is_done && rollback.is_none());
    let message = match worst {
        _ if is_refused => bounded(held_by.clone().unwrap_or_default()),
        None if let Some(why) = held_by => bounded(why.clone()),
        None if let Some(canary) = unpromoted => canary.message(),
        None if let Some(rollback) = rollback => rolled_back(status, rollback, &installed),
        None if health.components.is_empty() => "no components are enabled".to_owned(),
        None => format!("Istio {installed} is installed and available"),
        Some(worst) => bounded(summary(worst, problems.len() + unpruned.len())),
    };
    let is_empty = health.components.is_empty();
    set_outcome(status, conditions, progress, worst, &message, is_empty);
    set_findings(conditions, progress, &problems);
    status.message = Some(message);
}

/// Sets the state and the conditions of a pass, of which `worst` is the first problem, if there is one.
fn set_outcome(
    status: &mut IstioOperatorStatus,
    conditions: &mut Conditions<'_>,
    progress: &InstallProgress,
    worst: Option<&Problem>,
    message: &str,
    is_empty: bool,
) {
    match worst {
        _ if progress.is_refused() => {
            status.status = Some(InstallState::Error);
            stall(conditions, reason::UPGRADE_REFUSED, message);
        }
        None if progress.awaits().is_some() => {
            // A person has to act, and nothing is broken.
            status.status = Some(InstallState::Reconciling);
            let reason = reason::APPROVAL_REQUIRED;
            conditions.set(condition::READY, Truth::False, reason, message);
            conditions.set(condition::RECONCILING, Truth::True, reason, message);
        }
        None if progress.unpromoted().is_some() => {
            status.status = Some(under_way(status, progress.next_version()));
            let reason = reason::PROGRESSING;
            conditions.set(condition::READY, Truth::False, reason, message);
            conditions.set(condition::RECONCILING, Truth::True, reason, message);
        }
        None if progress.rollback.is_some() => {
            status.status = Some(InstallState::Error);
            stall(conditions, reason::ROLLED_BACK, message);
        }
        None => {
            status.status = Some(InstallState::Healthy);
            status.version = Some(progress.version.to_string());
            status.revision = Some(progress.revision.clone());
            let reason = if is_empty {
                reason::NOTHING_ENABLED
            } else {
                reason::INSTALLED
            };
            conditions.set(condition::READY, Truth::True, reason, message);
        }
        Some(worst) => {
            if let Some(reason) = worst.stalled_reason() {
                status.status = Some(InstallState::Error);
                stall(conditions, reason, message);
            } else {
                status.status = Some(under_way(status, progress.next_version()));
                let reason = worst.severity.progress_reason();
                conditions.set(condition::READY, Truth::False, reason, message);
                conditions.set(condition::RECONCILING, Truth::True, reason, message);
            }
        }
    }
}

fn stall(conditions: &mut Conditions<'_>, reason: &str, message: &str) {
    conditions.set(condition::READY, Truth::False, reason, message);
    conditions.set(condition::STALLED, Truth::True, reason, message);
}

/// Deletes that were refused are no problem of a component, yet are not done.
fn unpruned(applied: &Applied, judge: &mut Judge<'_>) -> Vec<Problem> {
    let unpruned = applied.unpruned.iter().map(|(key, error)| {
        let text = format!("{key} is not rendered any more and cannot be deleted: {error}");
        judge.refusal(key, error, text)
    });
    unpruned.collect()
}

fn summary(worst: &Problem, count: usize) -> String {
    match count {
        0 | 1 => worst.text.clone(),
        more => format!("{} (and {} more)", worst.text, more - 1),
    }
}

fn bounded(mut message: String) -> String {
    if let Some((end, _)) = message.char_indices().nth(MAX_MESSAGE) {
        message.truncate(end);
        message.push('…');
    }
    message
}

#[cfg(test)]
mod tests;
