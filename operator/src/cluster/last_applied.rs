//! What this process digests and how the cluster answered.
//!
//! The memory is only ever compared with the live object, never trusted alone, and dies with the process: after a
//! restart everything is applied once more, which changes nothing where nothing differs.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::live::LiveObject;
use crate::render::ObjectKey;

/// How long an outside edit counts.
const CONFLICT_WINDOW: Duration = Duration::from_mins(10);
/// Repairs within the window after which an object is left alone: enough for a person who tries something twice.
const CONFLICT_ROUNDS: usize = 3;

/// What was digests, object by object.
#[derive(Debug, Default)]
pub struct LastApplied {
    records: HashMap<ObjectKey, Record>,
}

#[derive(Debug)]
struct Record {
    digests: AppliedDigests,
    uid: String,
    our_fields: Option<u64>,
    edits: Vec<Instant>,
}

/// Digests of what an apply sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppliedDigests {
    /// Of the rendered object with its owner labels.
    pub rendered: u64,
    /// Of the co-owned fields that were left to others.
    pub left_to_others: u64,
}

/// What an object needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApplyReason {
    /// The cluster has what we last digests.
    InSync,
    /// It was never digests by this process, or something else was.
    Rollout,
    /// It was digests as it is, and the cluster lost it or somebody took a co-owned field.
    Repair,
    /// It was digests as it is, and somebody edited a field of ours.
    Revert,
    /// As [`ApplyReason::Revert`], once too often: somebody else insists.
    Conflict,
}

impl LastApplied {
    /// Compares what would be digests with what was digests and with what is there.
    #[must_use]
    pub fn apply_reason(
        &self,
        key: &ObjectKey,
        digests: AppliedDigests,
        live: Option<&LiveObject>,
        now: Instant,
    ) -> ApplyReason {
        let Some(record) = self
            .records
            .get(key)
            .filter(|r| r.digests.rendered == digests.rendered)
        else {
            return ApplyReason::Rollout;
        };
        let Some(live) = live.filter(|live| live.uid == record.uid) else {
            return ApplyReason::Repair;
        };
        if record.digests.left_to_others != digests.left_to_others {
            return ApplyReason::Repair;
        }
        if live.our_fields == record.our_fields {
            return ApplyReason::InSync;
        }
        let rounds = record
            .edits
            .iter()
            .filter(|at| now.duration_since(**at) < CONFLICT_WINDOW);
        if rounds.count() < CONFLICT_ROUNDS {
            ApplyReason::Revert
        } else {
            ApplyReason::Conflict
        }
    }

    /// Notes that `digests` was applied because of `reason` and answered with `live`.
    pub fn record(
        &mut self,
        key: ObjectKey,
        digests: AppliedDigests,
        reason: ApplyReason,
        live: &LiveObject,
        now: Instant,
    ) {
        let before = self.records.remove(&key);
        let mut edits = before.map(|record| record.edits).unwrap_or_default();
        match reason {
            ApplyReason::Rollout => edits.clear(),
            ApplyReason::Revert => edits.push(now),
            ApplyReason::InSync | ApplyReason::Repair | ApplyReason::Conflict => {}
        }
        edits.retain(|at| now.duration_since(*at) < CONFLICT_WINDOW);
        let record = Record {
            digests,
            uid: live.uid.clone(),
            our_fields: live.our_fields,
            edits,
        };
        self.records.insert(key, record);
    }

    /// Whether this process applied the object.
    #[must_use]
    pub fn has(&self, key: &ObjectKey) -> bool {
        self.records.contains_key(key)
    }

    /// Forgets an object that was deleted on purpose.
    pub fn forget(&mut self, key: &ObjectKey) {
        self.records.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGESTS: AppliedDigests = AppliedDigests {
        rendered: 1,
        left_to_others: 0,
    };

    fn key() -> ObjectKey {
        ObjectKey {
            group: String::new(),
            kind: "ConfigMap".into(),
            namespace: Some("a".into()),
            name: "b".into(),
        }
    }

    fn live(uid: &str, our_fields: u64) -> LiveObject {
        LiveObject {
            uid: uid.into(),
            our_fields: Some(our_fields),
            ..LiveObject::default()
        }
    }

    #[test]
    fn what_is_needed_follows_from_memory_and_cluster() {
        let now = Instant::now();
        let mut last_applied = LastApplied::default();
        assert_eq!(
            last_applied.apply_reason(&key(), DIGESTS, Some(&live("1", 7)), now),
            ApplyReason::Rollout
        );
        last_applied.record(key(), DIGESTS, ApplyReason::Rollout, &live("1", 7), now);
        let reason = |digests, live: Option<&LiveObject>| {
            last_applied.apply_reason(&key(), digests, live, now)
        };
        assert_eq!(reason(DIGESTS, Some(&live("1", 7))), ApplyReason::InSync);
        assert_eq!(reason(DIGESTS, Some(&live("1", 8))), ApplyReason::Revert);
        assert_eq!(reason(DIGESTS, Some(&live("2", 7))), ApplyReason::Repair);
        assert_eq!(reason(DIGESTS, None), ApplyReason::Repair);
        assert_eq!(
            reason(
                AppliedDigests {
                    rendered: 2,
                    ..DIGESTS
                },
                Some(&live("1", 7))
            ),
            ApplyReason::Rollout
        );
        assert_eq!(
            reason(
                AppliedDigests {
                    left_to_others: 2,
                    ..DIGESTS
                },
                Some(&live("1", 8))
            ),
            ApplyReason::Repair
        );
    }

    #[test]
    fn the_fourth_edit_within_ten_minutes_is_contested_until_they_have_passed() {
        let start = Instant::now();
        let mut last_applied = LastApplied::default();
        last_applied.record(key(), DIGESTS, ApplyReason::Rollout, &live("1", 7), start);
        let edited = live("1", 8);
        for minute in 0..3 {
            let now = start + Duration::from_secs(60 * minute);
            let reason = last_applied.apply_reason(&key(), DIGESTS, Some(&edited), now);
            assert_eq!(reason, ApplyReason::Revert, "minute {minute}");
            last_applied.record(key(), DIGESTS, reason, &live("1", 7), now);
        }
        let at = |minutes: u64| {
            let now = start + Duration::from_secs(60 * minutes);
            last_applied.apply_reason(&key(), DIGESTS, Some(&edited), now)
        };
        assert_eq!(at(3), ApplyReason::Conflict);
        assert_eq!(at(10), ApplyReason::Revert);
    }

    #[test]
    fn a_new_rollout_starts_the_count_again() {
        let now = Instant::now();
        let mut last_applied = LastApplied::default();
        for reason in [
            ApplyReason::Revert,
            ApplyReason::Revert,
            ApplyReason::Revert,
        ] {
            last_applied.record(key(), DIGESTS, reason, &live("1", 7), now);
        }
        assert_eq!(
            last_applied.apply_reason(&key(), DIGESTS, Some(&live("1", 8)), now),
            ApplyReason::Conflict
        );
        last_applied.record(key(), DIGESTS, ApplyReason::Rollout, &live("1", 7), now);
        assert_eq!(
            last_applied.apply_reason(&key(), DIGESTS, Some(&live("1", 8)), now),
            ApplyReason::Revert
        );
    }
}
