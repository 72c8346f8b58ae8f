//! Which webhooks the API server calls for a pod, from their selectors.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::observe::history::Entry;

/// Labels of a namespace or a pod.
pub type Labels = BTreeMap<&'static str, &'static str>;

/// A pod that somebody may create, by the labels of its namespace and its own.
#[derive(Clone, Debug)]
pub struct Probe {
    /// The labels of its namespace.
    pub namespace: Labels,
    /// Its own labels.
    pub pod: Labels,
}

impl Probe {
    /// Every way to ask for injection, and not to, by these revisions or tags, or by none.
    #[must_use]
    pub fn all(revisions: &[&'static str]) -> Vec<Self> {
        let ways = |key: &'static str, values: &[&'static str]| {
            let toggles = [None].into_iter().chain(values.iter().copied().map(Some));
            let toggles: Vec<_> = toggles
                .map(|value| value.map(|value| (key, value)))
                .collect();
            let names = [None]
                .into_iter()
                .chain(revisions.iter().copied().map(Some));
            let names: Vec<_> = names
                .map(|name| name.map(|name| ("istio.io/rev", name)))
                .collect();
            let pairs = toggles.into_iter().flat_map(move |toggle| {
                let labels = move |name: &Option<_>| toggle.into_iter().chain(*name).collect();
                names.iter().map(labels).collect::<Vec<Labels>>()
            });
            pairs.collect::<Vec<_>>()
        };
        let namespaces = ways("istio-injection", &["enabled", "disabled"]);
        let pods = ways("sidecar.istio.io/inject", &["true", "false"]);
        let pairs = namespaces.into_iter().flat_map(|namespace| {
            pods.iter().map(move |pod| Self {
                namespace: namespace.clone(),
                pod: pod.clone(),
            })
        });
        pairs.collect()
    }

    /// A pod in a namespace labeled `istio-injection=enabled`.
    #[must_use]
    pub fn enabled() -> Self {
        Self {
            namespace: Labels::from([("istio-injection", "enabled")]),
            pod: Labels::new(),
        }
    }

    /// The webhooks that are called for it, as `<configuration>/<webhook>`.
    pub fn called<'a>(&self, configurations: impl IntoIterator<Item = &'a Value>) -> Vec<String> {
        let mut called = Vec::new();
        for configuration in configurations {
            for webhook in configuration["webhooks"].as_array().into_iter().flatten() {
                let holds = matches(&webhook["namespaceSelector"], &self.namespace)
                    && matches(&webhook["objectSelector"], &self.pod);
                if holds {
                    let name =
                        |value: &Value| value["name"].as_str().unwrap_or_default().to_owned();
                    let of = name(&configuration["metadata"]);
                    called.push(format!("{of}/{}", name(webhook)));
                }
            }
        }
        called
    }
}

/// The configurations as they were after each entry of a history, oldest first, beginning with those of `start`.
#[must_use]
pub fn moments(start: &[Value], entries: &[Entry]) -> Vec<BTreeMap<String, Value>> {
    let name = |object: &Value| {
        object["metadata"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let mut now: BTreeMap<_, _> = start.iter().map(|one| (name(one), one.clone())).collect();
    let mut moments = vec![now.clone()];
    for entry in entries {
        if entry.is_deletion {
            now.remove(&name(&entry.object));
        } else {
            now.insert(name(&entry.object), entry.object.clone());
        }
        moments.push(now.clone());
    }
    moments
}

/// Whether a label selector holds, as Kubernetes reads it.
fn matches(selector: &Value, labels: &Labels) -> bool {
    let exact = selector["matchLabels"].as_object().into_iter().flatten();
    let expressions = selector["matchExpressions"]
        .as_array()
        .into_iter()
        .flatten();
    exact
        .into_iter()
        .all(|(key, value)| labels.get(&**key).copied() == value.as_str())
        && expressions.into_iter().all(|expression| {
            let label = expression["key"].as_str().and_then(|key| labels.get(key));
            let values = expression["values"].as_array().into_iter().flatten();
            let is_listed = label.is_some_and(|label| values.into_iter().any(|v| v == label));
            match expression["operator"].as_str().unwrap_or_default() {
                "In" => is_listed,
                "NotIn" => !is_listed,
                "Exists" => label.is_some(),
                _ => label.is_none(),
            }
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selectors_are_read_as_kubernetes_reads_them() {
        let labels = Labels::from([("a", "1")]);
        let holds = |selector: Value| matches(&selector, &labels);
        assert!(holds(json!({})));
        assert!(holds(json!({"matchLabels": {"a": "1"}})));
        assert!(!holds(json!({"matchLabels": {"b": "1"}})));
        let expression = |key: &str, operator: &str, values: Value| {
            holds(
                json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]}),
            )
        };
        assert!(expression("a", "In", json!(["1", "2"])));
        assert!(!expression("b", "In", json!(["1"])));
        assert!(expression("b", "NotIn", json!(["1"])));
        assert!(!expression("a", "NotIn", json!(["1"])));
        assert!(expression("a", "Exists", json!([])));
        assert!(expression("b", "DoesNotExist", json!([])));
        assert!(!expression("a", "DoesNotExist", json!([])));
    }

    #[test]
    fn a_pod_can_ask_in_every_way() {
        assert_eq!(Probe::all(&["canary"]).len(), 36);
        assert_eq!(Probe::all(&[]).len(), 9);
    }
}
