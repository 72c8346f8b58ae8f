//! When things run: watches wake CRs, passes bring them forward, a lease decides who may.

mod cleanup;
mod finalizer;
mod queue;
mod reconcile;
mod retry;
mod state;
mod watch;

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt;
use k8s_openapi::jiff::Timestamp;
use kube::{Client, Config};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::Instrument;

use crate::api::IstioOperator;
use crate::apply::{Applied, ApplyError, Sender};
use crate::charts::Charts;
use crate::lease::{Candidate, Leadership};
use crate::merge::{Cluster, out_of_support};
use crate::plan::{CrKey, KINDS};
use crate::serve::{Health, serve};
use crate::settings::Settings;
use crate::status::{self, Outcome, Publisher, Subject};
use crate::telemetry::{self, PassLabels, RefusalLabels};
use queue::Queue;
use reconcile::{panicked, reconcile};
use retry::Next;
use state::{Concerned, Listing, State};

/// How long a start waits for the API server to answer at all.
const GREETING: Duration = Duration::from_secs(10);
/// How long passes that are under way may take at the end; below the 30 s that Kubernetes grants a pod.
const DRAIN: Duration = Duration::from_secs(25);
/// How long the first passes wait for lists that do not come.
const LISTS: Duration = Duration::from_secs(30);
/// How often the main loop beats when nothing happens.
const BEAT: Duration = Duration::from_secs(5);

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
    // One thread: a pass spends its time waiting for the API server, rendering takes milliseconds, and every further
    // thread has a heap of its own that keeps what one rendering needed at its peak.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let ended = runtime.block_on(operate(settings, charts));
    runtime.shutdown_background();
    ended
}

/// What every part of the controller works with.
struct Ctx {
    charts: Charts,
    cluster: Cluster,
    sender: Sender,
    publisher: Publisher,
    queue: Queue,
    health: Arc<Health>,
    state: Mutex<State>,
}

impl Ctx {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is known, and wakes the CRs that this concerns.
    fn note(&self, change: impl FnOnce(&mut State) -> Concerned) {
        let concerned = change(&mut self.state());
        for cr in &concerned {
            self.queue.wake(cr);
        }
    }

    /// Takes in a CR as a write of ours left it; the answer may already hold what somebody else changed meanwhile.
    fn put(&self, cr: IstioOperator) {
        self.note(|state| state.put_cr(cr, false));
    }

    /// The newest known state of `cr`, if its spec is still the same.
    fn same(&self, cr: &IstioOperator) -> Option<Arc<IstioOperator>> {
        let newest = self.state().cr(&state::key_of(cr))?;
        let is_same = newest.metadata.uid == cr.metadata.uid
            && newest.metadata.generation == cr.metadata.generation;
        is_same.then_some(newest)
    }

    /// Notes that a watch broke; gives what that says of the kind.
    fn watch_failed(&self, kind: &'static str, error: &kube::runtime::watcher::Error) -> Listing {
        self.health.metrics.watch_errors.inc();
        let listing = watch::listing(error);
        if listing == Listing::Absent {
            tracing::info!(kind, "the cluster does not serve this kind");
        } else {
            tracing::warn!(kind, %error, "a watch broke");
        }
        // A watch that breaks later on leaves what it listed.
        if let kube::runtime::watcher::Error::InitialListFailed(_) = error {
            self.state().listings.insert(kind, listing.clone());
        }
        listing
    }

    /// Publishes what follows from `outcome`; gives when it counts as stalled.
    async fn publish(
        &self,
        cr: &IstioOperator,
        outcome: &Outcome,
    ) -> Result<Option<Duration>, ApplyError> {
        let now = Timestamp::now();
        let before = cr.status.clone().unwrap_or_default();
        let generation = cr.metadata.generation.unwrap_or_default();
        let outdated = outcome
            .version()
            .map(|version| out_of_support(version, self.cluster, now, self.charts.catalogue()));
        let wanted = {
            let subject = Subject {
                generation,
                before: &before,
                now,
                outdated: &outdated.unwrap_or_default(),
            };
            status::of(subject, outcome, &self.state().live)
        };
        if let Some(written) = self.publisher.publish(cr, &wanted).await? {
            self.put(written);
        }
        Ok(status::deadline(&wanted, now))
    }

