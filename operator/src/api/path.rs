//! Where in a CR something stands, and what is wrong there.

use std::fmt;

/// A place in a CR, printed as `spec.components.pilot.k8s.env[0].name`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path(String);

impl Path {
    /// A path of one key, such as `spec`.
    #[must_use]
    pub fn root(key: &str) -> Self {
        Self(key.to_owned())
    }

    /// The path of the field `key` below this one. A key with a dot is quoted: `nodeSelector["kubernetes.io/os"]`.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        if key.contains(['.', '[', '"']) {
            Self(format!("{}[{key:?}]", self.0))
        } else if self.0.is_empty() {
            Self(key.to_owned())
        } else {
            Self(format!("{}.{key}", self.0))
        }
    }

    /// The path of the list element `index` below this one.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One thing in a CR that its author has to change (or, as a warning, should know of).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// Where it stands.
    pub path: Path,
    /// What was found and what was expected, without the path.
    pub problem: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.problem)
    }
}
