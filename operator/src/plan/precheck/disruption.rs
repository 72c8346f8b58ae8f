//! Budgets that stand in the way of those who drain nodes, as many do along with an upgrade. Rollouts do not ask them.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::{check, workload};
use crate::api::{CheckResult, CheckStatus};
use crate::cluster::{Live, LiveObject};
use crate::dataplane::{Budget, is_about, lets_none_go};
use crate::merge::{Component, Merged};
use crate::render::{Object, ObjectKey, Rendered, RenderedComponent};

/// The name of the check.
pub(super) const NAME: &str = "disruption-budgets";

/// The budget of a single pod lets nobody drain its node (issues 12602, 53909). Gives what is known without a look at budgets
/// of others.
pub(super) fn own_budgets(merged: &Merged, live: &Live) -> CheckStatus {
    if let Some(why) = own_problem(merged, live) {
        return check(NAME, CheckResult::Warning, why);
    }
    let why = "nobody looked at the budgets of others";
    check(NAME, CheckResult::NotChecked, why)
}

/// The same with the budgets that others made in the namespaces of Istio.
pub(super) fn all_budgets(
    merged: &Merged,
    rendered: &Rendered,
    live: &Live,
    budgets: &Result<Vec<Budget>, String>,
) -> CheckStatus {
    let mut problems: Vec<_> = own_problem(merged, live).into_iter().collect();
    let known = budgets.as_deref().unwrap_or_default();
    let components = rendered.components.iter();
    problems.extend(components.filter_map(|component| others_problem(component, live, known)));
    match budgets {
        _ if !problems.is_empty() => check(NAME, CheckResult::Warning, problems.join("; ")),
        Err(why) => check(NAME, CheckResult::NotChecked, why),
        Ok(_) => check(NAME, CheckResult::Passed, "each lets a pod go"),
    }
}

/// Why nodes with pods of the CR's own budgets cannot be drained.
fn own_problem(merged: &Merged, live: &Live) -> Option<String> {
    let components = merged.components.iter();
    let blocking: Vec<_> = components
        .filter(|component| guards_one_pod(component, live))
        .map(|component| component.name.as_str())
        .collect();
    if blocking.is_empty() {
        return None;
    }
    Some(format!(
        "the only pods of {} may not be evicted, so their nodes cannot be drained; with two replicas they can, or without a \
         budget (values.global.defaultPodDisruptionBudget.enabled: false)",
        blocking.join(", ")
    ))
}

/// Why nodes with pods of a component cannot be drained for budgets of others. The API server evicts no pod that two budgets
/// are about.
fn others_problem(
    component: &RenderedComponent,
    live: &Live,
    budgets: &[Budget],
) -> Option<String> {
    let mut objects = component.objects.iter();
    let deployment = objects.find(|object| object.key.kind == "Deployment")?;
    let labels = pod_labels(deployment)?;
    let namespace = deployment.key.namespace.as_deref();
    let is_own = |name: &str| {
        let found = live.get(&budget_key(namespace.unwrap_or_default(), name));
        found.is_some_and(|found| found.owner_labels.owner.is_some())
    };
    let about = budgets.iter().filter(|budget| {
        budget.metadata.namespace.as_deref() == namespace && is_about(budget, &labels)
    });
    let others = about.filter_map(|budget| Some((budget.metadata.name.as_deref()?, budget)));
    let others: BTreeMap<_, _> = others.filter(|(name, _)| !is_own(name)).collect();
    let rendered = component.objects.iter();
    let rendered = rendered.filter(|object| object.key.kind == "PodDisruptionBudget");
    let own = rendered.map(|object| object.key.name.as_str());
    let all: BTreeSet<_> = others.keys().copied().chain(own).collect();
    let name = &component.name;
    if !others.is_empty() && all.len() > 1 {
        let all = all.into_iter().collect::<Vec<_>>().join(", ");
        return Some(format!(
            "several PodDisruptionBudgets are about the pods of {name} ({all}), and then the API server evicts none of them"
        ));
    }
    let (budget, _) = others
        .into_iter()
        .find(|(_, budget)| lets_none_go(budget))?;
    Some(format!(
        "PodDisruptionBudget {budget}, which is not of an IstioOperator, lets no pod of {name} go"
    ))
}

