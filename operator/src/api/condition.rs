//! Types and reasons of `status.conditions`. Other tools match on these words, so they are written
//! here once, and [`ALL`] says what holds for each type.

/// `True` when everything rendered is applied and every workload runs its newest generation.
pub const READY: &str = "Ready";
/// `True` while a pass is under way or has to be repeated; absent otherwise, as kstatus wants it.
pub const RECONCILING: &str = "Reconciling";
/// `True` when no progress is possible without a person; absent otherwise, as kstatus wants it.
pub const STALLED: &str = "Stalled";
/// `True` while a change waits until a person approves its plan.
pub const APPROVAL_REQUIRED: &str = "ApprovalRequired";
/// `True` while the CR carries the annotation that pauses it.
pub const SUSPENDED: &str = "Suspended";
/// `True` while a setting of the CR has no effect, such as an overlay that matches no object.
pub const WARNINGS: &str = "Warnings";
/// `True` while another writer keeps changing a field that the charts set.
pub const CONFLICT: &str = "Conflict";

/// `True` while upstream supports the installed Istio no more, or not on this Kubernetes; it works all the same.
pub const OUTDATED: &str = "Outdated";

/// `True` while objects of a revision stay that the CR does not render any more.
pub const OLD_REVISION: &str = "OldRevision";
/// `True` while objects that the CR renders belong to another tool or to another CR.
pub const OWNERSHIP_CONFLICT: &str = "OwnershipConflict";

/// `True` while a watch is broken on which the CR depends, so that what is said of its objects may be outdated.
pub const WATCH_BROKEN: &str = "WatchBroken";

/// `True` while the operator lacks rights, whether or not the CR needs them now.
pub const RIGHTS_MISSING: &str = "RightsMissing";

/// What holds for one type of condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The type.
    pub name: &'static str,
    /// When it makes an Event.
    pub event: EventRule,
    /// Whether a pass that learns nothing new about it keeps it: one of a paused CR, or the first one of a generation.
    pub kept: Kept,
}

/// When a condition that is `True` makes an Event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventRule {
    /// Whenever its reason or message is new; always a warning.
    EachMessage,
    /// When its reason is new; the reason decides whether it is a warning, or no Event at all.
    EachReason,
    /// Never.
    Never,
}

/// Which passes keep a condition although they learn nothing new about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// None: it is set in each pass, or absent.
    Never,
    /// Those of a paused CR.
    WhilePaused,
    /// Those of a paused CR, and the first one of a generation, so that an edit does not tell it again.
    UntilKnown,
    /// All in which the version is not known.
    WithoutVersion,
}

/// Every type of condition that the operator sets. Conditions of other types belong to others and stay as they are.
pub const ALL: [Rule; 12] = [
    rule(READY, EventRule::EachReason, Kept::WhilePaused),
    rule(RECONCILING, EventRule::EachReason, Kept::WhilePaused),
    rule(STALLED, EventRule::EachMessage, Kept::WhilePaused),
    rule(APPROVAL_REQUIRED, EventRule::EachMessage, Kept::WhilePaused),
    rule(SUSPENDED, EventRule::Never, Kept::Never),
    rule(CONFLICT, EventRule::EachMessage, Kept::UntilKnown),
    rule(WARNINGS, EventRule::EachMessage, Kept::UntilKnown),
    rule(OUTDATED, EventRule::EachMessage, Kept::WithoutVersion),
    rule(OLD_REVISION, EventRule::EachReason, Kept::UntilKnown),
    rule(WATCH_BROKEN, EventRule::EachMessage, Kept::Never),
    rule(RIGHTS_MISSING, EventRule::EachMessage, Kept::Never),
    rule(OWNERSHIP_CONFLICT, EventRule::EachMessage, Kept::UntilKnown),
];

const fn rule(name: &'static str, event: EventRule, kept: Kept) -> Rule {
    Rule { name, event, kept }
}

