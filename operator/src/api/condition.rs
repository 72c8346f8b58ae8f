//! Types and reasons of `status.conditions`. Other tools match on these words, so they are written
//! here once.

/// `True` when everything rendered is applied and every workload runs its newest generation.
pub const READY: &str = "Ready";
/// `True` while a pass is under way or has to be repeated; absent otherwise, as kstatus wants it.
pub const RECONCILING: &str = "Reconciling";
/// `True` when no progress is possible without a person; absent otherwise, as kstatus wants it.
pub const STALLED: &str = "Stalled";
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
    /// The spec holds mistakes; nothing was touched.
    pub const INVALID_SPEC: &str = "InvalidSpec";
    /// The operator itself failed on the spec; nothing was touched.
    pub const INTERNAL_ERROR: &str = "InternalError";
    /// A chart could not be rendered with these values.
    pub const RENDER_FAILED: &str = "RenderFailed";
    /// The API server refused an object in a way that trying again does not cure.
    pub const APPLY_REFUSED: &str = "ApplyRefused";
    /// The API server could not be reached or was busy; the pass is repeated.
    pub const RETRYING: &str = "Retrying";
    /// Workloads did not become available in time.
    pub const DEADLINE_EXCEEDED: &str = "DeadlineExceeded";
    /// A workload that was available is not any more.
    pub const DEGRADED: &str = "Degraded";
    /// The CR is being deleted.
    pub const DELETING: &str = "Deleting";
    /// The CR is paused by its annotation.
    pub const PAUSED: &str = "Paused";
    /// Settings have no effect.
    pub const NO_EFFECT: &str = "NoEffect";
    /// The support of a version ended, or did not begin.
    pub const OUT_OF_SUPPORT: &str = "OutOfSupport";
    /// Pods may use what is not rendered any more.
    pub const MAY_BE_IN_USE: &str = "MayBeInUse";
    /// Helm manages objects that this `IstioOperator` renders.
    pub const MANAGED_BY_HELM: &str = "ManagedByHelm";
    /// Argo CD manages objects that this `IstioOperator` renders.
    pub const MANAGED_BY_ARGO_CD: &str = "ManagedByArgoCD";
    /// Flux manages objects that this `IstioOperator` renders.
    pub const MANAGED_BY_FLUX: &str = "ManagedByFlux";
    /// Somebody changed an object under the name of our field manager, and it was changed back.
    pub const OVERWRITTEN: &str = "Overwritten";
    /// Another `IstioOperator` owns objects that this one renders.
    pub const OWNED_BY_ANOTHER: &str = "OwnedByAnotherIstioOperator";
    /// Another writer owns or keeps changing a field.
    pub const OTHER_WRITER: &str = "OtherWriter";
}
