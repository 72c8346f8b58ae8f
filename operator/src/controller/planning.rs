//! `istio-operator plan`: what the operator would do with one CR, found out without it.
//!
//! It looks at the same things as a pass and comes to the same digest.

use std::sync::Arc;
use std::time::Duration;

use kube::Config;
use kube::api::{Api, ListParams};

use super::list::list_objects;
use super::rendering::Wanted;
use super::state::{State, annotations_of};
use super::{Error, approval, canary, client, connect, rendering};
use crate::api::{IstioOperator, StoredCr};
use crate::apply::{Sender, preview};
use crate::charts::Charts;
use crate::cluster::{CrKey, KINDS, Live};
use crate::merge::{Cluster, Merged};
use crate::plan::{ControlPlanes, Precheck, Preview, target_of};
use crate::render::Rendered;

/// The CR to plan for.
#[derive(Debug)]
pub enum Asked {
    /// One that the cluster has.
    Stored {
        /// Its namespace; that of the kubeconfig if absent.
        namespace: Option<String>,
        /// Its name.
        name: String,
    },
    /// One that may be applied to the cluster.
    Given(Box<IstioOperator>),
}

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
pub fn plan_for(asked: Asked, charts: &Charts) -> Result<Planned, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(plan_in_cluster(asked, charts))
}

async fn plan_in_cluster(asked: Asked, charts: &Charts) -> Result<Planned, Error> {
    let config = Config::infer()
        .await
        .map_err(|error| Error::Unreachable(error.to_string()))?;
    let (client, cluster) = connect(client(config)?).await?;
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
    let cr = chosen(asked, client.default_namespace(), &mut state)?;
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
    let objects =
        objects.map_err(|(object, error)| Error::Input(vec![format!("{object}: {error}")]))?;
    Ok(Planned {
        cr: key,
        preview: Preview::of(objects, target, upgrade.as_ref()),
        refusal: upgrade.as_ref().and_then(Precheck::refusal),
    })
}

/// The CR that is asked for, as it would be in the cluster.
fn chosen(asked: Asked, namespace: &str, state: &mut State) -> Result<Arc<StoredCr>, Error> {
    let (key, given) = match asked {
        Asked::Stored {
            namespace: named,
            name,
        } => {
            let namespace = named.unwrap_or_else(|| namespace.to_owned());
            (CrKey { namespace, name }, None)
        }
        Asked::Given(mut cr) => {
            let metadata = &mut cr.metadata;
            metadata
                .namespace
                .get_or_insert_with(|| namespace.to_owned());
            (CrKey::of(&cr), Some(*cr))
        }
    };
    let stored = state.cr(&key);
    let Some(given) = given else {
        let absent = || Error::Input(vec![format!("there is no IstioOperator {key}")]);
        return stored.ok_or_else(absent);
    };
    let mut cr = StoredCr::from(given);
    if let Some(stored) = stored {
        cr.metadata.uid.clone_from(&stored.metadata.uid);
        cr.status.clone_from(&stored.status);
    }
    state.put_cr(cr.clone(), true);
    Ok(Arc::new(cr))
}

fn refused(error: kube::Error) -> Error {
    match error {
        kube::Error::Api(status) => Error::Input(vec![status.message.clone()]),
        error => Error::Unreachable(error.to_string()),
    }
}
