//! What the status says while a watch is broken, so that nobody trusts what rests on old observations.

use super::StatusInput;
use super::conditions::{Conditions, Truth, find, holds};
use crate::api::condition::{self, reason};
use crate::api::{InstallState, IstioOperatorStatus};

/// Says in `status` that these watches are broken, if any. `is_observed` tells whether the health in it was observed by
/// watches; then it is unknown. What stalls a CR stays.
pub fn add_broken_watches(
    status: &mut IstioOperatorStatus,
    subject: StatusInput<'_>,
    watches: &[String],
    is_observed: bool,
) {
    if watches.is_empty() {
        return;
    }
    let message = format!(
        "changes are not seen, because these watches do not work: {}",
        watches.join(", ")
    );
    let mut conditions =
        Conditions::new(&subject.before.conditions, subject.generation, subject.now);
    let reason = reason::WATCH_BROKEN;
    conditions.set(condition::WATCH_BROKEN, Truth::True, reason, &message);
    if is_observed && holds(&status.conditions, condition::STALLED).is_none() {
        conditions.set(condition::READY, Truth::Unknown, reason, &message);
        if status.status == Some(InstallState::Healthy) {
            status.status = Some(InstallState::Reconciling);
        }
        status.message = Some(message);
    }
    let conditions = conditions.finish();
    for kind in [condition::READY, condition::WATCH_BROKEN] {
        let Some(condition) = find(&conditions, kind).filter(|found| found.reason == reason) else {
            continue;
        };
        status.conditions.retain(|other| other.type_ != kind);
        status.conditions.push(condition.clone());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use k8s_openapi::jiff::Timestamp;

    use super::*;

    fn status(state: InstallState, conditions: &[(&str, Truth, &str)]) -> IstioOperatorStatus {
        let mut told = Conditions::new(&[], 1, Timestamp::UNIX_EPOCH);
        for (kind, truth, reason) in conditions {
            told.set(kind, *truth, reason, "");
        }
        IstioOperatorStatus {
            status: Some(state),
            conditions: told.finish(),
            ..IstioOperatorStatus::default()
        }
    }

    fn told(
        before: &IstioOperatorStatus,
        watches: &[String],
        is_observed: bool,
    ) -> IstioOperatorStatus {
        let mut status = before.clone();
        let subject = StatusInput {
            generation: 1,
            before,
            now: Timestamp::UNIX_EPOCH,
            instant: Instant::now(),
            outdated: &[],
        };
        add_broken_watches(&mut status, subject, watches, is_observed);
        status
    }

    fn reason_of(status: &IstioOperatorStatus, kind: &str) -> Option<(String, String)> {
        let condition = find(&status.conditions, kind)?;
        Some((condition.status.clone(), condition.reason.clone()))
    }

    #[test]
    fn health_that_nobody_observes_is_unknown() {
        let ready = (condition::READY, Truth::True, reason::INSTALLED);
        let healthy = status(InstallState::Healthy, &[ready]);
        assert_eq!(told(&healthy, &[], true), healthy);
        let unknown = told(&healthy, &["Deployment".into()], true);
        let broken = ("Unknown".to_owned(), reason::WATCH_BROKEN.to_owned());
        assert_eq!(reason_of(&unknown, condition::READY), Some(broken));
        assert_eq!(unknown.status, Some(InstallState::Reconciling));
        assert!(unknown.message.as_ref().unwrap().ends_with(": Deployment"));
        assert!(holds(&unknown.conditions, condition::WATCH_BROKEN).is_some());
        let again = told(&unknown, &["Deployment".into()], true);
        assert_eq!(again, unknown, "it is told once");
    }

    #[test]
    fn what_rests_on_no_watch_stays() {
        let ready = (condition::READY, Truth::False, reason::APPLY_REFUSED);
        let stalled = (condition::STALLED, Truth::True, reason::APPLY_REFUSED);
        let refused = status(InstallState::Error, &[ready, stalled]);
        let after = told(&refused, &["Deployment".into()], true);
        assert_eq!(
            reason_of(&after, condition::READY),
            reason_of(&refused, condition::READY)
        );
        assert_eq!(after.status, Some(InstallState::Error));
        assert!(holds(&after.conditions, condition::WATCH_BROKEN).is_some());
        let invalid = told(&status(InstallState::Error, &[ready]), &["a".into()], false);
        let told = reason_of(&invalid, condition::READY).unwrap();
        assert_eq!(told.1, reason::APPLY_REFUSED);
    }
}
