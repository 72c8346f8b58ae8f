//! What a status depends on beside the present: since when each problem lasts, and how available each workload was.
//!
//! Times are read from the process's monotonic clock and handed in, so a clock that jumps changes nothing. The memory ends
//! with the process. Afterwards the status that the last process wrote says whether the CR was healthy or stalled.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use crate::cluster::Workload;
use crate::render::ObjectKey;

/// How long less of a workload may be available than before until that is a problem. A scaled workload, a replaced pod
/// and a node that joins take less.
pub const DIP_PATIENCE: Duration = Duration::from_secs(30);

/// The history of one CR.
#[derive(Debug, Default)]
pub struct History {
    /// The generation of the CR that the rest belongs to.
    generation: Option<i64>,
    /// When each problem of the last status began.
    since: HashMap<Wait, Since>,
    /// The problems of the status that is being computed.
    seen: HashMap<Wait, Since>,
    /// Workloads that were available as a whole since this operator last changed them.
    available: HashMap<ObjectKey, Availability>,
    /// Workloads that this operator changed, and that were not available as a whole since.
    rolling_out: HashSet<ObjectKey>,
    /// How soon the status changes although nothing happens.
    next_change: Option<Duration>,
    /// Whether this process computed a status of the generation before.
    has_status: bool,
}

/// What is waited for: a kind of problem with an object, in the generation that the object has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wait {
    /// The object.
    pub key: ObjectKey,
    /// The kind of problem.
    pub problem: &'static str,
    /// The generation of the object; a new rollout is a new wait.
    pub generation: i64,
}

#[derive(Clone, Copy, Debug)]
enum Since {
    /// This process has seen it since then.
    Moment(Instant),
    /// The process before this one had waited long enough.
    TooLong,
}

#[derive(Debug)]
struct Availability {
    level: i64,
    below_since: Option<Instant>,
}

/// What the last status says of the CR, for a process that has seen nothing yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// It was healthy in this generation.
    Healthy,
    /// It was stalled in this generation.
    Stalled,
    /// Neither.
    Other,
}

/// Whether a workload that is not available as a whole is worth telling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dip {
    /// It is still being rolled out for the first time.
    RollingOut,
    /// Less is available than was, for too long, or nothing at all.
    Noticed,
    /// It is as available as before, or will soon be.
    Unnoticed,
}

impl History {
    /// Begins a status of this generation. A new generation has to become available anew.
    pub(super) fn begin(&mut self, generation: i64) {
        if self.generation != Some(generation) {
            *self = Self {
                generation: Some(generation),
                rolling_out: std::mem::take(&mut self.rolling_out),
                ..Self::default()
            };
        }
        self.next_change = None;
    }

    /// Ends a status; returns how soon it changes although nothing happens. Waits that were not seen are over.
    pub(super) fn end(&mut self) -> Option<Duration> {
        self.since = std::mem::take(&mut self.seen);
        self.has_status = true;
        self.next_change.take()
    }

    /// Ends all waits: nothing is waited for while the CR is paused.
    pub(super) fn end_waits(&mut self) {
        self.since.clear();
        for availability in self.available.values_mut() {
            availability.below_since = None;
        }
    }

    /// Records that this operator changed a workload, which has to become available as a whole again.
    pub fn start_rollout(&mut self, key: &ObjectKey) {
        self.available.remove(key);
        self.rolling_out.insert(key.clone());
    }

    /// Whether `wait` lasts longer than `patience`.
    pub(super) fn is_overdue(
        &mut self,
        wait: Wait,
        patience: Duration,
        now: Instant,
        before: Before,
    ) -> bool {
        let first = if !self.has_status && before == Before::Stalled {
            Since::TooLong
        } else {
            Since::Moment(now)
        };
        let since = self.since.get(&wait).copied().unwrap_or(first);
        let since = *self.seen.entry(wait).or_insert(since);
        match since {
            Since::TooLong => true,
            Since::Moment(moment) => !self.is_within(patience, moment, now),
        }
    }

    /// Judges a workload that is available as a whole.
    pub(super) fn set_available(&mut self, key: &ObjectKey, workload: &Workload) {
        self.rolling_out.remove(key);
        let availability = Availability {
            level: workload.available,
            below_since: None,
        };
        self.available.insert(key.clone(), availability);
    }

