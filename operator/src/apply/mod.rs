//! [`Plan`] → [`Applied`]: the plan's writes are sent, and every object gets a verdict.
//!
//! The only stage that writes objects. A refusal is data, not an early return: it holds back what comes later in the
//! same component, and nothing else, so that status always sees the whole picture.

mod error;
#[cfg(test)]
pub(crate) mod fake_api_server;
mod generated;
mod managed;
mod preview;
mod probe;
mod restart;
mod send;
mod surroundings;
mod text;
mod verify;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use futures::{StreamExt, stream};
use k8s_openapi::jiff::Timestamp;

pub use error::{ApplyError, Class};
pub use preview::{preview, touches_workloads};
pub use probe::probe_injection;
pub use send::Sender;

use crate::api::ComponentKind;
use crate::cluster::{
    AppliedDigests, ApplyReason, CrKey, Interference, LastApplied, Live, LiveObject, ManagingTool,
};
use crate::plan::{
    Decision, DeletionStep, Finding, Namespace, ObjectToApply, ObjectToDelete, Plan,
    PlannedComponent,
};
use crate::render::ObjectKey;
use verify::FixedSelector;

/// Calls that are under way at once. Enough to hide the latency of one, few enough to stay below the share that the API
/// server's priority levels give one client.
const PARALLEL: usize = 8;

/// What became of a plan. Only [`apply`] makes one.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// The components, in the order of the plan.
    pub components: Vec<AppliedComponent>,
    /// Objects that were to be deleted and could not be.
    pub unpruned: Vec<(ObjectKey, ApplyError)>,
    /// What the status has to tell about the cluster.
    pub findings: Vec<Finding>,
    /// How many writes were sent, refused ones included.
    pub writes: usize,
    /// Whether everything was as it should be, so that the pass had nothing to do.
    pub is_in_sync: bool,
    /// Objects that somebody had applied under the name of our field manager, and when. Ours was applied again.
    pub overwritten: Vec<(ObjectKey, Option<Timestamp>)>,
    /// Whether the next pass knows more than this one did, so that it has to follow.
    pub has_news: bool,
    answers: Vec<Answer>,
    deleted: Vec<Deleted>,
    /// Manifests that the API server took in a dry run.
    verified: Vec<(ObjectKey, AppliedDigests)>,
    /// Workloads whose selector the API server refused to change.
    selectors: Vec<FixedSelector>,
    /// Which tools manage the objects that were read before anything was written.
    tools: BTreeMap<ObjectKey, Result<Option<ManagingTool>, ApplyError>>,
    /// Namespaces that this pass created.
    created: BTreeSet<String>,
}

/// What became of one component.
#[derive(Clone, Debug)]
pub struct AppliedComponent {
    /// Which component this is.
    pub kind: ComponentKind,
    /// The name of its workload; empty for base.
    pub name: String,
    /// The image of its workload, if it is an addon.
    pub image: Option<String>,
    /// Its objects.
    pub objects: Vec<(ObjectKey, Verdict)>,
}

/// What happened to one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The cluster held it as it should be.
    Unchanged,
    /// It was sent and taken.
    Applied,
    /// It belongs to another living CR that renders it too.
    OwnedByOther(CrKey),
    /// It belongs to the default tag, which another revision has.
    TagElsewhere,
    /// Something else has to happen first.
    Waiting(String),
    /// Somebody keeps interfering with it, so it is left alone for a while.
    Conflict {
        /// The field manager that does, where one is known.
        manager: Option<String>,
        /// Who does what, in words.
        what: String,
    },
    /// Another tool manages it, so nothing is written.
    ManagedBy(ManagingTool),
    /// It was sent and not taken.
    Refused(ApplyError),
}

#[derive(Clone, Debug)]
struct Answer {
    key: ObjectKey,
    digests: AppliedDigests,
    reason: ApplyReason,
    live: LiveObject,
}

/// What the answer to a delete said.
#[derive(Clone, Debug)]
struct Deleted {
    key: ObjectKey,
    uid: String,
    is_gone: bool,
}