    /// Turns the wish of a pass into a delay; `None` waits for an event.
    fn delay(&self, key: &CrKey, next: Next) -> Option<Duration> {
        let mut state = self.state();
        if next == Next::Retry {
            let generation = state.cr(key).and_then(|cr| cr.metadata.generation);
            return Some(state.retries.failed(key, generation.unwrap_or_default()));
        }
        state.retries.clear(key);
        match next {
            Next::Now => Some(Duration::ZERO),
            Next::After(delay) => Some(delay),
            Next::Event | Next::Retry => None,
        }
    }

    /// The main loop is alive.
    fn beat(&self) {
        self.health.beat();
        let (crs, healthy) = self.state().count();
        let metrics = &self.health.metrics;
        metrics.crs.set(i64::try_from(crs).unwrap_or(i64::MAX));
        metrics
            .healthy
            .set(i64::try_from(healthy).unwrap_or(i64::MAX));
    }

    fn count(&self, applied: &Applied) {
        let metrics = &self.health.metrics;
        metrics
            .writes
            .inc_by(u64::try_from(applied.writes).unwrap_or_default());
        for (key, error) in applied.refusals() {
            tracing::warn!(object = %key, %error, "a write was refused");
            metrics
                .refusals
                .get_or_create(&RefusalLabels {
                    reason: error.reason(),
                })
                .inc();
        }
    }
}

