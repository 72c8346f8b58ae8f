//! When things run: watches wake CRs, passes bring them forward, a lease decides who may.

mod approval;
mod asked;
mod canary;
mod cleanup;
mod ctx;
mod data_plane_watch;
mod finalizer;
mod injection;
mod limits;
mod missing_rights;
mod planning;
mod proxy_hold;
mod queue;
mod reconcile;
mod rendering;
mod requeue;
mod restarts;
mod rollback;
mod state;
mod templates;
mod watch;
mod watch_health;
mod worker;

#[cfg(test)]
mod tests;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use kube::{Client, Config};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use crate::apply::Sender;
use crate::charts::Charts;
use crate::cluster::KINDS;
use crate::dataplane::SOURCES;
use crate::lease::{Candidate, Leadership};
use crate::merge::Cluster;
use crate::serve::{Health, serve};
use crate::settings::Settings;
use crate::telemetry;
use ctx::Ctx;
use missing_rights::MissingRights;
pub use planning::{Planned, plan_for, render_beside, render_promoted};
pub use rendering::{RenderedCanary, RenderedSpec};
use state::scopes;
use worker::run_workers;

/// How long a start waits for the API server to answer at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long passes that are under way may take at the end; below the 30 s that Kubernetes grants a pod.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(25);

/// Why the operator ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no cluster, or it does not answer.
    #[error("the cluster cannot be reached: {0}")]
    Unreachable(String),
    /// The operating system refused something.
    #[error("the operator cannot start: {0}")]
    Start(#[from] std::io::Error),
    /// The probes cannot be served.
    #[error("cannot serve probes and metrics on {address}: {source}")]
    Serve {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Another operator leads, or this one could not renew its lease.
    #[error("the lease is lost")]
    LeaseLost,
    /// A part of the operator ended that never should.
    #[error("a task of the operator ended: {0}")]
    TaskEnded(String),
}

impl Error {
    /// The exit code of the process: 2 for a cluster that cannot be reached, 1 for everything else.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Unreachable(_) => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    }
}

/// Runs the operator until it is told to end.
pub fn run(settings: Settings, charts: Charts) -> Result<(), Error> {
    telemetry::log(&settings.log, settings.log_format);
    // One thread beside the one that renders: a pass spends its time waiting for the API server, and every further
    // thread has a heap of its own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let ended = runtime.block_on(operate(settings, charts));
    runtime.shutdown_background();
    ended
}

/// Runs everything until a signal, or until a part ends that should not.
async fn operate(settings: Settings, charts: Charts) -> Result<(), Error> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let config = Config::infer()
        .await
        .map_err(|error| Error::Unreachable(error.to_string()))?;
    let health = Arc::new(Health::default());
    let missing_rights = Arc::new(MissingRights::default());
    let client = missing_rights.client(counted_client(config.clone(), &health)?);
    let (client, found) = connect(client).await?;
    let cluster = Cluster {
        is_adapted_to: settings.auto_gke_detection,
        ..found
    };
    let mut tasks = JoinSet::new();
    let address = settings.listen;
    let served = serve(address, Arc::clone(&health));
    tasks.spawn(served.map(move |ended| match ended {
        Err(source) => Error::Serve { address, source },
        Ok(()) => Error::TaskEnded("probes".to_owned()),
    }));
    let mut candidate = candidate(&settings, config, &health, &missing_rights)?;
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    tokio::pin!(stop);
    if let Some(candidate) = &mut candidate {
        health.set_ready();
        tokio::select! {
            () = candidate.acquire(|| health.heartbeat()) => {}
            () = &mut stop => return Ok(()),
            ended = tasks.join_next() => return Err(ended_with(ended)),
        }
    }
    health.metrics.leader.set(1);
    let leadership = candidate
        .as_ref()
        .map_or_else(Leadership::alone, Candidate::leadership);
    let sender = Sender::new(client, Arc::new(move || leadership.left()));
    let ctx = Ctx::new(&settings, charts, cluster, sender, health, missing_rights)?;
    let ctx = Arc::new(ctx);
    let drain = Arc::new(Semaphore::new(0));
    spawn_watches(&ctx, &settings, &mut tasks);
    let mut passes = tokio::spawn(run_workers(
        Arc::clone(&ctx),
        settings.concurrency,
        Arc::clone(&drain),
    ));
    let ended = tokio::select! {
        () = &mut stop => Ok(()),
        ended = tasks.join_next() => Err(ended_with(ended)),
        _ = &mut passes => Err(Error::TaskEnded("passes".to_owned())),
        () = keep(&mut candidate) => Err(Error::LeaseLost),
    };
    if ended.is_ok() {
        tracing::info!("ending");
        drain.add_permits(1);
        end_passes(passes, &mut candidate).await;
    }
    ended
}

