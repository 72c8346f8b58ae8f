//! [`Rendered`] + [`Live`] → [`Plan`]: what to send in which order, what waits, what to delete.
//!
//! Pure: takes no client and reads no clock, environment or file; the time is handed in.
//!
//! Every pass plans for all objects, but an object that the cluster holds as we last sent it is not sent again, so a
//! quiet CR costs no requests and a repair costs one. A component is rolled out once its parents are applied and
//! ready; repairing an object to what it was before waits for nobody, because it cannot break an order that was kept
//! when the object was rolled out.

mod ca;
mod claims;
mod injector;
mod kinds;
mod ledger;
mod live;
mod order;
mod owner;
mod ownership;
mod progress;
mod prune;
mod tag;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Instant;

pub use ca::copy as copy_ca;
pub use claims::Claims;
pub use injector::{Injector, Stake, Wish};
#[cfg(test)]
pub(crate) use kinds::key;
pub use kinds::{KINDS, Kind, Role};
pub use ledger::{Ledger, Need, Sent};
pub use live::{Live, LiveObject, version};
pub use order::in_apply_order;
pub use owner::{CrKey, MANAGER, MAX_NAME, Ownership, revision_label};
pub use ownership::{Holdings, rival};
pub use progress::{Progress, WatchedSpec, WatchedStatus, Workload};
pub use prune::{Doomed, Removal, removal};
pub use tag::{Holder, holder};

use crate::api::ComponentKind;
use crate::charts::yaml::Document;
use crate::merge::Merged;
use crate::render::{Object, ObjectKey, Rendered, RenderedComponent};
use ownership::Scaling;
use tag::Standing;

/// What a pass does. Only [`plan`] makes one.
#[derive(Debug)]
pub struct Plan {
    /// The components of the CR, in render order; objects below name theirs by its index here.
    pub components: Vec<Planned>,
    /// Namespaces that have to exist before the first wave.
    pub namespaces: Vec<Namespace>,
    /// Objects to send, wave by wave; those of one wave go out together.
    pub waves: Vec<Vec<Sending>>,
    /// Objects to delete. Empty unless everything else is done.
    pub prune: Vec<Doomed>,
    /// Whether everything is as it should be, so that there is nothing to do.
    pub is_settled: bool,
}

/// One component of a plan.
#[derive(Debug)]
pub struct Planned {
    /// Which component this is.
    pub kind: ComponentKind,
    /// The name of its workload; empty for base.
    pub name: String,
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
    Shared(CrKey),
    /// It belongs to the default tag, which this revision has not.
    Untagged,
    /// Something else has to happen first.
    Waiting(String),
    /// Another writer keeps changing it.
    Contested(Document),
    /// Its kind is none that charts may render.
    Unsupported,
}

/// A namespace that has to exist. It is created if absent and otherwise not touched, and it carries no owner label, so
/// nothing ever prunes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// The network of its pods, for the label `topology.istio.io/network`.
    pub network: Option<String>,
}

/// An object to send.
#[derive(Debug)]
pub struct Sending {
    /// Index of its component in [`Plan::components`].
    pub component: usize,
    /// Its kind.
    pub kind: &'static Kind,
    /// Its identity.
    pub key: ObjectKey,
    /// What is sent.
    pub body: Document,
    /// The live webhook configuration whose CA goes along, for webhooks that name none.
    pub ca_from: Option<ObjectKey>,
    /// Digests of what is sent.
    pub sent: Sent,
    /// Why it is sent.
    pub need: Need,
}

/// Everything that a plan is made from beside what was rendered.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// The CR that is planned for.
    pub cr: &'a CrKey,
    /// What the cluster holds.
    pub live: &'a Live,
    /// What this process sent.
    pub ledger: &'a Ledger,
    /// What all living CRs render.
    pub claims: &'a Claims,
    /// The present.
    pub now: Instant,
}

