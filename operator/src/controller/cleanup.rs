//! The end of a CR: its objects go in the reverse order of their coming, then the finalizer.
//!
//! Nothing in here reads the spec except for one word of it, so that a CR with a wrong spec can be deleted.

use std::sync::Arc;
use std::time::Duration;

use super::ctx::Ctx;
use super::finalizer;
use super::requeue::Action;
use super::state::{State, annotations_of};
use crate::api::condition::{self, reason};
use crate::api::{DeletionPolicy, IstioOperator, StoredCr};
use crate::apply::{ApplyError, apply_deletion};
use crate::cluster::CrKey;
use crate::plan::deletion_step;
use crate::status::{DeletionProgress, PassResult};

/// How soon a deletion is tried again that waits for something no event tells of.
const DELETION_RETRY_INTERVAL: Duration = Duration::from_secs(2);
/// How often it is checked that objects are gone whose end no event told of.
const POLL_INTERVAL: Duration = Duration::from_mins(1);

/// Goes one step towards the end of a CR.
pub async fn cleanup(ctx: &Ctx, key: &CrKey, cr: Arc<StoredCr>) -> Result<Action, ApplyError> {
    if !finalizer::is_present(&cr) {
        return Ok(Action::AwaitChange);
    }
    if cr.deletion_policy() == DeletionPolicy::Orphan {
        return remove_finalizer(ctx, &cr).await;
    }
    let blocker = deletion_blocker(&ctx.state(), key, &cr);
    if let Some(blocked_by) = blocker {
        let deletion = DeletionProgress {
            blocked_by: Some(blocked_by),
            ..DeletionProgress::default()
        };
        ctx.publish(&cr, &PassResult::Deleting(deletion)).await?;
        return Ok(Action::RequeueAfter(DELETION_RETRY_INTERVAL));
    }
    let step = {
        let state = ctx.state();
        deletion_step(key, &annotations_of(&cr), &state.live, &state.desired)
    };
    if step.blocked_by.is_some() {
        let deletion = DeletionProgress {
            blocked_by: step.blocked_by,
            ..DeletionProgress::default()
        };
        ctx.publish(&cr, &PassResult::Deleting(deletion)).await?;
        return Ok(Action::RequeueAfter(DELETION_RETRY_INTERVAL));
    }
    ctx.state().users.begin_deletion(key);
    if step.remaining.is_empty() {
        return remove_finalizer(ctx, &cr).await;
    }
    if !is_announced(&cr) || step.now.is_empty() {
        let deletion = DeletionProgress {
            remaining: step.remaining.clone(),
            ..DeletionProgress::default()
        };
        ctx.publish(&cr, &PassResult::Deleting(deletion)).await?;
    }
    let mut result = apply_deletion(&ctx.sender, &step).await;
    {
        let state = &mut *ctx.state();
        result.remember(&mut state.live, &mut state.last_applied);
    }
    if !result.refused.is_empty() {
        let deletion = DeletionProgress {
            remaining: step.remaining,
            refused: result.refused,
            blocked_by: None,
        };
        ctx.publish(&cr, &PassResult::Deleting(deletion)).await?;
        return Ok(Action::BACKOFF);
    }
    Ok(if step.now.is_empty() {
        Action::RequeueAfter(POLL_INTERVAL)
    } else {
        Action::RequeueNow
    })
}

/// Removes the finalizer, so that the CR goes. If that fails, the status tells why.
async fn remove_finalizer(ctx: &Ctx, cr: &IstioOperator) -> Result<Action, ApplyError> {
    match finalizer::remove(&ctx.sender, cr).await {
        Ok(()) => Ok(Action::AwaitChange),
        Err(error) => {
            let deletion = DeletionProgress {
                blocked_by: Some(format!("the finalizer cannot be removed: {error}")),
                ..DeletionProgress::default()
            };
            ctx.publish(cr, &PassResult::Deleting(deletion)).await?;
            Err(error)
        }
    }
}

/// What keeps a deletion from starting.
fn deletion_blocker(state: &State, key: &CrKey, cr: &IstioOperator) -> Option<String> {
    if annotations_of(cr).is_paused {
        return Some(
            "the annotation install.istio.io/ignoreReconcile is true: remove it to have everything \
             deleted, or set spec.deletionPolicy to Orphan to leave it in place"
                .to_owned(),
        );
    }
    let unlisted = state.unlisted();
    if !unlisted.is_empty() {
        return Some(format!(
            "some objects cannot be listed: {}",
            unlisted.join("; ")
        ));
    }
    if !state.desired.are_others_rendered(key) {
        return Some("other IstioOperators are being looked at".to_owned());
    }
    state.deletion_blocker(key, &annotations_of(cr))
}

/// Whether the status already says that the CR is going; while objects vanish one after the other, it need not say so
/// again.
fn is_announced(cr: &IstioOperator) -> bool {
    let conditions = cr.status.iter().flat_map(|status| &status.conditions);
    let ready = conditions
        .into_iter()
        .find(|condition| condition.type_ == condition::READY);
    ready.is_some_and(|ready| ready.reason == reason::DELETING)
}
