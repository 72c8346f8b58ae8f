//! How many writes a proxy still forwards.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// Counts writes, and holds back those beyond the limit.
#[derive(Debug)]
pub(super) struct WriteLimit {
    counts: Mutex<Counts>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Counts {
    /// Writes that may still be forwarded; no limit if absent.
    left: Option<usize>,
    /// Forwarded writes that the API server has not answered yet.
    pending: usize,
    /// Writes forwarded since the limit was set.
    forwarded: usize,
    /// How often a limit was set. Writes under an earlier limit never count under a later one.
    setting: usize,
}

/// A write that may be forwarded.
pub(super) struct Permit {
    setting: usize,
    /// The limit is reached with it, so its answer is kept back.
    pub(super) is_last: bool,
}

impl WriteLimit {
    /// No limit.
    pub(super) fn new() -> Self {
        Self {
            counts: Mutex::default(),
            changed: watch::Sender::new(()),
        }
    }

    /// Sets the limit, or none, and starts to count anew.
    pub(super) fn set(&self, limit: Option<usize>) {
        let mut counts = self.counts();
        *counts = Counts {
            left: limit,
            setting: counts.setting + 1,
            ..Counts::default()
        };
    }

    /// Counts a write that is about to be forwarded; nothing if the limit is reached.
    pub(super) fn permit(&self) -> Option<Permit> {
        let mut counts = self.counts();
        if counts.left == Some(0) {
            return None;
        }
        counts.left = counts.left.map(|left| left - 1);
        counts.pending += 1;
        counts.forwarded += 1;
        Some(Permit {
            setting: counts.setting,
            is_last: counts.left == Some(0),
        })
    }

    /// The API server has answered a write.
    pub(super) fn answered(&self, permit: &Permit) {
        let mut counts = self.counts();
        if counts.setting == permit.setting {
            counts.pending -= 1;
        }
        drop(counts);
        self.changed.send_replace(());
    }

    /// Writes forwarded since the limit was last set.
    pub(super) fn forwarded(&self) -> usize {
        self.counts().forwarded
    }

    /// Waits until the limit is reached and all forwarded writes are answered.
    pub(super) async fn reached(&self) {
        let mut changed = self.changed.subscribe();
        while !self.counts().is_reached() {
            // The sender lives as long as this value.
            let _ = changed.changed().await;
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn is_reached(&self) -> bool {
        self.left == Some(0) && self.pending == 0
    }
}