/// Plans a pass.
#[must_use]
pub fn plan(merged: &Merged, rendered: Rendered, around: Surroundings<'_>) -> Plan {
    let autoscaled = autoscaled(&rendered);
    let all: HashSet<_> = keys(&rendered).cloned().collect();
    let injector = ca::injector(&rendered, around.live).cloned();
    let mut components: Vec<_> = rendered.components.iter().map(Planned::of).collect();
    let mut by_rank: Vec<_> = rendered.components.into_iter().enumerate().collect();
    by_rank.sort_by_key(|(index, component)| (order::rank(component.kind), *index));

    // What belongs to the default tag goes ahead of the rest of its role: the webhooks that it replaces rest only once it
    // is there.
    let mut waves: BTreeMap<(Role, bool), Vec<Sending>> = BTreeMap::new();
    let tag = Standing::of(&merged.revision, around.live, around.claims);
    let mut gaps: BTreeMap<ComponentKind, String> = BTreeMap::new();
    for (index, component) in by_rank {
        let parents = order::parents(component.kind);
        let gap = parents.iter().find_map(|parent| gaps.get(parent));
        let step = Step {
            merged,
            around,
            autoscaled: &autoscaled,
            tag,
            injector: injector.as_ref(),
            index,
            gap: gap.cloned(),
            unready: unready(&component, around.live),
        };
        let kind = component.kind;
        for object in component.objects {
            match step.decide(kind, object) {
                Outcome::Send(send) => {
                    let wave = (send.kind.role, !injector::is_tagged(&send.body));
                    waves.entry(wave).or_default().push(send);
                }
                Outcome::Leave(key, decision) => components[index].decided.push((key, decision)),
            }
        }
        if let Some(gap) = components[index].gap(around.live) {
            gaps.entry(kind).or_insert(gap);
        }
    }
    let is_done = gaps.is_empty() && around.claims.are_known(around.cr);
    let prune = if is_done {
        prune::leftovers(around.cr, around.live, around.claims, &all)
    } else {
        Vec::new()
    };
    let waves: Vec<_> = waves.into_values().collect();
    let namespaces = namespaces(merged, &waves, around.live);
    let is_settled = is_done && prune.is_empty();
    Plan {
        components,
        namespaces,
        waves,
        prune,
        is_settled,
    }
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
pub fn view(cr: &CrKey, live: &Live, claims: &Claims) -> u64 {
    let is_relevant = |key: &ObjectKey, object: &LiveObject| {
        object.ownership.owner.as_ref() == Some(cr) || claims.renders(cr, key)
    };
    live.iter()
        .filter(|(key, object)| is_relevant(key, object))
        .map(|(key, object)| {
            let LiveObject {
                uid,
                ownership,
                terminating,
                ours,
                held,
                ..
            } = object;
            let holder = claims.holder(cr, key, object);
            let is_needed = claims.is_needed(cr, key, object);
            live::digest(&(
                key,
                uid,
                ownership,
                terminating,
                ours,
                held,
                holder,
                is_needed,
            ))
        })
        .fold(u64::from(claims.are_known(cr)), u64::wrapping_add)
        .wrapping_add(live::digest(&holder(live, claims)))
}

/// What happens to one object.
enum Outcome {
    Send(Sending),
    Leave(ObjectKey, Decision),
}

/// One component being planned.
struct Step<'a> {
    merged: &'a Merged,
    around: Surroundings<'a>,
    autoscaled: &'a BTreeSet<(Option<String>, String)>,
    tag: Standing<'a>,
    /// The CR's own injector that has a CA already.
    injector: Option<&'a ObjectKey>,
    index: usize,
    gap: Option<String>,
    /// What the component's own workload lacks to be ready.
    unready: Option<String>,
}

