//! What a CR says about its old revisions.

use std::time::Duration;

use serde_json::Value;

use crate::api::ComponentKind;
use crate::api::format::time_span;
use crate::catalogue::Version;
use crate::charts::tree::at;
use crate::merge::{Merged, RestartSettings};

/// How long nobody may have used an old revision before it goes, unless the CR says otherwise.
const GRACE: Duration = Duration::from_mins(10);

/// What a CR says about its old revisions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long nobody may have used an old revision before it goes.
    pub grace: Duration,
    /// The version of the proxies that are injected, where it is known.
    pub proxy: Option<Version>,
    /// The namespace that Istio is installed in.
    pub namespace: String,
    /// Whether workloads with older proxies are restarted, and how.
    pub restarts: Option<RestartSettings>,
    /// Why other clusters may use its revisions, if they may. Their pods are not seen here.
    pub remote: Option<String>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            grace: GRACE,
            proxy: None,
            namespace: String::new(),
            restarts: None,
            remote: None,
        }
    }
}

impl Policy {
    /// Reads a CR.
    #[must_use]
    pub fn of(merged: &Merged) -> Self {
        let keys = ["updateStrategy", "inactiveRevisionGracePeriod"];
        let grace = at(&merged.source.spec, &keys).and_then(Value::as_str);
        let pilot = merged
            .components
            .iter()
            .find(|component| component.kind == ComponentKind::Pilot);
        Self {
            grace: grace.and_then(time_span).unwrap_or(GRACE),
            proxy: merged.proxy_version(),
            namespace: merged.namespace.clone(),
            restarts: RestartSettings::of(&merged.source.spec),
            remote: pilot.and_then(|pilot| remote(&pilot.values)),
        }
    }
}

/// The setting that says that the mesh has other clusters.
fn remote(values: &Value) -> Option<String> {
    const CLUSTER: &str = "Kubernetes";
    let is_set = |value: &Value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty() && text != CLUSTER,
        Value::Object(fields) => !fields.is_empty(),
        _ => true,
    };
    let settings: [&[&str]; 4] = [
        &["externalIstiod"],
        &["multiCluster", "clusterName"],
        &["network"],
        &["meshNetworks"],
    ];
    let global = values.get("global")?;
    let setting = settings
        .into_iter()
        .find(|keys| at(global, keys).is_some_and(is_set))?;
    Some(format!(
        "values.global.{} says that the mesh has other clusters, and their pods are not seen here",
        setting.join(".")
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_of_several_clusters_are_recognized() {
        for (global, setting) in [
            (json!({}), None),
            (
                json!({"multiCluster": {"clusterName": "Kubernetes"}, "network": ""}),
                None,
            ),
            (json!({"externalIstiod": false, "meshNetworks": {}}), None),
            (json!({"externalIstiod": true}), Some("externalIstiod")),
            (
                json!({"multiCluster": {"clusterName": "west"}}),
                Some("multiCluster.clusterName"),
            ),
            (json!({"network": "n1"}), Some("network")),
            (json!({"meshNetworks": {"n1": {}}}), Some("meshNetworks")),
        ] {
            let told = remote(&json!({"global": global}));
            let expected = setting.map(|setting| format!("values.global.{setting} "));
            assert_eq!(told.is_some(), expected.is_some(), "{global}");
            assert!(
                told.unwrap_or_default()
                    .starts_with(&expected.unwrap_or_default())
            );
        }
    }
}
