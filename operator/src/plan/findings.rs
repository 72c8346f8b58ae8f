//! What a plan finds in the cluster that a condition has to tell.

use std::collections::BTreeSet;

use super::orphans::{KeptRevision, Why};
use super::{Decision, PlannedComponent};
use crate::api::{ComponentKind, condition};
use crate::cluster::{CrKey, DesiredInventory};
use crate::dataplane::Verdict;

/// Something about the cluster that a condition tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// A type of [`condition`].
    pub condition: &'static str,
    /// A reason of [`condition::reason`].
    pub reason: &'static str,
    /// The message.
    pub text: String,
}

/// Tells that objects stay although they are not rendered, why, and how they go.
pub(super) fn kept_revision((revision, kept): (&String, &KeptRevision)) -> Finding {
    let names: Vec<_> = kept.objects.iter().map(ToString::to_string).collect();
    let names = names.join(", ");
    let stay = format!("objects of revision {revision} are not rendered any more and stay");
    let prune = format!("the annotation install.istio.io/prune-revision: {revision} deletes");
    let (reason, text) = match &kept.why {
        Why::Tag(tag) => (
            condition::reason::IN_USE,
            format!("{stay} until the default tag ({tag}) leads to another revision: {names}"),
        ),
        Why::Verdict(Verdict::Used(users)) => (
            condition::reason::IN_USE,
            format!(
                "{stay}, because they are used by {}; {prune} all the same {names}",
                users.join("; ")
            ),
        ),
        Why::Verdict(Verdict::Unknown(gaps)) => (
            condition::reason::MAY_BE_IN_USE,
            format!(
                "{stay}, because pods may use them: {}; {prune} {names}",
                gaps.join("; ")
            ),
        ),
        Why::Verdict(Verdict::Unused { .. }) => (
            condition::reason::UNUSED,
            format!(
                "{stay} until nobody has used them for the whole grace period; {prune} at once {names}"
            ),
        ),
    };
    Finding {
        condition: condition::OLD_REVISION,
        reason,
        text,
    }
}

/// Tells of owners in namespaces that are not watched, which nobody can see go, and how their objects are taken over.
/// Base is shared, whoever owns it.
pub(super) fn unwatched_owners(
    components: &[PlannedComponent],
    desired: &DesiredInventory,
) -> Vec<Finding> {
    let own = components
        .iter()
        .filter(|component| component.kind != ComponentKind::Base);
    let owners: BTreeSet<_> = own
        .flat_map(|component| &component.decided)
        .filter_map(|(_, decision)| match decision {
            Decision::OwnedByOther(owner) if !desired.is_watched(owner) => Some(owner),
            _ => None,
        })
        .collect();
    let tell = |owner: &CrKey| Finding {
        condition: condition::OWNERSHIP_CONFLICT,
        reason: condition::reason::OWNED_BY_ANOTHER,
        text: format!(
            "the namespace of IstioOperator {owner} is not watched; if nobody serves it any more, the annotation \
             install.istio.io/adopt: \"true\" takes its objects over"
        ),
    };
    owners.into_iter().map(tell).collect()
}
