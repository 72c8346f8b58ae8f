//! A gate between the operator and the API server that lets a counted number of writes through.
//!
//! With it, a crash after exactly the n-th write is not a matter of luck: the n-th write is carried
//! out, its answer is kept back, every later write waits outside, and the operator can be killed.

use std::{
    net::Ipv4Addr,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{Method, StatusCode},
    response::{IntoResponse, Response},
};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::json;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use crate::error::Error;

/// The API server takes no larger request, in bytes.
const LARGEST: usize = 3 << 20;

/// A running proxy, open at first; gone when dropped.
#[derive(Debug)]
pub struct ApiProxy {
    url: String,
    door: Arc<Door>,
    server: JoinHandle<()>,
}

/// How far the gate is open, and what went through.
#[derive(Debug)]
struct Door {
    counts: Mutex<Counts>,
    /// What is said of the API server's version instead of the truth.
    version: Mutex<Option<String>>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Counts {
    /// Writes that may still go through; no limit if absent.
    left: Option<usize>,
    /// Writes that the API server has not answered yet.
    pending: usize,
    /// Writes since the gate was set.
    passed: usize,
    /// How often the gate was set. Writes of an earlier setting never count in a later one.
    setting: usize,
}

/// What the gate does with a request.
enum Pass {
    /// It is a read, or the gate is open.
    Free,
    /// It is one of the counted writes.
    Counted { setting: usize, is_last: bool },
    /// It waits outside for ever.
    Never,
}

impl ApiProxy {
    /// Opens a gate on a free port of 127.0.0.1, in front of the API server that `kubeconfig` names.
    /// Who asks is up to those who pass through: their credentials are handed on.
    pub async fn start(kubeconfig: &Path) -> Result<Self, Error> {
        let failed = |error| Error::Kubeconfig(kubeconfig.into(), error);
        let kubeconfig = Kubeconfig::read_from(kubeconfig).map_err(failed)?;
        let options = KubeConfigOptions::default();
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .map_err(failed)?;
        config.auth_info = kube::config::AuthInfo::default();
        // A refusal is an answer like any other here.
        config.default_retry = false;
        let client = Client::try_from(config)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(Error::io("gate"))?;
        let address = listener.local_addr().map_err(Error::io("gate"))?;
        let door = Arc::new(Door {
            counts: Mutex::default(),
            version: Mutex::default(),
            changed: watch::Sender::new(()),
        });
        let router = Router::new()
            .fallback(pass)
            .with_state((client, Arc::clone(&door)));
        let server = tokio::spawn(async move {
            // Serving ends with the task; a connection that breaks is the caller's matter.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self {
            url: format!("http://{address}"),
            door,
            server,
        })
    }

    /// The address to use instead of the API server's.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// From now on `count` writes pass; the answer to the last of them and all later writes never do.
    pub fn admit(&self, count: usize) {
        self.door.set(Some(count));
    }

    /// From now on everything passes, except what already waits.
    pub fn open(&self) {
        self.door.set(None);
    }

    /// From now on the API server seems to be of this version, such as `v1.33.5-gke.1162000`.
    pub fn claim(&self, git_version: &str) {
        *self.door.version() = Some(git_version.into());
    }

    /// Writes that passed since the gate was last set.
    #[must_use]
    pub fn passed(&self) -> usize {
        self.door.counts().passed
    }

    /// Waits until all admitted writes have been carried out.
    pub async fn until_shut(&self) {
        let mut changed = self.door.changed.subscribe();
        while !self.door.counts().is_shut() {
            // The sender lives as long as the door does.
            let _ = changed.changed().await;
        }
    }
}

impl Drop for ApiProxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Counts {
    fn is_shut(&self) -> bool {
        self.left == Some(0) && self.pending == 0
    }
}

impl Door {
    fn counts(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn version(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.version.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, left: Option<usize>) {
        let mut counts = self.counts();
        *counts = Counts {
            left,
            setting: counts.setting + 1,
            ..Counts::default()
        };
    }

    fn enter(&self, request: &Request) -> Pass {
        if !is_write(request) {
            return Pass::Free;
        }
        let mut counts = self.counts();
        if counts.left == Some(0) {
            return Pass::Never;
        }
        counts.left = counts.left.map(|left| left - 1);
        counts.pending += 1;
        counts.passed += 1;
        Pass::Counted {
            setting: counts.setting,
            is_last: counts.left == Some(0),
        }
    }

    fn leave(&self, setting: usize) {
        let mut counts = self.counts();
        if counts.setting == setting {
            counts.pending -= 1;
        }
        drop(counts);
        self.changed.send_replace(());
    }
}

/// Whether a request changes something, leases aside: they are written by the clock.
fn is_write(request: &Request) -> bool {
    let writes = [Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    let uri = request.uri();
    writes.contains(request.method())
        && !uri.path().contains("/leases")
        && !uri.query().unwrap_or_default().contains("dryRun=All")
}

async fn pass(State((client, door)): State<(Client, Arc<Door>)>, request: Request) -> Response {
    let claimed = door.version().clone();
    if let Some(version) = claimed.filter(|_| request.uri().path() == "/version") {
        return json!({"gitVersion": version}).to_string().into_response();
    }
    let pass = door.enter(&request);
    if matches!(pass, Pass::Never) {
        std::future::pending::<()>().await;
    }
    let answer = forward(&client, request).await.unwrap_or_else(|error| {
        // What the gate itself cannot do looks like a load balancer that lost its server.
        (StatusCode::BAD_GATEWAY, error.to_string()).into_response()
    });
    if let Pass::Counted { setting, is_last } = pass {
        door.leave(setting);
        if is_last {
            std::future::pending::<()>().await;
        }
    }
    answer
}

async fn forward(
    client: &Client,
    request: Request,
) -> Result<Response, Box<dyn std::error::Error + Send + Sync>> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, LARGEST).await?;
    let answer = client.send(Request::from_parts(parts, body.into())).await?;
    Ok(answer.map(Body::new))
}
