//! The API server's own record of every request: who did what to which object, and when.
//!
//! Reads are recorded without bodies, writes with the body that was sent. Long reads (watches)
//! have two records: one when the answer begins, one when it ends.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::PathBuf,
};

use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::error::Error;

/// What `--audit-policy-file` gets.
pub(crate) const POLICY: &str = r#"{
  "apiVersion": "audit.k8s.io/v1",
  "kind": "Policy",
  "omitStages": ["RequestReceived"],
  "omitManagedFields": true,
  "rules": [
    {"level": "Metadata", "verbs": ["get", "list", "watch"]},
    {"level": "Request"}
  ]
}"#;

/// The audit log of one API server.
#[derive(Clone, Debug)]
pub struct AuditLog {
    path: PathBuf,
    /// In bytes. What stands before belongs to another test.
    start: u64,
}

/// One record.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// `ResponseComplete`, for the begin of a watch `ResponseStarted`, or `Panic`.
    pub stage: String,
    /// Path and query.
    #[serde(rename = "requestURI")]
    pub request_uri: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// Who asked.
    pub user: User,
    /// What program asked, as it calls itself.
    #[serde(default)]
    pub user_agent: String,
    /// The object, absent for paths such as `/version`.
    #[serde(default)]
    pub object_ref: ObjectRef,
    /// The answer.
    #[serde(default)]
    pub response_status: ResponseStatus,
    /// What was sent, for writes.
    #[serde(default)]
    pub request_object: Value,
    /// When the request arrived.
    #[serde(rename = "requestReceivedTimestamp")]
    pub received: Timestamp,
    /// When this record was made, so for `ResponseComplete` when the answer was sent.
    #[serde(rename = "stageTimestamp")]
    pub completed: Timestamp,
}

/// Who sent a request.
#[derive(Clone, Debug, Deserialize)]
pub struct User {
    /// Such as `system:serviceaccount:istio-operator:istio-operator`.
    #[serde(default)]
    pub username: String,
}

/// The object of a request; fields that do not apply are empty.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectRef {
    /// API group, empty for the core group.
    pub api_group: String,
    /// Plural name.
    pub resource: String,
    /// `status`, `scale`, `token` and the like.
    pub subresource: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// The answer to a request.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ResponseStatus {
    /// HTTP status.
    pub code: u16,
}

impl AuditLog {
    pub(crate) fn new(path: PathBuf, start: u64) -> Self {
        Self { path, start }
    }

    /// How long it is now, in bytes.
    pub(crate) fn len(&self) -> Result<u64, Error> {
        let metadata = fs::metadata(&self.path).map_err(self.failed())?;
        Ok(metadata.len())
    }

    /// All records so far, in the order in which they were made. A record appears shortly after
    /// its answer, so a test that expects one waits for it.
    pub fn events(&self) -> Result<Vec<Event>, Error> {
        let mut file = File::open(&self.path).map_err(self.failed())?;
        let mut text = String::new();
        file.seek(SeekFrom::Start(self.start))
            .and_then(|_| file.read_to_string(&mut text))
            .map_err(self.failed())?;
        // The last line may be half written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(parse).collect()
    }

    fn failed(&self) -> impl FnOnce(io::Error) -> Error {
        Error::io(self.path.display().to_string())
    }

    /// Finished requests of users whose name ends with `user`, received at `since` or later.
    pub fn by(&self, user: &str, since: Timestamp) -> Result<Vec<Event>, Error> {
        let mut events = self.events()?;
        events.retain(|event| {
            event.stage == "ResponseComplete"
                && event.user.username.ends_with(user)
                && event.received >= since
        });
        Ok(events)
    }

    /// Finished writes of such users, renewals of leases aside, which the clock makes.
    pub fn writes_by(&self, user: &str, since: Timestamp) -> Result<Vec<Event>, Error> {
        let mut events = self.by(user, since)?;
        events.retain(|event| event.is_write() && event.object_ref.resource != "leases");
        Ok(events)
    }

    /// Finished writes of such users to other objects than IstioOperators and Events: what it does to a mesh.
    pub fn object_writes_by(&self, user: &str, since: Timestamp) -> Result<Vec<Event>, Error> {
        let mut events = self.writes_by(user, since)?;
        events.retain(|event| !["istiooperators", "events"].contains(&&*event.object_ref.resource));
        Ok(events)
    }

    /// Finished writes of such users to one resource, by its API group and plural name, subresources included.
    pub fn writes_about(
        &self,
        user: &str,
        api_group: &str,
        resource: &str,
        since: Timestamp,
    ) -> Result<Vec<Event>, Error> {
        let mut events = self.writes_by(user, since)?;
        events.retain(|event| event.is_about(api_group, resource));
        Ok(events)
    }
}

impl Event {
    /// Whether the request could change anything; a dry run cannot.
    #[must_use]
    pub fn is_write(&self) -> bool {
        let writes = ["create", "update", "patch", "delete", "deletecollection"];
        writes.contains(&self.verb.as_str()) && !self.request_uri.contains("dryRun=All")
    }

    /// Whether the API server did what was asked.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        (200..300).contains(&self.response_status.code)
    }

    /// Whether the request was about this resource (plural, without subresource).
    #[must_use]
    pub fn is_about(&self, api_group: &str, resource: &str) -> bool {
        self.object_ref.api_group == api_group && self.object_ref.resource == resource
    }
}

/// Such as `delete services/istio-system/istiod: 200`.
impl fmt::Display for Event {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let object = &self.object_ref;
        let parts = [
            &object.resource,
            &object.namespace,
            &object.name,
            &object.subresource,
        ];
        let parts = parts.into_iter().map(String::as_str);
        let path: Vec<_> = parts.filter(|part| !part.is_empty()).collect();
        let code = self.response_status.code;
        write!(out, "{} {}: {code}", self.verb, path.join("/"))
    }
}

fn parse(line: &str) -> Result<Event, Error> {
    serde_json::from_str(line)
        .map_err(|error| Error::Unexpected(format!("audit record: {error}: {line}")))
}