/// The labels of the pods of a workload.
fn pod_labels(workload: &Object) -> Option<BTreeMap<String, String>> {
    let spec = workload.body.field("spec");
    BTreeMap::deserialize(spec.pointer("/template/metadata/labels")?).ok()
}

fn guards_one_pod(component: &Component, live: &Live) -> bool {
    let (namespace, name) = (&component.namespace, &component.name);
    let replicas = live
        .get(&workload("Deployment", namespace, name))
        .and_then(LiveObject::replicas);
    live.get(&budget_key(namespace, name)).is_some()
        && replicas == Some(1)
        && !lets_pods_go(component)
}

fn budget_key(namespace: &str, name: &str) -> ObjectKey {
    ObjectKey {
        group: "policy".to_owned(),
        kind: "PodDisruptionBudget".to_owned(),
        ..workload("Deployment", namespace, name)
    }
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::api::{IstioOperator, RawSpec};
    use crate::charts::Charts;
    use crate::merge::{Cluster, merge};
    use crate::render::render;

    /// What is found of a mesh of a minor beside these budgets.
    fn found(minor: &str, budgets: Result<Value, String>) -> CheckStatus {
        let charts = Charts::embedded().unwrap();
        let cr = IstioOperator::new("cr", RawSpec(json!({"profile": "default"})));
        let merged = merge(&cr, Some(minor), Cluster::default(), &charts).unwrap();
        let rendered = render(&merged, &charts).unwrap();
        let budgets = budgets.map(|budgets| serde_json::from_value(budgets).unwrap());
        all_budgets(&merged, &rendered, &Live::default(), &budgets)
    }

    fn budget(namespace: &str, selector: &Value, allowed: i64) -> Value {
        json!({
            "metadata": {"name": "theirs", "namespace": namespace},
            "spec": {"selector": selector},
            "status": {"disruptionsAllowed": allowed},
        })
    }

    /// Istio's issues 12602 and 53909, with a budget that somebody else made.
    #[test]
    fn a_budget_of_somebody_else_that_lets_no_pod_go_is_told() {
        let istiod = || json!({"matchLabels": {"app": "istiod"}});
        let listed = |budget: Value| found("1.30", Ok(json!([budget])));
        let blocks = listed(budget("istio-system", &istiod(), 0));
        assert_eq!(blocks.result, CheckResult::Warning);
        assert!(
            blocks.message.contains("theirs") && blocks.message.contains("no pod of istiod go"),
            "{}",
            blocks.message
        );
        for harmless in [
            budget("istio-system", &istiod(), 1),
            budget("elsewhere", &istiod(), 0),
            budget("istio-system", &json!({"matchLabels": {"app": "other"}}), 0),
        ] {
            let found = listed(harmless);
            assert_eq!(found.result, CheckResult::Passed, "{}", found.message);
        }
        let all = listed(budget("istio-system", &json!({}), 0));
        assert!(
            all.message.contains("istio-ingressgateway"),
            "{}",
            all.message
        );
        let unknown = found("1.30", Err("may not".to_owned()));
        assert_eq!(unknown.result, CheckResult::NotChecked);
    }

    /// Until 1.27, the charts have a budget of their own.
    #[test]
    fn two_budgets_for_one_pod_are_told_although_each_lets_it_go() {
        let theirs = budget(
            "istio-system",
            &json!({"matchLabels": {"app": "istiod"}}),
            1,
        );
        let both = found("1.27", Ok(json!([theirs])));
        assert_eq!(both.result, CheckResult::Warning);
        assert!(
            both.message.contains("(istiod, theirs)"),
            "{}",
            both.message
        );
    }
}
