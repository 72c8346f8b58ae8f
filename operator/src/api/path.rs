//! Paths of fields in a CR, and what is said about a field: an error or a warning.

use std::fmt;

/// The path of a field in a CR, printed as `spec.components.pilot.k8s.env[0].name`.
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

    /// The path of a field some levels below this one.
    #[must_use]
    pub fn keys(&self, keys: &[&str]) -> Self {
        keys.iter().fold(self.clone(), |path, key| path.key(key))
    }

    /// The path of the list element `index` below this one.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// The path of the list element below this one that has this name.
    #[must_use]
    pub fn element(&self, name: &str) -> Self {
        Self(format!("{}[{name}]", self.0))
    }

    /// The last key, such as `name` of `spec.env[0].name`, or the whole last part if it names a list element.
    #[must_use]
    pub fn last(&self) -> &str {
        let quoted = self.0.strip_suffix("\"]");
        let quoted = quoted.and_then(|start| start.rsplit_once("[\""));
        let (_, last) = self.0.rsplit_once('.').unwrap_or(("", &self.0));
        quoted.map_or(last, |(_, key)| key)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One field of a CR that is wrong: its author has to change it before anything is applied.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FieldError {
    /// The field.
    pub path: Path,
    /// What was found and what was expected, without the path.
    pub problem: String,
}

impl FieldError {
    /// An error of the field at `path`.
    #[must_use]
    pub fn new(path: Path, problem: impl Into<String>) -> Self {
        let problem = problem.into();
        Self { path, problem }
    }
}

impl From<Warning> for FieldError {
    fn from(warning: Warning) -> Self {
        Self::new(warning.path, warning.text)
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.problem)
    }
}

/// One field of a CR that its author should look at, although the CR is installed as it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Warning {
    /// The field.
    pub path: Path,
    /// What the author should know, without the path.
    pub text: String,
}

impl Warning {
    /// A warning about the field at `path`.
    #[must_use]
    pub fn new(path: Path, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { path, text }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.text)
    }
}
