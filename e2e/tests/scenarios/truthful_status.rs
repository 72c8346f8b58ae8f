//! Checks that the status of CRs, as Argo CD and Flux read it, was never ahead of the workloads.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use e2e::observe::{
    health::{ArgoHealth, Kstatus, argo, kstatus},
    history::Entry,
};
use istio_operator::api::ComponentKind;
use serde_json::Value;

/// Replays a history of one CR after another with its Deployments.
///
/// Whenever the CR begins to look healthy, each Deployment must have been available at some moment since the spec and its
/// pods last changed. That need not be one moment for all: an autoscaler may scale one while another starts. Argo CD ignores the generation, so it goes by
/// the old status until the operator writes the new one, which must be the very next write. Addons hold nothing up, so
/// their Deployments do not count.
pub fn check(history: &[Entry]) {
    let mut replay = Replay::default();
    for entry in history {
        replay.step(entry);
    }
    assert!(replay.healthy_moments > 0, "nothing ever became healthy");
}

#[derive(Default)]
struct Replay {
    deployments: BTreeMap<String, Value>,
    cr: Value,
    /// The Deployments that were available since the spec and their pods last changed.
    were_available: BTreeSet<String>,
    healthy_moments: usize,
    told: String,
}

impl Replay {
    fn step(&mut self, entry: &Entry) {
        let object = &entry.object;
        if object["kind"] == "Deployment" && is_of_addon(object) {
            return;
        }
        if object["kind"] == "Deployment" {
            let name = object["metadata"]["name"].to_string();
            let before = self.deployments.remove(&name).unwrap_or_default();
            if entry.is_deletion || before["spec"]["template"] != object["spec"]["template"] {
                self.were_available.remove(&name);
            }
            if entry.is_deletion {
                return;
            }
            if is_available(object) {
                self.were_available.insert(name.clone());
            }
            self.deployments.insert(name, object.clone());
        } else {
            let before = std::mem::take(&mut self.cr);
            self.cr_changed(&before, object);
            self.cr = if entry.is_deletion {
                Value::Null
            } else {
                object.clone()
            };
        }
    }

    fn cr_changed(&mut self, before: &Value, now: &Value) {
        let generation = &now["metadata"]["generation"];
        let is_new = before["metadata"]["generation"] != *generation;
        if is_new {
            let available = self.deployments.iter().filter(|(_, it)| is_available(it));
            self.were_available = available.map(|(name, _)| name.clone()).collect();
        }
        let status = &now["status"];
        let (argo, kstatus) = (argo(now), kstatus(now));
        let was_available = |name| self.were_available.contains(name);
        let is_ready = !self.deployments.is_empty() && self.deployments.keys().all(was_available);
        let _ = writeln!(
            self.told,
            "generation {generation}, {} of {} ready: {argo:?} {kstatus:?} {status}",
            self.were_available.len(),
            self.deployments.len()
        );
        let told = &self.told;
        let is_word_of_old_generation = is_new && before["status"] == *status;
        if argo == ArgoHealth::Healthy && !is_word_of_old_generation {
            self.healthy_moments += 1;
            assert!(is_ready, "Argo CD would go on too early:\n{told}");
        }
        assert!(
            kstatus != Kstatus::Current || is_ready,
            "Flux would go on too early:\n{told}"
        );
        assert!(
            argo != ArgoHealth::Degraded && kstatus != Kstatus::Failed,
            "failed:\n{told}"
        );
        let observed = status["observedGeneration"].as_i64();
        assert!(
            observed == generation.as_i64() || is_word_of_old_generation || observed == Some(-1),
            "{told}"
        );
    }
}

/// Whether a Deployment belongs to an addon, by its label.
fn is_of_addon(deployment: &Value) -> bool {
    let component = &deployment["metadata"]["labels"]["operator.istio.io/component"];
    let mut kinds = ComponentKind::ALL.into_iter();
    kinds.any(|kind| kind.is_addon() && component == kind.as_str())
}

/// Whether a Deployment runs its newest generation with all its pods.
fn is_available(deployment: &Value) -> bool {
    let status = &deployment["status"];
    let wanted = deployment["spec"]["replicas"].as_i64().unwrap_or(1);
    let has = |field: &str| status[field].as_i64() == Some(wanted);
    status["observedGeneration"] == deployment["metadata"]["generation"]
        && has("replicas")
        && has("updatedReplicas")
        && has("availableReplicas")
}
