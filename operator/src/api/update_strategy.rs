//! `spec.updateStrategy`: how a changed spec reaches a running mesh.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::JsonSchema;
use serde::Deserialize;

use super::format;

/// How long one component may take to become ready if the spec does not say it.
const DEFAULT_TIMEOUT: Duration = Duration::from_mins(10);

/// How a changed spec reaches a running mesh.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct UpdateStrategy {
    /// InPlace changes the running control plane; Canary runs the new one beside it.
    #[serde(rename = "type")]
    pub kind: Option<UpdateType>,
    /// Whether a plan waits for a person: a change of the version, or any change that restarts or deletes a workload.
    pub approval: Option<Approval>,
    /// How long one component may take to become ready, 10m if left out. After that an update stops there.
    #[schemars(extend("x-istio-format" = "deadline"))]
    pub timeout: Option<String>,
    /// What happens when an update of the version stops at a component.
    pub rollback: Option<Rollback>,
    /// What happens to running sidecars and gateways after an update.
    pub data_plane: Option<DataPlaneUpdate>,
}

/// Where a new control plane runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum UpdateType {
    /// In the place of the old one.
    InPlace,
    /// Beside the old one.
    Canary,
}

/// Who starts an update.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Approval {
    /// The operator, at once.
    #[default]
    Automatic,
    /// A person.
    Manual,
}

/// What happens when an update of the version stops at a component.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Rollback {
    /// It stays where it is until the spec changes.
    #[default]
    Never,
    /// The last version in which everything was healthy comes back, where Istio supports that step.
    Automatic,
}

/// What happens to running sidecars and gateways after an update.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DataPlaneUpdate {
    /// None leaves running pods alone; Rolling restarts them in batches.
    pub restart: Option<DataPlaneRestart>,
    /// How many pods of a workload may be away at once, as a number or a percentage.
    pub max_unavailable: Option<IntOrString>,
}

/// Whether running pods are restarted after an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum DataPlaneRestart {
    /// They are left alone.
    None,
    /// In batches.
    Rolling,
}

impl UpdateStrategy {
    /// Whether a plan waits for a person.
    #[must_use]
    pub fn is_manual(&self) -> bool {
        self.approval.unwrap_or_default() == Approval::Manual
    }

    /// How long one component may take to become ready.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        let timeout = self.timeout.as_deref().and_then(format::duration);
        timeout.unwrap_or(DEFAULT_TIMEOUT)
    }

    /// Whether the last healthy version comes back by itself.
    #[must_use]
    pub fn rolls_back(&self) -> bool {
        self.rollback.unwrap_or_default() == Rollback::Automatic
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::api::{IstioOperator, RawSpec};

    fn read(strategy: &Value) -> UpdateStrategy {
        let spec = json!({"updateStrategy": strategy});
        IstioOperator::new("cr", RawSpec(spec)).update_strategy()
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        for strategy in [json!(null), json!({}), json!({"timeout": null}), json!(3)] {
            let read = read(&strategy);
            assert_eq!(read.timeout(), Duration::from_mins(10), "{strategy}");
            assert!(!read.is_manual() && !read.rolls_back(), "{strategy}");
        }
    }

    #[test]
    fn what_is_set_is_read() {
        let read = read(&json!({
            "approval": "Manual",
            "rollback": "Automatic",
            "timeout": "1m30s",
            "dataPlane": {"maxUnavailable": "10%"},
        }));
        assert_eq!(read.timeout(), Duration::from_secs(90));
        assert!(read.is_manual() && read.rolls_back());
    }
}
