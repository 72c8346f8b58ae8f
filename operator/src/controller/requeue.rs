//! When a CR is looked at again, and how long it waits after a pass that did not succeed.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::cluster::CrKey;

/// The first delay; each further one is twice as long.
const INITIAL_BACKOFF: Duration = Duration::from_secs(1);
/// The longest delay: what a person repaired is noticed within five minutes.
const MAX_BACKOFF: Duration = Duration::from_mins(5);
/// The longest delay where nobody has to repair anything: what is waited for comes or goes without telling us, such as
/// the end of a namespace.
const MAX_SHORT_BACKOFF: Duration = Duration::from_secs(15);
/// How often a CR is looked at although nothing happened.
const RESYNC_INTERVAL: Duration = Duration::from_mins(10);

/// Passes of one CR within [`IMMEDIATE_WINDOW`] that follow the one before at once. The longest deletion needs 24 (four
/// steps for each of six components), an installation about ten. More than that means that passes write without
/// getting anywhere, and then they follow with growing delay.
const MAX_IMMEDIATE: u32 = 60;
/// See [`MAX_IMMEDIATE`].
const IMMEDIATE_WINDOW: Duration = Duration::from_mins(1);

/// When a CR is looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// At once: what was written makes the next step possible.
    RequeueNow,
    /// After the time that grows with each failure in a row.
    Backoff {
        /// At the latest after this time.
        at_most: Option<Duration>,
    },
    /// As [`Action::Backoff`], but soon: it will pass by itself.
    ShortBackoff {
        /// At the latest after this time.
        at_most: Option<Duration>,
    },
    /// After this time, unless something happens before.
    RequeueAfter(Duration),
    /// When something happens.
    AwaitChange,
}

impl Action {
    /// After the time that grows with each failure in a row, without another limit.
    pub const BACKOFF: Self = Self::Backoff { at_most: None };

    /// The same action, at the latest after `limit`: then the status changes although nothing happens.
    pub fn within(self, limit: Option<Duration>) -> Self {
        let Some(limit) = limit else {
            return self;
        };
        match self {
            Self::Backoff { .. } => Self::Backoff {
                at_most: Some(limit),
            },
            Self::ShortBackoff { .. } => Self::ShortBackoff {
                at_most: Some(limit),
            },
            Self::RequeueAfter(delay) => Self::RequeueAfter(delay.min(limit)),
            Self::RequeueNow | Self::AwaitChange => self,
        }
    }
}

/// Failures in a row, by CR. Of a newer generation they are counted anew: it may be the fix.
#[derive(Debug, Default)]
pub struct Retries {
    failures: HashMap<CrKey, (i64, u32)>,
    /// When the window of each CR began, and the passes in it that followed at once.
    immediate: HashMap<CrKey, (Instant, u32)>,
}

impl Retries {
    /// The delay after one more failure of `cr` at `generation`.
    pub fn failed(&mut self, cr: &CrKey, generation: i64) -> Duration {
        jitter(self.grown(cr, generation).min(MAX_BACKOFF))
    }

    /// The delay after `cr` had to wait once more at `generation`.
    pub fn waited(&mut self, cr: &CrKey, generation: i64) -> Duration {
        jitter(self.grown(cr, generation).min(MAX_SHORT_BACKOFF))
    }

    fn grown(&mut self, cr: &CrKey, generation: i64) -> Duration {
        let (of, count) = self.failures.entry(cr.clone()).or_default();
        if *of != generation {
            (*of, *count) = (generation, 0);
        }
        let delay = INITIAL_BACKOFF.saturating_mul(2_u32.saturating_pow(*count));
        *count = count.saturating_add(1);
        delay
    }

    /// The delay after a pass of `cr` at `generation` that makes the next one possible: none, unless there were too many
    /// of them.
    pub fn wrote(&mut self, cr: &CrKey, generation: i64, now: Instant) -> Duration {
        let (start, count) = self.immediate.entry(cr.clone()).or_insert((now, 0));
        if now.duration_since(*start) >= IMMEDIATE_WINDOW {
            (*start, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        if *count <= MAX_IMMEDIATE {
            self.failures.remove(cr);
            return Duration::ZERO;
        }
        self.waited(cr, generation)
    }

    /// A CR is gone.
    pub fn forget(&mut self, cr: &CrKey) {
        self.failures.remove(cr);
        self.immediate.remove(cr);
    }

    /// A pass of `cr` had nothing to do.
    pub fn clear(&mut self, cr: &CrKey) {
        self.failures.remove(cr);
    }
}

/// The delay until the next look at a CR that is done.
pub fn resync() -> Duration {
    jitter(RESYNC_INTERVAL)
}

/// `delay` ± 20%, so that what failed together is not tried again together.
pub fn jitter(delay: Duration) -> Duration {
    delay.mul_f64(0.8 + 0.4 * fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_that_follow_at_once_are_bounded() {
        let cr = CrKey {
            namespace: "a".into(),
            name: "b".into(),
        };
        let (mut retries, start) = (Retries::default(), Instant::now());
        let mut delays = (0..MAX_IMMEDIATE).map(|_| retries.wrote(&cr, 1, start));
        assert!(delays.all(|delay| delay.is_zero()));
        let late = start + IMMEDIATE_WINDOW / 2;
        assert!(retries.wrote(&cr, 1, late) >= Duration::from_millis(800));
        assert!(retries.wrote(&cr, 1, late) >= Duration::from_millis(1600));
        let next = start + IMMEDIATE_WINDOW;
        assert!(retries.wrote(&cr, 1, next).is_zero());
    }

    #[test]
    fn a_status_that_changes_by_itself_limits_every_delay() {
        let (second, minute) = (Duration::from_secs(1), Duration::from_mins(1));
        assert_eq!(
            Action::BACKOFF.within(Some(second)),
            Action::Backoff {
                at_most: Some(second)
            }
        );
        let after = Action::RequeueAfter;
        assert_eq!(after(minute).within(Some(second)), after(second));
        assert_eq!(after(second).within(Some(minute)), after(second));
        assert_eq!(after(second).within(None), after(second));
        assert_eq!(Action::RequeueNow.within(Some(second)), Action::RequeueNow);
    }

    #[test]
    fn delays_grow_to_five_minutes_and_start_again_with_a_new_generation() {
        let cr = CrKey {
            namespace: "a".into(),
            name: "b".into(),
        };
        let mut retries = Retries::default();
        let close = |delay: Duration, seconds: f64| {
            (0.79..=1.21).contains(&(delay.as_secs_f64() / seconds))
        };
        for seconds in [
            1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 300.0, 300.0,
        ] {
            assert!(close(retries.failed(&cr, 1), seconds), "{seconds}");
        }
        assert!(close(retries.failed(&cr, 2), 1.0));
        retries.clear(&cr);
        assert!(close(retries.failed(&cr, 2), 1.0));
        for _ in 0..100 {
            retries.failed(&cr, 2);
        }
        assert!(close(retries.waited(&cr, 2), 15.0));
    }
}
