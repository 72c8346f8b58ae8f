//! The main loop: starts a pass for each CR that is due, and reports that the process is alive.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::Instrument;

use super::ctx::Ctx;
use super::reconcile::{announce, reconcile};
use super::rendering::panic_text;
use super::requeue::Action;
use super::state::State;
use crate::cluster::CrKey;
use crate::telemetry::PassLabels;

/// How long the first passes wait for lists of objects.
const LIST_TIMEOUT: Duration = Duration::from_secs(30);
/// How often it is checked whether the lists are complete.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// How many CRs are announced at once while no pass slot is free.
const ANNOUNCEMENTS: usize = 4;
/// How long one announcement may take: an API server that does not answer for one CR must not hold up the others.
const ANNOUNCEMENT_LIMIT: Duration = Duration::from_secs(2);
/// How often the main loop reports that it is alive when nothing happens.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);

/// Runs passes until `drain` is opened, then lets those under way end.
pub(super) async fn run_workers(ctx: Arc<Ctx>, concurrency: u8, drain: Arc<Semaphore>) {
    tokio::select! {
        _ = drain.acquire() => return,
        () = wait_for_lists(&ctx) => {}
    }
    let slots = Arc::new(Slots::new(concurrency));
    let mut passes = JoinSet::new();
    let mut heartbeat = tokio::time::interval(HEARTBEAT_INTERVAL);
    loop {
        tokio::select! {
            _ = drain.acquire() => break,
            _ = heartbeat.tick() => ctx.heartbeat(),
            Some(_) = passes.join_next() => {}
            key = ctx.queue.next() => {
                let (ctx, slots) = (Arc::clone(&ctx), Arc::clone(&slots));
                passes.spawn(async move {
                    let span = tracing::info_span!("pass", cr = %key);
                    pass_in_slot(&ctx, &slots, &key).instrument(span).await;
                });
            }
        }
    }
    slots.close();
    while passes.join_next().await.is_some() {}
}

/// Waits for the first lists: before them, every object would look as if it were missing. If lists of objects are late,
/// start without them. Lists of CRs are mandatory: an object that an unknown CR needs would look like an orphan.
async fn wait_for_lists(ctx: &Ctx) {
    let objects = wait_until(ctx, State::has_objects);
    if timeout(LIST_TIMEOUT, objects).await.is_err() {
        let unlisted = ctx.state().unlisted().join("; ");
        tracing::warn!(unlisted, "starting without some lists");
    }
    wait_until(ctx, State::has_crs).await;
    ctx.health.set_ready();
}

async fn wait_until(ctx: &Ctx, is_so: fn(&State) -> bool) {
    while !is_so(&ctx.state()) {
        ctx.health.heartbeat();
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// How many passes and announcements are under way at once. A CR waits for its slot outside of the queue, which hands no
/// CR out twice, so no more CRs wait than there are.
struct Slots {
    passes: Semaphore,
    announcements: Semaphore,
}

impl Slots {
    fn new(concurrency: u8) -> Self {
        Self {
            passes: Semaphore::new(usize::from(concurrency)),
            announcements: Semaphore::new(ANNOUNCEMENTS),
        }
    }

    /// CRs that wait for a slot get none any more.
    fn close(&self) {
        self.passes.close();
        self.announcements.close();
    }
}

/// Makes a pass as soon as there is a slot. If there is none, slow passes of other CRs hold them all; then the CR is
/// announced first, so that its author sees at once that its generation was noticed.
async fn pass_in_slot(ctx: &Ctx, slots: &Slots, key: &CrKey) {
    if slots.passes.available_permits() == 0
        && let Ok(_slot) = slots.announcements.acquire().await
    {
        let announced = AssertUnwindSafe(Box::pin(announce(ctx, key))).catch_unwind();
        // The pass announces it if this did not.
        match timeout(ANNOUNCEMENT_LIMIT, announced).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::debug!(%error, "the CR could not be announced"),
            Ok(Err(panic)) => {
                tracing::error!(
                    panic = panic_text(panic.as_ref()),
                    "an announcement panicked"
                );
            }
            Err(_) => tracing::debug!("the CR was not announced in time"),
        }
    }
    if let Ok(_slot) = slots.passes.acquire().await {
        pass(ctx, key).await;
    }
}

/// One pass, and when the next one is due. Whatever happens in it stays in it.
async fn pass(ctx: &Ctx, key: &CrKey) {
    let start = Instant::now();
    let ended = AssertUnwindSafe(Box::pin(reconcile(ctx, key)))
        .catch_unwind()
        .await;
    let (result, next) = match ended {
        Ok(Ok(next @ Action::Backoff { .. })) => ("refused", next),
        Ok(Ok(next @ Action::ShortBackoff { .. })) => ("waiting", next),
        Ok(Ok(next @ Action::RequeueNow)) => ("wrote", next),
        Ok(Ok(next)) => ("done", next),
        Ok(Err(error)) => {
            tracing::warn!(%error, "a pass failed");
            // Without the right to write statuses this fails too, and an Event tells it.
            let _ = ctx.tell_missing_rights(key).await;
            ("failed", Action::BACKOFF)
        }
        Err(panic) => {
            tracing::error!(panic = panic_text(panic.as_ref()), "a pass panicked");
            ("failed", Action::BACKOFF)
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
