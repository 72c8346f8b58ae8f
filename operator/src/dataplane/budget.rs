//! Disruption budgets: which pods they are about, and whether one of these may go.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt};
use serde::Deserialize;

/// A disruption budget.
pub type Budget = kube::core::Object<BudgetSpec, BudgetStatus>;

/// The part of a disruption budget that names its pods.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct BudgetSpec {
    selector: Option<LabelSelector>,
}

/// The part of a disruption budget that says whether a pod may go.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BudgetStatus {
    disruptions_allowed: i64,
}

/// Whether a budget lets none of its pods go.
#[must_use]
pub fn lets_none_go(budget: &Budget) -> bool {
    let status = budget.status.as_ref();
    status.map_or(0, |status| status.disruptions_allowed) <= 0
}

/// Whether a budget is about every pod of its namespace.
#[must_use]
pub fn is_about_all(budget: &Budget) -> bool {
    selector(budget).is_some_and(|selector| selector.selects_all())
}

/// Whether a budget is about pods with these labels, as the API server reads its selector.
#[must_use]
pub fn is_about(budget: &Budget, labels: &BTreeMap<String, String>) -> bool {
    selector(budget).is_some_and(|selector| selector.matches(labels))
}

fn selector(budget: &Budget) -> Option<Selector> {
    budget.spec.selector.clone()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_selector_selects_as_the_api_server_does() {
        let labels = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        let with = |operator: &str, key: &str, values: &[&str]| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
        for (selector, expected) in [
            (Value::Null, false),
            (json!({}), true),
            (json!({"matchLabels": {"a": "b"}}), true),
            (json!({"matchLabels": {"a": "c"}}), false),
            (with("In", "a", &["b", "c"]), true),
            (with("In", "x", &["b"]), false),
            (with("NotIn", "a", &["b"]), false),
            (with("NotIn", "x", &["b"]), true),
            (with("Exists", "a", &[]), true),
            (with("DoesNotExist", "a", &[]), false),
        ] {
            let budget = json!({"metadata": {}, "spec": {"selector": selector}});
            let budget: Budget = serde_json::from_value(budget).unwrap();
            assert_eq!(is_about(&budget, &labels), expected, "{selector}");
            assert_eq!(is_about_all(&budget), selector == json!({}), "{selector}");
        }
    }
}
