//! One pass over one CR.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use kube::ResourceExt;

use super::ctx::Ctx;
use super::retry::{Next, resync};
use super::state::{is_paused, key_of};
use super::{cleanup, finalizer};
use crate::api::condition::reason;
use crate::api::{IstioOperator, Mistake, Path};
use crate::apply::{ApplyError, Class, apply};
use crate::catalogue::Version;
use crate::merge::{Merged, merge};
use crate::plan::{CrKey, MAX_NAME, Plan, Stake, Surroundings, keys, plan, revision_label, view};
use crate::render::render;
use crate::status::{Advance, Outcome};

/// Why nothing of a spec can be followed.
struct Refusal {
    reason: &'static str,
    mistakes: Vec<String>,
}

/// What a pass is going to do.
struct Draft {
    plan: Plan,
    /// What of the cluster the plan was made from.
    view: u64,
    version: Version,
    revision: String,
    warnings: Vec<String>,
}

/// Brings the cluster one step closer to what a CR says, and its status up to date.
pub async fn reconcile(ctx: &Ctx, key: &CrKey) -> Result<Next, ApplyError> {
    let Some(cr) = ctx.state().cr(key) else {
        return Ok(Next::Event);
    };
    if finalizer::is_deleting(&cr) {
        return cleanup::cleanup(ctx, key, cr).await; // Never looks at the spec.
    }
    if is_paused(&cr) {
        // What it renders is not looked at, and nobody can wait for that.
        ctx.note(|state| state.refuse(key));
        ctx.publish(&cr, &Outcome::Paused).await?;
        return Ok(Next::Event);
    }
    let Some(cr) = hold(ctx, cr).await? else {
        return Ok(Next::Event);
    };
    let settled = ctx.state().settled(key, &cr);
    if let Some(advance) = settled {
        return report(ctx, &cr, advance).await;
    }
    let merged = match guarded(|| understand(ctx, &cr)) {
        Ok(merged) => merged,
        Err(refusal) => return refuse(ctx, &cr, refusal).await,
    };
    begin(ctx, &cr, &merged).await?;
    let draft = match guarded(|| draw(ctx, key, &merged)) {
        Ok(draft) => draft,
        Err(refusal) => return refuse(ctx, &cr, refusal).await,
    };
    let view = draft.view;
    let advance = carry_out(ctx, draft).await;
    // A spec that changed meanwhile is not what was carried out.
    let Some(cr) = ctx.same(&cr) else {
        return Ok(Next::Now);
    };
    if advance.applied.is_settled {
        ctx.state().settle(&cr, view, &advance);
    }
    report(ctx, &cr, advance).await
}

/// Makes sure that the CR cannot go before its objects; `None` if it is gone already, and nothing may be installed for it.
async fn hold(ctx: &Ctx, cr: Arc<IstioOperator>) -> Result<Option<Arc<IstioOperator>>, ApplyError> {
    if finalizer::is_held(&cr) {
        return Ok(Some(cr));
    }
    let held = finalizer::hold(&ctx.sender, &cr).await?;
    Ok(held.map(|held| {
        ctx.put(held.clone());
        Arc::new(held)
    }))
}

/// CR → merged. Pure.
fn understand(ctx: &Ctx, cr: &IstioOperator) -> Result<Merged, Refusal> {
    let name = cr.name_any();
    let merged = merge(cr, None, ctx.cluster, &ctx.charts);
    let mut mistakes = merged.as_ref().err().cloned().unwrap_or_default();
    if name.len() > MAX_NAME {
        let problem = format!(
            "is a label of every object and may have {MAX_NAME} characters, not {}",
            name.len()
        );
        mistakes.push(Mistake {
            path: Path::root("metadata").key("name"),
            problem,
        });
    }
    match merged {
        Ok(merged) if mistakes.is_empty() => Ok(merged.with_default_tag()),
        _ => Err(Refusal {
            reason: reason::INVALID_SPEC,
            mistakes: mistakes.iter().map(ToString::to_string).collect(),
        }),
    }
}

