//! Restarts workloads whose proxy is older than the one that is injected now, where a CR asks for it.
//!
//! The first workload goes alone; when it is back with the new proxy, others follow, one of each namespace. The first one
//! that does not come back ends it, until a person acts. The cluster holds what was done: a template is marked with the
//! proxy that its pods were restarted for, so a process that starts goes on where the one before ended.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;

use super::ctx::Ctx;
use super::state::{Goal, annotations_of};
use crate::api::condition::reason;
use crate::api::{RestartState, RestartStatus};
use crate::apply::{ApplyError, Class};
use crate::cluster::CrKey;
use crate::dataplane::{Admission, PodsOfWorkload, Target, Workload, restartable};
use crate::status::StatusEvent;

/// How often workloads that are coming back are looked at.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How often it is looked whether there is something to restart. Nothing is asked for it.
const IDLE_INTERVAL: Duration = Duration::from_secs(5);
/// How long what was read of namespaces and of workloads that are left alone holds.
const FRESH: Duration = Duration::from_mins(1);
/// How long a workload may take to come back, unless its own controller gives it up before.
const DEADLINE: Duration = Duration::from_mins(10);
/// How long pods may keep an older proxy in the eyes of the watch after their workload came back.
const WATCH_LAG: Duration = Duration::from_secs(30);
/// Workloads that the status names.
const MAX_NAMES: usize = 20;

/// A workload, by namespace and name such as `Deployment/web`.
type Id = (String, String);

/// The restarts of one CR for one target.
struct Run {
    target: Target,
    /// The namespaces that the selector names, and when they were read.
    namespaces: Option<(BTreeMap<String, ObjectMeta>, Instant)>,
    /// When each workload that is coming back was restarted, and since when it is back but for its proxies.
    in_progress: BTreeMap<Id, (Instant, Option<Instant>)>,
    /// What was restarted, or found restarted, by this process.
    attempted: BTreeSet<Id>,
    /// Why workloads are left alone, and when that was found out.
    skipped: BTreeMap<Id, (String, Instant)>,
    restarted: u32,
    stop: Option<Stop>,
}

/// Why restarts ended before their time, and what the CR was like then.
struct Stop {
    why: String,
    generation: Option<i64>,
    resume: Option<String>,
}

/// Restarts workloads as long as the process leads.
pub async fn run(ctx: Arc<Ctx>) {
    let mut runs: HashMap<CrKey, Run> = HashMap::new();
    loop {
        let is_busy = runs.values().any(|run| !run.in_progress.is_empty());
        let pause = if is_busy {
            POLL_INTERVAL
        } else {
            IDLE_INTERVAL
        };
        tokio::time::sleep(pause).await;
        let crs = ctx.state().restarting_crs();
        runs.retain(|cr, _| crs.contains(cr));
        for cr in crs {
            let goal = ctx.state().restart_goal(&cr, Timestamp::now());
            let Some(goal) = goal else {
                runs.remove(&cr);
                ctx.update(|state| state.put_restarts(&cr, None));
                continue;
            };
            let run = runs.remove(&cr).filter(|run| run.target == goal.target);
            let mut run = run.unwrap_or_else(|| Run::of(&goal));
            let status = Box::pin(step(&ctx, &goal, &mut run)).await;
            announce(&ctx, &cr, &goal, &status).await;
            ctx.update(|state| state.put_restarts(&cr, Some(status)));
            runs.insert(cr, run);
        }
    }
}

/// Goes one step on; gives how far it is.
async fn step(ctx: &Ctx, goal: &Goal, run: &mut Run) -> RestartStatus {
    run.resume(goal);
    look_after(ctx, goal, run).await;
    let outdated = ctx
        .state()
        .data_plane()
        .outdated_workloads(&goal.target, &goal.revisions);
    let mut left: Vec<_> = Vec::new();
    let mut waits_for = goal.waits_for.clone();
    if !outdated.is_empty() || !run.in_progress.is_empty() {
        match namespaces(ctx, goal, run).await {
            Ok(selected) => {
                let is_meant =
                    |id: &&Id| selected.contains_key(&id.0) && !run.in_progress.contains_key(*id);
                left = outdated.iter().filter(is_meant).cloned().collect();
                run.skipped.retain(|id, _| outdated.contains(id));
                if run.stop.is_none() && waits_for.is_none() {
                    begin(ctx, goal, run, &left, &selected).await;
                }
            }
            Err(error) => waits_for = Some(format!("namespaces cannot be listed: {error}")),
        }
    }
    run.status(&left, waits_for)
}

