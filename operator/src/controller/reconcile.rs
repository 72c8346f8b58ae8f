//! One pass over one CR.

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;

use super::asked::{agreed, render_spec, wanted};
use super::ctx::Ctx;
use super::rendering::{RenderedSpec, SpecRejection, catch_panic};
use super::requeue::{Action, jitter, resync};
use super::state::annotations_of;
use super::{approval, canary, cleanup, finalizer, injection, proxy_hold, rollback};
use crate::api::{HeldProxyStatus, IstioOperator, PlanStatus, RollbackStatus, StoredCr};
use crate::apply::{ApplyError, Class, Verdict, apply};
use crate::catalogue::Version;
use crate::cluster::{CrKey, revision_label};
use crate::plan::{Injection, InjectionProbe, Plan, PlanInput, Precheck, plan};
use crate::status::{
    CanaryProgress, InstallProgress, InstallStart, PassResult, gone_revisions_event,
    overwrite_event, skipped_checks_event,
};

/// How often it is looked whether objects that another tool manages are managed still.
const MANAGED_POLL_INTERVAL: Duration = Duration::from_mins(1);

/// How soon it is looked again whether istiod injects.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);

/// How soon a canary that works is promoted.
const PROMOTION_INTERVAL: Duration = Duration::from_millis(100);

/// What a pass is going to do.
struct PlannedPass {
    plan: Plan,
    /// What of the cluster the plan was made from.
    inputs_digest: u64,
    version: Version,
    revision: String,
    warnings: Vec<String>,
    upgrade: Option<Precheck>,
    /// What the change does that the plan is a part of.
    agreed: Option<PlanStatus>,
    /// Why nothing is rolled out.
    held_by: Option<String>,
    /// Why the last healthy version comes back.
    rollback: Option<RollbackStatus>,
    /// The control plane that takes the place of another one.
    canary: Option<CanaryProgress>,
    /// The image that proxies are held at.
    held_proxy: Option<HeldProxyStatus>,
    /// How to find out whether istiod injects, which it has to prove now.
    probe: Option<InjectionProbe>,
    /// How long one component may take to become ready.
    timeout: Duration,
    /// The request for a pass that is answered.
    request: Option<String>,
}

/// Brings the cluster one step closer to what a CR says, and its status up to date.
pub async fn reconcile(ctx: &Ctx, key: &CrKey) -> Result<Action, ApplyError> {
    let Some(cr) = ctx.state().cr(key) else {
        return Ok(Action::AwaitChange);
    };
    if finalizer::is_deleting(&cr) {
        return cleanup::cleanup(ctx, key, cr).await; // Never looks at the spec.
    }
    if annotations_of(&cr).is_paused {
        learn_inventory(ctx, key, &cr).await;
        ctx.publish(&cr, &PassResult::Paused).await?;
        return Ok(Action::AwaitChange);
    }
    let is_released = proxy_hold::is_over(&cr, Timestamp::now());
    let in_sync = ctx.state().in_sync(key, &cr).filter(|_| !is_released);
    if let Some(progress) = in_sync
        && finalizer::is_present(&cr)
    {
        return publish_progress(ctx, &cr, progress).await;
    }
    // Ahead of every write: if one is refused, other CRs still learn what this one renders, and need not wait for it.
    let request = annotations_of(&cr).requested_at;
    let rendered = render_spec(ctx, key, &cr).await;
    let generation = cr.metadata.generation;
    let cr = match ensure_finalizer(ctx, cr).await? {
        None => return Ok(Action::AwaitChange),
        // The answer may have a newer spec than the one that was rendered.
        Some(cr) if cr.metadata.generation != generation => return Ok(Action::RequeueNow),
        Some(cr) => cr,
    };
    let (cr, rendered) = match rendered {
        Ok(rendered) => {
            let Some(cr) = leave_last_generation(ctx, cr, &rendered).await? else {
                return Ok(Action::RequeueNow);
            };
            let agreed = agreed(ctx, key, &cr, rendered).await;
            (cr, agreed)
        }
        Err(rejection) => (cr, Err(rejection)),
    };
    let rendered = match rendered {
        Ok(rendered) => rendered,
        Err(rejection) => return reject_spec(ctx, &cr, rejection, request).await,
    };
    mark_reconciling(ctx, &cr, &rendered).await?;
    let draft = match catch_panic(|| Ok(make_plan(ctx, &cr, rendered, request.clone()))) {
        Ok(draft) => draft,
        Err(rejection) => return reject_spec(ctx, &cr, rejection, request).await,
    };
    let inputs_digest = draft.inputs_digest;
    let upgrade = draft.upgrade.as_ref();
    if let Some(event) = upgrade.and_then(|it| skipped_checks_event(it, cr.status.as_ref())) {
        ctx.publisher.announce(&cr, event).await;
    }
    if let Some(event) = gone_revisions_event(&draft.plan.gone) {
        ctx.publisher.announce(&cr, event).await;
    }
    let progress = apply_plan(ctx, key, draft).await;
    if let Some(event) = overwrite_event(&progress.applied) {
        tracing::warn!(note = event.note, "objects were overwritten");
        ctx.publisher.announce(&cr, event).await;
    }
    // A spec that changed meanwhile is not what was carried out.
    let Some(cr) = ctx.newest_if_unchanged(&cr) else {
        return Ok(Action::RequeueNow);
    };
    let is_asked = progress.held_by.is_none() && progress.rollback.is_none();
    if is_asked && progress.applied.refusals().next().is_none() {
        ctx.state().remember_carried_out(&cr);
    }
    let is_promoted_next = progress
        .canary
        .as_ref()
        .is_some_and(CanaryProgress::is_next);
    if progress.applied.is_in_sync && !is_promoted_next {
        ctx.state().remember_in_sync(&cr, inputs_digest, &progress);
    }
    publish_progress(ctx, &cr, progress).await
}

