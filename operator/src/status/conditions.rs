//! Setting conditions so that nothing changes without a transition.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

use crate::api::condition::{self, Kept};

/// The truth of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// Not known yet.
    Unknown,
}

impl Truth {
    const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// The conditions of a status being written.
pub struct Conditions<'a> {
    before: &'a [Condition],
    generation: i64,
    now: Timestamp,
    set: Vec<Condition>,
}

impl<'a> Conditions<'a> {
    /// Starts without any condition of ours; what is not set in the end is absent.
    pub fn new(before: &'a [Condition], generation: i64, now: Timestamp) -> Self {
        Self {
            before,
            generation,
            now,
            set: Vec::new(),
        }
    }

    /// Sets a condition. Its transition time stays as long as its truth does.
    pub fn set(&mut self, kind: &str, truth: Truth, reason: &str, message: &str) {
        let status = truth.as_str();
        let before = find(self.before, kind).filter(|before| before.status == status);
        let since = before.map_or_else(
            || Time(self.now),
            |before| before.last_transition_time.clone(),
        );
        self.set.push(Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
            observed_generation: Some(self.generation),
            last_transition_time: since,
        });
    }

    /// Keeps every condition as it was whose rule is one of `rules`.
    pub fn keep(&mut self, rules: &[Kept]) {
        for rule in condition::ALL
            .iter()
            .filter(|rule| rules.contains(&rule.kept))
        {
            self.set.extend(find(self.before, rule.name).cloned());
        }
    }

    /// Ours in the order in which they were set, then those of others.
    pub fn finish(mut self) -> Vec<Condition> {
        let others = self
            .before
            .iter()
            .filter(|before| !condition::ALL.iter().any(|rule| rule.name == before.type_));
        self.set.extend(others.cloned());
        self.set
    }
}

/// The condition of this type.
pub fn find<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == kind)
}

/// The condition of this type, if it holds.
pub fn holds<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    find(conditions, kind).filter(|condition| condition.status == "True")
}
