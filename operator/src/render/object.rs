//! One rendered Kubernetes object and its key.

use std::fmt;

use serde_json::Value;

use crate::charts::yaml::Manifest;

/// What identifies an object in a cluster, independent of the served version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// API group; empty for the core group.
    pub group: String,
    /// Kind, such as `Deployment`.
    pub kind: String,
    /// Namespace; absent for cluster-scoped objects.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

/// One Kubernetes object as it is sent: no `status`, no server-set fields.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// Its key, read from `body`.
    pub key: ObjectKey,
    /// The API version of `body` without the group, such as `v2`.
    pub version: String,
    /// The whole object.
    pub body: Manifest,
}

impl Object {
    /// Reads the key of a body and drops its `status`, which the operator never sends. The error names the field that is
    /// missing.
    pub(super) fn of(mut body: Manifest) -> Result<Self, String> {
        let metadata = body.field("metadata");
        let text = |value: &Value| value.as_str().filter(|s| !s.is_empty()).map(str::to_owned);
        let required = |name: &str, value: &Value| {
            text(value).ok_or_else(|| format!("an object without {name}"))
        };
        let api_version = required("apiVersion", &body.field("apiVersion"))?;
        let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
        let key = ObjectKey {
            group: group.to_owned(),
            kind: required("kind", &body.field("kind"))?,
            namespace: metadata.get("namespace").and_then(text),
            name: required(
                "metadata.name",
                metadata.get("name").unwrap_or(&Value::Null),
            )?,
        };
        let version = version.to_owned();
        body.remove("status");
        Ok(Self { key, version, body })
    }
}
