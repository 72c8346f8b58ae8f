//! `istio-operator plan`: what the operator would do with one CR, found out without it.
//!
//! It looks at the same things as a pass and comes to the same digest.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use kube::api::{Api, ListParams};

use super::list::list_objects;
use super::rendering::Wanted;
use super::state::{State, annotations_of};
use super::{Error, approval, canary, rendering};
use crate::api::{IstioOperator, StoredCr};
use crate::apply::{ApplyError, Sender, preview};
use crate::charts::Charts;
use crate::cluster::{CrKey, KINDS, Live};
use crate::merge::{Cluster, Merged};
use crate::plan::{ControlPlanes, Precheck, Preview, target_of};
use crate::render::Rendered;

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
) -> Result<(Merged, Rendered), Vec<String>> {
    let wanted = Wanted::Spec(ControlPlanes::of(cr, live));
    let cr = StoredCr::from(cr.clone());
    let rendered = rendering::render_spec(&cr, &wanted, cluster, charts, &|| true);
    rendered
        .map(|rendered| (rendered.merged, rendered.rendered))
        .map_err(|rejection| rejection.errors)
}

/// Finds out what the operator would do with a CR.
pub async fn plan_for(
    cr: IstioOperator,
    client: Client,
    cluster: Cluster,
    charts: &Charts,
) -> Result<Planned, Error> {
    let mut state = State::new(None, std::iter::empty());
    for kind in KINDS.iter().filter(|kind| kind.is_watched()) {
        let objects = list_objects(&client, kind).await;
        for (key, object) in objects.map_err(refused)? {
            state.put_object(&key, object, true);
        }
    }
    let stored: Api<StoredCr> = Api::all(client.clone());
    let stored = stored.list(&ListParams::default()).await;
    for cr in stored.map_err(refused)? {
        state.put_cr(cr, true);
    }
    let cr = put_given(cr, &mut state);
    for known in state.all_crs() {
        let wanted = Wanted::Spec(ControlPlanes::of(&known, &state.live));
        let rendered = rendering::render_spec(&known, &wanted, cluster, charts, &|| true);
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
        let rendered = rendering::render_spec(&cr, &wanted, cluster, charts, &|| true);
        rendered.map_err(|rejection| Error::Input(rejection.errors))
    };
    let mut rendered = render(Wanted::Spec(ControlPlanes::of(&cr, &state.live)))?;
    let upgrade = approval::precheck(&cr, &rendered, &state, charts.catalogue());
    if let Some(wanted) = canary::promotion(&state, &rendered) {
        rendered = render(wanted)?;
    }
    let target = target_of(&rendered.rendered);
    let key = CrKey::of(&cr);
    let draft = approval::draft(&mut state, &key, &annotations_of(&cr), &rendered);
    let sender = Sender::new(client, Arc::new(|| Duration::MAX));
    let objects = preview(&sender, &draft).await;
    let objects = objects.map_err(|(object, error)| {
        let hint = match error {
            ApplyError::Forbidden(_) => {
                "; a plan is made of dry runs, which need the rights to write, and istio-operator diff does without them"
            }
            _ => "",
        };
        Error::Input(vec![format!("{object}: {error}{hint}")])
    })?;
    Ok(Planned {
        cr: key,
        preview: Preview::of(objects, target, upgrade.as_ref()),
        refusal: upgrade.as_ref().and_then(Precheck::refusal),
    })
}

/// Takes in the CR that may be applied, as it would be in the cluster.
fn put_given(given: IstioOperator, state: &mut State) -> Arc<StoredCr> {
    let mut cr = StoredCr::from(given);
    if let Some(stored) = state.cr(&CrKey::of(&cr)) {
        cr.metadata.uid.clone_from(&stored.metadata.uid);
        cr.status.clone_from(&stored.status);
    }
    state.put_cr(cr.clone(), true);
    Arc::new(cr)
}

fn refused(error: kube::Error) -> Error {
    match error {
        kube::Error::Api(status) => Error::Input(vec![status.message.clone()]),
        error => Error::Unreachable(error.to_string()),
    }
}
