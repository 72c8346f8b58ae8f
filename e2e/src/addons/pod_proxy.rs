//! An HTTP proxy that knows the way to pods.
//!
//! The pods of the control plane have addresses where nobody listens. A program that asks for their ports by way of this
//! proxy reaches the processes that stand in for them.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    extract::{Request, State},
    http::{
        StatusCode,
        header::{ACCEPT, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
};

use crate::{
    error::Error,
    host::{http, server::Server},
};

/// Address and port of a pod, to where its process listens.
type Ways = Arc<Mutex<BTreeMap<String, SocketAddr>>>;

/// A running proxy on 127.0.0.1; ends when dropped.
#[derive(Debug)]
pub struct PodProxy {
    server: Server,
    ways: Ways,
}

impl PodProxy {
    /// Starts one that knows no pods.
    pub async fn start() -> Result<Self, Error> {
        let ways = Ways::default();
        let routes = Router::new()
            .fallback(forward)
            .with_state(Arc::clone(&ways));
        Ok(Self {
            server: Server::start("proxy of pods", routes).await?,
            ways,
        })
    }

    /// Its own address, as a URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.server.address())
    }

    /// Requests to a port of a pod's address go to `process`.
    pub fn route(&self, pod_ip: &str, port: u16, process: SocketAddr) {
        let mut ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        ways.insert(format!("{pod_ip}:{port}"), process);
    }
}

async fn forward(State(ways): State<Ways>, request: Request) -> Response {
    let url = request.uri().to_string();
    let target = request.uri().authority().map(ToString::to_string);
    let process = target.and_then(|target| {
        let ways = ways.lock().unwrap_or_else(PoisonError::into_inner);
        ways.get(&target).copied()
    });
    let Some(process) = process else {
        let why = format!("no process stands for {url}");
        return (StatusCode::BAD_GATEWAY, why).into_response();
    };
    let accepted = request.headers().get(ACCEPT);
    let accepted = accepted
        .and_then(|value| value.to_str().ok())
        .unwrap_or("*/*");
    match http::get_with(process, &url, &[("accept", accepted)]).await {
        Ok(answer) => {
            let kind = answer.header("content-type").to_owned();
            (answer.status, [(CONTENT_TYPE, kind)], answer.body).into_response()
        }
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}
