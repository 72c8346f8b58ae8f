//! Budgets that stand in the way of those who drain nodes, as many do along with an upgrade.

use super::{check, workload};
use crate::api::{CheckResult, CheckStatus};
use crate::cluster::{Live, LiveObject};
use crate::merge::{Component, Merged};
use crate::render::ObjectKey;

/// The budget of a single pod lets nobody drain its node (issues 12602, 53909). Rollouts do not ask it. Only the budgets of
/// the CR are known.
pub(super) fn disruption_budgets(merged: &Merged, live: &Live) -> CheckStatus {
    let name = "disruption-budgets";
    let components = merged.components.iter();
    let blocking: Vec<_> = components
        .filter(|component| guards_one_pod(component, live))
        .map(|component| component.name.as_str())
        .collect();
    if blocking.is_empty() {
        return check(name, CheckResult::Passed, "none covers a single pod");
    }
    let why = format!(
        "the only pods of {} may not be evicted, so their nodes cannot be drained; with two replicas they can, or without a \
         budget (values.global.defaultPodDisruptionBudget.enabled: false)",
        blocking.join(", ")
    );
    check(name, CheckResult::Warning, why)
}

fn guards_one_pod(component: &Component, live: &Live) -> bool {
    let (namespace, name) = (&component.namespace, &component.name);
    let budget = ObjectKey {
        group: "policy".to_owned(),
        kind: "PodDisruptionBudget".to_owned(),
        ..workload("Deployment", namespace, name)
    };
    let replicas = live
        .get(&workload("Deployment", namespace, name))
        .and_then(LiveObject::replicas);
    live.get(&budget).is_some() && replicas == Some(1) && !lets_pods_go(component)
}

/// Whether the budget says how many pods may go, and not how many have to stay.
fn lets_pods_go(component: &Component) -> bool {
    let places = [
        (&component.k8s, "/podDisruptionBudget/maxUnavailable"),
        (&component.values, "/pilot/pdb/maxUnavailable"),
    ];
    let mut set = places
        .into_iter()
        .filter_map(|(tree, pointer)| tree.pointer(pointer));
    set.any(|value| !value.is_null() && *value != 0)
}
