//! What the last passes of CRs found and did.

use std::sync::Arc;

use super::{State, annotations_of, key_of};
use crate::api::{IstioOperator, StoredCr};
use crate::cluster::CrKey;
use crate::plan::plan_inputs_digest;
use crate::status::InstallProgress;

/// A pass that found nothing to do: while CR and cluster stay the same, there is nothing to render.
#[derive(Debug)]
pub(super) struct InSyncPass {
    uid: Option<String>,
    generation: Option<i64>,
    inputs_digest: u64,
    progress: InstallProgress,
}

impl State {
    /// What the last pass of a CR found, if it had nothing to do and nothing changed since.
    pub fn in_sync(&self, key: &CrKey, cr: &IstioOperator) -> Option<InstallProgress> {
        let in_sync = self.in_sync.get(key)?;
        let is_same = in_sync.uid == cr.metadata.uid
            && in_sync.generation == cr.metadata.generation
            && in_sync.inputs_digest
                == plan_inputs_digest(key, &annotations_of(cr), &self.live, &self.desired);
        is_same.then(|| in_sync.progress.clone())
    }

    /// Remembers a pass that found nothing to do in what it saw of the cluster.
    pub fn remember_in_sync(
        &mut self,
        cr: &IstioOperator,
        inputs_digest: u64,
        progress: &InstallProgress,
    ) {
        let in_sync = InSyncPass {
            uid: cr.metadata.uid.clone(),
            generation: cr.metadata.generation,
            inputs_digest,
            progress: progress.clone(),
        };
        self.in_sync.insert(key_of(cr), in_sync);
    }

    /// Remembers that the spec of a CR was applied.
    pub fn remember_carried_out(&mut self, cr: &Arc<StoredCr>) {
        self.carried_out.insert(key_of(cr), Arc::clone(cr));
    }

    /// A CR as it was when this process applied its spec last.
    pub fn carried_out(&self, cr: &IstioOperator) -> Option<Arc<StoredCr>> {
        let carried_out = self.carried_out.get(&key_of(cr))?;
        let is_same = carried_out.metadata.uid == cr.metadata.uid;
        is_same.then(|| Arc::clone(carried_out))
    }
}
