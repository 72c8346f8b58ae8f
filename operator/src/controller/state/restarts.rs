//! What restarts of workloads are for, whether they may go on, and what is told of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;

use super::{State, ToRequeue, annotations_of};
use crate::api::{InstallState, RestartStatus, StoredCr};
use crate::cluster::CrKey;
use crate::controller::finalizer::is_deleting;
use crate::dataplane::{DataPlane, Policy, Target};
use crate::merge::RestartSettings;

/// What a CR asks for.
#[derive(Clone, Debug)]
pub struct Goal {
    /// The CR.
    pub cr: Arc<StoredCr>,
    /// How.
    pub settings: RestartSettings,
    /// The proxy that workloads are to have.
    pub target: Target,
    /// The revision of the target, and the tags that lead to it.
    pub names: BTreeSet<String>,
    /// The revisions whose pods may move to the target: that one, and old ones of the CR.
    pub revisions: BTreeSet<String>,
    /// The namespace of Istio, whose workloads are left alone.
    pub istio_namespace: String,
    /// Why nothing may begin now.
    pub waits_for: Option<String>,
}

impl State {
    /// The CRs that ask for restarts.
    pub fn restarting_crs(&self) -> Vec<CrKey> {
        self.users.restarting_crs()
    }

    /// What a CR asks for; none if it asks for no restarts, or nothing can be told.
    pub fn restart_goal(&self, key: &CrKey, now: Timestamp) -> Option<Goal> {
        let cr = self.cr(key)?;
        if is_deleting(&cr) || annotations_of(&cr).is_paused {
            return None;
        }
        let Policy {
            proxy,
            namespace,
            restarts,
            ..
        } = self.users.policy(key)?;
        let revision = self.desired.tag_request(key)?.revision.clone();
        let (settings, version) = (restarts.clone()?, (*proxy)?);
        let target = Target { revision, version };
        let names = self
            .users
            .data_plane
            .names_of(&target.revision, &self.tags(key));
        let mut revisions = self.old_revisions(key);
        revisions.insert(target.revision.clone());
        let waits_for = self.restart_blocker(&cr, &settings, now);
        Some(Goal {
            cr,
            settings,
            target,
            names,
            revisions,
            istio_namespace: namespace.clone(),
            waits_for,
        })
    }

    fn restart_blocker(
        &self,
        cr: &StoredCr,
        settings: &RestartSettings,
        now: Timestamp,
    ) -> Option<String> {
        let status = cr.status.as_ref();
        let is_healthy = status.is_some_and(|status| {
            status.status == Some(InstallState::Healthy)
                && status.observed_generation == cr.metadata.generation
                && status.upgrade.is_none()
        });
        let gaps = self.users.gaps(|source| source.kind == "Pod");
        if !is_healthy {
            Some("the control plane is not HEALTHY in its newest version".to_owned())
        } else if !gaps.is_empty() {
            Some(gaps.join("; "))
        } else if settings.is_open(now) {
            None
        } else {
            Some("no window of spec.updateStrategy.dataPlane.windows is open".to_owned())
        }
    }

    /// How far the restarts of a CR are; until that is known, what was told `before`.
    pub fn restarts_to_tell(
        &self,
        cr: &CrKey,
        before: Option<&RestartStatus>,
    ) -> Option<RestartStatus> {
        let asks = self
            .users
            .policy(cr)
            .is_some_and(|policy| policy.restarts.is_some());
        let known = self.users.restarts(cr);
        known.or_else(|| before.cloned()).filter(|_| asks)
    }

    /// What the watches tell of pods.
    pub fn data_plane(&self) -> &DataPlane {
        &self.users.data_plane
    }

    /// Takes in how far the restarts of a CR are. Concerns it if they began, ended or stopped; counts are told later.
    pub fn put_restarts(&mut self, cr: &CrKey, status: Option<RestartStatus>) -> ToRequeue {
        if self.users.put_restarts(cr, status) {
            ToRequeue::from([cr.clone()])
        } else {
            ToRequeue::new()
        }
    }
}