/// Sends what `plan` says, wave by wave, then deletes what it says. A rollout that the API server would refuse in part is not
/// begun.
pub async fn apply(sender: &Sender, plan: Plan) -> Applied {
    let Plan {
        components,
        namespaces,
        mut waves,
        postponed,
        prune,
        obsolete: _,
        has_to_prove_injection: _,
        gone: _,
        unseen,
        findings,
        warnings: _,
        is_in_sync,
    } = plan;
    let mut applied = Applied {
        findings,
        is_in_sync,
        tools: managed::read_tools(sender, unseen).await,
        ..Applied::default()
    };
    for component in components {
        applied.components.push(decided(sender, component).await);
    }
    if managed::must_hold_back(&applied) {
        managed::hold_back(&mut applied, waves);
        return applied;
    }
    let (absent, mut missing) = absent_namespaces(sender, namespaces).await;
    let names = absent.iter().map(|namespace| &namespace.name);
    let names = names.chain(missing.keys()).cloned().collect();
    let objects = waves.iter().flatten().chain(&postponed);
    let verification = verify::verify(sender, objects, &names).await;
    verification.settle(&mut applied, &mut waves, &postponed);
    create_namespaces(sender, absent, &waves, &mut missing, &mut applied).await;
    let mut blocked = BTreeMap::new();
    for wave in waves {
        let results = send_wave(sender, wave, &missing, &blocked).await;
        for (send, result) in results {
            if let Err(Verdict::Refused(_) | Verdict::ManagedBy(_)) = result {
                blocked
                    .entry(send.component)
                    .or_insert_with(|| format!("{} was refused", send.key));
            }
            applied.take(send, result);
        }
    }
    if !prune.is_empty() {
        applied.unpruned = delete(sender, &prune, &mut applied.deleted).await;
        applied.writes += prune.len();
    }
    applied.has_news |= applied.writes > 0;
    applied
}

/// The namespaces that do not exist, and those of which that cannot be found out.
async fn absent_namespaces(
    sender: &Sender,
    namespaces: Vec<Namespace>,
) -> (Vec<Namespace>, BTreeMap<String, ApplyError>) {
    let (mut absent, mut unknown) = (Vec::new(), BTreeMap::new());
    for namespace in namespaces {
        match sender.has_namespace(&namespace.name).await {
            Ok(true) => {}
            Ok(false) => absent.push(namespace),
            Err(error) => drop(unknown.insert(namespace.name, error)),
        }
    }
    (absent, unknown)
}

/// Creates the namespaces of what is sent; those that cannot be created are missing.
async fn create_namespaces(
    sender: &Sender,
    absent: Vec<Namespace>,
    waves: &[Vec<ObjectToApply>],
    missing: &mut BTreeMap<String, ApplyError>,
    applied: &mut Applied,
) {
    let sent = waves.iter().flatten();
    let needed: BTreeSet<_> = sent
        .filter_map(|send| send.key.namespace.as_ref())
        .collect();
    let absent = absent.into_iter();
    for namespace in absent.filter(|namespace| needed.contains(&namespace.name)) {
        match sender.create_namespace(&namespace).await {
            Ok(false) => {}
            Ok(true) => drop(applied.created.insert(namespace.name)),
            Err(error) => drop(missing.insert(namespace.name, error)),
        }
    }
}

/// What became of the deletes of a [`DeletionStep`]. Only [`apply_deletion`] makes one.
#[derive(Clone, Debug, Default)]
pub struct DeletionResult {
    /// Objects that could not be deleted.
    pub refused: Vec<(ObjectKey, ApplyError)>,
    deleted: Vec<Deleted>,
}

/// Deletes what can be deleted now.
pub async fn apply_deletion(sender: &Sender, deletion_step: &DeletionStep) -> DeletionResult {
    let mut removed = DeletionResult::default();
    removed.refused = delete(sender, &deletion_step.now, &mut removed.deleted).await;
    removed
}

impl DeletionResult {
    /// Takes the answers into what is known of the cluster, ahead of the watches.
    pub fn remember(&mut self, live: &mut Live, last_applied: &mut LastApplied) {
        forget(std::mem::take(&mut self.deleted), live, last_applied);
    }
}

