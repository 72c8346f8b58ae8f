//! The end of a CR: its objects go in the reverse order of their coming, then the finalizer.
//!
//! Nothing in here reads the spec except for one word of it, so that a CR with a wrong spec can be deleted.

use std::sync::Arc;
use std::time::Duration;

use super::ctx::Ctx;
use super::finalizer;
use super::retry::Next;
use super::state::{State, is_paused};
use crate::api::condition::{self, reason};
use crate::api::{DeletionPolicy, IstioOperator};
use crate::apply::{ApplyError, remove};
use crate::plan::{CrKey, removal};
use crate::status::{Leaving, Outcome};

/// How soon a deletion is tried again that waits for something no event tells of.
const HOLD: Duration = Duration::from_secs(2);
/// How often it is checked that objects are gone whose end no event told of.
const LOOK: Duration = Duration::from_mins(1);

/// Goes one step towards the end of a CR.
pub async fn cleanup(ctx: &Ctx, key: &CrKey, cr: Arc<IstioOperator>) -> Result<Next, ApplyError> {
    if !finalizer::is_held(&cr) {
        return Ok(Next::Event);
    }
    if cr.deletion_policy() == DeletionPolicy::Orphan {
        finalizer::release(&ctx.sender, &cr).await?;
        return Ok(Next::Event);
    }
    let hold = hold(&ctx.state(), key, &cr);
    if let Some(hold) = hold {
        let leaving = Leaving {
            hold: Some(hold),
            ..Leaving::default()
        };
        ctx.publish(&cr, &Outcome::Leaving(leaving)).await?;
        return Ok(Next::After(HOLD));
    }
    let plan = {
        let state = ctx.state();
        removal(key, &state.live, &state.claims)
    };
    if plan.left.is_empty() {
        finalizer::release(&ctx.sender, &cr).await?;
        return Ok(Next::Event);
    }
    if !is_announced(&cr) || plan.now.is_empty() {
        let leaving = Leaving {
            left: plan.left.clone(),
            ..Leaving::default()
        };
        ctx.publish(&cr, &Outcome::Leaving(leaving)).await?;
    }
    let mut removed = remove(&ctx.sender, &plan).await;
    {
        let state = &mut *ctx.state();
        removed.remember(&mut state.live, &mut state.ledger);
    }
    if !removed.refused.is_empty() {
        let leaving = Leaving {
            left: plan.left,
            refused: removed.refused,
            hold: None,
        };
        ctx.publish(&cr, &Outcome::Leaving(leaving)).await?;
        return Ok(Next::Retry);
    }
    Ok(if plan.now.is_empty() {
        Next::After(LOOK)
    } else {
        Next::Now
    })
}

/// What keeps a deletion from starting.
fn hold(state: &State, key: &CrKey, cr: &IstioOperator) -> Option<String> {
    if is_paused(cr) {
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
    let others_known = state.claims.are_known(key);
    (!others_known).then(|| "other IstioOperators are being looked at".to_owned())
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
