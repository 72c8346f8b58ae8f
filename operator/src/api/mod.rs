//! What users write and read: the `IstioOperator` resource, its spec and its status.

mod component;
mod path;

pub use component::ComponentKind;
pub use path::{Mistake, Path};
