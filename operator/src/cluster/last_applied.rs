//! What this process applied last, and how the cluster answered.
//!
//! The memory is only ever compared with the live object, never trusted alone, and dies with the process: after a
//! restart everything is applied once more, which changes nothing where nothing differs.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;

use super::live::LiveObject;
use super::owner_labels::MANAGER;
use crate::render::ObjectKey;

/// How long an interference counts.
const CONFLICT_WINDOW: Duration = Duration::from_mins(10);
/// Repairs of one object within the window, counted for each kind of interference, after which it is left alone:
/// enough for a person who tries something twice.
const CONFLICT_ROUNDS: usize = 3;

/// What was applied last, object by object.
#[derive(Debug, Default)]
pub struct LastApplied {
    records: HashMap<ObjectKey, Record>,
    /// Digests of manifests that the API server took in a dry run.
    verified: HashMap<ObjectKey, u64>,
}

#[derive(Debug)]
struct Record {
    digests: AppliedDigests,
    answer: Answer,
    /// Whether a later apply was sent that may have been taken although its answer is not known.
    is_unanswered: bool,
    rounds: Vec<(RoundKind, Instant)>,
}

/// What the answer to an apply said.
#[derive(Debug)]
struct Answer {
    uid: String,
    version: u64,
    our_fields: Option<u64>,
    applied_at: Option<Timestamp>,
}

/// What is counted: one repair of this kind of interference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RoundKind {
    Edit,
    Deletion,
    LabelLoss,
}

/// Digests of what an apply sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppliedDigests {
    /// Of the rendered object with its owner labels.
    pub rendered: u64,
    /// Of the co-owned fields that were left to others.
    pub left_to_others: u64,
}

/// Why an object is applied, or why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApplyReason {
    /// The cluster has what was applied last.
    InSync,
    /// This process never applied the object, or applied another manifest.
    Rollout,
    /// The manifest is the same, and who holds its co-owned fields changed, or the last answer was lost.
    Repair,
    /// The manifest is the same, and the object is gone, or does not carry the owner label any more.
    Restore,
    /// The manifest is the same, and somebody interfered with a field of ours.
    Revert(Interference),
    /// As [`ApplyReason::Restore`] or [`ApplyReason::Revert`], once too often: somebody else insists.
    Conflict(Interference),
}

/// What somebody does to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interference {
    /// Another field manager changes a field that we set.
    Edited,
    /// Somebody applies under the name of our own field manager.
    Overwritten {
        /// When, to the second.
        at: Option<Timestamp>,
    },
    /// It is deleted.
    Deleted,
    /// Its owner label is removed.
    Unlabeled,
}

impl fmt::Display for Interference {
    /// What somebody keeps doing, as the end of a sentence about the object.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Edited => f.write_str("another field manager keeps changing it"),
            Self::Overwritten { at } => {
                write!(
                    f,
                    "somebody keeps applying it as field manager {MANAGER} (operation Apply"
                )?;
                match at {
                    Some(at) => write!(f, ", last at {at})"),
                    None => f.write_str(")"),
                }
            }
            Self::Deleted => f.write_str("it keeps being deleted"),
            Self::Unlabeled => f.write_str("it keeps losing its owner label"),
        }
    }
}

impl Interference {
    const fn kind(self) -> RoundKind {
        match self {
            Self::Edited | Self::Overwritten { .. } => RoundKind::Edit,
            Self::Deleted => RoundKind::Deletion,
            Self::Unlabeled => RoundKind::LabelLoss,
        }
    }
}

