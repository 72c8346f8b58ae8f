//! The Istio minors that this binary knows, read from `charts/versions.yaml`.

use std::fmt;

/// An Istio version: a minor that the catalogue knows and the patch release to name in labels and image tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// The 30 of `1.30.3`; Istio's major is 1.
    pub minor: u16,
    /// The 3 of `1.30.3`.
    pub patch: u16,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1.{}.{}", self.minor, self.patch)
    }
}
