//! What the status tells of a CR that is on its way out.

use super::conditions::{Conditions, Truth};
use super::{DeletionProgress, MAX_NAMES, bounded};
use crate::api::IstioOperatorStatus;
use crate::api::condition::{self, reason};

/// The status of a CR that is on its way out keeps the last health and says what it waits for.
pub(super) fn set_deleting(
    status: &mut IstioOperatorStatus,
    conditions: &mut Conditions<'_>,
    deletion: &DeletionProgress,
) {
    let DeletionProgress {
        remaining,
        refused,
        blocked_by,
    } = deletion;
    let mut parts = Vec::new();
    parts.extend(blocked_by.clone());
    parts.extend(refused.iter().map(|(key, error)| format!("{key}: {error}")));
    if !remaining.is_empty() {
        let names: Vec<_> = remaining
            .iter()
            .take(MAX_NAMES)
            .map(ToString::to_string)
            .collect();
        let rest = remaining.len().saturating_sub(MAX_NAMES);
        let more = if rest > 0 {
            format!(" and {rest} more")
        } else {
            String::new()
        };
        parts.push(format!(
            "waiting for objects to be gone: {}{more}",
            names.join(", ")
        ));
    }
    let message = bounded(parts.join("; "));
    let reason = if refused.is_empty() {
        reason::DELETING
    } else {
        reason::RETRYING
    };
    conditions.set(condition::READY, Truth::False, reason, &message);
    conditions.set(condition::RECONCILING, Truth::True, reason, &message);
    status.message = Some(message);
}
