//! One pass over one CR.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use kube::ResourceExt;

use super::ctx::Ctx;
use super::requeue::{Action, resync};
use super::state::{annotations_of, key_of};
use super::{cleanup, finalizer};
use crate::api::condition::reason;
use crate::api::{FieldError, IstioOperator, Path};
use crate::apply::{ApplyError, Class, apply};
use crate::catalogue::Version;
use crate::cluster::{CrKey, MAX_NAME, revision_label};
use crate::merge::{Merged, merge};
use crate::plan::{Plan, PlanInput, keys, plan, plan_inputs_digest};
use crate::render::{Rendered, render};
use crate::status::{InstallProgress, PassResult};

/// Why nothing of a spec can be followed.
struct SpecRejection {
    reason: &'static str,
    errors: Vec<String>,
}

/// What a pass is going to do.
struct PlannedPass {
    plan: Plan,
    /// What of the cluster the plan was made from.
    inputs_digest: u64,
    version: Version,
    revision: String,
    warnings: Vec<String>,
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
        learn_inventory(ctx, key, &cr);
        ctx.publish(&cr, &PassResult::Paused).await?;
        return Ok(Action::AwaitChange);
    }
    let Some(cr) = ensure_finalizer(ctx, cr).await? else {
        return Ok(Action::AwaitChange);
    };
    let in_sync = ctx.state().in_sync(key, &cr);
    if let Some(progress) = in_sync {
        return publish_progress(ctx, &cr, progress).await;
    }
    let merged = match catch_panic(|| merge_spec(ctx, &cr)) {
        Ok(merged) => merged.with_default_tag(),
        Err(rejection) => return reject_spec(ctx, &cr, rejection).await,
    };
    mark_reconciling(ctx, &cr, &merged).await?;
    let draft = match catch_panic(|| make_plan(ctx, &cr, &merged)) {
        Ok(draft) => draft,
        Err(rejection) => return reject_spec(ctx, &cr, rejection).await,
    };
    let inputs_digest = draft.inputs_digest;
    let progress = apply_plan(ctx, key, draft).await;
    // A spec that changed meanwhile is not what was carried out.
    let Some(cr) = ctx.newest_if_unchanged(&cr) else {
        return Ok(Action::RequeueNow);
    };
    if progress.applied.is_in_sync {
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
    if finalizer::is_deleting(&cr) || annotations_of(&cr).is_paused || is_noticed(&cr) {
        return Ok(());
    }
    match catch_panic(|| merge_spec(ctx, &cr)) {
        Ok(merged) => mark_reconciling(ctx, &cr, &merged).await,
        Err(_) => Ok(()),
    }
}

/// Makes sure that the CR cannot go before its objects; `None` if it is gone already, and nothing may be installed for it.
async fn ensure_finalizer(
    ctx: &Ctx,
    cr: Arc<IstioOperator>,
) -> Result<Option<Arc<IstioOperator>>, ApplyError> {
    if finalizer::is_present(&cr) {
        return Ok(Some(cr));
    }
    let present = finalizer::ensure(&ctx.sender, &cr).await?;
    Ok(present.map(|present| {
        ctx.store_answer(present.clone());
        Arc::new(present)
    }))
}

/// CR → merged. Pure.
fn merge_spec(ctx: &Ctx, cr: &IstioOperator) -> Result<Merged, SpecRejection> {
    let name = cr.name_any();
    let merged = merge(cr, None, ctx.cluster, &ctx.charts);
    let mut errors = merged.as_ref().err().cloned().unwrap_or_default();
    if name.len() > MAX_NAME {
        let problem = format!(
            "is a label of every object and may have {MAX_NAME} characters, not {}",
            name.len()
        );
        errors.push(FieldError {
            path: Path::root("metadata").key("name"),
            problem,
        });
    }
    match merged {
        Ok(merged) if errors.is_empty() => Ok(merged),
        _ => Err(SpecRejection {
            reason: reason::INVALID_SPEC,
            errors: errors.iter().map(ToString::to_string).collect(),
        }),
    }
}

/// Finds out what a paused CR renders, so that other CRs leave its objects alone. The default tag is left out: a paused
/// CR keeps it if it has it, and does not take it.
fn learn_inventory(ctx: &Ctx, key: &CrKey, cr: &IstioOperator) {
    match catch_panic(|| render_objects(ctx, &merge_spec(ctx, cr)?)) {
        Ok(rendered) => ctx.update(|state| state.set_objects(key, keys(&rendered))),
        Err(_) => ctx.update(|state| state.mark_unreadable(cr)),
    }
}

