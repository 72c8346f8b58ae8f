//! The decision about every object of one component: send it or not, and why.

use std::collections::BTreeSet;

use super::default_tag::TagAssignment;
use super::{Decision, ObjectToApply, PlanInput, injector_template, webhook_ca};
use crate::api::ComponentKind;
use crate::charts::yaml::Manifest;
use crate::cluster::{
    AppliedDigests, ApplyReason, CoOwnedFields, Kind, LiveObject, Role, Scaling,
    belongs_to_default_tag, digest, label, omit_co_owned,
};
use crate::merge::ControlPlane;
use crate::render::{Object, ObjectKey};

/// What happens to one object.
pub(super) enum ObjectPlan {
    Apply(ObjectToApply),
    /// It is rolled out once its parents are ready, for which it waits.
    Postpone(ObjectToApply, String),
    Skip(ObjectKey, Decision),
}

/// One component being planned.
pub(super) struct ComponentPlanner<'a> {
    /// The control plane that the component belongs to.
    pub(super) plane: &'a ControlPlane,
    pub(super) input: PlanInput<'a>,
    pub(super) autoscaled: &'a BTreeSet<(Option<String>, String)>,
    pub(super) tag: TagAssignment<'a>,
    /// The CR's own injector that has a CA already.
    pub(super) injector: Option<&'a ObjectKey>,
    /// The component's own Deployment.
    pub(super) deployment: Option<ObjectKey>,
    pub(super) index: usize,
    /// Which parent is not ready, and why.
    pub(super) unready_parent: Option<String>,
    /// Why the component's own workload is not ready.
    pub(super) unready: Option<String>,
    /// Whether this version and revision of the component was rolled out before.
    pub(super) was_rolled_out: bool,
}

impl ComponentPlanner<'_> {
    /// Decides whether an object of the component is sent, and why not.
    pub(super) fn decide(&self, component: ComponentKind, object: Object) -> ObjectPlan {
        let Object { key, mut body, .. } = object;
        let PlanInput {
            cr,
            annotations,
            live,
            last_applied,
            now,
            ..
        } = self.input;
        let Some(kind) = Kind::of(&key) else {
            return ObjectPlan::Skip(key, Decision::UnsupportedKind);
        };
        let there = live.get(&key);
        let belongs_to_default_tag = belongs_to_default_tag(&body);
        if belongs_to_default_tag && !self.tag.is_ours() {
            return ObjectPlan::Skip(key, Decision::TagElsewhere);
        }
        if kind.role == Role::Crd
            && there.and_then(LiveObject::istio_version) > Some(self.plane.version)
        {
            return ObjectPlan::Skip(key, Decision::NewerInCluster);
        }
        if let Some(decision) = self.other_owner(component, &key, there, belongs_to_default_tag) {
            return ObjectPlan::Skip(key, decision);
        }
        let version = self.plane.version.to_string();
        body.change("metadata", |metadata| {
            label(metadata, cr, component, &version, &self.plane.revision);
        });
        let rendered = digest(&body);
        let scaling = Scaling {
            autoscaled: key.kind == "Deployment"
                && self
                    .autoscaled
                    .contains(&(key.namespace.clone(), key.name.clone())),
            live: there.and_then(LiveObject::replicas),
        };
        let nobody = CoOwnedFields::default();
        let co_owned = there.map_or(&nobody, |there| &there.co_owned);
        let left_to_others = omit_co_owned(&mut body, kind.kind, co_owned, scaling);
        let digests = AppliedDigests {
            rendered,
            left_to_others: digest(&left_to_others),
        };
        let reason = last_applied.apply_reason(&key, digests, there, now);
        match reason {
            ApplyReason::InSync => return ObjectPlan::Skip(key, Decision::Unchanged),
            _ if there.is_some_and(|there| there.terminating) => {
                let why = "the object is being deleted".to_owned();
                return ObjectPlan::Skip(key, Decision::Waiting(why));
            }
            ApplyReason::Conflict(interference) => {
                return ObjectPlan::Skip(key, Decision::Conflict(interference, body));
            }
            ApplyReason::Rollout
            | ApplyReason::Repair
            | ApplyReason::Restore
            | ApplyReason::Revert(_) => {}
        }
        let wait_reason = self.wait_reason(&key, &body, kind, there, reason);
        let object = ObjectToApply {
            component: self.index,
            kind,
            ca_from: webhook_ca::source(&key, co_owned, self.injector),
            body,
            digests,
            reason,
            is_new: there.is_none() && reason == ApplyReason::Rollout && !annotations.may_adopt,
            applied_at: there.and_then(|there| there.applied_at),
            // Another CR may be about to apply newer CRDs; a repair has the bytes that were there.
            judged_version: there
                .filter(|_| kind.role == Role::Crd && reason == ApplyReason::Rollout)
                .map(|there| there.version),
            is_verified: reason != ApplyReason::Rollout || last_applied.is_verified(&key, digests),
            key,
        };
        match wait_reason {
            Some(why) => ObjectPlan::Postpone(object, why),
            None => ObjectPlan::Apply(object),
        }
    }

    /// What an object has to wait for before it is applied.
    fn wait_reason(
        &self,
        key: &ObjectKey,
        body: &Manifest,
        kind: &Kind,
        there: Option<&LiveObject>,
        reason: ApplyReason,
    ) -> Option<String> {
        // After a restart every apply looks like a rollout. What is of this version already has followed its parents
        // before, so it comes back at once. A workload that is there waits all the same: it may get another image.
        let follows_parents = reason == ApplyReason::Rollout
            && (self.input.last_applied.has(key)
                || !self.was_rolled_out
                || (kind.role == Role::Workload && there.is_some()));
        let parent = self.unready_parent.as_ref().filter(|_| follows_parents);
        // What is gone from a component that runs in this version was lost, and comes back.
        let is_lost = there.is_none() && self.was_rolled_out;
        let is_held = reason == ApplyReason::Rollout && !is_lost;
        if let Some(why) = self.input.held_by.filter(|_| is_held) {
            return Some(why.to_owned());
        }
        let unready = self.unready.as_ref();
        parent
            .cloned()
            .or_else(|| injector_template::wait_reason(self, key, there?))
            .or_else(|| self.tag.wait_reason(key, body, there.is_some(), unready))
    }

    /// The decision about an object that belongs to another CR, that another CR is creating, or that another tool manages.
    ///
    /// What all revisions share belongs to the newest of them.
    fn other_owner(
        &self,
        component: ComponentKind,
        key: &ObjectKey,
        there: Option<&LiveObject>,
        belongs_to_default_tag: bool,
    ) -> Option<Decision> {
        let (cr, may_adopt) = (self.input.cr, self.input.annotations.may_adopt);
        let desired = self.input.desired;
        let Some(there) = there else {
            let claimant = desired.claimant(cr, key)?;
            return Some(Decision::OwnedByOther(claimant.clone()));
        };
        let owner = desired.other_owner(cr, key, there, may_adopt);
        let owner = owner.filter(|owner| !belongs_to_default_tag || self.tag.may_share_with(owner));
        let version = there.istio_version();
        let is_older = version.is_some_and(|version| version < self.plane.version);
        let is_shared = component == ComponentKind::Base;
        let owner = owner.filter(|owner| !(is_shared && is_older && desired.is_watched(owner)));
        match (owner, there.managed_by) {
            (Some(owner), _) => Some(Decision::OwnedByOther(owner.clone())),
            (None, Some(tool)) if !may_adopt => Some(Decision::ManagedBy(tool)),
            (None, _) => None,
        }
    }
}
