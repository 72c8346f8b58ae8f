//! What this process sent and how the cluster answered.
//!
//! The memory is only ever compared with the live object, never trusted alone, and dies with the process: after a
//! restart everything is applied once more, which changes nothing where nothing differs.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::live::LiveObject;
use crate::render::ObjectKey;

/// How long an outside edit counts.
const FIGHT_WINDOW: Duration = Duration::from_mins(10);
/// Repairs within the window after which an object is left alone: enough for a person who tries something twice.
const FIGHT_ROUNDS: usize = 3;

/// What was sent, object by object.
#[derive(Debug, Default)]
pub struct Ledger {
    records: HashMap<ObjectKey, Record>,
}

#[derive(Debug)]
struct Record {
    sent: Sent,
    uid: String,
    ours: Option<u64>,
    edits: Vec<Instant>,
}

/// Digests of what an apply sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Of the rendered object with its owner labels.
    pub rendered: u64,
    /// Of the co-owned fields that were left to others.
    pub withheld: u64,
}

/// What an object needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The cluster has what we last sent.
    Nothing,
    /// It was never sent by this process, or something else was.
    Rollout,
    /// It was sent as it is, and the cluster lost it or somebody took a co-owned field.
    Repair,
    /// It was sent as it is, and somebody edited a field of ours.
    Reedit,
    /// As [`Need::Reedit`], once too often: somebody else insists.
    Contest,
}

impl Ledger {
    /// Compares what would be sent with what was sent and with what is there.
    #[must_use]
    pub fn need(
        &self,
        key: &ObjectKey,
        sent: Sent,
        live: Option<&LiveObject>,
        now: Instant,
    ) -> Need {
        let Some(record) = self
            .records
            .get(key)
            .filter(|r| r.sent.rendered == sent.rendered)
        else {
            return Need::Rollout;
        };
        let Some(live) = live.filter(|live| live.uid == record.uid) else {
            return Need::Repair;
        };
        if record.sent.withheld != sent.withheld {
            return Need::Repair;
        }
        if live.ours == record.ours {
            return Need::Nothing;
        }
        let rounds = record
            .edits
            .iter()
            .filter(|at| now.duration_since(**at) < FIGHT_WINDOW);
        if rounds.count() < FIGHT_ROUNDS {
            Need::Reedit
        } else {
            Need::Contest
        }
    }

    /// Notes that `sent` was applied because of `need` and answered with `live`.
    pub fn note(
        &mut self,
        key: ObjectKey,
        sent: Sent,
        need: Need,
        live: &LiveObject,
        now: Instant,
    ) {
        let before = self.records.remove(&key);
        let mut edits = before.map(|record| record.edits).unwrap_or_default();
        match need {
            Need::Rollout => edits.clear(),
            Need::Reedit => edits.push(now),
            Need::Nothing | Need::Repair | Need::Contest => {}
        }
        edits.retain(|at| now.duration_since(*at) < FIGHT_WINDOW);
        let record = Record {
            sent,
            uid: live.uid.clone(),
            ours: live.ours,
            edits,
        };
        self.records.insert(key, record);
    }

    /// Forgets an object that was deleted on purpose.
    pub fn forget(&mut self, key: &ObjectKey) {
        self.records.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: Sent = Sent {
        rendered: 1,
        withheld: 0,
    };

    fn key() -> ObjectKey {
        ObjectKey {
            group: String::new(),
            kind: "ConfigMap".into(),
            namespace: Some("a".into()),
            name: "b".into(),
        }
    }

    fn live(uid: &str, ours: u64) -> LiveObject {
        LiveObject {
            uid: uid.into(),
            ours: Some(ours),
            ..LiveObject::default()
        }
    }

    #[test]
    fn what_is_needed_follows_from_memory_and_cluster() {
        let now = Instant::now();
        let mut ledger = Ledger::default();
        assert_eq!(
            ledger.need(&key(), SENT, Some(&live("1", 7)), now),
            Need::Rollout
        );
        ledger.note(key(), SENT, Need::Rollout, &live("1", 7), now);
        let need = |sent, live: Option<&LiveObject>| ledger.need(&key(), sent, live, now);
        assert_eq!(need(SENT, Some(&live("1", 7))), Need::Nothing);
        assert_eq!(need(SENT, Some(&live("1", 8))), Need::Reedit);
        assert_eq!(need(SENT, Some(&live("2", 7))), Need::Repair);
        assert_eq!(need(SENT, None), Need::Repair);
        assert_eq!(
            need(
                Sent {
                    rendered: 2,
                    ..SENT
                },
                Some(&live("1", 7))
            ),
            Need::Rollout
        );
        assert_eq!(
            need(
                Sent {
                    withheld: 2,
                    ..SENT
                },
                Some(&live("1", 8))
            ),
            Need::Repair
        );
    }

    #[test]
    fn the_fourth_edit_within_ten_minutes_is_contested_until_they_have_passed() {
        let start = Instant::now();
        let mut ledger = Ledger::default();
        ledger.note(key(), SENT, Need::Rollout, &live("1", 7), start);
        let edited = live("1", 8);
        for minute in 0..3 {
            let now = start + Duration::from_secs(60 * minute);
            let need = ledger.need(&key(), SENT, Some(&edited), now);
            assert_eq!(need, Need::Reedit, "minute {minute}");
            ledger.note(key(), SENT, need, &live("1", 7), now);
        }
        let at = |minutes: u64| {
            let now = start + Duration::from_secs(60 * minutes);
            ledger.need(&key(), SENT, Some(&edited), now)
        };
        assert_eq!(at(3), Need::Contest);
        assert_eq!(at(10), Need::Reedit);
    }

    #[test]
    fn a_new_rollout_starts_the_count_again() {
        let now = Instant::now();
        let mut ledger = Ledger::default();
        for need in [Need::Reedit, Need::Reedit, Need::Reedit] {
            ledger.note(key(), SENT, need, &live("1", 7), now);
        }
        assert_eq!(
            ledger.need(&key(), SENT, Some(&live("1", 8)), now),
            Need::Contest
        );
        ledger.note(key(), SENT, Need::Rollout, &live("1", 7), now);
        assert_eq!(
            ledger.need(&key(), SENT, Some(&live("1", 8)), now),
            Need::Reedit
        );
    }
}
