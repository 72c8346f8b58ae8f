//! Requests that a proxy does not forward, and what it does instead.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use axum::{
    http::{Method, StatusCode, header::CONTENT_TYPE, request::Parts},
    response::{IntoResponse, Response},
};
use serde_json::json;
use tokio::{
    sync::{Notify, watch},
    time::sleep,
};

/// What happens to a request instead of being forwarded.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It is answered as the API server answers refusals: with this status code and message.
    Refuse {
        /// Such as 403, 422 or 500.
        code: u16,
        /// What the answer says.
        message: String,
    },
    /// It is never answered.
    Hang,
    /// It is forwarded after this time.
    Delay(Duration),
}

/// What a rule knows of a request.
#[derive(Clone, Debug)]
pub struct Call {
    /// The HTTP method.
    pub method: Method,
    /// The path, such as `/apis/apps/v1/namespaces/istio-system/deployments/istiod`.
    pub path: String,
    /// The query without `?`; empty if there is none.
    pub query: String,
}

/// The rules of a proxy, and who wants to know when they change.
pub(super) struct Faults {
    rules: Mutex<Vec<Rule>>,
    changed: watch::Sender<()>,
    /// Tells that running watches are to end.
    ends: Notify,
}

struct Rule {
    chooses: Box<dyn Fn(&Call) -> bool + Send>,
    fault: Fault,
}

impl Fault {
    /// A refusal with this status code.
    #[must_use]
    pub fn refuse(code: u16) -> Self {
        let message = format!("the test refuses this with {code}");
        Self::Refuse { code, message }
    }

    /// The answer that the caller gets; nothing if the request is to be forwarded now.
    pub(super) async fn answer(self) -> Option<Response> {
        match self {
            Self::Refuse { code, message } => Some(status(code, &message)),
            Self::Hang => std::future::pending().await,
            Self::Delay(time) => {
                sleep(time).await;
                None
            }
        }
    }
}

/// A refusal in the form of the API server.
fn status(code: u16, message: &str) -> Response {
    let reason = match code {
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        410 => "Expired",
        422 => "Invalid",
        429 => "TooManyRequests",
        500 => "InternalError",
        503 => "ServiceUnavailable",
        _ => "",
    };
    let body = json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    });
    let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let json = [(CONTENT_TYPE, "application/json")];
    (code, json, body.to_string()).into_response()
}

impl Call {
    pub(super) fn of(request: &Parts) -> Self {
        Self {
            method: request.method.clone(),
            path: request.uri.path().into(),
            query: request.uri.query().unwrap_or_default().into(),
        }
    }

    /// Whether it can change something; a dry run cannot.
    #[must_use]
    pub fn is_write(&self) -> bool {
        let writes = [Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
        writes.contains(&self.method) && !self.query.contains("dryRun=All")
    }

    /// Whether it follows changes.
    #[must_use]
    pub fn is_watch(&self) -> bool {
        let mut parameters = self.query.split('&');
        parameters.any(|parameter| ["watch", "watch=1", "watch=true"].contains(&parameter))
    }

    /// Whether it is about objects of this kind, by its plural name, their subresources included.
    #[must_use]
    pub fn is_about(&self, plural: &str) -> bool {
        self.path.split('/').any(|part| part == plural)
    }
}

impl Faults {
    pub(super) fn new() -> Self {
        Self {
            rules: Mutex::default(),
            changed: watch::Sender::new(()),
            ends: Notify::new(),
        }
    }

    pub(super) fn add(&self, fault: Fault, chooses: impl Fn(&Call) -> bool + Send + 'static) {
        let chooses = Box::new(chooses);
        self.rules().push(Rule { chooses, fault });
        self.changed.send_replace(());
    }

    pub(super) fn clear(&self) {
        self.rules().clear();
    }

    /// The fault of the newest rule that chooses a request.
    pub(super) fn of(&self, call: &Call) -> Option<Fault> {
        let rules = self.rules();
        let rule = rules.iter().rev().find(|rule| (rule.chooses)(call));
        rule.map(|rule| rule.fault.clone())
    }

    pub(super) fn end_watches(&self) {
        self.ends.notify_waiters();
    }

    /// Waits until a running watch is to end.
    pub(super) async fn ended(&self, call: Call) {
        tokio::select! {
            () = self.ends.notified() => {}
            () = self.chosen(call) => {}
        }
    }

    /// Waits until some rule chooses the request.
    async fn chosen(&self, call: Call) {
        let mut changed = self.changed.subscribe();
        while self.of(&call).is_none() {
            // The sender lives as long as this value.
            let _ = changed.changed().await;
        }
    }

    fn rules(&self) -> std::sync::MutexGuard<'_, Vec<Rule>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} faults", self.rules().len())
    }
}
