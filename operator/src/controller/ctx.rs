//! What every part of the controller works with: the shared state, and what may be sent and told.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use tokio::sync::Notify;

use super::limits::Limits;
use super::missing_rights::MissingRights;
use super::queue::Queue;
use super::rendering::RenderThread;
use super::requeue::Action;
use super::state::{State, ToRequeue};
use super::watch_health::{Watched, Watches};
use crate::api::{IstioOperator, StoredCr};
use crate::apply::{Applied, ApplyError, Sender};
use crate::charts::Charts;
use crate::cluster::{CrKey, KINDS};
use crate::merge::{Cluster, out_of_support};
use crate::render::ObjectKey;
use crate::serve::Health;
use crate::settings::Settings;
use crate::status::{self, Computed, PassResult, Publisher, StatusInput};
use crate::telemetry::{KindLabels, RefusalLabels};

/// What every part of the controller works with.
pub(super) struct Ctx {
    pub(super) charts: Arc<Charts>,
    pub(super) cluster: Cluster,
    pub(super) render_thread: RenderThread,
    pub(super) sender: Sender,
    pub(super) publisher: Publisher,
    pub(super) queue: Queue,
    pub(super) watches: Watches,
    pub(super) missing_rights: Arc<MissingRights>,
    /// Tells that sources which the cluster did not serve are to be tried again now.
    pub(super) absent_sources: Notify,
    /// The broken watches at the last heartbeat.
    broken_watches: Mutex<BTreeSet<Watched>>,
    pub(super) health: Arc<Health>,
    pub(super) state: Mutex<State>,
}