/// Tells the author of a CR that its generation was noticed, before there is room for its pass. A spec that cannot be
/// followed is left to the pass.
pub async fn announce(ctx: &Ctx, key: &CrKey) -> Result<(), ApplyError> {
    let Some(cr) = ctx.state().cr(key) else {
        return Ok(());
    };
    if finalizer::is_deleting(&cr) || annotations_of(&cr).is_paused || !may_be_noticed(&cr) {
        return Ok(());
    }
    match render_spec(ctx, key, &cr).await {
        Ok(rendered) => mark_reconciling(ctx, &cr, &rendered).await,
        Err(_) => Ok(()),
    }
}

/// Makes sure that the CR cannot go before its objects; `None` if it is gone already, and nothing may be installed for it.
async fn ensure_finalizer(
    ctx: &Ctx,
    cr: Arc<StoredCr>,
) -> Result<Option<Arc<StoredCr>>, ApplyError> {
    if finalizer::is_present(&cr) {
        return Ok(Some(cr));
    }
    let present = finalizer::ensure(&ctx.sender, &cr).await?;
    Ok(present.map(|present| {
        ctx.store_answer(present.clone());
        Arc::new(present)
    }))
}

/// Finds out what a paused CR renders, so that other CRs leave its objects alone.
async fn learn_inventory(ctx: &Ctx, key: &CrKey, cr: &Arc<StoredCr>) {
    let wanted = wanted(ctx, cr);
    let rendered = ctx.render_thread.render(Arc::clone(cr), wanted).await;
    ctx.update(|state| match &rendered {
        Ok(RenderedSpec {
            merged, rendered, ..
        }) => state.set_paused(key, merged, rendered),
        Err(_) => state.mark_unreadable(cr),
    });
}

/// Takes back what the status says of the generation before, ahead of the dry runs that tell what a change does: two seconds
/// after Argo CD has applied a CR, it believes the health that it finds. `None` if the spec has changed meanwhile.
async fn leave_last_generation(
    ctx: &Ctx,
    cr: Arc<StoredCr>,
    rendered: &RenderedSpec,
) -> Result<Option<Arc<StoredCr>>, ApplyError> {
    let status = cr.status.as_ref();
    let says_nothing = status.is_none_or(|status| status.status.is_none());
    if says_nothing || !may_be_noticed(&cr) {
        return Ok(Some(cr));
    }
    mark_reconciling(ctx, &cr, rendered).await?;
    Ok(ctx.newest_if_unchanged(&cr))
}

