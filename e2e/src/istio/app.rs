//! An application of a mesh: it answers every request with what it saw of it.

use std::net::{Ipv4Addr, SocketAddr};

use axum::{Router, extract::Request, http::header::CONTENT_TYPE};
use serde_json::{Map, Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::error::Error;

/// A running application on 127.0.0.1; ends when dropped.
#[derive(Debug)]
pub struct App {
    address: SocketAddr,
    server: JoinHandle<()>,
}

impl App {
    /// Starts one that calls itself `name`.
    pub async fn start(name: &str) -> Result<Self, Error> {
        let failed = || Error::io(format!("application {name}"));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.map_err(failed())?;
        let address = listener.local_addr().map_err(failed())?;
        let name = name.to_owned();
        let answer = move |request: Request| {
            let answer = seen(&name, &request);
            async move { ([(CONTENT_TYPE, "application/json")], answer.to_string()) }
        };
        let router = Router::new().fallback(answer);
        let server = tokio::spawn(async move {
            // It serves until it is aborted.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { address, server })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn seen(name: &str, request: &Request) -> Value {
    let headers = request.headers().iter();
    let headers = headers.map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.to_string(), Value::from(value))
    });
    let headers: Map<_, _> = headers.collect();
    json!({"app": name, "path": request.uri().path(), "headers": headers})
}
