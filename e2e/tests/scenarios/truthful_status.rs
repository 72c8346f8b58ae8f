//! Checks that the status of CRs, as Argo CD and Flux read it, was never ahead of the workloads.

use std::{collections::BTreeMap, fmt::Write};

use e2e::observe::{
    health::{ArgoHealth, Kstatus, argo, kstatus},
    history::Entry,
};
use serde_json::Value;

/// Replays a history of one CR after another with its Deployments.
///
/// Whenever the CR begins to look healthy, all Deployments must have been available in their newest
/// generation at some moment since the spec last changed. Argo CD ignores the generation, so it goes by
/// the old status until the operator writes the new one, which must be the very next write.
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
    /// How many Deployments were there, all available, since the spec last changed.
    were_ready: usize,
    healthy_moments: usize,
    told: String,
}

impl Replay {
    fn step(&mut self, entry: &Entry) {
        let object = &entry.object;
        if object["kind"] == "Deployment" {
            let name = object["metadata"]["name"].to_string();
            if entry.is_deletion {
                self.deployments.remove(&name);
            } else {
                self.deployments.insert(name, object.clone());
            }
            if self.deployments.values().all(is_available) {
                self.were_ready = self.were_ready.max(self.deployments.len());
            }
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
            self.were_ready = 0;
        }
        let status = &now["status"];
        let (argo, kstatus) = (argo(now), kstatus(now));
        let is_ready = self.were_ready > 0 && self.were_ready == self.deployments.len();
        let _ = writeln!(
            self.told,
            "generation {generation}, {} of {} ready: {argo:?} {kstatus:?} {status}",
            self.were_ready,
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
