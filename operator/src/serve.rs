//! The HTTP endpoints: `/healthz`, `/readyz` and `/metrics`.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;

use crate::telemetry::Metrics;

/// How long the main loop may go without a heartbeat. It sends one every few seconds even when there is nothing to do.
const SILENCE: Duration = Duration::from_mins(1);

/// What the probes report.
#[derive(Debug)]
pub struct Health {
    ready: AtomicBool,
    heartbeat: Mutex<Instant>,
    /// What `/metrics` reports.
    pub metrics: Metrics,
}

impl Default for Health {
    fn default() -> Self {
        let heartbeat = Mutex::new(Instant::now());
        Self {
            ready: AtomicBool::new(false),
            heartbeat,
            metrics: Metrics::default(),
        }
    }
}

impl Health {
    /// The main loop is alive.
    pub fn heartbeat(&self) {
        *self
            .heartbeat
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// The operator can do its work, or stands by for another one that leads.
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }

    fn is_alive(&self) -> bool {
        self.heartbeat
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .elapsed()
            < SILENCE
    }
}

/// Serves until the process ends; the error says why the address cannot be used.
pub async fn serve(address: SocketAddr, health: Arc<Health>) -> std::io::Result<()> {
    let routes = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(health);
    let listener = TcpListener::bind(address).await?;
    axum::serve(listener, routes).await
}

async fn healthz(State(health): State<Arc<Health>>) -> (StatusCode, &'static str) {
    if health.is_alive() {
        (StatusCode::OK, "ok\n")
    } else {
        (
            StatusCode::INTERNAL_SERVER_ERROR,
            "the main loop stands still\n",
        )
    }
}

async fn readyz(State(health): State<Arc<Health>>) -> (StatusCode, &'static str) {
    if health.ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "ok\n")
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "the cluster has not been listed yet\n",
        )
    }
}

async fn metrics(State(health): State<Arc<Health>>) -> String {
    health.metrics.text()
}