impl LastApplied {
    /// Compares what would be applied with what was applied and with what is there.
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
            .filter(|record| record.digests.rendered == digests.rendered)
        else {
            return ApplyReason::Rollout;
        };
        let insists = |interference: &Interference| {
            let rounds = record.recent_rounds(now);
            rounds.filter(|kind| *kind == interference.kind()).count() >= CONFLICT_ROUNDS
        };
        let Some(live) = live.filter(|live| live.uid == record.answer.uid) else {
            let losses = [Interference::Deleted, Interference::Unlabeled];
            return losses
                .into_iter()
                .find(insists)
                .map_or(ApplyReason::Restore, ApplyReason::Conflict);
        };
        if record.is_unanswered || record.digests.left_to_others != digests.left_to_others {
            return ApplyReason::Repair;
        }
        match record.answer.interference(live) {
            None => ApplyReason::InSync,
            Some(interference) if insists(&interference) => ApplyReason::Conflict(interference),
            Some(interference) => ApplyReason::Revert(interference),
        }
    }

    /// Records that an object with these digests was applied because of `reason`, and that the answer was `live`.
    pub fn record(
        &mut self,
        key: ObjectKey,
        digests: AppliedDigests,
        reason: ApplyReason,
        live: &LiveObject,
        now: Instant,
    ) {
        self.verified.remove(&key);
        let before = self.records.remove(&key);
        let mut rounds = Vec::new();
        if let Some(before) = &before
            && reason != ApplyReason::Rollout
        {
            let is_recent = |(_, at): &&(RoundKind, Instant)| is_recent(*at, now);
            rounds.extend(before.rounds.iter().filter(is_recent).copied());
        }
        let is_same = before.is_some_and(|before| before.answer.uid == live.uid);
        // The answer to an apply has the label, unless an admission webhook took it away.
        let round = if live.owner_labels.owner.is_none() {
            Some(RoundKind::LabelLoss)
        } else {
            match reason {
                ApplyReason::Revert(interference) => Some(interference.kind()),
                ApplyReason::Restore if is_same => Some(RoundKind::LabelLoss),
                ApplyReason::Restore => Some(RoundKind::Deletion),
                ApplyReason::InSync
                | ApplyReason::Rollout
                | ApplyReason::Repair
                | ApplyReason::Conflict(_) => None,
            }
        };
        rounds.extend(round.map(|kind| (kind, now)));
        let answer = Answer {
            uid: live.uid.clone(),
            version: live.version,
            our_fields: live.our_fields,
            applied_at: live.applied_at,
        };
        let record = Record {
            digests,
            answer,
            is_unanswered: false,
            rounds,
        };
        self.records.insert(key, record);
    }

    /// Notes that an apply was sent whose answer is not known, so that its traces are not taken for somebody else's.
    pub fn mark_unanswered(&mut self, key: &ObjectKey) {
        if let Some(record) = self.records.get_mut(key) {
            record.is_unanswered = true;
        }
    }

    /// Whether the API server took a dry run of this manifest.
    #[must_use]
    pub fn is_verified(&self, key: &ObjectKey, digests: AppliedDigests) -> bool {
        self.verified.get(key) == Some(&digests.rendered)
    }

    /// Notes that the API server took a dry run of this manifest.
    pub fn mark_verified(&mut self, key: ObjectKey, digests: AppliedDigests) {
        self.verified.insert(key, digests.rendered);
    }

    /// Whether this process applied the object.
    #[must_use]
    pub fn has(&self, key: &ObjectKey) -> bool {
        self.records.contains_key(key)
    }

    /// Forgets an object that was deleted on purpose.
    pub fn forget(&mut self, key: &ObjectKey) {
        self.records.remove(key);
        self.verified.remove(key);
    }
}

impl Record {
    fn recent_rounds(&self, now: Instant) -> impl Iterator<Item = RoundKind> {
        self.rounds
            .iter()
            .filter(move |(_, at)| is_recent(*at, now))
            .map(|(kind, _)| *kind)
    }
}

impl Answer {
    /// What somebody did to the object since this answer.
    fn interference(&self, live: &LiveObject) -> Option<Interference> {
        if live.applied_at != self.applied_at || live.unexplained > self.version {
            let at = live.applied_at;
            Some(Interference::Overwritten { at })
        } else if live.our_fields != self.our_fields {
            Some(Interference::Edited)
        } else {
            None
        }
    }
}

