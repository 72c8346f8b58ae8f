//! What a change does is told before it is done, and where a person decides, it waits for approval.
//!
//! The status remembers the manifests that may be applied. So a plan is agreed to once, and goes on to its end although
//! less and less of it is left, also after a restart of the operator.

use std::time::Instant;

use super::ctx::Ctx;
use super::rendering::RenderedSpec;
use super::state::{State, annotations_of};
use crate::api::{Annotations, IstioOperator, PlanState, PlanStatus};
use crate::apply;
use crate::catalogue::Catalogue;
use crate::cluster::{CrKey, TagRequest, revision_label};
use crate::plan::{Plan, Precheck, Preview, plan, target_of};

/// What stands against the change of the version that a CR asks for, if it asks for one.
pub(super) fn precheck(
    cr: &IstioOperator,
    asked: &RenderedSpec,
    state: &State,
    catalogue: &Catalogue,
) -> Option<Precheck> {
    let revision = revision_label(&asked.asked().revision);
    let proxies = state.served_proxies(&CrKey::of(cr), revision);
    asked.precheck(cr, &state.live, catalogue, &proxies)
}

/// What the change to `rendered` does, and whether it may be done; none if that is not known, and nothing has to wait for
/// it.
pub(super) async fn agree(
    ctx: &Ctx,
    key: &CrKey,
    cr: &IstioOperator,
    rendered: &RenderedSpec,
) -> Option<PlanStatus> {
    let is_refused = rendered.upgrade.as_ref().is_some_and(Precheck::is_refused);
    if is_refused || rendered.rollback.is_some() {
        return None;
    }
    // What is installed beside the control plane that serves changes no version yet.
    let upgrade = rendered.upgrade.as_ref();
    let upgrade = upgrade.filter(|_| rendered.unpromoted().is_none());
    let target = target_of(&rendered.rendered);
    let shown = cr.status.as_ref().and_then(|status| status.plan.as_ref());
    let is_agreed =
        |shown: &&PlanStatus| shown.target == target && shown.state != PlanState::AwaitingApproval;
    if let Some(shown) = shown.filter(is_agreed) {
        return Some(shown.clone());
    }
    let annotations = annotations_of(cr);
    let is_manual = cr.update_strategy().is_manual();
    let draft = draft(&mut ctx.state(), key, &annotations, rendered);
    if !is_manual && upgrade.is_none() {
        match apply::touches_workloads(&ctx.sender, &draft).await {
            Ok(true) => {}
            Ok(false) => return Some(Preview::harmless(target)),
            Err(_) => return None, // The pass itself tells it.
        }
    }
    match apply::preview(&ctx.sender, &draft).await {
        Ok(objects) => {
            let preview = Preview::of(objects, target, upgrade);
            let state = if is_manual && preview.awaits_approval(&annotations) {
                PlanState::AwaitingApproval
            } else {
                PlanState::UnderWay
            };
            Some(preview.status(state))
        }
        Err(_) if !is_manual => None, // The pass itself tells it.
        Err((object, error)) => Some(PlanStatus {
            target,
            summary: format!("not known yet: {object}: {error}"),
            ..PlanStatus::default()
        }),
    }
}

/// The plan of everything that `rendered` changes, to look at.
pub(super) fn draft(
    state: &mut State,
    key: &CrKey,
    annotations: &Annotations,
    rendered: &RenderedSpec,
) -> Plan {
    let now = Instant::now();
    // A promotion takes the default tag along.
    let tag_request = TagRequest::of(&rendered.merged, &rendered.rendered);
    let before = state.desired.set_tag_request(key, tag_request);
    let verdicts = state.verdicts(key, now);
    let input = state.plan_input(key, annotations, &verdicts, now);
    let plan = plan(&rendered.merged, rendered.rendered.clone(), input);
    if let Some(before) = before {
        state.desired.set_tag_request(key, before);
    }
    plan
}

/// Why nothing of a plan is done; none if it may be done.
pub(super) fn held_by(plan: &PlanStatus) -> Option<String> {
    if plan.state != PlanState::AwaitingApproval {
        return None;
    }
    let PlanStatus {
        digest, summary, ..
    } = plan;
    Some(if is_unknown(plan) {
        format!("what runs stays, because what the change does is {summary}")
    } else {
        format!(
            "what runs stays until the change is approved: {summary}, {} workloads restart; istio-operator plan shows all \
             of it, and the annotation install.istio.io/approve: {digest} carries it out",
            plan.restarts.len()
        )
    })
}

/// Whether it could not be found out what a change does.
pub(super) const fn is_unknown(plan: &PlanStatus) -> bool {
    plan.digest.is_empty()
}
