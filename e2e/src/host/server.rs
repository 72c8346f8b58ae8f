//! HTTP servers of our own on 127.0.0.1.

use std::net::{Ipv4Addr, SocketAddr};

use axum::Router;
use tokio::{net::TcpListener, task::JoinHandle};

use crate::error::Error;

/// A running server on a free port; ends when dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Server {
    /// Serves these routes; `name` is for messages.
    pub async fn start(name: &str, routes: Router) -> Result<Self, Error> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.map_err(Error::io(name))?;
        let address = listener.local_addr().map_err(Error::io(name))?;
        // Handlers may ask where a connection comes from.
        let routes = routes.into_make_service_with_connect_info::<SocketAddr>();
        let task = tokio::spawn(async move {
            // It serves until it is aborted.
            let _ = axum::serve(listener, routes).await;
        });
        Ok(Self { address, task })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}