impl Step<'_> {
    fn decide(&self, component: ComponentKind, object: Object) -> Outcome {
        let Object { key, mut body, .. } = object;
        let Surroundings {
            cr,
            live,
            ledger,
            claims,
            now,
        } = self.around;
        let Some(kind) = Kind::of(&key) else {
            return Outcome::Leave(key, Decision::Unsupported);
        };
        let there = live.get(&key);
        let is_tagged = injector::is_tagged(&body);
        if is_tagged && !self.tag.is_ours() {
            return Outcome::Leave(key, Decision::Untagged);
        }
        let holder = there.and_then(|there| claims.holder(cr, &key, there));
        if let Some(holder) = holder.filter(|holder| !is_tagged || self.tag.is_peer(holder)) {
            let holder = holder.clone();
            return Outcome::Leave(key, Decision::Shared(holder));
        }
        let version = self.merged.version.to_string();
        body.change("metadata", |metadata| {
            owner::label(metadata, cr, component, &version, &self.merged.revision);
        });
        let rendered = live::digest(&body);
        let scaling = Scaling {
            autoscaled: key.kind == "Deployment"
                && self
                    .autoscaled
                    .contains(&(key.namespace.clone(), key.name.clone())),
            live: there.and_then(LiveObject::replicas),
        };
        let nobody = Holdings::default();
        let held = there.map_or(&nobody, |there| &there.held);
        let withheld = ownership::withhold(&mut body, kind.kind, held, scaling);
        let sent = Sent {
            rendered,
            withheld: live::digest(&withheld),
        };
        let need = ledger.need(&key, sent, there, now);
        let decision = match need {
            Need::Nothing => Decision::Unchanged,
            _ if there.is_some_and(|there| there.terminating) => {
                Decision::Waiting("the object is being deleted".to_owned())
            }
            Need::Contest => Decision::Contested(body),
            Need::Rollout if self.gap.is_some() => {
                Decision::Waiting(self.gap.clone().unwrap_or_default())
            }
            _ if let Some(why) =
                self.tag
                    .holds_back(&key, &body, there.is_some(), self.unready.as_ref()) =>
            {
                Decision::Waiting(why)
            }
            Need::Rollout | Need::Repair | Need::Reedit => {
                let component = self.index;
                let ca_from = ca::source(&key, held, self.injector);
                return Outcome::Send(Sending {
                    component,
                    kind,
                    key,
                    body,
                    ca_from,
                    sent,
                    need,
                });
            }
        };
        Outcome::Leave(key, decision)
    }
}

impl Planned {
    fn of(component: &RenderedComponent) -> Self {
        let RenderedComponent {
            kind,
            name,
            objects,
        } = component;
        let keys: Vec<_> = objects.iter().map(|object| object.key.clone()).collect();
        Self {
            kind: *kind,
            name: name.clone(),
            keys,
            decided: Vec::new(),
        }
    }

    /// What this component lacks, so that those that stand on it have to wait.
    fn gap(&self, live: &Live) -> Option<String> {
        let is_up = |decision: &Decision| {
            matches!(
                decision,
                Decision::Unchanged | Decision::Shared(_) | Decision::Untagged
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
        let mut ours = self
            .decided
            .iter()
            .filter(|(_, decision)| *decision != Decision::Untagged);
        let gap = ours.find_map(|(key, _)| Some((key, live.gap(key)?)));
        gap.map(|(key, gap)| format!("{} is not ready: {key}: {gap}", self.label()))
    }

    fn label(&self) -> String {
        match self.kind {
            ComponentKind::IngressGateways | ComponentKind::EgressGateways => {
                format!("{} {}", self.kind, self.name)
            }
            kind => kind.to_string(),
        }
    }
}

/// What the Deployment of a component lacks to be ready.
fn unready(component: &RenderedComponent, live: &Live) -> Option<String> {
    let mut keys = component.objects.iter().map(|object| &object.key);
    keys.find_map(|key| match key.kind.as_str() {
        "Deployment" => Some(format!("{key}: {}", live.gap(key)?)),
        _ => None,
    })
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

/// The namespaces of what is sent that are not known to exist.
fn namespaces(merged: &Merged, waves: &[Vec<Sending>], live: &Live) -> Vec<Namespace> {
    let sent = waves
        .iter()
        .flatten()
        .filter_map(|send| send.key.namespace.as_ref());
    let missing: BTreeSet<_> = sent
        .filter(|namespace| !live.has_namespace(namespace))
        .collect();
    missing
        .into_iter()
        .map(|name| Namespace {
            name: name.clone(),
            network: network(merged, name),
        })
        .collect()
}

/// The network of the namespace that Istio is installed in; others carry none, as upstream has it.
fn network(merged: &Merged, namespace: &str) -> Option<String> {
    let values = merged.components.iter().map(|component| &component.values);
    let mut networks = values.filter_map(|values| values.pointer("/global/network")?.as_str());
    networks
        .next()
        .filter(|name| !name.is_empty() && namespace == merged.namespace)
        .map(str::to_owned)
}

#[cfg(test)]
mod tests;
