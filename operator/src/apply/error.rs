//! Why the API server did not take a write, and what follows from it.

use std::time::Duration;

use kube::core::Status;

use super::text::without_values;
use crate::cluster::ManagingTool;

/// How long a refusal may last that passes by itself where it is a matter of order: a role that was just bound, a quota
/// that is being raised, a webhook or policy that comes up, a namespace that is on its way out.
const REFUSAL_PATIENCE: Duration = Duration::from_mins(1);
/// How long an API server that cannot answer, or something that does not exist yet, is waited for.
const OUTAGE_PATIENCE: Duration = Duration::from_mins(10);

/// What the API server says of a field that cannot be changed in place.
const IMMUTABLE: [&str; 4] = ["immutable", "updates to", "cannot change", "may not change"];

/// What the API server says where an admission webhook or policy denies a request.
const ADMISSION: [&str; 3] = [
    "admission webhook",
    "ValidatingAdmissionPolicy",
    "MutatingAdmissionPolicy",
];

/// Why one write did not happen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// 404 for a kind: its CRD is not installed.
    #[error("the cluster does not serve this kind")]
    NotServed,
    /// 404 for something that the object refers to, such as the role of a binding.
    #[error("something that it refers to does not exist: {0}")]
    ReferenceMissing(String),
    /// 404 for a namespace.
    #[error("its namespace does not exist: {0}")]
    NamespaceMissing(String),
    /// 403 for a namespace that is on its way out; not a matter of rights.
    #[error("its namespace is being deleted: {0}")]
    NamespaceTerminating(String),
    /// 422 for a node port or an address that another Service has, which may be about to let go of it.
    #[error("something that it asks for is taken: {0}")]
    Taken(String),
    /// 422 for a field that cannot be changed in place, such as the selector of a Deployment.
    #[error(
        "a field of it cannot be changed in place; delete the object, and it is created again: {0}"
    )]
    Immutable(String),
    /// 400 or 422: a value that the API server refuses.
    #[error("the API server refuses its content: {0}")]
    Invalid(String),
    /// 500 without a reason: a field that the kind does not have, or one of the wrong type.
    #[error("its content does not fit its kind: {0}")]
    Malformed(String),
    /// 413: more than the API server takes in one request.
    #[error("it is too large: {0}")]
    TooLarge(String),
    /// 403: the operator lacks a right, a quota is used up, or an admission plugin objects.
    #[error("the operator may not write it: {0}")]
    Forbidden(String),
    /// An admission webhook or an admission policy refuses the object.
    #[error("admission refuses it: {0}")]
    Denied(String),
    /// An admission webhook answers no dry runs.
    #[error("an admission webhook supports no dry run: {0}")]
    NoDryRun(String),
    /// 500: an admission webhook did not answer.
    #[error("an admission webhook does not answer: {0}")]
    WebhookUnavailable(String),
    /// 401: the operator's credentials are not accepted.
    #[error("the API server does not accept the operator's credentials: {0}")]
    Unauthorized(String),
    /// 409, or 422 for a patch that tests what it changes: the object is not as it was judged any more.
    #[error("it changed meanwhile: {0}")]
    Conflict(String),
    /// 429 and 5xx: the API server, or a webhook that it has to ask, is not able to answer now.
    #[error("the API server could not answer ({code}): {text}")]
    Unavailable {
        /// The HTTP status.
        code: u16,
        /// What it said.
        text: String,
    },
    /// No answer within the time that a call may take.
    #[error("the API server did not answer in time")]
    TimedOut,
    /// No connection, or one that broke.
    #[error("the API server cannot be reached: {0}")]
    Unreachable(String),
    /// It exists, and another tool manages it.
    #[error("{0} manages it")]
    ManagedBy(ManagingTool),
    /// The system gave no random numbers to make a value up from.
    #[error("the operator has no random numbers for it: {0}")]
    NoRandomness(String),
    /// The kind is none that charts may render.
    #[error("the operator does not manage objects of this kind")]
    UnknownKind,
    /// Another operator leads.
    #[error("this operator is not the leader any more")]
    NotLeader,
}

/// What an error means for the pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Something else has to come or go first; nobody has to act.
    Wait,
    /// Trying again may help by itself.
    Retry,
    /// The API server refuses it, which may pass by itself or need a person: time tells.
    Refusal,
    /// Somebody has to change something: the CR, the charts, rights, or the cluster. Tried again slowly all the same,
    /// because nobody tells us when that happened.
    Permanent,
}

