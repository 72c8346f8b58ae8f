//! [`Rendered`] + [`Live`] → [`Plan`]: what to send in which order, what waits, what to delete.
//!
//! Pure: takes no client and reads no clock, environment or file; the time is handed in.
//!
//! Every pass plans for all objects, but an object that the cluster holds as we last sent it is not sent again, so a
//! quiet CR costs no requests and a repair costs one. A component is rolled out once its parents are applied and
//! ready; repairing an object to what it was before waits for nobody, because it cannot break an order that was kept
//! when the object was rolled out.

mod canary;
mod component_planner;
mod default_tag;
mod findings;
mod fixed_selectors;
mod injection;
mod injector_template;
mod managed;
mod namespaces;
mod order;
mod orphans;
mod precheck;
mod preview;
mod sequence;
mod webhook_ca;
mod webhook_order;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Instant;

use k8s_openapi::jiff::Timestamp;

pub use canary::{Canary, ControlPlanes, Course};
pub use default_tag::{TagHolder, tag_holder};
pub use findings::Finding;
use findings::{kept_revision, unwatched_owners};
pub use injection::{INJECTION, Injection, InjectionProbe};
pub use namespaces::Namespace;
use namespaces::namespaces;
use order::Schedule;
pub use order::in_apply_order;
pub use orphans::{
    DeletionStep, ObjectToDelete, control_plane_revision, deletion_step, is_istiod, prune_preview,
};
use orphans::{Orphans, Rendering};
pub use precheck::{EnvoyFilter, Precheck, Surroundings};
pub use preview::{Action, FieldChange, ObjectChange, Preview, is_workload, target_of};
pub use webhook_ca::copy as copy_ca;

use crate::api::{Annotations, ComponentKind};
use crate::catalogue::Version;
use crate::charts::yaml::Manifest;
use crate::cluster::{
    AppliedDigests, ApplyReason, CrKey, DesiredInventory, Interference, Kind, LastApplied, Live,
    LiveObject, ManagingTool, digest, revision_label,
};
use crate::dataplane::Verdicts;
use crate::merge::Merged;
use crate::render::{ObjectKey, Rendered, RenderedComponent};
use component_planner::ComponentPlanner;
use default_tag::TagAssignment;
use sequence::{Gaps, was_rolled_out};

/// What a pass does. Only [`plan`] makes one.
#[derive(Debug)]
pub struct Plan {
    /// The components of the CR, in render order; objects below name theirs by its index here.
    pub components: Vec<PlannedComponent>,
    /// Namespaces that have to exist before the first wave.
    pub namespaces: Vec<Namespace>,
    /// Objects to send, wave by wave; those of one wave go out together.
    pub waves: Vec<Vec<ObjectToApply>>,
    /// Objects of this rollout that wait; whether the API server would take them is found out before the first wave.
    pub postponed: Vec<ObjectToApply>,
    /// Objects to delete. Empty unless everything else is done.
    pub prune: Vec<ObjectToDelete>,
    /// Objects that are deleted once everything else is done.
    pub obsolete: Vec<ObjectKey>,
    /// Whether istiod is as it should be, and has to prove that it injects.
    pub has_to_prove_injection: bool,
    /// Objects of which is to be found out first whether another tool manages them. If so, nothing is written.
    pub unseen: Vec<ObjectKey>,
    /// The old revisions that [`Plan::prune`] takes away, and why it may.
    pub gone: BTreeMap<String, &'static str>,
    /// What the status has to tell about the cluster.
    pub findings: Vec<Finding>,
    /// Settings that cannot be followed in this cluster.
    pub warnings: Vec<String>,
    /// Whether everything is as it should be, so that there is nothing to do.
    pub is_in_sync: bool,
}

/// One component of a plan.
#[derive(Debug)]
pub struct PlannedComponent {
    /// Which component this is.
    pub kind: ComponentKind,
    /// The name of its workload; empty for base.
    pub name: String,
    /// The version that it is rendered in.
    pub version: Version,
    /// The image of its workload, if it is an addon.
    pub image: Option<String>,
    /// The keys of all its objects.
    pub keys: Vec<ObjectKey>,
    /// Its objects that are not sent, and why.
    pub decided: Vec<(ObjectKey, Decision)>,
}