/// Runs everything until a signal, or until a part ends that should not.
async fn operate(settings: Settings, charts: Charts) -> Result<(), Error> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let config = Config::infer()
        .await
        .map_err(|error| Error::Unreachable(error.to_string()))?;
    let (client, found) = greet(config.clone()).await?;
    let cluster = Cluster {
        is_adapted_to: settings.auto_gke_detection,
        ..found
    };
    let health = Arc::new(Health::default());
    let mut tasks = JoinSet::new();
    let address = settings.listen;
    let served = serve(address, Arc::clone(&health));
    tasks.spawn(async move {
        let ended = served.await;
        ended.map_or_else(
            |source| Error::Serve { address, source },
            |()| Error::TaskEnded("probes".to_owned()),
        )
    });
    let mut candidate = candidate(&settings, config)?;
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
            () = candidate.acquire(|| health.beat()) => {}
            () = &mut stop => return Ok(()),
            ended = tasks.join_next() => return Err(ended_with(ended)),
        }
    }
    health.metrics.leads.set(1);
    let leadership = candidate
        .as_ref()
        .map_or_else(Leadership::alone, Candidate::leadership);
    let sender = Sender::new(client, Arc::new(move || leadership.is_held()));
    let ctx = context(&settings, charts, cluster, sender, health);
    let drain = Arc::new(Semaphore::new(0));
    spawn_watches(&ctx, &settings, &mut tasks);
    let mut passes = tokio::spawn(work(
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
    drain.add_permits(1);
    if ended.is_ok() {
        tracing::info!("ending");
        if timeout(DRAIN, passes).await.is_err() {
            tracing::warn!("passes were cut off");
        }
        if let Some(candidate) = &mut candidate {
            candidate.release().await;
        }
    }
    ended
}

/// A client whose API server has answered, and what the answer says of the cluster.
///
/// It is not asked again: whoever upgrades a cluster replaces its nodes after the API server, and with them this process.
async fn greet(config: Config) -> Result<(Client, Cluster), Error> {
    let client = Client::try_from(config).map_err(|error| Error::Unreachable(error.to_string()))?;
    match timeout(GREETING, client.apiserver_version()).await {
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

fn candidate(settings: &Settings, mut config: Config) -> Result<Option<Candidate>, Error> {
    let Some(namespace) = settings
        .lease_namespace
        .as_ref()
        .filter(|name| !name.is_empty())
    else {
        return Ok(None);
    };
    config.default_retry = false;
    let client = Client::try_from(config).map_err(|error| Error::Unreachable(error.to_string()))?;
    // Two processes of one name (a pod whose container was restarted) are two candidates.
    let identity = format!("{}_{}", settings.instance, retry::random());
    Ok(Some(Candidate::new(client, namespace, identity)))
}

fn context(
    settings: &Settings,
    charts: Charts,
    cluster: Cluster,
    sender: Sender,
    health: Arc<Health>,
) -> Arc<Ctx> {
    let publisher = Publisher::new(sender.clone(), settings.instance.clone());
    let watched = KINDS.iter().map(|kind| kind.kind).chain([watch::CRS]);
    let state = Mutex::new(State::new(settings.namespaces(), watched));
    Arc::new(Ctx {
        charts,
        cluster,
        sender,
        publisher,
        queue: Queue::default(),
        health,
        state,
    })
}

fn spawn_watches(ctx: &Arc<Ctx>, settings: &Settings, tasks: &mut JoinSet<Error>) {
    for kind in &KINDS {
        let watch = watch::objects(Arc::clone(ctx), kind);
        tasks.spawn(watch.map(|()| Error::TaskEnded(format!("watch of {}", kind.kind))));
    }
    let namespaces = settings
        .namespaces()
        .map_or_else(|| vec![None], |all| all.into_iter().map(Some).collect());
    for namespace in namespaces {
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

/// Runs passes until `drain` is opened, then lets those under way end.
async fn work(ctx: Arc<Ctx>, concurrency: u8, drain: Arc<Semaphore>) {
    tokio::select! {
        _ = drain.acquire() => return,
        () = listed(&ctx) => {}
    }
    let slots = Arc::new(Semaphore::new(usize::from(concurrency)));
    let mut passes = JoinSet::new();
    let mut beat = tokio::time::interval(BEAT);
    loop {
        tokio::select! {
            _ = drain.acquire() => break,
            _ = beat.tick() => ctx.beat(),
            Some(_) = passes.join_next() => {}
            (slot, key) = next(&ctx, &slots) => {
                let ctx = Arc::clone(&ctx);
                passes.spawn(async move {
                    let span = tracing::info_span!("pass", cr = %key);
                    pass(&ctx, &key).instrument(span).await;
                    drop(slot);
                });
            }
        }
    }
    while passes.join_next().await.is_some() {}
}

/// Waits for the first lists: before them, everything would look as if it were missing. One that does not come in time
/// is gone without.
async fn listed(ctx: &Ctx) {
    let listed = async {
        while !ctx.state().is_listed() {
            ctx.health.beat();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    if timeout(LISTS, listed).await.is_err() {
        let unlisted = ctx.state().unlisted().join("; ");
        tracing::warn!(unlisted, "starting without some lists");
    }
    ctx.health.set_ready();
}

/// The next CR that is due, once there is room for its pass.
async fn next(ctx: &Ctx, slots: &Arc<Semaphore>) -> (Option<OwnedSemaphorePermit>, CrKey) {
    // The semaphore is never closed.
    let slot = Arc::clone(slots).acquire_owned().await.ok();
    (slot, ctx.queue.next().await)
}

/// One pass, and when the next one is due. Whatever happens in it stays in it.
async fn pass(ctx: &Ctx, key: &CrKey) {
    let start = Instant::now();
    let ended = AssertUnwindSafe(reconcile(ctx, key)).catch_unwind().await;
    let (result, next) = match ended {
        Ok(Ok(Next::Retry)) => ("refused", Next::Retry),
        Ok(Ok(next @ Next::Now)) => ("wrote", next),
        Ok(Ok(next)) => ("done", next),
        Ok(Err(error)) => {
            tracing::warn!(%error, "a pass failed");
            ("failed", Next::Retry)
        }
        Err(panic) => {
            tracing::error!(panic = panicked(panic.as_ref()), "a pass panicked");
            ("failed", Next::Retry)
        }
    };
    let delay = ctx.delay(key, next);
    let elapsed = start.elapsed();
    tracing::debug!(result, ?elapsed, ?delay, "pass");
    let metrics = &ctx.health.metrics;
    metrics.passes.get_or_create(&PassLabels { result }).inc();
    metrics.pass_seconds.observe(elapsed.as_secs_f64());
    ctx.queue.done(key, delay);
}
