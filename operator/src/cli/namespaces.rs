//! `istio-operator namespaces`: which revision injects the pods of each namespace, and why.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt;
use kube::api::{DynamicObject, ListParams};
use kube::core::{Selector, SelectorExt};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Failure;
use super::check::{MUTATING, list};
use super::connection::{ClusterArgs, block_on};
use super::output::{Format, table};

/// Show which revision injects new pods of each namespace, and which label is why.
///
/// The selectors of the webhooks decide, as the API server applies them to a pod without labels of its own.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  istio-operator namespaces
  istio-operator namespaces -o json | jq -r '.[] | select(.revisions == []) | .namespace'")]
pub(super) struct Args {
    /// How to print them.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// One namespace and what injects its pods.
struct Injected {
    namespace: String,
    /// The revisions, with the webhook that is why.
    by: Vec<(String, String)>,
    /// The labels of the namespace that are about injection.
    labels: BTreeMap<String, String>,
}

/// Labels of namespaces by which people ask for injection or for ambient mode.
const LABELS: [&str; 3] = ["istio-injection", "istio.io/rev", "istio.io/dataplane-mode"];

const NAMESPACE: (&str, &str, &str, &str) = ("", "v1", "Namespace", "namespaces");

pub(super) fn namespaces(args: &Args) -> Result<(), Failure> {
    let found = block_on(async {
        let connection = args.cluster.connect().await?;
        let all = ListParams::default();
        let failed = |what: &str, why| Failure::input(format_args!("{what}: {why}"));
        let namespaces = list(&connection, NAMESPACE, &all).await;
        let namespaces = namespaces.map_err(|why| failed("namespaces", why))?;
        let webhooks = list(&connection, MUTATING, &all.labels("istio.io/rev")).await;
        let webhooks = webhooks.map_err(|why| failed("mutatingwebhookconfigurations", why))?;
        Ok(namespaces
            .iter()
            .map(|namespace| injected(namespace, &webhooks))
            .collect::<Vec<_>>())
    })?;
    args.output.print(
        || {
            table(
                ["NAMESPACE", "INJECTED BY", "WHY"],
                found.iter().map(Injected::row).collect(),
            )
        },
        || found.iter().map(Injected::value).collect(),
    )
}

fn injected(namespace: &DynamicObject, configurations: &[DynamicObject]) -> Injected {
    let labels = namespace.labels();
    let mut by = Vec::new();
    for configuration in configurations {
        let webhooks = configuration.data["webhooks"]
            .as_array()
            .into_iter()
            .flatten();
        let matching = webhooks.into_iter().find(|webhook| {
            selects(&webhook["namespaceSelector"], labels)
                && selects(&webhook["objectSelector"], &BTreeMap::new())
        });
        if let Some(webhook) = matching {
            let revision = configuration
                .labels()
                .get("istio.io/rev")
                .cloned()
                .unwrap_or_default();
            let name = webhook["name"].as_str().unwrap_or_default();
            by.push((revision, format!("{}: {name}", configuration.name_any())));
        }
    }
    let told = labels
        .iter()
        .filter(|(key, _)| LABELS.contains(&key.as_str()));
    Injected {
        namespace: namespace.name_any(),
        by,
        labels: told
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
    }
}

/// Whether a label selector, as the API server reads it, selects these labels.
fn selects(selector: &Value, labels: &BTreeMap<String, String>) -> bool {
    let Ok(selector) = Option::<LabelSelector>::deserialize(selector) else {
        return false;
    };
    let selector = Selector::try_from(selector.unwrap_or_default());
    selector.is_ok_and(|selector| selector.matches(labels))
}

impl Injected {
    fn row(&self) -> [String; 3] {
        let revisions: Vec<_> = self
            .by
            .iter()
            .map(|(revision, _)| revision.as_str())
            .collect();
        let by = match revisions.as_slice() {
            [] => "nobody".to_owned(),
            [one] => (*one).to_owned(),
            several => format!("{} (twice)", several.join(" and ")),
        };
        let webhooks = self.by.iter().map(|(_, webhook)| webhook.clone());
        let labels = self
            .labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"));
        let why: Vec<_> = labels.chain(webhooks).collect();
        [self.namespace.clone(), by, why.join(", ")]
    }

    fn value(&self) -> Value {
        let (revisions, webhooks): (Vec<_>, Vec<_>) = self.by.iter().cloned().unzip();
        json!({
            "namespace": self.namespace,
            "revisions": revisions,
            "webhooks": webhooks,
            "labels": self.labels,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_selects_as_the_api_server_does() {
        let labels = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        let with = |operator: &str, key: &str, values: &[&str]| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
        for (selector, expected) in [
            (Value::Null, true),
            (json!({"matchLabels": {"a": "b"}}), true),
            (json!({"matchLabels": {"a": "c"}}), false),
            (with("In", "a", &["b", "c"]), true),
            (with("In", "x", &["b"]), false),
            (with("NotIn", "a", &["b"]), false),
            (with("NotIn", "x", &["b"]), true),
            (with("Exists", "a", &[]), true),
            (with("DoesNotExist", "a", &[]), false),
        ] {
            assert_eq!(selects(&selector, &labels), expected, "{selector}");
        }
    }
}