/// The first write for a new generation, before anything that takes time.
async fn begin(ctx: &Ctx, cr: &IstioOperator, merged: &Merged) -> Result<(), ApplyError> {
    let observed = cr
        .status
        .as_ref()
        .and_then(|status| status.observed_generation);
    if observed != cr.metadata.generation {
        let version = merged.version;
        ctx.publish(cr, &Outcome::Begun { version }).await?;
    }
    Ok(())
}

/// Merged → rendered → planned, from what is known at this moment. Pure.
fn draw(ctx: &Ctx, key: &CrKey, merged: &Merged) -> Result<Draft, Refusal> {
    let rendered = render(merged, &ctx.charts).map_err(|errors| Refusal {
        reason: reason::RENDER_FAILED,
        mistakes: errors.iter().map(ToString::to_string).collect(),
    })?;
    let warnings = merged.warnings.iter().chain(&rendered.warnings);
    let warnings = warnings.map(ToString::to_string).collect();
    let version = merged.version;
    let revision = revision_label(&merged.revision).to_owned();
    ctx.note(|state| state.stake(key, Stake::of(merged, &rendered)));
    ctx.note(|state| state.claim(key, keys(&rendered)));
    let state = ctx.state();
    let around = Surroundings {
        cr: key,
        live: &state.live,
        ledger: &state.ledger,
        claims: &state.claims,
        now: Instant::now(),
    };
    let view = view(key, &state.live, &state.claims);
    let plan = plan(merged, rendered, around);
    Ok(Draft {
        plan,
        view,
        version,
        revision,
        warnings,
    })
}

/// Planned → applied. What the API server answered is known at once, ahead of the watches.
async fn carry_out(ctx: &Ctx, draft: Draft) -> Advance {
    let Draft {
        plan,
        view: _,
        version,
        revision,
        warnings,
    } = draft;
    let mut applied = apply(&ctx.sender, plan).await;
    ctx.count(&applied);
    let state = &mut *ctx.state();
    applied.remember(&mut state.live, &mut state.ledger, Instant::now());
    Advance {
        version,
        revision,
        warnings,
        applied,
    }
}

/// The spec cannot be followed: its author learns why, and what runs goes on running.
async fn refuse(ctx: &Ctx, cr: &IstioOperator, refusal: Refusal) -> Result<Next, ApplyError> {
    let Refusal { reason, mistakes } = refusal;
    ctx.note(|state| state.refuse(&key_of(cr)));
    ctx.publish(cr, &Outcome::Refused { reason, mistakes })
        .await?;
    Ok(Next::Event)
}

/// Publishes how far the CR is and says when to look again.
///
/// What a pass wrote is judged by the next one, which follows at once. Half of an installation is nothing to tell, and
/// after a restart of the operator, which applies everything once, it would look like trouble.
async fn report(ctx: &Ctx, cr: &IstioOperator, advance: Advance) -> Result<Next, ApplyError> {
    let next = next(&advance);
    if next == Next::Now {
        return Ok(next);
    }
    let deadline = ctx.publish(cr, &Outcome::Advanced(advance)).await?;
    Ok(match (next, deadline) {
        (Next::After(delay), Some(deadline)) => Next::After(delay.min(deadline)),
        _ => next,
    })
}

fn next(advance: &Advance) -> Next {
    let classes = advance.applied.refusals().map(|(_, error)| error.class());
    match classes.max() {
        Some(Class::Wait) => Next::Wait,
        Some(Class::Retry | Class::Permanent) => Next::Retry,
        None if advance.applied.writes > 0 => Next::Now,
        None => Next::After(resync()),
    }
}

/// Runs a pure stage. A panic in it is a mistake of ours that concerns this CR alone.
fn guarded<T>(stage: impl FnOnce() -> Result<T, Refusal>) -> Result<T, Refusal> {
    catch_unwind(AssertUnwindSafe(stage)).unwrap_or_else(|panic| {
        let text = panicked(panic.as_ref());
        tracing::error!(panic = text, "a stage panicked");
        Err(Refusal {
            reason: reason::INTERNAL_ERROR,
            mistakes: vec![format!("the operator failed on this spec: {text}")],
        })
    })
}

/// What a panic said.
pub fn panicked(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("panic")
}