impl Applied {
    /// Takes the answers into what is known of the cluster, ahead of the watches. Returns the objects whose spec changed
    /// by them, so that workloads among them are rolled out.
    pub fn remember(
        &mut self,
        live: &mut Live,
        last_applied: &mut LastApplied,
        now: Instant,
    ) -> Vec<ObjectKey> {
        let mut changed = Vec::new();
        for Answer {
            key,
            digests,
            mut reason,
            live: object,
        } in std::mem::take(&mut self.answers)
        {
            // What went with its namespace was not taken from us.
            let is_created = |namespace: &String| self.created.contains(namespace);
            if reason == ApplyReason::Restore && key.namespace.as_ref().is_some_and(is_created) {
                reason = ApplyReason::Repair;
            }
            last_applied.record(key.clone(), digests, reason, &object, now);
            let before = live.get(&key).filter(|before| before.uid == object.uid);
            if before.is_none_or(|before| before.generation != object.generation) {
                changed.push(key.clone());
            }
            // Watches select by the owner label: what does not have it was not there for them.
            if object.owner_labels.owner.is_some() {
                live.put_answer(key, object);
            }
        }
        for (key, digests) in std::mem::take(&mut self.verified) {
            last_applied.mark_verified(key, digests);
        }
        for FixedSelector { key, uid, selector } in std::mem::take(&mut self.selectors) {
            live.put_fixed_selector(key, uid, selector);
        }
        for (key, verdict) in self.objects() {
            match verdict {
                Verdict::Refused(error) if error.is_ambiguous() => {
                    last_applied.mark_unanswered(key);
                }
                Verdict::ManagedBy(tool) => live.put_managing_tool(key.clone(), Some(*tool)),
                _ => {}
            }
        }
        for (key, tool) in std::mem::take(&mut self.tools) {
            if let Ok(tool) = tool {
                live.put_managing_tool(key, tool);
            }
        }
        forget(std::mem::take(&mut self.deleted), live, last_applied);
        changed
    }

    /// All objects with their verdicts.
    pub fn objects(&self) -> impl Iterator<Item = &(ObjectKey, Verdict)> {
        self.components
            .iter()
            .flat_map(|component| &component.objects)
    }

    /// All writes that were not taken.
    pub fn refusals(&self) -> impl Iterator<Item = (&ObjectKey, &ApplyError)> {
        let refused = self.objects().filter_map(|(key, verdict)| match verdict {
            Verdict::Refused(error) => Some((key, error)),
            _ => None,
        });
        refused.chain(self.unpruned.iter().map(|(key, error)| (key, error)))
    }

    /// Objects that were as somebody else had left them, and are as they should be again.
    pub fn repaired(&self) -> impl Iterator<Item = &ObjectKey> {
        let is_repair = |answer: &&Answer| {
            matches!(answer.reason, ApplyReason::Restore | ApplyReason::Revert(_))
        };
        self.answers
            .iter()
            .filter(is_repair)
            .map(|answer| &answer.key)
    }

    /// Objects that were deleted because they are not rendered any more.
    pub fn pruned(&self) -> impl Iterator<Item = &ObjectKey> {
        self.deleted.iter().map(|deleted| &deleted.key)
    }

    /// How many objects are left alone because of whom.
    #[must_use]
    pub fn conflicts(&self) -> BTreeMap<String, i64> {
        let mut managers = BTreeMap::new();
        for (_, verdict) in self.objects() {
            if let Verdict::Conflict { manager, .. } = verdict {
                let manager = manager.clone().unwrap_or_else(|| "unknown".to_owned());
                *managers.entry(manager).or_default() += 1;
            }
        }
        managers
    }

    fn take(&mut self, send: ObjectToApply, result: Result<LiveObject, Verdict>) {
        let ObjectToApply {
            component,
            key,
            digests,
            reason,
            ..
        } = send;
        let verdict = result
            .as_ref()
            .map_or_else(Verdict::clone, |_| Verdict::Applied);
        if !matches!(verdict, Verdict::Waiting(_)) {
            self.writes += 1;
        }
        self.components[component]
            .objects
            .push((key.clone(), verdict));
        if let (ApplyReason::Revert(Interference::Overwritten { at }), Ok(_)) = (reason, &result) {
            self.overwritten.push((key.clone(), at));
        }
        if let Ok(live) = result {
            self.answers.push(Answer {
                key,
                digests,
                reason,
                live,
            });
        }
    }
}