    /// Judges a workload that is not available as a whole.
    pub(super) fn dip(
        &mut self,
        key: &ObjectKey,
        workload: &Workload,
        now: Instant,
        before: Before,
    ) -> Dip {
        if !self.available.contains_key(key) {
            if before != Before::Healthy || self.rolling_out.contains(key) {
                return Dip::RollingOut;
            }
            self.set_available(key, workload);
        }
        let Some(known) = self.available.get_mut(key) else {
            return Dip::RollingOut;
        };
        // What is scaled down on purpose is not missed.
        known.level = known.level.min(workload.desired).max(workload.available);
        if workload.available == 0 && workload.desired > 0 {
            known.below_since = Some(now.checked_sub(DIP_PATIENCE).unwrap_or(now));
            return Dip::Noticed;
        }
        if workload.available >= known.level {
            known.below_since = None;
            return Dip::Unnoticed;
        }
        let since = *known.below_since.get_or_insert(now);
        if self.is_within(DIP_PATIENCE, since, now) {
            Dip::Unnoticed
        } else {
            Dip::Noticed
        }
    }

    fn is_within(&mut self, patience: Duration, since: Instant, now: Instant) -> bool {
        let left = patience.saturating_sub(now.saturating_duration_since(since));
        if left.is_zero() {
            return false;
        }
        let next = self.next_change.map_or(left, |next| next.min(left));
        self.next_change = Some(next);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::key;

    fn workload(available: i64, desired: i64) -> Workload {
        Workload {
            desired,
            available,
            ..Workload::default()
        }
    }

    #[test]
    fn a_dip_is_noticed_after_half_a_minute_or_when_nothing_is_left() {
        let (istiod, start) = (key("Deployment", "istiod"), Instant::now());
        let mut history = History::default();
        history.begin(1);
        let dip = |history: &mut History, available, desired, second| {
            let now = start + Duration::from_secs(second);
            history.dip(&istiod, &workload(available, desired), now, Before::Other)
        };
        assert_eq!(
            dip(&mut history, 2, 3, 0),
            Dip::RollingOut,
            "never was whole"
        );
        history.set_available(&istiod, &workload(3, 3));
        assert_eq!(dip(&mut history, 3, 9, 0), Dip::Unnoticed, "scaled up");
        assert_eq!(dip(&mut history, 2, 3, 1), Dip::Unnoticed);
        assert_eq!(history.next_change, Some(DIP_PATIENCE));
        assert_eq!(dip(&mut history, 2, 3, 30), Dip::Unnoticed);
        assert_eq!(dip(&mut history, 2, 3, 31), Dip::Noticed);
        assert_eq!(
            dip(&mut history, 3, 4, 32),
            Dip::Unnoticed,
            "as many as before"
        );
        assert_eq!(dip(&mut history, 2, 3, 33), Dip::Unnoticed, "another dip");
        assert_eq!(dip(&mut history, 0, 3, 34), Dip::Noticed, "nothing serves");
        history.start_rollout(&istiod);
        assert_eq!(dip(&mut history, 2, 3, 40), Dip::RollingOut);
    }

    #[test]
    fn a_process_that_starts_goes_on_from_the_status() {
        let (istiod, now) = (key("Deployment", "istiod"), Instant::now());
        let mut history = History::default();
        history.begin(1);
        let dip = history.dip(&istiod, &workload(1, 2), now, Before::Healthy);
        assert_eq!(dip, Dip::Unnoticed);
        let wait = || Wait {
            key: istiod.clone(),
            problem: "RollingOut",
            generation: 1,
        };
        let patience = Duration::from_mins(10);
        assert!(history.is_overdue(wait(), patience, now, Before::Stalled));
        history.end();
        assert!(
            history.is_overdue(wait(), patience, now, Before::Stalled),
            "still"
        );
        let next = Wait {
            generation: 2,
            ..wait()
        };
        assert!(
            !history.is_overdue(next, patience, now, Before::Stalled),
            "what is waited for is new"
        );
    }

    #[test]
    fn a_wait_that_ends_and_comes_again_starts_anew() {
        let (start, patience) = (Instant::now(), Duration::from_mins(1));
        let wait = || Wait {
            key: key("Service", "istiod"),
            problem: "Forbidden",
            generation: 0,
        };
        let mut history = History::default();
        let at = |history: &mut History, second, is_there: bool| {
            history.begin(1);
            let now = start + Duration::from_secs(second);
            let overdue = is_there && history.is_overdue(wait(), patience, now, Before::Other);
            (overdue, history.end())
        };
        assert_eq!(at(&mut history, 0, true), (false, Some(patience)));
        assert_eq!(at(&mut history, 60, true), (true, None));
        assert_eq!(at(&mut history, 61, false), (false, None));
        assert_eq!(at(&mut history, 62, true), (false, Some(patience)));
    }
}
