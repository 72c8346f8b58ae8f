//! What may be deleted: objects whose labels name this CR, that our applies made, and that no other CR needs.
//!
//! Never a control plane that somebody may use: one of another revision than the rendered one, one whose place another
//! istiod takes or none, or one that the default tag leads to. Who uses which revision is found out elsewhere.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};

use super::{PlanInput, PlannedComponent, default_tag};
use crate::api::{Annotations, ComponentKind};
use crate::cluster::{
    CrKey, DesiredInventory, Kind, Live, LiveObject, Need, Upkeep, revision_label,
};
use crate::dataplane::{Verdict, Verdicts};
use crate::merge::Merged;
use crate::render::{ObjectKey, Rendered};

/// An object to delete, if it is still the very one that was judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectToDelete {
    /// Its identity.
    pub key: ObjectKey,
    /// Its kind.
    pub kind: &'static Kind,
    /// The UID that the delete is bound to.
    pub uid: String,
    /// The resource version that was judged; 0 if it is not known.
    pub version: u64,
    /// The CR that has to own the object, if it changed since and is read again.
    pub owner: CrKey,
}

/// The objects of a CR that it does not render any more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Orphans {
    /// Those to delete, in order.
    pub delete: Vec<ObjectToDelete>,
    /// Those that stay although they are not rendered, by the revision that their labels name.
    pub kept: BTreeMap<String, KeptRevision>,
    /// The old revisions that go, and why they may.
    pub gone: BTreeMap<String, &'static str>,
}

/// Objects of one revision that stay although they are not rendered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptRevision {
    /// The objects, sorted.
    pub objects: Vec<ObjectKey>,
    /// Why they stay.
    pub why: Why,
}

/// Why objects of a revision stay although they are not rendered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// That is what follows from who uses it.
    Verdict(Verdict),
    /// This default tag leads to it.
    Tag(ObjectKey),
}

/// What the CR renders, and what it lets go.
#[derive(Clone, Copy, Debug)]
pub struct Rendering<'a> {
    /// The keys of all rendered objects.
    pub keys: &'a HashSet<ObjectKey>,
    /// The rendered revision, as labels call it.
    pub revision: &'a str,
    /// Whether istiod is rendered.
    pub has_istiod: bool,
    /// What the annotations of the CR ask for: which old revision may go, and whether objects of other tools may.
    pub annotations: &'a Annotations,
    /// Which of its revisions are used.
    pub verdicts: &'a Verdicts,
}

impl Rendering<'_> {
    /// Why the control plane of `revision` stays although it is not rendered; none if it may go. `istiods` are the
    /// revisions whose istiod is not rendered.
    ///
    /// Where the CR installs istiod no more, its author wants it gone, so only those count that use it now.
    fn why_kept(&self, revision: &str, istiods: &HashSet<&str>) -> Option<Verdict> {
        if self.annotations.prune_revision.as_deref() == Some(revision) {
            return None;
        }
        let is_current = revision == self.revision;
        let is_left = is_current && istiods.contains(revision);
        if is_current && !is_left {
            return None;
        }
        let unknown = |why: &str| Verdict::Unknown(vec![why.to_owned()]);
        if is_left && self.has_istiod {
            return Some(unknown(
                "labels call it like the revision that takes its place",
            ));
        }
        match self.verdicts.get(revision) {
            None => Some(unknown("nobody looked yet")),
            Some(Verdict::Unused { is_over }) if *is_over || is_left => None,
            Some(verdict) => Some(verdict.clone()),
        }
    }
}

