//! What passes of CRs did and found out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::State;
use crate::api::{InstallState, IstioOperator, IstioOperatorStatus, StoredCr};
use crate::catalogue::Version;
use crate::cluster::CrKey;
use crate::plan::{Injection, Surroundings};

/// How far apart statuses are written that differ in their texts only. An installation waits for dozens of objects, and a
/// status for each of them would be most of its requests.
const REWORD_INTERVAL: Duration = Duration::from_secs(1);

/// How old what was read around a CR may be. A step takes dozens of passes.
const LOOK_INTERVAL: Duration = Duration::from_mins(1);

impl State {
    /// Remembers that the status of a CR was written.
    pub fn remember_published(&mut self, key: &CrKey, now: Instant) {
        self.published.insert(key.clone(), now);
    }

    /// How long a status waits that says the same as the last one in other words; `None` if it need not.
    pub fn reword_delay(&self, key: &CrKey, now: Instant) -> Option<Duration> {
        let next = *self.published.get(key)? + REWORD_INTERVAL;
        let delay = next.saturating_duration_since(now);
        (!delay.is_zero()).then_some(delay)
    }

    /// Remembers that the spec of a CR was applied.
    pub fn remember_carried_out(&mut self, cr: &Arc<StoredCr>) {
        self.carried_out.insert(CrKey::of(cr), Arc::clone(cr));
    }

    /// A CR as it was when this process applied its spec last.
    pub fn carried_out(&self, cr: &IstioOperator) -> Option<Arc<StoredCr>> {
        same(self.carried_out.get(&CrKey::of(cr)), cr)
    }

    /// A CR as it was when this process saw everything healthy last.
    pub fn healthy(&self, cr: &IstioOperator) -> Option<Arc<StoredCr>> {
        same(self.healthy.get(&CrKey::of(cr)), cr)
    }

    /// Remembers a CR if its status says that everything of its spec is healthy.
    pub fn remember_healthy(&mut self, key: &CrKey) {
        let Some(cr) = self.crs.get(key) else {
            return;
        };
        let is_healthy = |status: &IstioOperatorStatus| {
            status.status == Some(InstallState::Healthy)
                && status.observed_generation == cr.metadata.generation
        };
        if cr.status.as_ref().is_some_and(is_healthy) {
            self.healthy.insert(key.clone(), Arc::clone(cr));
        }
    }

    /// Takes in what a dry run of a pod showed of the sidecars of a version.
    pub fn put_proof(&mut self, key: &CrKey, version: Version, injection: Injection) {
        self.proofs.insert(key.clone(), (version, injection));
    }

    /// What the last dry run of a pod showed of the sidecars of a version.
    pub fn proof(&self, key: &CrKey, version: Version) -> Option<&Injection> {
        let (of, injection) = self.proofs.get(key)?;
        (*of == version).then_some(injection)
    }

    /// Takes in what is around a CR at the step to a version.
    pub fn put_surroundings(
        &mut self,
        key: &CrKey,
        version: Version,
        now: Instant,
        seen: Arc<Surroundings>,
    ) {
        self.surroundings.insert(key.clone(), (version, now, seen));
    }

    /// What is around a CR at the step to a version, if it was read not long ago.
    pub fn surroundings(
        &self,
        key: &CrKey,
        version: Version,
        now: Instant,
    ) -> Option<Arc<Surroundings>> {
        let (of, at, seen) = self.surroundings.get(key)?;
        let is_current = *of == version && now.duration_since(*at) < LOOK_INTERVAL;
        is_current.then(|| Arc::clone(seen))
    }
}

/// What is remembered of a CR, unless another one has its name by now.
fn same(remembered: Option<&Arc<StoredCr>>, cr: &IstioOperator) -> Option<Arc<StoredCr>> {
    let remembered = remembered?;
    (remembered.metadata.uid == cr.metadata.uid).then(|| Arc::clone(remembered))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_words_wait_until_a_second_after_the_last_status() {
        let mut state = State::new(None, std::iter::empty());
        let cr = CrKey {
            namespace: "mesh".into(),
            name: "one".into(),
        };
        let now = Instant::now();
        assert_eq!(state.reword_delay(&cr, now), None);
        state.remember_published(&cr, now);
        let later = now + Duration::from_millis(400);
        assert_eq!(
            state.reword_delay(&cr, later),
            Some(Duration::from_millis(600))
        );
        assert_eq!(state.reword_delay(&cr, now + REWORD_INTERVAL), None);
    }

    #[test]
    fn what_is_around_is_looked_at_for_each_step_and_once_a_minute() {
        let mut state = State::new(None, std::iter::empty());
        let cr = CrKey {
            namespace: "mesh".into(),
            name: "one".into(),
        };
        let (to, other) = (Version::parse("1.31.1"), Version::parse("1.30.5"));
        let (to, other) = (to.unwrap(), other.unwrap());
        let now = Instant::now();
        let seen = Surroundings {
            budgets: Ok(Vec::new()),
            envoy_filters: Err("may not".to_owned()),
        };
        state.put_surroundings(&cr, to, now, Arc::new(seen));
        assert!(state.surroundings(&cr, to, now).is_some());
        assert!(state.surroundings(&cr, other, now).is_none());
        assert!(state.surroundings(&cr, to, now + LOOK_INTERVAL).is_none());
    }
}
