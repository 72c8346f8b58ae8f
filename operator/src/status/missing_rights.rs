//! What the status says while the operator lacks rights.

use super::conditions::{Conditions, Truth};
use super::{StatusInput, bounded};
use crate::api::IstioOperatorStatus;
use crate::api::condition::{self, reason};

/// How statuses and Events say that rights are missing.
#[must_use]
pub fn missing_rights_message(rights: &[String]) -> String {
    bounded(format!("the operator may not: {}", rights.join(", ")))
}

/// Says in `status` that these rights are missing, if any. What follows from it for the health of the CR is told by what was refused.
pub fn add_missing_rights(
    status: &mut IstioOperatorStatus,
    subject: StatusInput<'_>,
    rights: &[String],
) {
    let kind = condition::RIGHTS_MISSING;
    status
        .conditions
        .retain(|condition| condition.type_ != kind);
    if rights.is_empty() {
        return;
    }
    let message = missing_rights_message(rights);
    let before = &subject.before.conditions;
    let mut conditions = Conditions::new(before, subject.generation, subject.now);
    conditions.set(kind, Truth::True, reason::RIGHTS_MISSING, &message);
    let told = conditions.finish().into_iter();
    status
        .conditions
        .extend(told.filter(|condition| condition.type_ == kind));
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use k8s_openapi::jiff::Timestamp;

    use super::*;

    #[test]
    fn it_is_there_while_a_right_is_missing() {
        let told = |before: &IstioOperatorStatus, rights: &[&str]| {
            let mut status = before.clone();
            let subject = StatusInput {
                generation: 1,
                before,
                now: Timestamp::UNIX_EPOCH,
                instant: Instant::now(),
                outdated: &[],
            };
            let rights: Vec<_> = rights.iter().map(ToString::to_string).collect();
            add_missing_rights(&mut status, subject, &rights);
            status
        };
        let empty = IstioOperatorStatus::default();
        let missing = told(&empty, &["list pods", "patch services"]);
        let condition = &missing.conditions[0];
        assert_eq!(
            condition.message,
            "the operator may not: list pods, patch services"
        );
        assert_eq!(
            told(&missing, &["list pods", "patch services"]),
            missing,
            "it is told once"
        );
        assert_eq!(told(&missing, &[]), empty);
    }
}