impl ApplyError {
    /// What this error means for the pass.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::ReferenceMissing(_)
            | Self::NamespaceMissing(_)
            | Self::NamespaceTerminating(_)
            | Self::Taken(_)
            | Self::NoDryRun(_) => Class::Wait,
            Self::Conflict(_)
            | Self::Unavailable { .. }
            | Self::TimedOut
            | Self::Unreachable(_)
            | Self::Unauthorized(_)
            | Self::NoRandomness(_)
            | Self::NotLeader => Class::Retry,
            Self::NotServed
            | Self::Immutable(_)
            | Self::Invalid(_)
            | Self::Malformed(_)
            | Self::TooLarge(_)
            | Self::ManagedBy(_)
            | Self::UnknownKind => Class::Permanent,
            Self::Forbidden(_) | Self::Denied(_) | Self::WebhookUnavailable(_) => Class::Refusal,
        }
    }

    /// Whether the write may have been done all the same: its answer was lost, or came from something on the way.
    #[must_use]
    pub const fn is_ambiguous(&self) -> bool {
        matches!(
            self,
            Self::TimedOut | Self::Unreachable(_) | Self::Unavailable { .. }
        )
    }

    /// How long the error may last before a person has to act; zero for what never passes by itself.
    #[must_use]
    pub const fn patience(&self) -> Duration {
        match self {
            Self::NamespaceTerminating(_) | Self::Taken(_) => REFUSAL_PATIENCE,
            _ => match self.class() {
                Class::Wait | Class::Retry => OUTAGE_PATIENCE,
                Class::Refusal => REFUSAL_PATIENCE,
                Class::Permanent => Duration::ZERO,
            },
        }
    }

    /// Whether the API server refuses the write, which a person has to look at if it lasts.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        matches!(self.class(), Class::Refusal)
            || matches!(self, Self::NamespaceTerminating(_) | Self::Taken(_))
    }

    /// A stable word for metrics.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NotServed => "NotServed",
            Self::ReferenceMissing(_) => "ReferenceMissing",
            Self::NamespaceMissing(_) => "NamespaceMissing",
            Self::NamespaceTerminating(_) => "NamespaceTerminating",
            Self::Immutable(_) => "Immutable",
            Self::Invalid(_) => "Invalid",
            Self::Malformed(_) => "Malformed",
            Self::TooLarge(_) => "TooLarge",
            Self::Forbidden(_) => "Forbidden",
            Self::Denied(_) => "Denied",
            Self::Taken(_) => "Taken",
            Self::NoDryRun(_) => "NoDryRun",
            Self::WebhookUnavailable(_) => "WebhookUnavailable",
            Self::Unauthorized(_) => "Unauthorized",
            Self::Conflict(_) => "Conflict",
            Self::Unavailable { .. } => "Unavailable",
            Self::TimedOut => "TimedOut",
            Self::Unreachable(_) => "Unreachable",
            Self::ManagedBy(_) => "ManagedByOtherTool",
            Self::UnknownKind => "UnknownKind",
            Self::NotLeader => "NotLeader",
            Self::NoRandomness(_) => "NoRandomness",
        }
    }

    /// Whether the API server says that the object is not there.
    #[must_use]
    pub fn is_gone(error: &kube::Error) -> bool {
        matches!(error, kube::Error::Api(status) if status.code == 404)
    }

    /// Reads an answer. The code comes first, because a proxy or a missing kind answers without a reason.
    fn of_status(status: &Status) -> Self {
        let text = without_values(&status.message);
        let says = |word: &str| status.message.contains(word);
        match status.code {
            401 => Self::Unauthorized(text),
            403 if says("being terminated") => Self::NamespaceTerminating(text),
            400 if says("does not support dry run") => Self::NoDryRun(text),
            400 | 403 | 422 if ADMISSION.iter().any(|words| says(words)) => Self::Denied(text),
            403 => Self::Forbidden(text),
            404 if is_about_namespace(status) => Self::NamespaceMissing(text),
            404 if is_about_object(status) => Self::ReferenceMissing(text),
            404 => Self::NotServed,
            409 => Self::Conflict(text),
            413 => Self::TooLarge(text),
            422 if is_overtaken(status) => Self::Conflict(text),
            422 if says("already allocated") => Self::Taken(text),
            422 if IMMUTABLE.iter().any(|words| says(words)) => Self::Immutable(text),
            400 | 422 => Self::Invalid(text),
            500 if says("failed calling webhook") => Self::WebhookUnavailable(text),
            500 if says("failed to create typed patch object") || says("unknown field") => {
                Self::Malformed(text)
            }
            code => Self::Unavailable { code, text },
        }
    }
}

impl From<kube::Error> for ApplyError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::of_status(&status),
            // An answer that cannot be read says nothing about the object.
            other => Self::Unreachable(without_values(&other.to_string())),
        }
    }
}