/// Why an object is not sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The cluster holds it as we last sent it.
    Unchanged,
    /// It belongs to another living CR that renders it too.
    OwnedByOther(CrKey),
    /// It belongs to the default tag, which this revision has not.
    TagElsewhere,
    /// It is a CRD of a newer Istio. An older one would drop fields that objects have.
    NewerInCluster,
    /// Something else has to happen first.
    Waiting(String),
    /// It is a webhook that fails closed, and the workload that answers it was not accepted yet. Nothing waits for it.
    WaitingForWorkload(String),
    /// Somebody keeps interfering with it.
    Conflict(Interference, Manifest),
    /// Another tool manages it, and may go on doing so.
    ManagedBy(ManagingTool),
    /// Its kind is none that charts may render.
    UnsupportedKind,
}

/// An object to send.
#[derive(Debug)]
pub struct ObjectToApply {
    /// Index of its component in [`Plan::components`].
    pub component: usize,
    /// Its kind.
    pub kind: &'static Kind,
    /// Its identity.
    pub key: ObjectKey,
    /// What is sent.
    pub body: Manifest,
    /// The live webhook configuration whose CA goes along, for webhooks that name none.
    pub ca_from: Option<ObjectKey>,
    /// Digests of what is sent.
    pub digests: AppliedDigests,
    /// Why it is sent.
    pub reason: ApplyReason,
    /// Whether no such object is known, so that one that exists has to be looked at before it is taken over.
    pub is_new: bool,
    /// Whether the API server is known to take it: it did, or it took a dry run.
    pub is_verified: bool,
    /// When an apply under our name changed the live object last.
    pub applied_at: Option<Timestamp>,
    /// The resource version of the live object that the plan is about, if the object may be applied to that one only.
    pub judged_version: Option<u64>,
}

/// Everything that a plan is made from beside what was rendered.
#[derive(Clone, Copy, Debug)]
pub struct PlanInput<'a> {
    /// The CR that is planned for.
    pub cr: &'a CrKey,
    /// What its annotations ask for.
    pub annotations: &'a Annotations,
    /// What the cluster holds.
    pub live: &'a Live,
    /// What this process sent.
    pub last_applied: &'a LastApplied,
    /// What all living CRs render.
    pub desired: &'a DesiredInventory,
    /// Why nothing may be rolled out.
    pub held_by: Option<&'a str>,
    /// The istiod of which it is not proven that it injects, by its version, and why. What comes after it waits for that.
    pub unproven: Option<(Version, &'a str)>,
    /// Whether a gateway is rolled out only after the one before it.
    pub takes_gateways_in_turn: bool,
    /// Which revisions of the CR are used.
    pub verdicts: &'a Verdicts,
    /// The present.
    pub now: Instant,
}