/// Merged → rendered. Pure.
fn render_objects(ctx: &Ctx, merged: &Merged) -> Result<Rendered, SpecRejection> {
    render(merged, &ctx.charts).map_err(|errors| SpecRejection {
        reason: reason::RENDER_FAILED,
        errors: errors.iter().map(ToString::to_string).collect(),
    })
}

/// The first write for a new generation, before anything that takes time.
async fn mark_reconciling(
    ctx: &Ctx,
    cr: &IstioOperator,
    merged: &Merged,
) -> Result<(), ApplyError> {
    if !is_noticed(cr) {
        let version = merged.version;
        ctx.publish(cr, &PassResult::Started { version }).await?;
    }
    Ok(())
}

/// Whether the status is one of this generation.
fn is_noticed(cr: &IstioOperator) -> bool {
    let status = cr.status.as_ref();
    status.and_then(|status| status.observed_generation) == cr.metadata.generation
}

/// Merged → rendered → planned, from what is known at this moment. Pure.
fn make_plan(ctx: &Ctx, cr: &IstioOperator, merged: &Merged) -> Result<PlannedPass, SpecRejection> {
    let rendered = render_objects(ctx, merged)?;
    let warnings = merged.warnings.iter().chain(&rendered.warnings);
    let warnings = warnings.map(ToString::to_string).collect();
    let version = merged.version;
    let revision = revision_label(&merged.revision).to_owned();
    let (key, annotations) = (&key_of(cr), &annotations_of(cr));
    ctx.update(|state| state.set_rendered(key, merged, &rendered));
    let state = ctx.state();
    let input = PlanInput {
        cr: key,
        annotations,
        live: &state.live,
        last_applied: &state.last_applied,
        desired: &state.desired,
        now: Instant::now(),
    };
    let inputs_digest = plan_inputs_digest(key, annotations, &state.live, &state.desired);
    let plan = plan(merged, rendered, input);
    Ok(PlannedPass {
        plan,
        inputs_digest,
        version,
        revision,
        warnings,
    })
}

/// Planned → applied. What the API server answered is known at once, ahead of the watches.
async fn apply_plan(ctx: &Ctx, key: &CrKey, draft: PlannedPass) -> InstallProgress {
    let PlannedPass {
        plan,
        inputs_digest: _,
        version,
        revision,
        warnings,
    } = draft;
    let mut applied = apply(&ctx.sender, plan).await;
    ctx.count(&applied);
    ctx.state().take_applied(key, &mut applied, Instant::now());
    InstallProgress {
        version,
        revision,
        warnings,
        applied,
    }
}

/// The spec cannot be followed: its author learns why, and what runs goes on running.
async fn reject_spec(
    ctx: &Ctx,
    cr: &IstioOperator,
    rejection: SpecRejection,
) -> Result<Action, ApplyError> {
    let SpecRejection { reason, errors } = rejection;
    ctx.update(|state| state.mark_unreadable(cr));
    ctx.publish(cr, &PassResult::Rejected { reason, errors })
        .await?;
    Ok(Action::AwaitChange)
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
    let next_change = ctx.publish(cr, &PassResult::Applied(progress)).await?;
    Ok(next.within(next_change))
}

fn next(progress: &InstallProgress) -> Action {
    let classes = progress.applied.refusals().map(|(_, error)| error.class());
    match classes.max() {
        Some(Class::Wait) => Action::ShortBackoff { at_most: None },
        Some(Class::Retry | Class::Refusal | Class::Permanent) => Action::BACKOFF,
        None if progress.applied.writes > 0 => Action::RequeueNow,
        None => Action::RequeueAfter(resync()),
    }
}

/// Runs a pure stage. A panic in it is an error of ours that concerns this CR alone.
fn catch_panic<T>(stage: impl FnOnce() -> Result<T, SpecRejection>) -> Result<T, SpecRejection> {
    catch_unwind(AssertUnwindSafe(stage)).unwrap_or_else(|panic| {
        let text = panicked(panic.as_ref());
        tracing::error!(panic = text, "a stage panicked");
        Err(SpecRejection {
            reason: reason::INTERNAL_ERROR,
            errors: vec![format!("the operator failed on this spec: {text}")],
        })
    })
}

/// What a panic said.
pub fn panicked(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("panic")
}
