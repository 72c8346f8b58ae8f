//! [`Merged`](crate::merge::Merged) → [`Rendered`]: charts executed, `k8s` settings and overlays laid over them.
//!
//! Pure: takes no client and reads no clock, environment or file; the charts are handed in.

mod object;

pub use object::{Object, ObjectKey};

use crate::api::{ComponentKind, Mistake};

/// The objects of one CR, component by component in render order. Only `render` makes one.
///
/// Keys are unique over all components, and no object carries owner labels yet: those are added by `plan`.
#[derive(Clone, Debug)]
pub struct Rendered {
    /// The components that were rendered.
    pub components: Vec<RenderedComponent>,
    /// Settings that had no effect, such as an overlay that matches no object.
    pub warnings: Vec<Mistake>,
}

/// The objects of one component.
#[derive(Clone, Debug)]
pub struct RenderedComponent {
    /// Which component this is.
    pub kind: ComponentKind,
    /// The name of its workload; empty for base.
    pub name: String,
    /// Its objects, in the order of the chart's files.
    pub objects: Vec<Object>,
}