/// The first write for a new generation or a new version, before anything that takes time.
async fn mark_reconciling(
    ctx: &Ctx,
    cr: &IstioOperator,
    rendered: &RenderedSpec,
) -> Result<(), ApplyError> {
    let version = rendered.asked().version;
    let begins = |upgrade: &&Precheck| !upgrade.is_refused();
    let upgrade = rendered.upgrade.as_ref().filter(begins).cloned();
    let status = cr.status.as_ref();
    let shown = status.and_then(|status| status.upgrade.as_ref());
    let is_shown = |upgrade: &Precheck| shown.is_some_and(|shown| upgrade.is_step_of(shown));
    let plan = rendered.plan.as_ref();
    if plan.and_then(approval::held_by).is_some() {
        return Ok(());
    }
    let rollback = rendered.rollback.clone();
    let is_told = rollback.is_none() || shown.is_some_and(|shown| shown.rollback == rollback);
    let is_planned = plan.is_none() || status.and_then(|status| status.plan.as_ref()) == plan;
    let canary = rendered.canary.as_ref().map(canary::progress);
    let is_canary_told = canary.as_ref().is_none_or(|it| it.is_shown(status));
    let held = rendered.held_proxy.as_ref();
    let shown_held = status.and_then(|status| status.held_proxy.as_ref());
    let is_held_told = held.is_none() || held == shown_held;
    let is_told = is_told && is_canary_told && is_held_told;
    if is_noticed(cr) && upgrade.as_ref().is_none_or(is_shown) && is_planned && is_told {
        return Ok(());
    }
    let plan = plan.cloned();
    let start = InstallStart {
        version,
        upgrade,
        plan,
        rollback,
        canary,
        held_proxy: rendered.held_proxy.clone(),
    };
    ctx.publish(cr, &PassResult::Started(Box::new(start)))
        .await?;
    Ok(())
}

/// Whether the status may say of a new generation that something begins. Of a change that may have to wait for a person, that
/// is not known before its plan is.
fn may_be_noticed(cr: &IstioOperator) -> bool {
    !is_noticed(cr) && !cr.update_strategy().is_manual()
}

/// Whether the status is one of this generation.
fn is_noticed(cr: &IstioOperator) -> bool {
    let status = cr.status.as_ref();
    status.and_then(|status| status.observed_generation) == cr.metadata.generation
}

/// Rendered → planned, from what is known at this moment.
fn make_plan(
    ctx: &Ctx,
    cr: &IstioOperator,
    rendered: RenderedSpec,
    request: Option<String>,
) -> PlannedPass {
    let RenderedSpec {
        merged,
        rendered,
        upgrade,
        plan: agreed,
        rollback,
        canary,
        held_proxy,
    } = rendered;
    let progress = canary.as_ref().map(canary::progress);
    let is_beside = progress.as_ref().is_some_and(CanaryProgress::is_unpromoted);
    let warnings = merged.warnings.iter().chain(&rendered.warnings);
    let mut warnings: Vec<_> = warnings.map(ToString::to_string).collect();
    let version = merged.version;
    let revision = revision_label(&merged.revision).to_owned();
    let (key, annotations) = (&CrKey::of(cr), &annotations_of(cr));
    let refusal = upgrade.as_ref().and_then(Precheck::refusal);
    // The plan of a promotion holds up nothing of what stands beside each other before.
    let plan_to_approve = agreed.as_ref().filter(|_| !is_beside);
    let held_by = refusal.or_else(|| plan_to_approve.and_then(approval::held_by));
    let mut state = ctx.state();
    let probe = match &canary {
        Some(canary) => injection::unproven(&state, cr, &canary.merged),
        None => injection::unproven_in_place(&state, cr, &merged),
    };
    let unproven = probe.as_ref().map(|probe| {
        let last = match state.proof(key, probe.version) {
            Some(Injection::Broken(why)) => why,
            _ => "no pod was asked for yet",
        };
        probe.waiting(last)
    });
    let now = Instant::now();
    let verdicts = state.verdicts(key, now);
    let inputs_digest = state.inputs_digest(key, cr, &verdicts);
    let input = PlanInput {
        held_by: held_by.as_deref(),
        unproven: probe
            .as_ref()
            .map(|probe| probe.version)
            .zip(unproven.as_deref()),
        takes_gateways_in_turn: progress.is_some(),
        ..state.plan_input(key, annotations, &verdicts, now)
    };
    let mut plan = plan(&merged, rendered, input);
    warnings.append(&mut plan.warnings);
    state.begin_apply(key, &plan);
    PlannedPass {
        inputs_digest,
        version,
        revision,
        warnings,
        upgrade,
        agreed,
        held_by,
        rollback,
        canary: progress,
        held_proxy,
        probe: probe.filter(|_| plan.has_to_prove_injection),
        timeout: cr.update_strategy().timeout(),
        request,
        plan,
    }
}