fn is_recent(at: Instant, now: Instant) -> bool {
    now.duration_since(at) < CONFLICT_WINDOW
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{CrKey, OwnerLabels};

    const DIGESTS: AppliedDigests = AppliedDigests {
        rendered: 1,
        left_to_others: 0,
    };
    const EDITED: ApplyReason = ApplyReason::Revert(Interference::Edited);

    fn key() -> ObjectKey {
        ObjectKey {
            group: String::new(),
            kind: "ConfigMap".into(),
            namespace: Some("a".into()),
            name: "b".into(),
        }
    }

    fn live(uid: &str, our_fields: u64) -> LiveObject {
        let owner = CrKey {
            namespace: "mesh".into(),
            name: "one".into(),
        };
        LiveObject {
            uid: uid.into(),
            our_fields: Some(our_fields),
            owner_labels: OwnerLabels {
                owner: Some(owner),
                ..OwnerLabels::default()
            },
            ..LiveObject::default()
        }
    }

    /// What was applied is known, and answered with `live("1", 7)`.
    fn applied(now: Instant) -> LastApplied {
        let mut last_applied = LastApplied::default();
        last_applied.record(key(), DIGESTS, ApplyReason::Rollout, &live("1", 7), now);
        last_applied
    }

    #[test]
    fn what_is_needed_follows_from_memory_and_cluster() {
        let now = Instant::now();
        let unknown =
            LastApplied::default().apply_reason(&key(), DIGESTS, Some(&live("1", 7)), now);
        assert_eq!(unknown, ApplyReason::Rollout);
        let last_applied = applied(now);
        let reason = |digests, live: Option<&LiveObject>| {
            last_applied.apply_reason(&key(), digests, live, now)
        };
        assert_eq!(reason(DIGESTS, Some(&live("1", 7))), ApplyReason::InSync);
        assert_eq!(reason(DIGESTS, Some(&live("1", 8))), EDITED);
        assert_eq!(reason(DIGESTS, Some(&live("2", 7))), ApplyReason::Restore);
        assert_eq!(reason(DIGESTS, None), ApplyReason::Restore);
        let other = AppliedDigests {
            rendered: 2,
            ..DIGESTS
        };
        assert_eq!(reason(other, Some(&live("1", 7))), ApplyReason::Rollout);
        let less = AppliedDigests {
            left_to_others: 2,
            ..DIGESTS
        };
        assert_eq!(reason(less, Some(&live("1", 8))), ApplyReason::Repair);
    }

    #[test]
    fn a_write_under_our_name_is_told_from_ours_by_its_time_or_its_version() {
        let now = Instant::now();
        let at = |second: i64| Timestamp::from_second(second).ok();
        let state = |second, version, unexplained| LiveObject {
            applied_at: at(second),
            version,
            unexplained,
            ..live("1", 7)
        };
        let mut last_applied = LastApplied::default();
        last_applied.record(key(), DIGESTS, ApplyReason::Rollout, &state(5, 10, 0), now);
        let reason =
            |live: LiveObject| last_applied.apply_reason(&key(), DIGESTS, Some(&live), now);
        assert_eq!(reason(state(5, 12, 9)), ApplyReason::InSync);
        let overwritten =
            |second| ApplyReason::Revert(Interference::Overwritten { at: at(second) });
        assert_eq!(reason(state(6, 12, 0)), overwritten(6));
        assert_eq!(reason(state(5, 12, 11)), overwritten(5));
    }

    #[test]
    fn traces_of_an_apply_whose_answer_was_lost_are_nobody_elses() {
        let now = Instant::now();
        let mut last_applied = applied(now);
        last_applied.mark_unanswered(&key());
        let overwritten = LiveObject {
            applied_at: Timestamp::from_second(9).ok(),
            ..live("1", 7)
        };
        let reason = last_applied.apply_reason(&key(), DIGESTS, Some(&overwritten), now);
        assert_eq!(reason, ApplyReason::Repair);
        last_applied.record(key(), DIGESTS, reason, &overwritten, now);
        let reason = last_applied.apply_reason(&key(), DIGESTS, Some(&overwritten), now);
        assert_eq!(reason, ApplyReason::InSync);
    }

    #[test]
    fn the_fourth_edit_within_ten_minutes_is_contested_until_they_have_passed() {
        let start = Instant::now();
        let mut last_applied = applied(start);
        let edited = live("1", 8);
        for minute in 0..3 {
            let now = start + Duration::from_secs(60 * minute);
            let reason = last_applied.apply_reason(&key(), DIGESTS, Some(&edited), now);
            assert_eq!(reason, EDITED, "minute {minute}");
            last_applied.record(key(), DIGESTS, reason, &live("1", 7), now);
        }
        let at = |minutes: u64| {
            let now = start + Duration::from_secs(60 * minutes);
            last_applied.apply_reason(&key(), DIGESTS, Some(&edited), now)
        };
        assert_eq!(at(3), ApplyReason::Conflict(Interference::Edited));
        assert_eq!(at(10), EDITED);
    }

    #[test]
    fn deletes_and_lost_labels_are_limited_each_by_its_own_count() {
        let now = Instant::now();
        let mut last_applied = applied(now);
        let restore = |last_applied: &mut LastApplied, uid: &str| {
            let reason = last_applied.apply_reason(&key(), DIGESTS, None, now);
            last_applied.record(key(), DIGESTS, reason, &live(uid, 7), now);
            reason
        };
        // The label is gone and the object is not: the answer has the same UID.
        for _ in 0..2 {
            assert_eq!(restore(&mut last_applied, "1"), ApplyReason::Restore);
        }
        for uid in ["2", "3", "4"] {
            assert_eq!(restore(&mut last_applied, uid), ApplyReason::Restore);
        }
        assert_eq!(
            last_applied.apply_reason(&key(), DIGESTS, None, now),
            ApplyReason::Conflict(Interference::Deleted)
        );
        assert_eq!(
            last_applied.apply_reason(&key(), DIGESTS, Some(&live("4", 8)), now),
            EDITED,
            "edits have their own count"
        );
        let mut last_applied = applied(now);
        for _ in 0..3 {
            restore(&mut last_applied, "1");
        }
        assert_eq!(
            last_applied.apply_reason(&key(), DIGESTS, None, now),
            ApplyReason::Conflict(Interference::Unlabeled)
        );
    }

    #[test]
    fn a_label_that_never_arrives_is_a_lost_one() {
        let now = Instant::now();
        let mut last_applied = LastApplied::default();
        let unlabeled = LiveObject {
            owner_labels: OwnerLabels::default(),
            ..live("1", 7)
        };
        for expected in [
            ApplyReason::Rollout,
            ApplyReason::Restore,
            ApplyReason::Restore,
            ApplyReason::Conflict(Interference::Unlabeled),
        ] {
            let reason = last_applied.apply_reason(&key(), DIGESTS, None, now);
            assert_eq!(reason, expected);
            last_applied.record(key(), DIGESTS, reason, &unlabeled, now);
        }
    }

    #[test]
    fn a_new_rollout_starts_the_count_again() {
        let now = Instant::now();
        let mut last_applied = applied(now);
        for _ in 0..3 {
            last_applied.record(key(), DIGESTS, EDITED, &live("1", 7), now);
        }
        let reason = |last_applied: &LastApplied| {
            last_applied.apply_reason(&key(), DIGESTS, Some(&live("1", 8)), now)
        };
        assert_eq!(
            reason(&last_applied),
            ApplyReason::Conflict(Interference::Edited)
        );
        last_applied.record(key(), DIGESTS, ApplyReason::Rollout, &live("1", 7), now);
        assert_eq!(reason(&last_applied), EDITED);
    }
}
