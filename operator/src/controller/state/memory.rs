//! What passes of CRs did and found out.

use std::sync::Arc;

use super::State;
use crate::api::{InstallState, IstioOperator, IstioOperatorStatus, StoredCr};
use crate::catalogue::Version;
use crate::cluster::CrKey;
use crate::plan::Injection;

impl State {
    /// Remembers that the spec of a CR was applied.
    pub fn remember_carried_out(&mut self, cr: &Arc<StoredCr>) {
        self.carried_out.insert(CrKey::of(cr), Arc::clone(cr));
    }

    /// A CR as it was when this process applied its spec last.
    pub fn carried_out(&self, cr: &IstioOperator) -> Option<Arc<StoredCr>> {
        same(self.carried_out.get(&CrKey::of(cr)), cr)
    }

    /// A CR as it was when this process saw everything healthy last.
    pub fn healthy(&self, cr: &IstioOperator) -> Option<Arc<StoredCr>> {
        same(self.healthy.get(&CrKey::of(cr)), cr)
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
