//! A canary that works is promoted: tags and gateways move to it, once a person approved that or at once.
//!
//! The status says that it is promoted before anything of it is done, so a promotion goes on after a restart of the operator.

use std::sync::Arc;

use super::ctx::Ctx;
use super::rendering::{RenderedCanary, RenderedSpec, Wanted};
use super::state::State;
use super::{approval, injection};
use crate::api::{ComponentKind, StoredCr};
use crate::cluster::CrKey;
use crate::render::ObjectKey;
use crate::status::CanaryProgress;

/// What the status tells of a canary.
pub(super) fn progress(rendered: &RenderedCanary) -> CanaryProgress {
    let RenderedCanary { canary, awaits, .. } = rendered;
    CanaryProgress {
        canary: canary.clone(),
        awaits: awaits.clone(),
    }
}

/// What a canary becomes that works; none if it does not, or is promoted.
pub(super) fn promotion(state: &State, beside: &RenderedSpec) -> Option<Wanted> {
    let rendered = beside.unpromoted()?;
    let to = &rendered.canary.to;
    let is_pilot = |kind: ComponentKind| kind == ComponentKind::Pilot;
    let mut components = beside.rendered.components.iter();
    let istiod = components.find(|it| is_pilot(it.kind) && it.plane == *to)?;
    let is_ready = |key: &ObjectKey| {
        let live = state.live.get(key);
        live.is_some_and(|live| live.istio_version() == Some(to.version))
            && state.live.unready_reason(key).is_none()
    };
    let mut keys = istiod.objects.iter().map(|object| &object.key);
    keys.all(is_ready).then(|| alone(rendered))
}

/// What a canary becomes.
pub(super) fn alone(RenderedCanary { canary, merged, .. }: &RenderedCanary) -> Wanted {
    Wanted::Plane(canary.to.clone(), merged.version)
}

/// A control plane that was rendered alone, as the canary that it is.
pub(super) fn promoted(mut alone: RenderedSpec, canary: &RenderedCanary) -> RenderedSpec {
    let mut canary = canary.clone();
    canary.canary.is_promoted = true;
    alone.canary = Some(canary);
    alone
}

/// What follows for a canary beside the control plane that serves: once it works and its promotion is agreed to, it is
/// rendered alone.
pub(super) async fn promote(
    ctx: &Ctx,
    key: &CrKey,
    cr: &Arc<StoredCr>,
    mut beside: RenderedSpec,
) -> RenderedSpec {
    let is_unproven = |state: &State, beside: &RenderedSpec| {
        injection::unproven(state, cr, beside.asked()).is_some()
    };
    let wanted = {
        let state = ctx.state();
        promotion(&state, &beside).filter(|_| !is_unproven(&state, &beside))
    };
    let Some(wanted) = wanted else {
        return beside;
    };
    let Ok(mut alone) = ctx.render_thread.render(Arc::clone(cr), wanted).await else {
        return beside;
    };
    alone.upgrade.clone_from(&beside.upgrade);
    let plan = approval::agree(ctx, key, cr, &alone).await;
    if let Some(why) = plan.as_ref().and_then(approval::held_by) {
        beside.plan = plan;
        if let Some(canary) = &mut beside.canary {
            canary.awaits = Some(why);
        }
        return beside;
    }
    alone.plan = plan;
    if let Some(canary) = &beside.canary {
        alone = promoted(alone, canary);
    }
    ctx.update(|state| state.set_rendered(key, &alone.merged, &alone.rendered));
    alone
}