impl Ctx {
    /// Knows nothing of the cluster yet. The error is that of starting the thread that renders.
    pub(super) fn new(
        settings: &Settings,
        charts: Charts,
        cluster: Cluster,
        sender: Sender,
        health: Arc<Health>,
        missing_rights: Arc<MissingRights>,
    ) -> std::io::Result<Self> {
        let charts = Arc::new(charts);
        let render_thread =
            RenderThread::start(Arc::clone(&charts), cluster, Limits::of(settings))?;
        let publisher = Publisher::new(sender.clone(), settings.instance.clone());
        let watched = KINDS.iter().filter(|kind| kind.is_watched());
        let watched = watched.map(|kind| kind.kind);
        let state = Mutex::new(State::new(settings.namespaces(), watched));
        Ok(Self {
            charts,
            cluster,
            render_thread,
            sender,
            publisher,
            queue: Queue::default(),
            watches: Watches::default(),
            missing_rights,
            absent_sources: Notify::new(),
            broken_watches: Mutex::default(),
            health,
            state,
        })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, and requeues the CRs that the change concerns.
    pub(super) fn update(&self, change: impl FnOnce(&mut State) -> ToRequeue) {
        let requeue = change(&mut self.state());
        for cr in &requeue {
            self.queue.wake(cr);
        }
    }

    /// Takes in a CR as a write of ours left it; the answer may already hold what somebody else changed meanwhile.
    pub(super) fn store_answer(&self, cr: StoredCr) {
        self.update(|state| state.put_answered_cr(cr));
    }

    /// The newest known state of `cr`, if its spec is still the same.
    pub(super) fn newest_if_unchanged(&self, cr: &IstioOperator) -> Option<Arc<StoredCr>> {
        let newest = self.state().cr(&CrKey::of(cr))?;
        let is_same = newest.metadata.uid == cr.metadata.uid
            && newest.metadata.generation == cr.metadata.generation;
        is_same.then_some(newest)
    }

    /// Publishes the status that follows from `result`; returns how soon it changes although nothing happens. One that only
    /// words the progress of a rollout anew may wait for a second.
    ///
    /// Somebody else may have changed the CR since it was read. Then the status is computed again from the newest one,
    /// unless that has another spec, which gets a pass of its own.
    pub(super) async fn publish(
        &self,
        cr: &IstioOperator,
        result: &PassResult,
    ) -> Result<Option<Duration>, ApplyError> {
        let (written, next_change) = match Box::pin(self.try_publish(cr, result)).await {
            Err(ApplyError::Conflict(_)) => {
                let newest = self.publisher.read(cr).await?;
                let same = newest.filter(|newest| {
                    newest.metadata.generation == cr.metadata.generation
                        && newest.metadata.deletion_timestamp == cr.metadata.deletion_timestamp
                });
                let Some(newest) = same else {
                    return Ok(None);
                };
                Box::pin(self.try_publish(&newest, result)).await?
            }
            other => other?,
        };
        if let Some(written) = written {
            self.store_answer(written);
        }
        Ok(next_change)
    }

    async fn try_publish(
        &self,
        cr: &IstioOperator,
        result: &PassResult,
    ) -> Result<(Option<StoredCr>, Option<Duration>), ApplyError> {
        let now = Timestamp::now();
        let outdated = result
            .version()
            .map(|version| out_of_support(version, self.cluster, now, self.charts.catalogue()));
        let before = cr.status.clone().unwrap_or_default();
        let input = StatusInput {
            generation: cr.metadata.generation.unwrap_or_default(),
            before: &before,
            now,
            instant: Instant::now(),
            outdated: &outdated.unwrap_or_default(),
        };
        let key = CrKey::of(cr);
        let Computed {
            mut status,
            next_change,
        } = self.state().compute_status(&key, input, result);
        if matches!(result, PassResult::Applied(_)) {
            let mut state = self.state();
            status.revisions = state.tell_revisions(&key, Instant::now());
            state.tell_gateways(&key, &mut status.gateways);
            // A process that starts reads in the status whether they were stopped.
            status.restarts = state.restarts_to_tell(&key, before.restarts.as_ref());
        }
        if !matches!(result, PassResult::Paused) {
            let broken = self.broken_watches_of(&key);
            let is_observed = matches!(result, PassResult::Applied(_));
            status::add_broken_watches(&mut status, input, &broken, is_observed);
            status::add_missing_rights(&mut status, input, &self.missing_rights.told());
        }
        if matches!(result, PassResult::Applied(_))
            && status::is_reworded(&before, &status)
            && let Some(delay) = self.state().reword_delay(&key, input.instant)
        {
            let next_change = next_change.map_or(delay, |next| next.min(delay));
            return Ok((None, Some(next_change)));
        }
        let written = self.publisher.publish(cr, &status).await?;
        if written.is_some() {
            self.state().remember_published(&key, Instant::now());
        }
        Ok((written, next_change))
    }

    /// Tells of missing rights in the status of a CR whose pass failed, and leaves everything else in it.
    pub(super) async fn tell_missing_rights(&self, key: &CrKey) -> Result<(), ApplyError> {
        let rights = self.missing_rights.told();
        let Some(cr) = self.state().cr(key).filter(|_| !rights.is_empty()) else {
            return Ok(());
        };
        let before = cr.status.clone().unwrap_or_default();
        let mut status = before.clone();
        let input = StatusInput {
            generation: cr.metadata.generation.unwrap_or_default(),
            before: &before,
            now: Timestamp::now(),
            instant: Instant::now(),
            outdated: &[],
        };
        status::add_missing_rights(&mut status, input, &rights);
        if let Some(written) = self.publisher.publish(&cr, &status).await? {
            self.store_answer(written);
        }
        Ok(())
    }

    /// The broken watches on which a CR depends, by name.
    fn broken_watches_of(&self, cr: &CrKey) -> Vec<String> {
        let mut broken = self.watches.broken();
        let state = self.state();
        broken.retain(|watched| state.depends_on(cr, watched));
        broken.iter().map(ToString::to_string).collect()
    }

    /// Requeues the CRs that depend on a watch which broke since the last heartbeat, or works again.
    fn check_watches(&self) {
        let broken = self.watches.broken();
        let count = i64::try_from(broken.len()).unwrap_or(i64::MAX);
        self.health.metrics.broken_watches.set(count);
        let mut before = self
            .broken_watches
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let changed: Vec<_> = before.symmetric_difference(&broken).cloned().collect();
        *before = broken;
        for watched in &changed {
            self.update(|state| state.dependents_of(watched));
        }
    }

    /// Requeues the CRs that have to tell who uses their revisions, or for whose old ones something follows from it.
    fn check_users(&self) {
        let source = |watched: &Watched| match watched {
            Watched::Source(name) => Some(*name),
            Watched::Crs(_) | Watched::Objects { .. } => None,
        };
        let broken = self.watches.broken().iter().filter_map(source).collect();
        let now = Instant::now();
        self.update(|state| {
            state.users.set_broken(broken);
            let mut requeue = state.judge_old_revisions(now);
            if !requeue.is_empty() {
                // The users of a revision may be of a kind that came with it.
                self.absent_sources.notify_waiters();
            }
            requeue.extend(state.untold_revisions(now));
            requeue
        });
    }

    /// Turns the wish of a pass into a delay; `None` waits for an event.
    pub(super) fn delay(&self, key: &CrKey, next: Action) -> Option<Duration> {
        let mut state = self.state();
        let generation = state.cr(key).and_then(|cr| cr.metadata.generation);
        let generation = generation.unwrap_or_default();
        let within = |delay: Duration, at_most: Option<Duration>| {
            Some(at_most.map_or(delay, |at_most| delay.min(at_most)))
        };
        let delay = match next {
            Action::Backoff { at_most } => {
                return within(state.retries.failed(key, generation), at_most);
            }
            Action::ShortBackoff { at_most } => {
                return within(state.retries.waited(key, generation), at_most);
            }
            Action::RequeueNow => {
                return Some(state.retries.wrote(key, generation, Instant::now()));
            }
            Action::RequeueAfter(delay) => Some(delay),
            Action::AwaitChange => None,
        };
        state.retries.clear(key);
        delay
    }

    /// The main loop is alive.
    pub(super) fn heartbeat(&self) {
        self.health.heartbeat();
        self.check_watches();
        self.check_users();
        let crs = self.state().all_crs();
        self.health.metrics.crs.tell(crs);
    }

    /// Counts what a pass did.
    pub(super) fn count(&self, cr: &CrKey, applied: &Applied) {
        let metrics = &self.health.metrics;
        let count = |metric: &Family<KindLabels, Counter>, object: &ObjectKey| {
            let kind = object.kind.clone();
            metric.get_or_create(&KindLabels { kind }).inc();
        };
        applied
            .repaired()
            .for_each(|object| count(&metrics.repairs, object));
        applied
            .pruned()
            .for_each(|object| count(&metrics.prunes, object));
        metrics.crs.tell_conflicts(cr, applied.conflicts());
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