/// Reasons, the machine-readable half of a condition.
pub mod reason {
    /// A new generation was seen and nothing of it is applied yet.
    pub const PROGRESSING: &str = "Progressing";
    /// Everything is applied; workloads are not available yet.
    pub const ROLLING_OUT: &str = "RollingOut";
    /// Everything is applied and available.
    pub const INSTALLED: &str = "Installed";
    /// The spec enables no component.
    pub const NOTHING_ENABLED: &str = "NothingEnabled";
    /// The spec has errors; nothing was changed in the cluster.
    pub const INVALID_SPEC: &str = "InvalidSpec";
    /// The operator itself failed on the spec; nothing was touched.
    pub const INTERNAL_ERROR: &str = "InternalError";
    /// The Istio version may not change as the spec asks for; the one that runs stays.
    pub const UPGRADE_REFUSED: &str = "UpgradeRefused";
    /// The change waits until a person approves its plan.
    pub const APPROVAL_REQUIRED: &str = "ApprovalRequired";
    /// A change of the version stopped, and the last healthy version was brought back.
    pub const ROLLED_BACK: &str = "RolledBack";
    /// A change of the version has come to another component.
    pub const UPGRADE_STEP: &str = "UpgradeStep";
    /// Proxies get the image from before an update until the control plane was healthy for a while.
    pub const PROXIES_HELD: &str = "ProxiesHeld";
    /// Proxies get the image of their istiod again.
    pub const PROXIES_RELEASED: &str = "ProxiesReleased";
    /// A canary has come to another step.
    pub const CANARY_STEP: &str = "CanaryStep";
    /// The version changes although checks failed, because the user skips them.
    pub const CHECKS_SKIPPED: &str = "ChecksSkipped";
    /// A chart could not be rendered with these values.
    pub const RENDER_FAILED: &str = "RenderFailed";
    /// The spec reaches further than this operator allows; nothing was changed in the cluster.
    pub const NOT_ALLOWED: &str = "NotAllowed";
    /// The API server refused an object in a way that trying again does not cure.
    pub const APPLY_REFUSED: &str = "ApplyRefused";
    /// The API server could not be reached or was busy; the pass is repeated.
    pub const RETRYING: &str = "Retrying";
    /// Workloads did not become available in time.
    pub const DEADLINE_EXCEEDED: &str = "DeadlineExceeded";
    /// Less of a workload is available than before: it is scaled, its pods are replaced, or they fail.
    pub const SCALING_OR_ROLLING_OUT: &str = "ScalingOrRollingOut";
    /// A watch does not work.
    pub const WATCH_BROKEN: &str = "WatchBroken";
    /// The API server denies the operator a right.
    pub const RIGHTS_MISSING: &str = "RightsMissing";
    /// The CR is being deleted.
    pub const DELETING: &str = "Deleting";
    /// The CR is paused by its annotation.
    pub const PAUSED: &str = "Paused";
    /// Settings have no effect.
    pub const NO_EFFECT: &str = "NoEffect";
    /// The support of a version ended, or did not begin.
    pub const OUT_OF_SUPPORT: &str = "OutOfSupport";
    /// Pods may use what is not rendered any more: not everything could be looked at.
    pub const MAY_BE_IN_USE: &str = "MayBeInUse";
    /// What is not rendered any more is used.
    pub const IN_USE: &str = "InUse";
    /// Nobody uses what is not rendered any more, and it goes unless that changes.
    pub const UNUSED: &str = "Unused";
    /// Workloads have the newest proxy, as far as they are restarted.
    pub const RESTARTS_DONE: &str = "RestartsDone";
    /// A workload did not come back from its restart, and no further one is restarted.
    pub const RESTARTS_STOPPED: &str = "RestartsStopped";
    /// A revision that nobody uses was deleted.
    pub const OLD_REVISION_DELETED: &str = "OldRevisionDeleted";
    /// Helm manages objects that this `IstioOperator` renders.
    pub const MANAGED_BY_HELM: &str = "ManagedByHelm";
    /// Argo CD manages objects that this `IstioOperator` renders.
    pub const MANAGED_BY_ARGO_CD: &str = "ManagedByArgoCD";
    /// Flux manages objects that this `IstioOperator` renders.
    pub const MANAGED_BY_FLUX: &str = "ManagedByFlux";
    /// An Istio older than istiod uses objects that this `IstioOperator` renders.
    pub const OLDER_ISTIO: &str = "OlderIstio";
    /// Somebody changed an object under the name of our field manager, and it was changed back.
    pub const OVERWRITTEN: &str = "Overwritten";
    /// Another `IstioOperator` owns objects that this one renders.
    pub const OWNED_BY_ANOTHER: &str = "OwnedByAnotherIstioOperator";
    /// Another writer owns or keeps changing a field.
    pub const OTHER_WRITER: &str = "OtherWriter";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_its_rule() {
        let source = include_str!("condition.rs");
        let (types, _) = source.split_once("pub struct Rule").unwrap();
        let declared = types.lines().filter(|line| line.starts_with("pub const "));
        let declared: Vec<_> = declared.filter_map(|line| line.split('"').nth(1)).collect();
        assert_eq!(declared.len(), ALL.len());
        for name in declared {
            assert!(
                ALL.iter().any(|rule| rule.name == name),
                "{name} has no rule"
            );
        }
    }
}