/// Finds the objects of `cr` that it does not render any more and that no other CR needs.
#[must_use]
pub fn orphans(
    cr: &CrKey,
    live: &Live,
    desired: &DesiredInventory,
    rendering: Rendering<'_>,
) -> Orphans {
    let is_orphan = |key: &ObjectKey, object: &LiveObject, need| {
        need == Need::Unneeded && !rendering.keys.contains(key) && !object.owner_labels.kept
    };
    let mut owned: Vec<_> = owned(cr, rendering.annotations, live, desired)
        .filter(|(key, object, _, need)| is_orphan(key, object, *need))
        .map(|(key, object, kind, _)| (key, object, kind))
        .collect();
    owned.sort_by_key(|(key, _, kind)| (kind.role.deletion_rank(), *key));
    // Labels call a control plane without a revision `default`, and do not say where Istio is installed.
    let istiods: HashSet<_> = owned
        .iter()
        .filter(|(key, object, _)| is_istiod(key, object))
        .filter_map(|(_, object, _)| object.owner_labels.revision.as_deref())
        .collect();
    let why_kept = |object: &LiveObject| {
        let revision = control_plane_revision(object, Some(rendering.revision))?;
        rendering.why_kept(revision, &istiods)
    };
    let mut orphans = Orphans::default();
    let mut unused = Vec::new();
    for (key, object, kind) in owned {
        match why_kept(object) {
            None => unused.push((key, object, kind)),
            Some(_) if object.terminating => {}
            Some(verdict) => orphans.keep(key, object, Why::Verdict(verdict)),
        }
    }
    let going: HashSet<_> = unused.iter().map(|(key, ..)| *key).collect();
    for (tag, revision) in default_tag::tags(live) {
        let leads_to =
            |key: &ObjectKey, object: &LiveObject| default_tag::serves(key, object, revision);
        // A tag that is rendered for the rendered revision leads to the new istiod.
        let is_renewed =
            rendering.has_istiod && rendering.keys.contains(tag) && revision == rendering.revision;
        let is_held = !is_renewed
            && !going.contains(tag)
            && unused.iter().any(|(key, object, _)| leads_to(key, object));
        unused.retain(|(key, object, _)| {
            let labels = &object.owner_labels;
            let stays = is_held
                && labels.component == Some(ComponentKind::Pilot)
                && labels.revision.as_deref() == Some(revision);
            if stays {
                orphans.keep(key, object, Why::Tag(tag.clone()));
            }
            !stays
        });
    }
    orphans.gone = gone(&unused, rendering);
    // As long as a webhook exists, istiod has to answer it.
    let terminating = unused.iter().filter(|(_, object, _)| object.terminating);
    let rank = terminating
        .map(|(_, _, kind)| kind.role.deletion_rank())
        .min();
    let is_due = |kind: &Kind| rank.is_none_or(|rank| kind.role.deletion_rank() <= rank);
    orphans.delete = unused
        .into_iter()
        .filter(|(_, object, kind)| !object.terminating && is_due(kind))
        .map(|(key, object, kind)| to_delete(cr, key, object, kind))
        .collect();
    orphans
}

/// What a pass would delete after everything else is done, for a preview of it. Nothing may be deleted by it.
#[must_use]
pub fn prune_preview(merged: &Merged, rendered: &Rendered, input: PlanInput<'_>) -> Vec<ObjectKey> {
    let keys: HashSet<_> = super::keys(rendered).cloned().collect();
    let mut components = rendered.components.iter().map(PlannedComponent::of);
    let rendering = Rendering {
        keys: &keys,
        revision: revision_label(&merged.revision),
        has_istiod: components.any(|component| component.is_istiod()),
        annotations: input.annotations,
        verdicts: input.verdicts,
    };
    let orphans = orphans(input.cr, input.live, input.desired, rendering);
    orphans
        .delete
        .into_iter()
        .map(|object| object.key)
        .collect()
}

impl Orphans {
    fn keep(&mut self, key: &ObjectKey, object: &LiveObject, why: Why) {
        let revision = object.owner_labels.revision.clone().unwrap_or_default();
        let objects = Vec::new();
        let kept = self
            .kept
            .entry(revision)
            .or_insert(KeptRevision { objects, why });
        kept.objects.push(key.clone());
        kept.objects.sort();
    }
}

/// The old revisions whose istiod is among what goes, and why it may.
fn gone(
    unused: &[(&ObjectKey, &LiveObject, &'static Kind)],
    rendering: Rendering<'_>,
) -> BTreeMap<String, &'static str> {
    let istiods = unused
        .iter()
        .filter(|(key, object, _)| is_istiod(key, object) && !object.terminating);
    let revisions = istiods.filter_map(|(_, object, _)| object.owner_labels.revision.clone());
    let tell = |revision: String| {
        let is_named = rendering.annotations.prune_revision.as_ref() == Some(&revision);
        let why = if is_named {
            "the annotation install.istio.io/prune-revision names it"
        } else if revision == rendering.revision {
            "it is not rendered any more, and nobody uses it"
        } else {
            "nobody has used it for the whole grace period"
        };
        (revision, why)
    };
    revisions.map(tell).collect()
}

/// The revision of the control plane that an object is a part of, by its labels; none if it is of a gateway and the like.
/// What base renders is shared, and is of the newest revision, `current`.
#[must_use]
pub fn control_plane_revision<'o>(
    object: &'o LiveObject,
    current: Option<&str>,
) -> Option<&'o str> {
    let labels = &object.owner_labels;
    let revision = labels.revision.as_deref()?;
    let is_part = match labels.component {
        Some(ComponentKind::Pilot) | None => true,
        Some(ComponentKind::Base) => Some(revision) != current,
        Some(_) => false,
    };
    is_part.then_some(revision)
}