/// Planned → applied. What the API server answered is known at once, ahead of the watches.
async fn apply_plan(ctx: &Ctx, key: &CrKey, draft: PlannedPass) -> InstallProgress {
    let PlannedPass {
        plan,
        inputs_digest: _,
        version,
        revision,
        warnings,
        upgrade,
        agreed,
        held_by,
        rollback,
        canary,
        held_proxy,
        probe,
        timeout,
        request,
    } = draft;
    let mut applied = apply(&ctx.sender, plan).await;
    let mut unproven = None;
    if let Some(probe) = probe {
        unproven = injection::prove(ctx, key, &probe).await;
        applied.has_news |= unproven.is_none();
    }
    ctx.count(key, &applied);
    ctx.update(|state| state.take_applied(key, &mut applied, Instant::now()));
    InstallProgress {
        version,
        revision,
        warnings,
        upgrade,
        plan: agreed,
        held_by,
        rollback,
        canary,
        held_proxy,
        unproven,
        timeout,
        request,
        applied,
    }
}

/// The spec cannot be followed: its author learns why, and what runs goes on running.
async fn reject_spec(
    ctx: &Ctx,
    cr: &IstioOperator,
    rejection: SpecRejection,
    request: Option<String>,
) -> Result<Action, ApplyError> {
    let SpecRejection {
        reason,
        errors,
        is_transient,
    } = rejection;
    let result = PassResult::Rejected {
        reason,
        errors,
        request,
    };
    ctx.publish(cr, &result).await?;
    Ok(if is_transient {
        Action::BACKOFF
    } else {
        Action::AwaitChange
    })
}

/// Publishes how far the CR is and says when to look again.
///
/// What a pass wrote is judged by the next one, which follows at once. Half of an installation is nothing to tell, and
/// after a restart of the operator, which applies everything once, it would look like trouble.
async fn publish_progress(
    ctx: &Ctx,
    cr: &IstioOperator,
    progress: InstallProgress,
) -> Result<Action, ApplyError> {
    let next = next(&progress);
    if next == Action::RequeueNow {
        return Ok(next);
    }
    let (version, is_rolled_back) = (progress.version, progress.rollback.is_some());
    let result = PassResult::Applied(Box::new(progress));
    let next_change = ctx.publish(cr, &result).await?;
    let (key, mut state) = (CrKey::of(cr), ctx.state());
    state.remember_healthy(&key);
    let newest = state.cr(&key).filter(|_| !is_rolled_back);
    let newest = newest.as_ref();
    if newest.is_some_and(|newest| rollback::due(newest, version).is_some()) {
        return Ok(Action::BACKOFF);
    }
    let held = newest.and_then(|newest| proxy_hold::remaining(newest, Timestamp::now()));
    let next_change = next_change.into_iter().chain(held).min();
    Ok(next.within(next_change))
}

fn next(progress: &InstallProgress) -> Action {
    if progress.plan.as_ref().is_some_and(approval::is_unknown) {
        return Action::BACKOFF;
    }
    let is_managed = progress
        .applied
        .objects()
        .any(|(_, verdict)| matches!(verdict, Verdict::ManagedBy(_)));
    if progress.unproven.is_some() {
        return Action::RequeueAfter(PROBE_INTERVAL);
    }
    if progress.applied.is_in_sync
        && progress
            .canary
            .as_ref()
            .is_some_and(CanaryProgress::is_next)
    {
        return Action::RequeueAfter(PROMOTION_INTERVAL);
    }
    let classes = progress.applied.refusals().map(|(_, error)| error.class());
    match classes.max() {
        Some(Class::Wait) => Action::ShortBackoff { at_most: None },
        Some(Class::Retry | Class::Refusal | Class::Permanent) => Action::BACKOFF,
        None if progress.applied.has_news => Action::RequeueNow,
        // No watch tells that a tool let go of an object without owner label.
        None if is_managed => Action::RequeueAfter(jitter(MANAGED_POLL_INTERVAL)),
        None => Action::RequeueAfter(resync()),
    }
}
