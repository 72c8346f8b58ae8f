//! Whether watches work.
//!
//! A watcher of kube tells errors and events, but a watch that was started again and stays quiet tells nothing. So each
//! watch has a client of its own, which notes its requests and answers. A watch that works is asked for again after
//! [`super::watch::CALL`] at the latest.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::Client;
use tokio::time::Instant;
use tower::service_fn;

/// A watch counts as broken after it did not work for this long.
const BROKEN_AFTER: Duration = Duration::from_mins(2);
/// A watch that was answered counts as working after this time without an error: one that is answered and cut off again
/// and again tells nothing.
const SETTLE_TIME: Duration = Duration::from_secs(2);

/// The objects that one watch follows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Watched {
    /// The CRs of a namespace, or of all.
    Crs(Option<String>),
    /// The objects of a kind.
    Objects {
        /// The API group.
        group: &'static str,
        /// The kind.
        kind: &'static str,
    },
    /// What tells who uses a revision, by the name of the source.
    Source(&'static str),
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crs(None) => f.write_str("IstioOperator"),
            Self::Crs(Some(namespace)) => write!(f, "IstioOperator in {namespace}"),
            Self::Objects { kind, .. } => f.write_str(kind),
            Self::Source(name) => f.write_str(name),
        }
    }
}

/// The health of all watches.
#[derive(Debug, Default)]
pub struct Watches {
    watches: Mutex<Vec<(Watched, WatchHealth)>>,
}

impl Watches {
    /// Adds a watch that is about to start.
    pub fn add(&self, watched: Watched) -> WatchHealth {
        let health = WatchHealth::default();
        self.lock().push((watched, health.clone()));
        health
    }

    /// The watches that are broken now.
    pub fn broken(&self) -> BTreeSet<Watched> {
        let now = Instant::now();
        let watches = self.lock();
        let broken = watches
            .iter()
            .filter(|(_, health)| health.lock().is_broken(now));
        broken.map(|(watched, _)| watched.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Watched, WatchHealth)>> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The health of one watch.
#[derive(Clone, Debug, Default)]
pub struct WatchHealth(Arc<Mutex<Signs>>);

/// What a watch showed last.
#[derive(Debug, Default)]
struct Signs {
    /// When it stopped working, unless it worked since.
    down_since: Option<Instant>,
    /// When the API server took its last request, unless it failed since.
    answered: Option<Instant>,
}

impl Signs {
    fn fail(&mut self, now: Instant) {
        let was_up = self.answered.take().is_some_and(|at| is_settled(at, now));
        if was_up || self.down_since.is_none() {
            self.down_since = Some(now);
        }
    }

    fn is_broken(&self, now: Instant) -> bool {
        let is_up = self.answered.is_some_and(|at| is_settled(at, now));
        let is_long = |since: Instant| now.duration_since(since) >= BROKEN_AFTER;
        !is_up && self.down_since.is_some_and(is_long)
    }
}

fn is_settled(answered: Instant, now: Instant) -> bool {
    now.duration_since(answered) >= SETTLE_TIME
}

impl WatchHealth {
    /// A client for the requests of this watch, and for no other ones.
    pub fn client(&self, client: &Client) -> Client {
        let namespace = client.default_namespace().to_owned();
        let (health, client) = (self.clone(), client.clone());
        let service = service_fn(move |request| {
            let (health, client) = (health.clone(), client.clone());
            async move {
                // It does not work before the answer, for which it may wait long.
                health.note_error();
                let answer = client.send(request).await;
                if answer
                    .as_ref()
                    .is_ok_and(|answer| answer.status().is_success())
                {
                    health.note_answer();
                }
                answer
            }
        });
        Client::new(service, namespace)
    }

    /// It tells nothing at present.
    pub fn note_error(&self) {
        self.lock().fail(Instant::now());
    }

    /// It told of an object.
    pub fn note_event(&self) {
        self.lock().down_since = None;
    }

    /// Its request was taken.
    fn note_answer(&self) {
        self.lock().answered = Some(Instant::now());
    }

    /// There is nothing to watch.
    pub fn reset(&self) {
        *self.lock() = Signs::default();
    }

    fn lock(&self) -> MutexGuard<'_, Signs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn watch() -> (Watches, WatchHealth) {
        let watches = Watches::default();
        let health = watches.add(Watched::Crs(None));
        health.note_error();
        health.note_answer();
        (watches, health)
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_watch_that_is_renewed_works() {
        let (watches, health) = watch();
        for _ in 0..5 {
            advance(2 * MINUTE).await;
            assert!(watches.broken().is_empty());
            health.note_error();
            advance(MINUTE).await;
            health.note_answer();
        }
        assert!(watches.broken().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_is_broken_two_minutes_after_it_stopped_and_until_it_works_again() {
        let (watches, health) = watch();
        advance(MINUTE).await;
        for _ in 0..4 {
            health.note_error();
            assert!(watches.broken().is_empty());
            advance(Duration::from_secs(30)).await;
        }
        assert_eq!(watches.broken(), [Watched::Crs(None)].into());
        health.note_answer();
        advance(SETTLE_TIME).await;
        assert!(watches.broken().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_without_an_answer_counts_from_its_start() {
        let (watches, health) = watch();
        advance(MINUTE).await;
        health.note_error();
        advance(2 * MINUTE).await;
        assert_eq!(watches.broken().len(), 1);
        health.note_event();
        assert!(watches.broken().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_is_cut_off_after_each_answer_is_broken_unless_it_tells_something() {
        let (watches, health) = watch();
        let cut_off = async || {
            for _ in 0..5 {
                advance(Duration::from_secs(30)).await;
                health.note_error();
                health.note_answer();
                advance(SETTLE_TIME / 2).await;
                health.note_error();
            }
        };
        cut_off().await;
        assert_eq!(watches.broken().len(), 1);
        health.note_event();
        assert!(watches.broken().is_empty());
        cut_off().await;
        assert_eq!(watches.broken().len(), 1);
        health.reset();
        assert!(watches.broken().is_empty());
    }
}
