//! A proxy between the operator and the API server that limits writes, injects faults and breaks watches.
//!
//! With a limit of n writes, a crash after exactly the n-th write is not a matter of luck: the n-th write is carried out,
//! its answer is kept back, later writes wait, and the operator can be killed.

mod fault;
mod write_limit;

use std::{
    net::Ipv4Addr,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use futures::StreamExt;
use kube::{
    Client, Config,
    config::{AuthInfo, KubeConfigOptions, Kubeconfig},
};
use serde_json::json;
use tokio::{net::TcpListener, task::JoinHandle};

pub use self::fault::{Call, Fault};
use self::{fault::Faults, write_limit::WriteLimit};
use crate::error::Error;

/// The API server takes no larger request, in bytes.
const LARGEST: usize = 3 << 20;

/// A running proxy, which forwards everything at first; it ends when dropped.
#[derive(Debug)]
pub struct ApiProxy {
    url: String,
    rules: Arc<Rules>,
    server: JoinHandle<()>,
}

/// What is not simply forwarded.
#[derive(Debug)]
struct Rules {
    write_limit: WriteLimit,
    faults: Faults,
    /// The version that is reported instead of the API server's.
    version: Mutex<Option<String>>,
}

impl ApiProxy {
    /// Starts a proxy on a free port of 127.0.0.1, in front of the API server that `kubeconfig` names. It forwards the
    /// credentials of its callers.
    pub async fn start(kubeconfig: &Path) -> Result<Self, Error> {
        let failed = |error| Error::Kubeconfig(kubeconfig.into(), error);
        let kubeconfig = Kubeconfig::read_from(kubeconfig).map_err(failed)?;
        let options = KubeConfigOptions::default();
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .map_err(failed)?;
        config.auth_info = AuthInfo::default();
        // A refusal is an answer to forward like any other.
        config.default_retry = false;
        let client = Client::try_from(config)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(Error::io("API proxy"))?;
        let address = listener.local_addr().map_err(Error::io("API proxy"))?;
        let rules = Arc::new(Rules {
            write_limit: WriteLimit::new(),
            faults: Faults::new(),
            version: Mutex::default(),
        });
        let router = Router::new()
            .fallback(handle)
            .with_state((client, Arc::clone(&rules)));
        let server = tokio::spawn(async move {
            // Serving ends with the task; broken connections concern their callers only.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self {
            url: format!("http://{address}"),
            rules,
            server,
        })
    }

    /// The address to use instead of the API server's.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Forwards `count` more writes; leaves the last of them and all later writes without an answer. Leases do not count,
    /// because they are written at fixed times.
    pub fn limit_writes(&self, count: usize) {
        self.rules.write_limit.set(Some(count));
    }

    /// Forwards all later writes, and starts to count them anew. Writes that were held back stay so.
    pub fn lift_limit(&self) {
        self.rules.write_limit.set(None);
    }

    /// Writes forwarded since the limit was last set or lifted.
    #[must_use]
    pub fn forwarded_writes(&self) -> usize {
        self.rules.write_limit.forwarded()
    }

    /// Waits until the limit is reached and all forwarded writes are carried out.
    pub async fn wait_until_limit_reached(&self) {
        self.rules.write_limit.reached().await;
    }

    /// From now on the requests that `chooses` accepts meet this fault, and running watches that it accepts break. Of
    /// several rules for a request the newest counts.
    ///
    /// ```no_run
    /// # fn example(proxy: &e2e::actions::api_proxy::ApiProxy) {
    /// use e2e::actions::api_proxy::Fault;
    ///
    /// proxy.inject(Fault::refuse(403), |call| call.is_write() && call.is_about("deployments"));
    /// proxy.inject(Fault::refuse(500), |call| call.is_watch() && call.is_about("services"));
    /// # }
    /// ```
    pub fn inject(&self, fault: Fault, chooses: impl Fn(&Call) -> bool + Send + 'static) {
        self.rules.faults.add(fault, chooses);
    }

    /// Ends all running watches, as the API server does after some time, so that they are asked for again.
    pub fn end_watches(&self) {
        self.rules.faults.end_watches();
    }

    /// From now on no request meets a fault.
    pub fn clear_faults(&self) {
        self.rules.faults.clear();
    }

    /// From now on the API server seems to be of this version, such as `v1.33.5-gke.1162000`.
    pub fn report_version(&self, git_version: &str) {
        *self.rules.version() = Some(git_version.into());
    }
}

impl Drop for ApiProxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Rules {
    fn version(&self) -> MutexGuard<'_, Option<String>> {
        self.version.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn handle(State((client, rules)): State<(Client, Arc<Rules>)>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let call = Call::of(&parts);
    let version = rules.version().clone();
    if let Some(version) = version.filter(|_| call.path == "/version") {
        return json!({"gitVersion": version}).to_string().into_response();
    }
    if let Some(fault) = rules.faults.of(&call)
        && let Some(answer) = fault.answer().await
    {
        return answer;
    }
    if !call.is_write() || call.is_about("leases") {
        let answer = forward(&client, parts, body).await;
        return if call.is_watch() {
            breakable(answer, rules, call)
        } else {
            answer
        };
    }
    let Some(permit) = rules.write_limit.permit() else {
        return std::future::pending().await;
    };
    let answer = forward(&client, parts, body).await;
    rules.write_limit.answered(&permit);
    if permit.is_last {
        return std::future::pending().await;
    }
    answer
}

/// The answer to a watch, which ends once a fault is injected for it, or all watches are to end.
fn breakable(answer: Response, rules: Arc<Rules>, call: Call) -> Response {
    answer.map(|body| {
        let ended = async move { rules.faults.ended(call).await };
        let events = body.into_data_stream().take_until(Box::pin(ended));
        Body::from_stream(events)
    })
}

async fn forward(client: &Client, parts: Parts, body: Body) -> Response {
    // What the proxy itself cannot do looks like a load balancer that lost its server.
    let failed = |error: String| (StatusCode::BAD_GATEWAY, error).into_response();
    let body: Bytes = match axum::body::to_bytes(body, LARGEST).await {
        Ok(body) => body,
        Err(error) => return failed(error.to_string()),
    };
    match client.send(Request::from_parts(parts, body.into())).await {
        Ok(answer) => answer.map(Body::new),
        Err(error) => failed(error.to_string()),
    }
}