/// Looks after the workloads that are coming back.
async fn look_after(ctx: &Ctx, goal: &Goal, run: &mut Run) {
    let now = Instant::now();
    for (id, (began, back)) in run.in_progress.clone() {
        let (namespace, name) = &id;
        let pods = ctx
            .state()
            .data_plane()
            .pods_of(&goal.target, namespace, name);
        let workload = match read(ctx, &id).await {
            Ok(Some(workload)) => workload,
            // It is gone, or not a workload any more.
            Ok(None) => {
                run.in_progress.remove(&id);
                continue;
            }
            Err(_) if now.duration_since(began) < DEADLINE => continue,
            Err(error) => {
                run.end(goal, &id, &format!("it cannot be read: {error}"));
                continue;
            }
        };
        match (workload.unready_reason(), pods) {
            (None, PodsOfWorkload { outdated: 0, .. }) => {
                run.in_progress.remove(&id);
                run.restarted += 1;
            }
            (None, _) => {
                let back = back.unwrap_or(now);
                run.in_progress.insert(id.clone(), (began, Some(back)));
                if now.duration_since(back) >= WATCH_LAG {
                    run.end(goal, &id, "it came back without the new proxy");
                }
            }
            (Some(unready), _)
                if workload.has_failed() || now.duration_since(began) >= DEADLINE =>
            {
                run.end(goal, &id, &format!("it did not come back: {unready}"));
            }
            (Some(_), _) => {}
        }
    }
}

/// Restarts workloads, as many as may be away at once.
async fn begin(
    ctx: &Ctx,
    goal: &Goal,
    run: &mut Run,
    left: &[Id],
    selected: &BTreeMap<String, ObjectMeta>,
) {
    // Whether new pods get the new proxy shows at the first workload.
    let at_once = if run.restarted == 0 {
        1
    } else {
        goal.settings.max_parallel
    };
    for id in left {
        if run.in_progress.len() >= at_once {
            return;
        }
        let is_busy = run
            .in_progress
            .keys()
            .any(|(namespace, _)| *namespace == id.0);
        let is_skipped = run
            .skipped
            .get(id)
            .is_some_and(|(_, at)| at.elapsed() < FRESH);
        if is_busy || is_skipped {
            continue;
        }
        let skip = |run: &mut Run, why: String| {
            run.skipped.insert(id.clone(), (why, Instant::now()));
        };
        match consider(ctx, goal, run, id, &selected[&id.0]).await {
            Ok(None) => {
                run.skipped.remove(id);
                run.attempted.insert(id.clone());
                run.in_progress.insert(id.clone(), (Instant::now(), None));
            }
            Ok(Some(why)) => skip(run, why),
            // Somebody changed it meanwhile, or the API server does not answer.
            Err(error) if matches!(error.class(), Class::Wait | Class::Retry) => {}
            Err(error) => skip(run, error.to_string()),
        }
    }
}

/// Restarts a workload; gives why it is left alone, if it is.
async fn consider(
    ctx: &Ctx,
    goal: &Goal,
    run: &Run,
    id: &Id,
    namespace: &ObjectMeta,
) -> Result<Option<String>, ApplyError> {
    if id.1.is_empty() {
        return Ok(Some(
            "nothing runs these pods, and nothing would replace them".to_owned(),
        ));
    }
    let Some(workload) = read(ctx, id).await? else {
        let kind = id.1.split('/').next().unwrap_or_default();
        return Ok(Some(format!("a {kind} is not restarted")));
    };
    let target = goal.target.to_string();
    let is_marked = workload.was_restarted_for(&target);
    if is_marked && workload.unready_reason().is_some() {
        // This process, or the one before it, began.
        return Ok(None);
    }
    if run.attempted.contains(id) {
        return Ok(Some(
            "it was restarted, and somebody took the mark away".to_owned(),
        ));
    }
    let budgets = ctx.sender.budgets(&id.0).await?;
    let admission = Admission {
        target: &target,
        namespace,
        names: &goal.names,
        budgets: &budgets,
    };
    if let Some(why) = workload.skip_reason(&admission) {
        return Ok(Some(why));
    }
    ctx.sender
        .restart(&workload, &target, Timestamp::now())
        .await?;
    tracing::info!(namespace = id.0, workload = id.1, target, "restarted");
    Ok(None)
}

/// Reads a workload; none if there is none, or its kind cannot be restarted.
async fn read(ctx: &Ctx, (namespace, workload): &Id) -> Result<Option<Workload>, ApplyError> {
    let Some((kind, name)) = workload.split_once('/') else {
        return Ok(None);
    };
    match restartable(kind) {
        Some(kind) => ctx.sender.workload(kind, namespace, name).await,
        None => Ok(None),
    }
}