/// Plans a pass.
#[must_use]
pub fn plan(merged: &Merged, mut rendered: Rendered, input: PlanInput<'_>) -> Plan {
    let warnings = keep_fixed_selectors(&mut rendered, input.live);
    let autoscaled = autoscaled(&rendered);
    let unseen = managed::unseen(&rendered, input);
    let all: HashSet<_> = keys(&rendered).cloned().collect();
    let injector = webhook_ca::injector(&rendered, input.live).cloned();
    let istiod = webhook_order::istiod(&rendered).cloned();
    let mut components: Vec<_> = rendered
        .components
        .iter()
        .map(PlannedComponent::of)
        .collect();
    let mut by_rank: Vec<_> = rendered.components.into_iter().enumerate().collect();
    by_rank.sort_by_key(|(index, component)| (component.kind.apply_rank(), *index));

    let mut schedule = Schedule::default();
    let mut gaps = Gaps::default();
    for (index, component) in by_rank {
        let (kind, plane) = (component.kind, component.plane.clone());
        let step = ComponentPlanner {
            plane: &plane,
            input,
            autoscaled: &autoscaled,
            tag: TagAssignment::of(&plane.revision, input.live, input.desired),
            injector: injector.as_ref(),
            index,
            unready_parent: gaps.before(&component, input).cloned(),
            deployment: deployment(&component).cloned(),
            unready: unready(&component, input.live),
            was_rolled_out: was_rolled_out(&component, input),
        };
        let decide = |object| step.decide(kind, object);
        let decided: Vec<_> = component.objects.into_iter().map(decide).collect();
        let lacking = webhook_order::lacking_workload(kind, &decided, istiod.as_ref(), input.live);
        for object in decided {
            schedule.take(&mut components[index], object, lacking.as_ref());
        }
        if let Some(why) = components[index].gap(input) {
            gaps.put(kind, plane, why);
        }
    }
    let has_to_prove_injection = input.unproven.is_some_and(|(_, why)| gaps.has_istiod(why));
    let rendering = Rendering {
        keys: &all,
        revision: revision_label(&merged.revision),
        has_istiod: components.iter().any(PlannedComponent::is_istiod),
        annotations: input.annotations,
        verdicts: input.verdicts,
    };
    let Orphans { delete, kept, gone } =
        orphans::orphans(input.cr, input.live, input.desired, rendering);
    let is_done = gaps.is_empty()
        && !components.iter().any(PlannedComponent::has_waiting_webhook)
        && input.desired.are_others_rendered(input.cr);
    let others = unwatched_owners(&components, input.desired);
    let findings = kept.iter().map(kept_revision).chain(others).collect();
    let waves: Vec<_> = schedule.waves.into_values().collect();
    let postponed = schedule.postponed;
    let namespaces = namespaces(merged, waves.iter().flatten().chain(&postponed), input.live);
    let may_prune = is_done && input.held_by.is_none();
    let obsolete = delete.iter().map(|object| object.key.clone()).collect();
    let is_in_sync = is_done && delete.is_empty() && unseen.is_empty();
    let prune = if may_prune { delete } else { Vec::new() };
    Plan {
        components,
        namespaces,
        waves,
        postponed,
        prune,
        obsolete,
        has_to_prove_injection,
        unseen,
        gone: if may_prune { gone } else { BTreeMap::new() },
        findings,
        warnings,
        is_in_sync,
    }
}

/// Keeps the selectors that cannot be changed; gives what cannot be followed for that.
fn keep_fixed_selectors(rendered: &mut Rendered, live: &Live) -> Vec<String> {
    let components = rendered.components.iter_mut();
    let keep = |component| fixed_selectors::keep(component, live);
    components.flat_map(keep).collect()
}

/// The keys of all rendered objects.
pub fn keys(rendered: &Rendered) -> impl Iterator<Item = &ObjectKey> {
    rendered
        .components
        .iter()
        .flat_map(|component| &component.objects)
        .map(|object| &object.key)
}

/// A digest of everything in the cluster that the plan of `cr` depends on, except how ready things are. While it and
/// the spec stay the same, a plan that had nothing left to do has nothing to do.
#[must_use]
pub fn plan_inputs_digest(
    cr: &CrKey,
    annotations: &Annotations,
    live: &Live,
    desired: &DesiredInventory,
    verdicts: &Verdicts,
) -> u64 {
    let is_relevant = |key: &ObjectKey, object: &LiveObject| {
        object.owner_labels.owner.as_ref() == Some(cr) || desired.renders(cr, key)
    };
    live.iter()
        .filter(|(key, object)| is_relevant(key, object))
        .map(|(key, object)| {
            let LiveObject {
                uid,
                owner_labels,
                terminating,
                our_fields,
                applied_at,
                unexplained,
                managed_by,
                co_owned,
                ..
            } = object;
            let holder = desired.other_owner(cr, key, object, annotations.may_adopt);
            let need = desired.need(cr, key, object);
            digest(&(
                key,
                uid,
                owner_labels,
                terminating,
                our_fields,
                (applied_at, unexplained, managed_by),
                co_owned,
                holder,
                need,
            ))
        })
        .fold(
            u64::from(desired.are_others_rendered(cr)),
            u64::wrapping_add,
        )
        .wrapping_add(digest(&(
            annotations,
            tag_holder(live, desired),
            default_tag::tags(live),
            verdicts,
        )))
}

