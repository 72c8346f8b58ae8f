//! A double of the API server for contract tests: it answers calls as its script says, and remembers them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use kube::Client;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{ApplyError, Class, Sender};
use crate::api::ComponentKind;
use crate::catalogue::Version;
use crate::charts::yaml::Manifest;
use crate::cluster::{AppliedDigests, ApplyReason, Kind};
use crate::plan::{Decision, ObjectToApply, Plan, PlannedComponent};
use crate::render::ObjectKey;

/// What the double answers to one call.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The object as it is after the call.
    Object(Value),
    /// A failure with this code and message.
    Failure(u16, &'static str),
    /// Nothing, ever.
    Silence,
}

/// One call that the double got.
#[derive(Clone, Debug)]
pub struct Call {
    /// The path with its query.
    pub path: String,
    /// What was sent.
    pub body: Value,
}

/// The double. A call beyond the end of its script fails the test that made it.
#[derive(Clone, Debug, Default)]
pub struct FakeApiServer(Arc<Mutex<Script>>);

#[derive(Debug, Default)]
struct Script {
    answers: VecDeque<Answer>,
    calls: Vec<Call>,
}

impl FakeApiServer {
    /// A double that answers the first call with the first of these, and so on.
    pub fn answering(answers: impl IntoIterator<Item = Answer>) -> Self {
        let api = Self::default();
        api.script().answers.extend(answers);
        api
    }

    /// A sender whose calls come here.
    pub fn sender(&self) -> Sender {
        Sender::new(self.client(), Arc::new(|| Duration::MAX))
    }

    /// As [`FakeApiServer::sender`], of a process whose lease ends then.
    pub fn sender_until(&self, end: Instant) -> Sender {
        let left = move || end.saturating_duration_since(Instant::now());
        Sender::new(self.client(), Arc::new(left))
    }

    fn client(&self) -> Client {
        let router = Router::new().fallback(answer).with_state(self.clone());
        Client::new(router, "default")
    }

    /// The calls so far.
    pub fn calls(&self) -> Vec<Call> {
        self.script().calls.clone()
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.0.lock().unwrap()
    }
}

async fn answer(State(api): State<FakeApiServer>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let call = Call {
        path: parts.uri.path_and_query().unwrap().to_string(),
        body: serde_json::from_slice(&body).unwrap_or_default(),
    };
    let answer = {
        let mut script = api.script();
        script.calls.push(call);
        script.answers.pop_front()
    };
    let (code, body) = match answer.unwrap() {
        Answer::Object(object) => (200, object),
        Answer::Failure(code, message) => {
            let exists = message.ends_with("already exists");
            let status = json!({
                "kind": "Status",
                "apiVersion": "v1",
                "status": "Failure",
                "message": message,
                "reason": if exists { "AlreadyExists" } else { "" },
                "code": code,
            });
            (code, status)
        }
        Answer::Silence => std::future::pending().await,
    };
    let answer = Response::builder().status(code);
    answer.body(Body::from(body.to_string())).unwrap()
}

/// What the API server answers to a patch of a CR that it does not take, and what follows from it.
pub fn refusals() -> [(Answer, &'static str, Class); 5] {
    [
        (
            Answer::Failure(409, "the UID in the precondition does not match"),
            "Conflict",
            Class::Retry,
        ),
        // What a `test` operation gets that finds something else.
        (
            Answer::Failure(
                422,
                "the server rejected our request due to an error in our request",
            ),
            "Conflict",
            Class::Retry,
        ),
        (
            Answer::Failure(403, "istiooperators.install.istio.io \"cr\" is forbidden"),
            "Forbidden",
            Class::Refusal,
        ),
        (
            Answer::Failure(503, "the server is currently unable to handle the request"),
            "Unavailable",
            Class::Retry,
        ),
        (Answer::Silence, "TimedOut", Class::Retry),
    ]
}

/// What a test compares with [`refusals`].
pub fn told(error: &ApplyError) -> (&'static str, Class) {
    (error.reason(), error.class())
}

/// An object to apply without more in it than its name.
pub fn to_apply(key: ObjectKey, reason: ApplyReason) -> ObjectToApply {
    ObjectToApply {
        component: 0,
        kind: Kind::of(&key).unwrap(),
        body: Manifest::from(&json!({"metadata": {"name": key.name}})),
        key,
        ca_from: None,
        digests: AppliedDigests {
            rendered: 1,
            left_to_others: 0,
        },
        reason,
        is_new: false,
        is_verified: true,
        applied_at: None,
        judged_version: None,
    }
}

/// A plan of istiod with these waves, and with objects that were decided about.
pub fn plan_of(decided: Vec<(ObjectKey, Decision)>, waves: Vec<Vec<ObjectToApply>>) -> Plan {
    let component = PlannedComponent {
        kind: ComponentKind::Pilot,
        name: "istiod".into(),
        version: Version {
            minor: 31,
            patch: 1,
        },
        image: None,
        keys: Vec::new(),
        decided,
    };
    Plan {
        components: vec![component],
        namespaces: Vec::new(),
        waves,
        postponed: Vec::new(),
        prune: Vec::new(),
        obsolete: Vec::new(),
        has_to_prove_injection: false,
        gone: BTreeMap::new(),
        unseen: Vec::new(),
        findings: Vec::new(),
        warnings: Vec::new(),
        is_in_sync: false,
    }
}
