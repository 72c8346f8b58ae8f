//! Passes that found nothing to do: while CR and cluster stay the same, there is nothing to render.

use std::time::Instant;

use super::{State, annotations_of};
use crate::api::{Annotations, IstioOperator};
use crate::cluster::CrKey;
use crate::dataplane::Verdicts;
use crate::plan::{PlanInput, plan_inputs_digest};
use crate::status::InstallProgress;

/// A pass that found nothing to do.
#[derive(Debug)]
pub(super) struct InSyncPass {
    uid: Option<String>,
    generation: Option<i64>,
    inputs_digest: u64,
    /// What was known of the data plane, if a change of the version was refused, perhaps for its proxies.
    data_plane: Option<u64>,
    progress: InstallProgress,
}

impl State {
    /// What the last pass of a CR found, if it had nothing to do and nothing changed since.
    pub fn in_sync(&self, key: &CrKey, cr: &IstioOperator) -> Option<InstallProgress> {
        let in_sync = self.in_sync.get(key)?;
        let verdicts = self.verdicts(key, Instant::now());
        let changes = self.users.data_plane.changes();
        let is_same = in_sync.uid == cr.metadata.uid
            && in_sync.generation == cr.metadata.generation
            && in_sync.data_plane.is_none_or(|then| then == changes)
            && in_sync.inputs_digest == self.inputs_digest(key, cr, &verdicts);
        is_same.then(|| in_sync.progress.clone())
    }

    /// Remembers a pass that found nothing to do in what it saw of the cluster.
    pub fn remember_in_sync(
        &mut self,
        cr: &IstioOperator,
        inputs_digest: u64,
        progress: &InstallProgress,
    ) {
        let changes = self.users.data_plane.changes();
        let in_sync = InSyncPass {
            uid: cr.metadata.uid.clone(),
            generation: cr.metadata.generation,
            inputs_digest,
            data_plane: progress.upgrade.as_ref().map(|_| changes),
            progress: progress.clone(),
        };
        self.in_sync.insert(CrKey::of(cr), in_sync);
    }

    /// What a pass of a CR is planned from, if nothing holds it up.
    pub fn plan_input<'a>(
        &'a self,
        cr: &'a CrKey,
        annotations: &'a Annotations,
        verdicts: &'a Verdicts,
        now: Instant,
    ) -> PlanInput<'a> {
        PlanInput {
            cr,
            annotations,
            live: &self.live,
            last_applied: &self.last_applied,
            desired: &self.desired,
            held_by: None,
            unproven: None,
            takes_gateways_in_turn: false,
            verdicts,
            now,
        }
    }

    /// A digest of what the plan of a CR depends on.
    pub fn inputs_digest(&self, key: &CrKey, cr: &IstioOperator, verdicts: &Verdicts) -> u64 {
        let annotations = annotations_of(cr);
        plan_inputs_digest(key, &annotations, &self.live, &self.desired, verdicts)
    }
}
