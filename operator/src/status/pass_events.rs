//! Telling what a pass is about to do that its user should know.

use std::collections::BTreeMap;

use super::bounded;
use super::publish::StatusEvent;
use crate::api::condition::reason;
use crate::api::{CheckResult, IstioOperatorStatus};
use crate::plan::Precheck;

/// The Event that tells which old revisions a pass deletes, and why they may go; `None` if it deletes none.
#[must_use]
pub fn gone_revisions_event(gone: &BTreeMap<String, &'static str>) -> Option<StatusEvent> {
    let parts: Vec<_> = gone
        .iter()
        .map(|(revision, why)| format!("revision {revision} is deleted: {why}"))
        .collect();
    (!parts.is_empty()).then(|| StatusEvent {
        is_warning: false,
        reason: reason::OLD_REVISION_DELETED.to_owned(),
        note: bounded(parts.join("; ")),
    })
}

/// The Event that tells which failed checks of a change of the version are skipped; `None` if `before`, the status so far,
/// shows that it was told.
#[must_use]
pub fn skipped_checks_event(
    upgrade: &Precheck,
    before: Option<&IstioOperatorStatus>,
) -> Option<StatusEvent> {
    let skipped = upgrade.skipped()?;
    let shown = before.and_then(|before| before.upgrade.as_ref());
    let is_told = shown.is_some_and(|shown| {
        upgrade.is_step_of(shown)
            && shown
                .checks
                .iter()
                .any(|check| check.result == CheckResult::Skipped)
    });
    (!is_told).then(|| StatusEvent {
        is_warning: true,
        reason: reason::CHECKS_SKIPPED.to_owned(),
        note: bounded(skipped),
    })
}