/// Whether an object is the workload of istiod.
#[must_use]
pub fn is_istiod(key: &ObjectKey, object: &LiveObject) -> bool {
    key.kind == "Deployment" && object.owner_labels.component == Some(ComponentKind::Pilot)
}

/// How the deletion of a CR goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeletionStep {
    /// The objects that can be deleted now.
    pub now: Vec<ObjectToDelete>,
    /// All objects that are still there, in the order in which they are deleted.
    pub remaining: Vec<ObjectKey>,
    /// Why nothing can be deleted yet.
    pub blocked_by: Option<String>,
}

/// Plans the next step of the deletion of a CR. The last component goes first. Inside a component webhooks go before
/// the workload that answers them, and the workload goes before what it reads.
///
/// Objects that another CR renders are left to it. While another CR may need an object but its spec cannot be read, or
/// while the default tag still leads to istiod of this CR and is about to move, nothing is deleted.
#[must_use]
pub fn deletion_step(
    cr: &CrKey,
    annotations: &Annotations,
    live: &Live,
    desired: &DesiredInventory,
) -> DeletionStep {
    let step = |object: &LiveObject, kind: &Kind| {
        let component = object
            .owner_labels
            .component
            .map_or(0, ComponentKind::apply_rank);
        (Reverse(component), kind.role.deletion_rank())
    };
    let mut remaining = Vec::new();
    let mut blocked_by = default_tag::deletion_blocker(cr, live, desired);
    for (key, object, kind, need) in owned(cr, annotations, live, desired) {
        match need {
            Need::Unneeded => remaining.push((step(object, kind), key, object, kind)),
            Need::Rendered => {}
            Need::Possible(other) => {
                remaining.push((step(object, kind), key, object, kind));
                blocked_by.get_or_insert_with(|| {
                    format!(
                        "IstioOperator {other} may need {key}, and its spec cannot be read: correct or delete {other}, \
                         or set spec.deletionPolicy to Orphan to leave everything in place"
                    )
                });
            }
        }
    }
    remaining.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
    let first = remaining.first().map(|entry| entry.0);
    let now = remaining
        .iter()
        .filter(|(step, _, object, _)| {
            blocked_by.is_none() && Some(*step) == first && !object.terminating
        })
        .map(|(_, key, object, kind)| to_delete(cr, key, object, kind))
        .collect();
    DeletionStep {
        now,
        remaining: remaining
            .into_iter()
            .map(|(_, key, ..)| key.clone())
            .collect(),
        blocked_by,
    }
}

fn to_delete(
    cr: &CrKey,
    key: &ObjectKey,
    object: &LiveObject,
    kind: &'static Kind,
) -> ObjectToDelete {
    ObjectToDelete {
        key: key.clone(),
        kind,
        uid: object.uid.clone(),
        version: object.version,
        owner: cr.clone(),
    }
}

/// The objects of `cr` that no other tool manages, or that may be taken from it, and whether other CRs need them. What users'
/// data would go with is never among them: CRDs, volume claims and generated Secrets.
fn owned<'a>(
    cr: &'a CrKey,
    annotations: &Annotations,
    live: &'a Live,
    desired: &'a DesiredInventory,
) -> impl Iterator<Item = (&'a ObjectKey, &'a LiveObject, &'static Kind, Need<'a>)> {
    let may_adopt = annotations.may_adopt;
    live.iter()
        .filter(move |(_, object)| object.is_owned_by(cr))
        .filter(move |(_, object)| may_adopt || object.managed_by.is_none())
        .filter_map(move |(key, object)| {
            let kind = Kind::of(key).filter(|kind| kind.upkeep == Upkeep::Full)?;
            Some((key, object, kind, desired.need(cr, key, object)))
        })
}

#[cfg(test)]
mod tests;