/// Whether a 422 is about the state of the object and not about what was sent: a `test` of a JSON patch that found
/// something else, or a finalizer for an object that is on its way out.
fn is_overtaken(status: &Status) -> bool {
    let says = |words: &str| status.message.contains(words);
    says("the server rejected our request due to an error in our request")
        || says("no new finalizers can be added if the object is being deleted")
}

fn is_about_namespace(status: &Status) -> bool {
    let kind = status.details.as_ref().map(|details| details.kind.as_str());
    kind == Some("namespaces") || status.message.starts_with("namespaces ")
}

/// Whether a 404 names an object; one for a kind that is not served does not.
fn is_about_object(status: &Status) -> bool {
    let details = status.details.as_ref();
    details.is_some_and(|details| !details.name.is_empty())
        || status.message.contains("\" not found")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers as kube-apiserver 1.36 gives them to writes: code, message, what they are taken for.
    const ANSWERS: [(u16, &str, &str, Class); 23] = [
        (
            422,
            r#"Service "x" is invalid: spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated"#,
            "Taken",
            Class::Wait,
        ),
        (
            400,
            r#"admission webhook "v.example.com" does not support dry run"#,
            "NoDryRun",
            Class::Wait,
        ),
        (404, "404 page not found", "NotServed", Class::Permanent),
        (
            404,
            r#"namespaces "mesh" not found"#,
            "NamespaceMissing",
            Class::Wait,
        ),
        (
            404,
            r#"clusterroles.rbac.authorization.k8s.io "istiod" not found"#,
            "ReferenceMissing",
            Class::Wait,
        ),
        (
            403,
            r#"configmaps "istio" is forbidden: unable to create new content in namespace mesh because it is being terminated"#,
            "NamespaceTerminating",
            Class::Wait,
        ),
        (
            403,
            r#"roles.rbac.authorization.k8s.io "istiod" is forbidden: user cannot patch resource"#,
            "Forbidden",
            Class::Refusal,
        ),
        (
            403,
            r#"pods "x" is forbidden: exceeded quota: compute, requested: cpu=1, used: cpu=4, limited: cpu=4"#,
            "Forbidden",
            Class::Refusal,
        ),
        (
            422,
            r#"services "x" is forbidden: ValidatingAdmissionPolicy 'no-services' with binding 'all' denied request: not here"#,
            "Denied",
            Class::Refusal,
        ),
        (
            500,
            r#"Internal error occurred: failed calling webhook "v.example.com": failed to call webhook: connection refused"#,
            "WebhookUnavailable",
            Class::Refusal,
        ),
        (
            422,
            r#"Deployment.apps "istiod" is invalid: spec.selector: Invalid value: {}: field is immutable"#,
            "Immutable",
            Class::Permanent,
        ),
        (
            422,
            r#"Service "x" is invalid: spec.ports: Required value"#,
            "Invalid",
            Class::Permanent,
        ),
        (
            422,
            r#"ClusterRoleBinding.rbac.authorization.k8s.io "x" is invalid: roleRef: Invalid value: {}: cannot change roleRef"#,
            "Immutable",
            Class::Permanent,
        ),
        (
            422,
            "the server rejected our request due to an error in our request",
            "Conflict",
            Class::Retry,
        ),
        (
            422,
            r#"IstioOperator.install.istio.io "x" is invalid: metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{"a"}"#,
            "Conflict",
            Class::Retry,
        ),
        (
            500,
            "failed to create typed patch object (a/b; apps/v1, Kind=Deployment): .spec.x: field not declared in schema",
            "Malformed",
            Class::Permanent,
        ),
        (
            500,
            "etcdserver: request timed out",
            "Unavailable",
            Class::Retry,
        ),
        (
            503,
            "the server is currently unable to handle the request",
            "Unavailable",
            Class::Retry,
        ),
        (429, "too many requests", "Unavailable", Class::Retry),
        (
            409,
            "the UID in the precondition does not match",
            "Conflict",
            Class::Retry,
        ),
        (413, "limit is 3145728", "TooLarge", Class::Permanent),
        (401, "Unauthorized", "Unauthorized", Class::Retry),
        (400, "cannot be handled", "Invalid", Class::Permanent),
    ];

    #[test]
    fn answers_are_classified() {
        for (code, message, reason, class) in ANSWERS {
            let status = Status::failure(message, "").with_code(code);
            let error = ApplyError::from(kube::Error::Api(status.boxed()));
            assert_eq!(
                (error.reason(), error.class()),
                (reason, class),
                "{code} {message}"
            );
        }
    }
}
