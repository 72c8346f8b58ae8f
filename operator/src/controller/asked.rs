//! What of a CR is applied in a pass: what it asks for, or what runs while something stands against that.

use std::sync::Arc;
use std::time::Instant;

use k8s_openapi::jiff::Timestamp;

use super::approval::precheck;
use super::ctx::Ctx;
use super::rendering::{RenderResult, RenderedCanary, RenderedSpec, SpecRejection, Wanted};
use super::{approval, canary, proxy_hold, rollback};
use crate::api::{StoredCr, condition};
use crate::catalogue::Version;
use crate::cluster::CrKey;
use crate::plan::{ControlPlanes, Precheck};

/// What may be applied of a rendered CR: all of it, or what runs while the plan waits for approval.
pub(super) async fn agreed(
    ctx: &Ctx,
    key: &CrKey,
    cr: &Arc<StoredCr>,
    mut asked: RenderedSpec,
) -> RenderResult {
    let plan = approval::agree(ctx, key, cr, &asked).await;
    let Some(why) = plan.as_ref().and_then(approval::held_by) else {
        asked.plan = plan;
        return Ok(canary::promote(ctx, key, cr, asked).await);
    };
    let reason = condition::reason::APPROVAL_REQUIRED;
    let mut held = render_what_runs(ctx, cr, &asked, reason, why).await?;
    held.upgrade = asked.upgrade;
    held.plan = plan;
    ctx.update(|state| state.set_rendered(key, &held.merged, &held.rendered));
    Ok(held)
}

/// CR → merged → rendered; the desired inventory learns of it. If the version may not change as the CR asks for, the one
/// that runs is rendered.
pub(super) async fn render_spec(ctx: &Ctx, key: &CrKey, cr: &Arc<StoredCr>) -> RenderResult {
    let wanted = wanted(ctx, cr);
    let mut rendered = ctx.render_thread.render(Arc::clone(cr), wanted).await;
    if let Ok(asked) = &rendered
        && let Some(back) = rollback::rolled_back(ctx, cr, asked).await
    {
        ctx.update(|state| state.set_rendered(key, &back.merged, &back.rendered));
        return Ok(back);
    }
    let mut upgrade = match &rendered {
        Ok(asked) => precheck(cr, asked, &ctx.state(), ctx.charts.catalogue()),
        Err(_) => None,
    };
    if let (Ok(asked), Some(upgrade)) = (&rendered, &mut upgrade) {
        look_around(ctx, key, asked, upgrade).await;
    }
    if let Ok(mut asked) = rendered {
        let refusal = upgrade.as_ref().and_then(Precheck::refusal);
        asked.upgrade = upgrade;
        rendered = match refusal {
            None => with_held_proxy(ctx, cr, asked).await,
            Some(why) => {
                let reason = condition::reason::UPGRADE_REFUSED;
                let what_runs = render_what_runs(ctx, cr, &asked, reason, why).await;
                what_runs.map(|what_runs| RenderedSpec {
                    upgrade: asked.upgrade,
                    ..what_runs
                })
            }
        };
    }
    ctx.update(|state| match &rendered {
        Ok(RenderedSpec {
            merged, rendered, ..
        }) => state.set_rendered(key, merged, rendered),
        Err(_) => state.mark_unreadable(cr),
    });
    rendered
}

/// Adds to the checks of a step what is read for it.
async fn look_around(ctx: &Ctx, key: &CrKey, asked: &RenderedSpec, upgrade: &mut Precheck) {
    let (version, now) = (asked.asked().version, Instant::now());
    let known = ctx.state().surroundings(key, version, now);
    let seen = if let Some(known) = known {
        known
    } else {
        let seen = Arc::new(ctx.sender.surroundings(&asked.rendered).await);
        ctx.state()
            .put_surroundings(key, version, now, Arc::clone(&seen));
        seen
    };
    upgrade.look_around(asked.asked(), &asked.rendered, &ctx.state().live, &seen);
}

/// What a CR asks for, beside the control planes that it has.
pub(super) fn wanted(ctx: &Ctx, cr: &StoredCr) -> Wanted {
    Wanted::Spec(ControlPlanes::of(cr, &ctx.state().live))
}

/// A rendered CR with the image that its proxies are held at, if they are.
async fn with_held_proxy(ctx: &Ctx, cr: &Arc<StoredCr>, asked: RenderedSpec) -> RenderResult {
    let version = asked.merged.version;
    let shown = proxy_hold::shown(cr, version, Timestamp::now());
    let held = match (shown, &asked.upgrade) {
        (Some(shown), _) => Some(shown.clone()),
        (None, Some(upgrade)) => proxy_hold::begin(cr, &asked, upgrade, (ctx.cluster, &ctx.charts)),
        (None, None) => None,
    };
    let Some(held) = held else {
        return Ok(asked);
    };
    let wanted = Wanted::WithProxy(held.image.clone());
    let rendered = ctx.render_thread.render(Arc::clone(cr), wanted).await?;
    Ok(RenderedSpec {
        upgrade: asked.upgrade,
        held_proxy: Some(held),
        ..rendered
    })
}

/// Renders what was applied last, because `why` stands against what a CR asks for: the newest spec that this process carried
/// out, or else the present one in the version that runs. A canary that is under way is left out.
async fn render_what_runs(
    ctx: &Ctx,
    cr: &Arc<StoredCr>,
    asked: &RenderedSpec,
    reason: &'static str,
    why: String,
) -> RenderResult {
    let refused = |errors: Vec<String>| SpecRejection {
        reason,
        errors: std::iter::once(why).chain(errors).collect(),
        // What runs may be upgraded by somebody else.
        is_transient: true,
    };
    let version = asked.asked().version;
    let in_present_spec = match &asked.canary {
        Some(RenderedCanary { canary, .. }) => Some(Wanted::Plane(canary.serving(), version)),
        None if asked.merged.is_canary() => {
            Some(Wanted::Plane(asked.merged.control_plane(), version))
        }
        None => {
            let upgrade = asked.upgrade.as_ref();
            let applied = upgrade.map_or(Some(version), |upgrade| upgrade.applied);
            let is_known = |version: &Version| ctx.charts.catalogue().knows(*version);
            applied.filter(is_known).map(Wanted::Version)
        }
    };
    let held_proxy = cr
        .status
        .as_ref()
        .and_then(|status| status.held_proxy.clone());
    let as_it_runs = match &held_proxy {
        Some(held) => Wanted::WithProxy(held.image.clone()),
        None => wanted(ctx, cr),
    };
    let carried_out = ctx
        .state()
        .carried_out(cr)
        .filter(|_| asked.canary.is_none());
    let mut rendered = None;
    if let Some(carried_out) = carried_out {
        let carried_out = ctx.render_thread.render(carried_out, as_it_runs).await;
        rendered = carried_out.ok();
    }
    let rendered = match (rendered, in_present_spec) {
        (Some(rendered), _) => rendered,
        (None, None) => return Err(refused(Vec::new())),
        (None, Some(wanted)) => {
            let rendered = ctx.render_thread.render(Arc::clone(cr), wanted).await;
            rendered.map_err(|rejection| refused(rejection.errors))?
        }
    };
    Ok(RenderedSpec {
        held_proxy,
        ..rendered
    })
}
