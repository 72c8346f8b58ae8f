//! What the last passes of CRs found and did.

use std::sync::Arc;

use super::{State, annotations_of, key_of};
use crate::api::{InstallState, IstioOperator, IstioOperatorStatus, StoredCr};
use crate::catalogue::Version;
use crate::cluster::CrKey;
use crate::plan::{Injection, plan_inputs_digest};
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
        same(self.carried_out.get(&key_of(cr)), cr)
    }

    /// A CR as it was when this process saw everything healthy last.
    pub fn healthy(&self, cr: &IstioOperator) -> Option<Arc<StoredCr>> {
        same(self.healthy.get(&key_of(cr)), cr)
    }

    /// Remembers a CR if its status says that everything of its spec is healthy.
    pub fn remember_healthy(&mut self, key: &CrKey) {
        let Some(cr) = self.crs.get(key) else {
            return;
        };
        let is_healthy = |status: &IstioOperatorStatus| {
            status.status == Some(InstallState::Healthy)
                && status.observed_generation == cr.metadata.generation
        };
        if cr.status.as_ref().is_some_and(is_healthy) {
            self.healthy.insert(key.clone(), Arc::clone(cr));
        }
    }

    /// Takes in what a dry run of a pod showed of the sidecars of a version.
    pub fn put_proof(&mut self, key: &CrKey, version: Version, injection: Injection) {
        self.proofs.insert(key.clone(), (version, injection));
    }

    /// What the last dry run of a pod showed of the sidecars of a version.
    pub fn proof(&self, key: &CrKey, version: Version) -> Option<&Injection> {
        let (of, injection) = self.proofs.get(key)?;
        (*of == version).then_some(injection)
    }
}

/// What is remembered of a CR, unless another one has its name by now.
fn same(remembered: Option<&Arc<StoredCr>>, cr: &IstioOperator) -> Option<Arc<StoredCr>> {
    let remembered = remembered?;
    (remembered.metadata.uid == cr.metadata.uid).then(|| Arc::clone(remembered))
}
