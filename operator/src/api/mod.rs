//! The `IstioOperator` resource that users write and read: its spec, status, conditions and field paths.

#[allow(
    clippy::doc_markdown,
    reason = "these comments are the CRD's descriptions, in plain text"
)]
pub mod addons;
mod annotations;
mod beside_spec;
mod component;
pub mod condition;
pub(crate) mod format;
#[allow(
    clippy::doc_markdown,
    reason = "these comments are the CRD's descriptions, in plain text"
)]
pub mod k8s;
mod leaf;
mod path;
pub(crate) mod quantity;
#[allow(
    clippy::duplicated_attributes,
    reason = "each printer column has a type"
)]
mod resource;
#[allow(
    clippy::doc_markdown,
    reason = "these comments are the CRD's descriptions, in plain text"
)]
pub mod spec;
#[allow(
    clippy::doc_markdown,
    reason = "these comments are the CRD's descriptions, in plain text"
)]
mod status;
mod stored;
#[allow(
    clippy::doc_markdown,
    reason = "these comments are the CRD's descriptions, in plain text"
)]
mod update_strategy;

pub use annotations::Annotations;
pub(crate) use beside_spec::name_beside_spec;
pub use beside_spec::{belongs_into_spec, keep_beside_spec};
pub use component::{ComponentInfo, ComponentKind, Section, ValuesScope, Workload, WorkloadName};
pub use leaf::{Leaf, key_of_step, leaves, names_of, path_of_pointer};
pub use path::{FieldError, Path, Warning};
pub use quantity::is_same_quantity;
pub use resource::{CRD, IstioOperator, RawSpec, documented_schema, generated_crd, strict_schema};
pub use spec::DeletionPolicy;
pub use status::{
    CanaryStatus, CanaryStep, CheckResult, CheckStatus, ComponentStatus, ControlPlaneStatus,
    GatewayStatus, HeldProxyStatus, InstallState, IstioOperatorStatus, NodePort, PlanState,
    PlanStatus, ProxyCount, RestartState, RestartStatus, RevisionStatus, RollbackStatus,
    StepStatus, UpgradeStatus,
};
pub use stored::StoredCr;
pub use update_strategy::UpdateStrategy;
