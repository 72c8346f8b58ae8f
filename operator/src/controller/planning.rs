//! `istio-operator plan`: what the operator would do with one CR, found out without it.
//!
//! It looks at the same things as a pass and comes to the same digest.

use std::sync::Arc;

use super::rendering::{RenderedSpec, Wanted};
use super::state::{State, annotations_of};
use super::{approval, canary, rendering};
use crate::api::{IstioOperator, StoredCr};
use crate::apply::{ApplyError, Sender, preview};
use crate::charts::Charts;
use crate::cluster::{CrKey, Live};
use crate::merge::Cluster;
use crate::plan::{ControlPlanes, Precheck, Preview, target_of};

/// What the operator would do.
#[derive(Debug)]
pub struct Planned {
    /// The CR.
    pub cr: CrKey,
    /// What would change.
    pub preview: Preview,
    /// Why nothing would be done.
    pub refusal: Option<String>,
}

/// What the operator renders for a CR in a cluster that holds `live`. The error has a line for everything that is wrong.
pub fn render_beside(
    cr: &IstioOperator,
    live: &Live,
    cluster: Cluster,
    charts: &Charts,
) -> Result<RenderedSpec, Vec<String>> {
    let wanted = Wanted::Spec(ControlPlanes::of(cr, live));
    rendered(cr, &wanted, cluster, charts)
}

/// What the operator renders for a CR once the canary that `beside` has next to another control plane is promoted; none if it
/// has none. The error has a line for everything that is wrong.
pub fn render_promoted(
    cr: &IstioOperator,
    beside: &RenderedSpec,
    cluster: Cluster,
    charts: &Charts,
) -> Result<Option<RenderedSpec>, Vec<String>> {
    let Some(canary) = beside.unpromoted() else {
        return Ok(None);
    };
    let alone = rendered(cr, &canary::alone(canary), cluster, charts)?;
    Ok(Some(canary::promoted(alone, canary)))
}

fn rendered(
    cr: &IstioOperator,
    wanted: &Wanted,
    cluster: Cluster,
    charts: &Charts,
) -> Result<RenderedSpec, Vec<String>> {
    let cr = StoredCr::from(cr.clone());
    let rendered = rendering::render_spec(&cr, wanted, cluster, charts);
    rendered.map_err(|rejection| rejection.errors)
}

/// Finds out what the operator would do with a CR in a cluster that holds `live` and the CRs `stored`. The error has a line for
/// everything that stands against it.
pub async fn plan_for(
    cr: StoredCr,
    (stored, live): (Vec<StoredCr>, Live),
    sender: &Sender,
    cluster: Cluster,
    charts: &Charts,
) -> Result<Planned, Vec<String>> {
    let mut state = State::new(None, std::iter::empty());
    state.live = live;
    for cr in stored {
        state.put_cr(cr, true);
    }
    let cr = put_given(cr, &mut state);
    for known in state.all_crs() {
        let wanted = Wanted::Spec(ControlPlanes::of(&known, &state.live));
        let rendered = rendering::render_spec(&known, &wanted, cluster, charts);
        match &rendered {
            Ok(rendered) if annotations_of(&known).is_paused => {
                state.set_paused(&CrKey::of(&known), &rendered.merged, &rendered.rendered)
            }
            Ok(rendered) => {
                state.set_rendered(&CrKey::of(&known), &rendered.merged, &rendered.rendered)
            }
            Err(_) => state.mark_unreadable(&known),
        };
    }
    let render = |wanted| {
        let rendered = rendering::render_spec(&cr, &wanted, cluster, charts);
        rendered.map_err(|rejection| rejection.errors)
    };
    let mut rendered = render(Wanted::Spec(ControlPlanes::of(&cr, &state.live)))?;
    let mut upgrade = approval::precheck(&cr, &rendered, &state, charts.catalogue());
    if let Some(upgrade) = &mut upgrade {
        let seen = sender.surroundings(&rendered.rendered).await;
        upgrade.look_around(rendered.asked(), &rendered.rendered, &state.live, &seen);
    }
    if let Some(wanted) = canary::promotion(&state, &rendered) {
        rendered = render(wanted)?;
    }
    let target = target_of(&rendered.rendered);
    let key = CrKey::of(&cr);
    let draft = approval::draft(&mut state, &key, &annotations_of(&cr), &rendered);
    let objects = preview(sender, &draft).await;
    let objects = objects.map_err(|(object, error)| {
        let hint = match error {
            ApplyError::Forbidden(_) => {
                "; a plan is made of dry runs, which need the rights to write, and istio-operator diff does without them"
            }
            _ => "",
        };
        vec![format!("{object}: {error}{hint}")]
    })?;
    Ok(Planned {
        cr: key,
        preview: Preview::of(objects, target, upgrade.as_ref()),
        refusal: upgrade.as_ref().and_then(Precheck::refusal),
    })
}

/// Takes in the CR that may be applied, as it would be in the cluster.
fn put_given(mut cr: StoredCr, state: &mut State) -> Arc<StoredCr> {
    if let Some(stored) = state.cr(&CrKey::of(&cr)) {
        cr.metadata.uid.clone_from(&stored.metadata.uid);
        cr.status.clone_from(&stored.status);
    }
    state.put_cr(cr.clone(), true);
    Arc::new(cr)
}