/// The verdicts that the plan itself reached.
async fn decided(sender: &Sender, planned: PlannedComponent) -> AppliedComponent {
    let PlannedComponent {
        kind,
        name,
        version: _,
        image,
        keys: _,
        decided,
    } = planned;
    let mut objects = Vec::new();
    for (key, decision) in decided {
        let verdict = match decision {
            Decision::Unchanged | Decision::NewerInCluster => Verdict::Unchanged,
            Decision::OwnedByOther(owner) => Verdict::OwnedByOther(owner),
            Decision::TagElsewhere => Verdict::TagElsewhere,
            Decision::Waiting(why) | Decision::WaitingForWorkload(why) => Verdict::Waiting(why),
            Decision::UnsupportedKind => Verdict::Refused(ApplyError::UnknownKind),
            Decision::ManagedBy(tool) => Verdict::ManagedBy(tool),
            Decision::Conflict(Interference::Edited, body) => {
                match sender.conflicting_manager(&key, &body).await {
                    Err(error) => Verdict::Refused(error),
                    Ok(Some((manager, field))) => Verdict::Conflict {
                        what: format!("{manager} keeps changing {field}"),
                        manager: Some(manager),
                    },
                    Ok(None) => Verdict::Conflict {
                        manager: None,
                        what: Interference::Edited.to_string(),
                    },
                }
            }
            Decision::Conflict(interference, _) => Verdict::Conflict {
                manager: None,
                what: interference.to_string(),
            },
        };
        objects.push((key, verdict));
    }
    AppliedComponent {
        kind,
        name,
        image,
        objects,
    }
}

/// Sends one wave, except what its namespace or an earlier refusal in its component holds back.
async fn send_wave(
    sender: &Sender,
    wave: Vec<ObjectToApply>,
    missing: &BTreeMap<String, ApplyError>,
    blocked: &BTreeMap<usize, String>,
) -> Vec<(ObjectToApply, Result<LiveObject, Verdict>)> {
    let calls = wave.into_iter().map(|send| async move {
        let namespace = send
            .key
            .namespace
            .as_ref()
            .and_then(|name| missing.get(name));
        let result = if let Some(error) = namespace {
            Err(Verdict::Refused(error.clone()))
        } else if let Some(why) = blocked.get(&send.component) {
            Err(Verdict::Waiting(why.clone()))
        } else {
            sender.apply(&send).await.map_err(|error| match error {
                ApplyError::ManagedBy(tool) => Verdict::ManagedBy(tool),
                error => Verdict::Refused(error),
            })
        };
        (send, result)
    });
    stream::iter(calls)
        .buffer_unordered(PARALLEL)
        .collect()
        .await
}

/// Deletes objects rank by rank, and stops after a rank of which something is still there; gives those that could not be
/// deleted.
async fn delete(
    sender: &Sender,
    deletions: &[ObjectToDelete],
    deleted: &mut Vec<Deleted>,
) -> Vec<(ObjectKey, ApplyError)> {
    let ranks: BTreeSet<_> = deletions
        .iter()
        .map(|object| object.kind.role.deletion_rank())
        .collect();
    let mut refused = Vec::new();
    for rank in ranks {
        let of_rank = deletions
            .iter()
            .filter(|object| object.kind.role.deletion_rank() == rank);
        // Gathered first: the compiler cannot tell that a stream of borrowing calls may move between threads.
        let mut calls = Vec::new();
        for object in of_rank {
            calls.push(async { (object.clone(), sender.delete(object).await) });
        }
        let mut results = stream::iter(calls).buffer_unordered(PARALLEL);
        let mut are_gone = true;
        while let Some((ObjectToDelete { key, uid, .. }, result)) = results.next().await {
            are_gone &= matches!(result, Ok(true));
            match result {
                Ok(is_gone) => deleted.push(Deleted { key, uid, is_gone }),
                Err(error) => refused.push((key, error)),
            }
        }
        // A webhook that is still there calls the istiod of a later rank.
        if !are_gone {
            break;
        }
    }
    refused
}

/// Takes in which objects are gone, or going.
fn forget(deleted: Vec<Deleted>, live: &mut Live, last_applied: &mut LastApplied) {
    for Deleted { key, uid, is_gone } in deleted {
        last_applied.forget(&key);
        live.put_deleted(&key, &uid, is_gone);
    }
}