impl PlannedComponent {
    fn of(component: &RenderedComponent) -> Self {
        let RenderedComponent {
            kind,
            name,
            plane,
            objects,
        } = component;
        let keys: Vec<_> = objects.iter().map(|object| object.key.clone()).collect();
        Self {
            kind: *kind,
            name: name.clone(),
            version: plane.version,
            image: component.image(),
            keys,
            decided: Vec::new(),
        }
    }

    /// Whether it installs istiod.
    fn is_istiod(&self) -> bool {
        let is_workload = |key: &ObjectKey| key.kind == "Deployment";
        self.kind == ComponentKind::Pilot && self.keys.iter().any(is_workload)
    }

    /// Why this component is not ready, so that the components after it have to wait.
    fn unready_reason(&self, live: &Live) -> Option<String> {
        let is_up = |decision: &Decision| {
            matches!(
                decision,
                Decision::Unchanged
                    | Decision::OwnedByOther(_)
                    | Decision::TagElsewhere
                    | Decision::NewerInCluster
                    | Decision::WaitingForWorkload(_)
            )
        };
        let up = self
            .decided
            .iter()
            .filter(|(_, decision)| is_up(decision))
            .count();
        if up < self.keys.len() {
            return Some(format!("{} is not applied yet", self.label()));
        }
        // An addon holds up nothing, not even a prune.
        if self.kind.is_addon() {
            return None;
        }
        let mut ours = self.decided.iter().filter(|(_, decision)| {
            !matches!(
                decision,
                Decision::TagElsewhere | Decision::WaitingForWorkload(_)
            )
        });
        let unready_reason = ours.find_map(|(key, _)| Some((key, live.unready_reason(key)?)));
        unready_reason.map(|(key, unready_reason)| {
            format!("{} is not ready: {key}: {unready_reason}", self.label())
        })
    }

    /// Why components after this one have to wait.
    fn gap(&self, input: PlanInput<'_>) -> Option<String> {
        let is_meant = |(version, _): &(Version, &str)| {
            self.kind == ComponentKind::Pilot && self.version == *version
        };
        let unproven = input.unproven.filter(is_meant);
        let unready_reason = self.unready_reason(input.live);
        unready_reason.or_else(|| unproven.map(|(_, why)| why.to_owned()))
    }

    fn has_waiting_webhook(&self) -> bool {
        let is_one = |(_, decision): &_| matches!(decision, Decision::WaitingForWorkload(_));
        self.decided.iter().any(is_one)
    }

    fn label(&self) -> String {
        match self.kind.gateway_key() {
            Some(_) => format!("{} {}", self.kind, self.name),
            None => self.kind.to_string(),
        }
    }
}

/// The Deployment of a component.
fn deployment(component: &RenderedComponent) -> Option<&ObjectKey> {
    let mut keys = component.objects.iter().map(|object| &object.key);
    keys.find(|key| key.kind == "Deployment")
}

/// Why the Deployment of a component is not ready.
fn unready(component: &RenderedComponent, live: &Live) -> Option<String> {
    let key = deployment(component)?;
    Some(format!("{key}: {}", live.unready_reason(key)?))
}

/// The Deployments that a rendered autoscaler scales, by namespace and name.
fn autoscaled(rendered: &Rendered) -> BTreeSet<(Option<String>, String)> {
    let objects = rendered
        .components
        .iter()
        .flat_map(|component| &component.objects);
    objects
        .filter(|object| object.key.kind == "HorizontalPodAutoscaler")
        .filter_map(|object| {
            let spec = object.body.field("spec");
            let target = spec.get("scaleTargetRef")?;
            let name = target.get("name")?.as_str()?;
            (target.get("kind")? == "Deployment")
                .then(|| (object.key.namespace.clone(), name.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests;
