//! `spec.updateStrategy`: how a changed spec reaches a running mesh.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use schemars::JsonSchema;
use serde::Deserialize;

use super::format;

/// How long one component may take to become ready if the spec does not say it.
const DEFAULT_TIMEOUT: Duration = Duration::from_mins(10);

/// How a changed spec reaches a running mesh.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct UpdateStrategy {
    /// InPlace changes the running control plane. Canary installs another version beside it, as a revision such as 1-31-1, and
    /// moves tags and gateways to that one once it works; with approval Manual, once a person approved that.
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
    /// How long nobody may have used an old revision before it is deleted, 10m if left out. What cannot be looked at counts
    /// as used.
    #[schemars(extend("x-istio-format" = "time-span"))]
    pub inactive_revision_grace_period: Option<String>,
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
    /// Follow gives proxies the image of their istiod. Hold lets istiod inject the image from before an update in place, also into
    /// gateways, until it was healthy for soak. Until then no proxy is newer, so the update can be taken back.
    pub image: Option<ProxyImage>,
    /// How long an updated control plane has to be healthy before held proxies get their new image, 0s if left out.
    #[schemars(extend("x-istio-format" = "time-span"))]
    pub soak: Option<String>,
    /// None leaves running pods alone; Rolling restarts workloads whose proxies are older than those that are injected now.
    pub restart: Option<DataPlaneRestart>,
    /// Labels of the namespaces whose workloads are restarted. Rolling needs it; {} selects every namespace with a proxy.
    pub namespace_selector: Option<LabelSelector>,
    /// How many workloads are restarted at once, 3 if left out, and never two of one namespace. The first one goes alone.
    pub max_parallel: Option<u8>,
    /// When restarts may begin; at any time if left out.
    pub windows: Option<Vec<RestartWindow>>,
}

/// Which image proxies get during an update in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum ProxyImage {
    /// That of their istiod.
    Follow,
    /// The one from before, until istiod was healthy for a while.
    Hold,
}

/// Whether running pods are restarted after an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum DataPlaneRestart {
    /// They are left alone.
    None,
    /// In batches.
    Rolling,
}

/// A time at which restarts may begin. One that has begun is waited for.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RestartWindow {
    /// Days on which it begins; every day if left out.
    pub days: Option<Vec<Weekday>>,
    /// Its first minute, such as "22:00".
    #[schemars(extend("x-istio-format" = "time-of-day"))]
    pub from: Option<String>,
    /// The minute in which it ends, such as "04:00"; on the next day if that is not after from.
    #[schemars(extend("x-istio-format" = "time-of-day"))]
    pub to: Option<String>,
    /// Time zone of both, such as Europe/Berlin; UTC if left out.
    #[schemars(extend("x-istio-format" = "time-zone"))]
    pub time_zone: Option<String>,
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Weekday {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

impl UpdateStrategy {
    /// Whether a plan waits for a person.
    #[must_use]
    pub fn is_manual(&self) -> bool {
        self.approval.unwrap_or_default() == Approval::Manual
    }

    /// Whether another version is installed beside the one that runs.
    #[must_use]
    pub fn is_canary(&self) -> bool {
        self.kind == Some(UpdateType::Canary)
    }

    /// For how long an updated control plane has to be healthy before proxies get its image; none if they get it at once.
    #[must_use]
    pub fn holds_proxies(&self) -> Option<Duration> {
        let data_plane = self.data_plane.as_ref()?;
        if self.is_canary() || data_plane.image != Some(ProxyImage::Hold) {
            return None;
        }
        let soak = data_plane.soak.as_deref().and_then(format::time_span);
        Some(soak.unwrap_or_default())
    }

    /// How long one component may take to become ready.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        let timeout = self.timeout.as_deref().and_then(format::duration);
        timeout.unwrap_or(DEFAULT_TIMEOUT)
    }

    /// Whether workloads with older proxies are restarted.
    #[must_use]
    pub fn restarts_workloads(&self) -> bool {
        let data_plane = self.data_plane.as_ref();
        data_plane.is_some_and(|it| it.restart == Some(DataPlaneRestart::Rolling))
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
            assert!(!read.is_manual() && !read.rolls_back() && !read.is_canary());
            assert!(!read.restarts_workloads());
        }
    }

    #[test]
    fn what_is_set_is_read() {
        let read = read(&json!({
            "type": "Canary",
            "approval": "Manual",
            "rollback": "Automatic",
            "timeout": "1m30s",
            "dataPlane": {"restart": "Rolling", "maxParallel": 2},
        }));
        assert_eq!(read.holds_proxies(), None);
        let held = super::tests::read(&json!({"dataPlane": {"image": "Hold", "soak": "1h"}}));
        assert_eq!(held.holds_proxies(), Some(Duration::from_hours(1)));
        let held = super::tests::read(&json!({"dataPlane": {"image": "Hold"}}));
        assert_eq!(held.holds_proxies(), Some(Duration::ZERO));
        assert_eq!(read.timeout(), Duration::from_secs(90));
        assert!(read.is_manual() && read.rolls_back() && read.is_canary());
        assert!(read.restarts_workloads());
    }
}
