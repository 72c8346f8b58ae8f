//! When each CR is looked at next.
//!
//! One entry per CR: the earlier of two wishes wins, and a CR is never handed out twice at once. A scheduler of our
//! own rather than kube's `Controller`, whose triggers share one backoff: there, one watch that fails holds up the
//! events of all others.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::cluster::CrKey;

/// How long a CR rests after a pass before an event brings the next one: one write causes several events, and one pass
/// serves them all. The first event after a rest is served at once, so that a repair waits for nothing.
const REST: Duration = Duration::from_millis(10);

/// The wishes of all CRs.
#[derive(Debug, Default)]
pub struct Queue {
    slots: Mutex<HashMap<CrKey, Slot>>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Slot {
    due: Option<Instant>,
    rests_until: Option<Instant>,
    running: bool,
}

impl Slot {
    fn mode(&mut self, at: Instant) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }
}

impl Queue {
    /// Has a CR looked at as soon as possible, once more if that is happening now.
    pub fn wake(&self, cr: &CrKey) {
        let mut slots = self.lock();
        let slot = slots.entry(cr.clone()).or_default();
        let now = Instant::now();
        slot.mode(slot.rests_until.map_or(now, |rested| rested.max(now)));
        drop(slots);
        self.changed.notify_one();
    }

    /// The next CR that is due, and not handed out at present; waits until there is one.
    pub async fn next(&self) -> CrKey {
        loop {
            let changed = self.changed.notified();
            let due = match self.take() {
                Ok(cr) => return cr,
                Err(due) => due,
            };
            match due {
                Some(due) => tokio::select! {
                    () = sleep_until(due) => {}
                    () = changed => {}
                },
                None => changed.await,
            }
        }
    }

    /// Takes back a CR that was handed out, to be looked at again after `delay`, or only when woken.
    pub fn done(&self, cr: &CrKey, delay: Option<Duration>) {
        let mut slots = self.lock();
        if let Some(slot) = slots.get_mut(cr) {
            let now = Instant::now();
            slot.running = false;
            slot.rests_until = Some(now + REST);
            match delay {
                Some(delay) => slot.mode(now + delay),
                None if slot.due.is_none() => {
                    slots.remove(cr);
                }
                None => {}
            }
        }
        drop(slots);
        self.changed.notify_one();
    }

    /// Hands out a CR that is due, or says when the next one will be.
    fn take(&self) -> Result<CrKey, Option<Instant>> {
        let mut slots = self.lock();
        let idle = slots.iter_mut().filter(|(_, slot)| !slot.running);
        let next = idle
            .filter_map(|(cr, slot)| Some((slot.due?, cr, slot)))
            .min_by_key(|next| next.0);
        match next {
            Some((due, cr, slot)) if due <= Instant::now() => {
                slot.due = None;
                slot.running = true;
                Ok(cr.clone())
            }
            next => Err(next.map(|(due, ..)| due)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CrKey, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    fn cr(name: &str) -> CrKey {
        CrKey {
            namespace: "a".into(),
            name: name.into(),
        }
    }

    async fn next_within(queue: &Queue, limit: Duration) -> Option<String> {
        timeout(limit, queue.next()).await.ok().map(|cr| cr.name)
    }

    const SOON: Duration = Duration::from_millis(100);
    const HOUR: Duration = Duration::from_hours(1);

    #[tokio::test(start_paused = true)]
    async fn wishes_of_one_cr_are_one_pass() {
        let queue = Queue::default();
        queue.wake(&cr("one"));
        queue.wake(&cr("one"));
        assert_eq!(next_within(&queue, SOON).await.as_deref(), Some("one"));
        queue.done(&cr("one"), Some(HOUR));
        assert_eq!(next_within(&queue, SOON).await, None);
        assert_eq!(next_within(&queue, HOUR).await.as_deref(), Some("one"));
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_is_served_at_once_and_the_next_ones_after_a_rest() {
        let queue = Queue::default();
        let cr = cr("one");
        let start = Instant::now();
        queue.wake(&cr);
        queue.next().await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        queue.done(&cr, Some(HOUR));
        queue.wake(&cr);
        queue.next().await;
        assert_eq!(start.elapsed(), REST);
        queue.done(&cr, Some(HOUR));
        tokio::time::advance(REST).await;
        let start = Instant::now();
        queue.wake(&cr);
        queue.next().await;
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cr_woken_during_its_pass_comes_again_but_not_beside_itself() {
        let queue = Queue::default();
        queue.wake(&cr("one"));
        next_within(&queue, SOON).await;
        queue.wake(&cr("one"));
        assert_eq!(next_within(&queue, HOUR).await, None);
        queue.done(&cr("one"), Some(HOUR));
        assert_eq!(next_within(&queue, SOON).await.as_deref(), Some("one"));
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_pulls_a_late_wish_forward() {
        let queue = Queue::default();
        queue.wake(&cr("one"));
        next_within(&queue, SOON).await;
        queue.done(&cr("one"), Some(HOUR));
        queue.wake(&cr("one"));
        assert_eq!(next_within(&queue, SOON).await.as_deref(), Some("one"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_cr_that_is_done_with_comes_only_when_woken() {
        let queue = Queue::default();
        queue.wake(&cr("one"));
        next_within(&queue, SOON).await;
        queue.done(&cr("one"), None);
        assert_eq!(next_within(&queue, HOUR).await, None);
        assert!(queue.lock().is_empty());
    }
}