/// Lets passes that are under way end while the lease is renewed, then gives the lease up.
///
/// Passes that take too long are cut off. The API server may still be working on their last writes, so the lease is not
/// given up but expires.
async fn end_passes(mut passes: JoinHandle<()>, candidate: &mut Option<Candidate>) {
    let are_done = tokio::select! {
        ended = timeout(SHUTDOWN_TIMEOUT, &mut passes) => ended.is_ok(),
        () = keep(candidate) => false,
    };
    if are_done {
        if let Some(candidate) = candidate {
            candidate.release().await;
        }
    } else {
        passes.abort();
        tracing::warn!("passes were cut off");
    }
}

/// A client whose API server has answered, and what the answer says of the cluster.
///
/// It is not asked again: whoever upgrades a cluster replaces its nodes after the API server, and with them this process.
async fn connect(client: Client) -> Result<(Client, Cluster), Error> {
    match timeout(CONNECT_TIMEOUT, client.apiserver_version()).await {
        Ok(Ok(version)) => {
            let cluster = Cluster::read(&version.git_version);
            tracing::info!(kubernetes = version.git_version, "connected");
            Ok((client, cluster))
        }
        Ok(Err(error)) => Err(Error::Unreachable(error.to_string())),
        Err(_) => Err(Error::Unreachable(
            "the API server does not answer".to_owned(),
        )),
    }
}

/// A client for the API server.
fn client(config: Config) -> Result<Client, Error> {
    Client::try_from(config).map_err(|error| Error::Unreachable(error.to_string()))
}

/// A client whose requests are counted.
fn counted_client(config: Config, health: &Health) -> Result<Client, Error> {
    let requests = health.metrics.requests.clone();
    Ok(telemetry::counted(client(config)?, requests))
}

fn candidate(
    settings: &Settings,
    mut config: Config,
    health: &Health,
    missing_rights: &Arc<MissingRights>,
) -> Result<Option<Candidate>, Error> {
    let Some(namespace) = settings
        .lease_namespace
        .as_ref()
        .filter(|name| !name.is_empty())
    else {
        return Ok(None);
    };
    config.default_retry = false;
    let client = missing_rights.client(counted_client(config, health)?);
    // Two processes of one name (a pod whose container was restarted) are two candidates.
    let identity = format!("{}_{:016x}", settings.instance, fastrand::u64(..));
    Ok(Some(Candidate::new(client, namespace, identity)))
}

fn spawn_watches(ctx: &Arc<Ctx>, settings: &Settings, tasks: &mut JoinSet<Error>) {
    for kind in KINDS.iter().filter(|kind| kind.is_watched()) {
        let watch = watch::objects(Arc::clone(ctx), kind);
        tasks.spawn(watch.map(|()| Error::TaskEnded(format!("watch of {}", kind.kind))));
    }
    for source in &SOURCES {
        let watch = data_plane_watch::objects(Arc::clone(ctx), source);
        tasks.spawn(watch.map(|()| Error::TaskEnded(format!("watch of {}", source.name))));
    }
    let restarts = restarts::run(Arc::clone(ctx));
    tasks.spawn(restarts.map(|()| Error::TaskEnded("restarts of workloads".to_owned())));
    let rights = missing_rights::watch(Arc::clone(ctx));
    tasks.spawn(rights.map(|()| Error::TaskEnded("missing rights".to_owned())));
    let templates = templates::read_when_needed(Arc::clone(ctx));
    tasks.spawn(templates.map(|()| Error::TaskEnded("templates of pods".to_owned())));
    for namespace in scopes(settings.namespaces().as_deref()) {
        let watch = watch::crs(Arc::clone(ctx), namespace);
        tasks.spawn(watch.map(|()| Error::TaskEnded("watch of IstioOperators".to_owned())));
    }
}

async fn keep(candidate: &mut Option<Candidate>) {
    match candidate {
        Some(candidate) => candidate.keep().await,
        None => std::future::pending().await,
    }
}

fn ended_with(ended: Option<Result<Error, tokio::task::JoinError>>) -> Error {
    match ended {
        Some(Ok(error)) => error,
        Some(Err(error)) => Error::TaskEnded(error.to_string()),
        None => Error::TaskEnded("all of them".to_owned()),
    }
}
