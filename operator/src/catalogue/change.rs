//! What changes from one Istio to the next beside objects, and what its first patch releases get wrong.

use serde::Deserialize;

use super::Version;

/// Proxies that refuse what istiod sends in the first patch releases of a minor.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProxyFloor {
    /// The first patch release of istiod that every proxy understands.
    pub until: Version,
    /// The oldest proxy that understands those before it.
    pub oldest: Version,
}

impl ProxyFloor {
    /// Whether the proxies of one version refuse what the istiod of another sends.
    #[must_use]
    pub fn refuses(&self, proxy: Version, istiod: Version) -> bool {
        istiod < self.until && proxy < self.oldest
    }
}

/// What the step to a minor changes for a mesh that runs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Change {
    /// What changes, as a sentence.
    pub text: String,
    /// Whom it concerns; everybody if it is absent.
    pub of: Option<Concerned>,
    /// The `spec.compatibilityVersion` that keeps what was.
    pub kept_by: Option<String>,
    /// What is told where that is kept, because the change is for the better.
    pub when_kept: Option<WhenKept>,
}

/// What is lost where a compatibility version keeps what was.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WhenKept {
    /// What is lost, as a sentence that names the setting which brings it.
    pub text: String,
    /// That setting, as its path in `spec.values`.
    pub unless: String,
}

/// What some patch releases of a minor have that a later one mends.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mended {
    /// The first patch release without it.
    pub until: Version,
    /// What goes wrong before, as a sentence.
    pub text: String,
    /// Whom it concerns; everybody if it is absent.
    pub of: Option<Concerned>,
}

/// The installations that a change concerns.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Concerned {
    /// Those with this component, by its name in `spec.components`.
    Component(String),
    /// Those that set this environment variable of istiod.
    Env(String),
    /// Those that set this field of `spec.values`.
    Value(Vec<String>),
    /// Those that set this field of `spec.meshConfig`.
    Mesh(Vec<String>),
    /// Those with an extension provider of this kind in `spec.meshConfig`.
    Provider(String),
}

impl TryFrom<String> for Concerned {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let keys = |path: &str| path.split('.').map(str::to_owned).collect();
        match text.split_once(' ') {
            Some(("component", name)) => Ok(Self::Component(name.to_owned())),
            Some(("env", name)) => Ok(Self::Env(name.to_owned())),
            Some(("value", path)) => Ok(Self::Value(keys(path))),
            Some(("mesh", path)) => Ok(Self::Mesh(keys(path))),
            Some(("provider", kind)) => Ok(Self::Provider(kind.to_owned())),
            _ => Err(format!(
                "{text:?} does not begin with component, env, value, mesh or provider"
            )),
        }
    }
}