/// The namespaces that the CR selects, without those of Kubernetes and of Istio.
async fn namespaces(
    ctx: &Ctx,
    goal: &Goal,
    run: &mut Run,
) -> Result<BTreeMap<String, ObjectMeta>, ApplyError> {
    if let Some((known, at)) = &run.namespaces
        && at.elapsed() < FRESH
    {
        return Ok(known.clone());
    }
    let listed = ctx.sender.namespaces(&goal.settings.namespaces).await?;
    let named = listed
        .into_iter()
        .filter_map(|meta| Some((meta.name.clone()?, meta)));
    let is_user = |name: &String| !name.starts_with("kube-") && *name != goal.istio_namespace;
    let selected: BTreeMap<_, _> = named.filter(|(name, _)| is_user(name)).collect();
    run.namespaces = Some((selected.clone(), Instant::now()));
    Ok(selected)
}

/// Tells a stop and an end once.
async fn announce(ctx: &Ctx, cr: &CrKey, goal: &Goal, status: &RestartStatus) {
    let before = ctx.state().users.restarts(cr);
    let before = before.or_else(|| goal.cr.status.as_ref()?.restarts.clone());
    let is_told = before.is_some_and(|before| {
        (before.state, before.target) == (status.state, status.target.clone())
    });
    let (reason, is_warning) = match status.state {
        RestartState::Stopped => (reason::RESTARTS_STOPPED, true),
        RestartState::Done if status.restarted > 0 => (reason::RESTARTS_DONE, false),
        _ => return,
    };
    if !is_told {
        let note = format!("{}: {}", status.target, status.message);
        let event = StatusEvent {
            is_warning,
            reason: reason.to_owned(),
            note,
        };
        ctx.publisher.announce(&goal.cr, event).await;
    }
}

impl Run {
    /// Begins, or goes on where the status of the CR says that it stopped.
    fn of(goal: &Goal) -> Self {
        let told = goal
            .cr
            .status
            .as_ref()
            .and_then(|status| status.restarts.as_ref());
        let told = told.filter(|told| told.target == goal.target.to_string());
        let stopped = told.filter(|told| told.state == RestartState::Stopped);
        Self {
            target: goal.target.clone(),
            namespaces: None,
            in_progress: BTreeMap::new(),
            attempted: BTreeSet::new(),
            skipped: BTreeMap::new(),
            restarted: told.map_or(0, |told| told.restarted),
            stop: stopped.map(|told| Stop {
                why: told.message.clone(),
                generation: told.stopped_generation,
                resume: told.stopped_resume.clone(),
            }),
        }
    }

    /// Goes on after a stop if a person acted: by another spec, or by another value of the annotation.
    fn resume(&mut self, goal: &Goal) {
        let (generation, resume) = (
            goal.cr.metadata.generation,
            annotations_of(&goal.cr).resume_restarts,
        );
        let is_acted = |stop: &Stop| stop.generation != generation || stop.resume != resume;
        if self.stop.as_ref().is_some_and(is_acted) {
            self.stop = None;
        }
    }

    /// Stops at a workload that did not come back.
    fn end(&mut self, goal: &Goal, (namespace, name): &Id, why: &str) {
        self.in_progress.remove(&(namespace.clone(), name.clone()));
        self.stop.get_or_insert_with(|| Stop {
            why: format!(
                "{name} in namespace {namespace}: {why}; no further workload is restarted until the spec or the annotation \
                 install.istio.io/resume-restarts has another value"
            ),
            generation: goal.cr.metadata.generation,
            resume: annotations_of(&goal.cr).resume_restarts,
        });
    }

    fn status(&self, left: &[Id], waits_for: Option<String>) -> RestartStatus {
        let waiting = left
            .iter()
            .filter(|id| !self.skipped.contains_key(*id) && !self.in_progress.contains_key(*id));
        let remaining = waiting.count();
        let is_busy = !self.in_progress.is_empty();
        let (state, message) = match (&self.stop, waits_for) {
            (Some(stop), _) => (RestartState::Stopped, stop.why.clone()),
            (None, _) if remaining == 0 && !is_busy => {
                let message = "no workload with an older proxy is left to restart";
                (RestartState::Done, message.to_owned())
            }
            (None, Some(why)) if !is_busy => (RestartState::Waiting, why),
            (None, _) => (RestartState::Running, String::new()),
        };
        let told = |(namespace, name): &Id| format!("{namespace} {name}");
        let skipped = self
            .skipped
            .iter()
            .map(|(id, (why, _))| format!("{}: {why}", told(id)));
        let mut skipped: Vec<_> = skipped.collect();
        let more = skipped.len().saturating_sub(MAX_NAMES);
        skipped.truncate(MAX_NAMES);
        if more > 0 {
            skipped.push(format!("and {more} more"));
        }
        RestartStatus {
            target: self.target.to_string(),
            state,
            message,
            restarted: self.restarted,
            remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
            in_progress: self.in_progress.keys().map(told).collect(),
            skipped,
            stopped_generation: self.stop.as_ref().and_then(|stop| stop.generation),
            stopped_resume: self.stop.as_ref().and_then(|stop| stop.resume.clone()),
        }
    }
}
