//! Conditions that are there only while there is something to say.

use super::conditions::{Conditions, Truth};
use super::health::{Problem, Severity};
use super::{InstallProgress, bounded};
use crate::api::condition::{self, reason};
use crate::plan::Finding;

/// Sets each condition that something was found for.
pub(super) fn set_findings(
    conditions: &mut Conditions<'_>,
    progress: &InstallProgress,
    problems: &[&Problem],
) {
    let InstallProgress {
        warnings, applied, ..
    } = progress;
    let is_told = |finding: &Finding| {
        finding.reason != reason::OWNED_BY_ANOTHER
            && finding.condition == condition::OWNERSHIP_CONFLICT
    };
    let is_managed = applied.findings.iter().any(is_told);
    let owned_by_others = problems
        .iter()
        .filter(|problem| !is_managed && problem.severity == Severity::OwnedByAnother)
        .map(|problem| Finding {
            condition: condition::OWNERSHIP_CONFLICT,
            reason: reason::OWNED_BY_ANOTHER,
            text: problem.text.clone(),
        });
    let findings: Vec<_> = applied
        .findings
        .iter()
        .cloned()
        .chain(owned_by_others)
        .collect();
    for rule in &condition::ALL {
        let of_type = || findings.iter().filter(|found| found.condition == rule.name);
        // Once: the API server refuses two of one type.
        if let Some(first) = of_type().next() {
            let texts = of_type().map(|finding| finding.text.clone());
            set_if_any(conditions, rule.name, first.reason, texts);
        }
    }
    let awaited = progress.awaits().into_iter().cloned();
    let reason = reason::APPROVAL_REQUIRED;
    set_if_any(conditions, condition::APPROVAL_REQUIRED, reason, awaited);
    let contested = problems
        .iter()
        .filter(|problem| problem.severity == Severity::Conflict)
        .map(|problem| problem.text.clone());
    let reason = reason::OTHER_WRITER;
    set_if_any(conditions, condition::CONFLICT, reason, contested);
    let (reason, warnings) = (reason::NO_EFFECT, warnings.iter().cloned());
    set_if_any(conditions, condition::WARNINGS, reason, warnings);
}

/// Sets a condition that is there only while there is something to say.
pub(super) fn set_if_any(
    conditions: &mut Conditions<'_>,
    kind: &str,
    reason: &str,
    texts: impl Iterator<Item = String>,
) {
    let texts: Vec<_> = texts.collect();
    if !texts.is_empty() {
        conditions.set(kind, Truth::True, reason, &bounded(texts.join("; ")));
    }
}
