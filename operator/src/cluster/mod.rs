//! What is there: the kinds that the operator manages, the live objects, their owner labels, who owns which of their
//! fields, what all CRs want together, and what this process applied last.
//!
//! Pure: takes no client and reads no clock, environment or file. Watches and answers to writes are fed in; plans and
//! statuses are read from it. The default tag's revisions and requests are known here; who gets the tag is decided in
//! `plan`.

mod desired_inventory;
mod evidence;
mod field_ownership;
mod injector;
mod kinds;
mod last_applied;
mod live;
mod managing_tool;
mod owner_labels;
mod readiness;

pub use crate::merge::revision_label;
pub use desired_inventory::{DesiredInventory, Need};
pub use field_ownership::{CoOwnedFields, conflicting_manager};
pub(crate) use field_ownership::{Scaling, WEBHOOKS, omit_co_owned};
pub(crate) use injector::{
    DEFAULT, belongs_to_default_tag, belongs_to_tag, is_deactivated_injector,
};
pub use injector::{Injector, TagMode, TagRequest};
#[cfg(test)]
pub(crate) use kinds::key;
pub use kinds::{KINDS, Kind, Role, Upkeep};
pub use last_applied::{AppliedDigests, ApplyReason, Interference, LastApplied};
pub(crate) use live::digest;
pub use live::{Live, LiveObject, version};
pub use managing_tool::{ManagingTool, is_mesh_config};
pub(crate) use owner_labels::label;
pub use owner_labels::{CrKey, MANAGER, MAX_NAME, OwnerLabels, REVISION};
pub use readiness::{Exposure, Readiness, WatchedSpec, WatchedStatus, Workload};
