//! What a command finds in a cluster, as the controller would: the IstioOperators, what they render, and the objects.
//!
//! A user may lack rights that the operator has. What could not be looked at is named, and the rest is used.

use std::time::Instant;

use futures::{StreamExt, stream};
use istio_operator::api::{Annotations, IstioOperator, StoredCr};
use istio_operator::charts::Charts;
use istio_operator::cluster::{
    CrKey, DesiredInventory, KINDS, LastApplied, Live, TagMode, TagRequest,
};
use istio_operator::controller::{RenderedSpec, render_beside};
use istio_operator::dataplane::Verdicts;
use istio_operator::merge::Cluster;
use istio_operator::plan::{PlanInput, keys};
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};

use super::Failure;
use super::connection::Connection;
use super::list::list_objects;

/// Lists that are under way at once.
const PARALLEL: usize = 8;

/// What was found in a cluster.
pub(super) struct Observed {
    pub(super) crs: Vec<StoredCr>,
    pub(super) live: Live,
    pub(super) desired: DesiredInventory,
    /// What could not be looked at, and why.
    pub(super) unknown: Vec<String>,
}

impl Observed {
    /// Whether the cluster has the resource. An answer that is refused says that it has.
    pub(super) async fn serves_crs(connection: &Connection) -> bool {
        let all: Api<StoredCr> = Api::all(connection.client.clone());
        let listed = all.list(&ListParams::default().limit(1)).await;
        !listed.is_err_and(|error| is_not_served(&error))
    }

    /// Looks at the `IstioOperator`s alone.
    pub(super) async fn of_crs(connection: &Connection) -> Self {
        let mut unknown = Vec::new();
        let crs = match crs(connection).await {
            Ok(crs) => crs,
            Err(why) => {
                unknown.push(why);
                Vec::new()
            }
        };
        Self {
            crs,
            live: Live::default(),
            desired: DesiredInventory::new(None),
            unknown,
        }
    }

    /// Looks at the `IstioOperator`s and the objects.
    pub(super) async fn look(connection: &Connection) -> Self {
        let mut observed = Self::of_crs(connection).await;
        observed.list(&connection.client).await;
        observed
    }

    /// Looks at all that, and finds out what every `IstioOperator` renders.
    pub(super) async fn read(connection: &Connection, charts: &Charts) -> Result<Self, Failure> {
        let mut observed = Self::look(connection).await;
        observed.render_others(connection.cluster(), charts);
        Ok(observed)
    }

    /// Reads the objects again, as they are now.
    pub(super) async fn list(&mut self, client: &Client) {
        let watched = KINDS.iter().filter(|kind| kind.is_watched());
        let lists = watched.map(|kind| async move { (kind, list_objects(client, kind).await) });
        let lists: Vec<_> = stream::iter(lists)
            .buffer_unordered(PARALLEL)
            .collect()
            .await;
        for (kind, listed) in lists {
            match listed {
                Ok(objects) => {
                    let before = self.live.keys_of(kind.group, kind.kind);
                    let now: Vec<_> = objects.iter().map(|(key, _)| key.clone()).collect();
                    for gone in before.iter().filter(|key| !now.contains(key)) {
                        self.live.remove(gone);
                    }
                    for (key, object) in objects {
                        self.live.put(key, object);
                    }
                }
                Err(error) => {
                    let why = said(&error);
                    self.unknown.push(format!("{}: {why}", kind.plural));
                }
            }
        }
        self.unknown.sort();
        self.unknown.dedup();
    }

    /// What the operator renders for an IstioOperator, beside the control planes that it has here.
    pub(super) fn rendered(
        &self,
        cr: &IstioOperator,
        cluster: Cluster,
        charts: &Charts,
    ) -> Result<RenderedSpec, Failure> {
        render_beside(cr, &self.live, cluster, charts).map_err(Failure::Input)
    }

    /// Finds out what every IstioOperator of the cluster renders.
    fn render_others(&mut self, cluster: Cluster, charts: &Charts) {
        for cr in &self.crs {
            let key = CrKey::of(cr);
            if cr.metadata.deletion_timestamp.is_some() {
                self.desired.mark_deleting(&key);
                continue;
            }
            self.desired.add_cr(&key);
            let is_readable = cr.field_errors().is_empty();
            match render_beside(cr, &self.live, cluster, charts) {
                Ok(spec) if is_readable => {
                    let is_paused = Annotations::read(cr.annotations()).is_paused;
                    note(&mut self.desired, &key, &spec, is_paused);
                }
                _ => self.desired.mark_unreadable(&key, None),
            }
        }
    }

    /// Takes in what an IstioOperator renders that is to be applied.
    pub(super) fn expect(&mut self, key: &CrKey, spec: &RenderedSpec) {
        self.desired.add_cr(key);
        note(&mut self.desired, key, spec, false);
    }

    /// What a plan for an IstioOperator is made of. Nobody looked who uses old revisions, so the plan leaves them alone.
    pub(super) fn plan_input<'a>(
        &'a self,
        cr: &'a CrKey,
        annotations: &'a Annotations,
        last_applied: &'a LastApplied,
    ) -> PlanInput<'a> {
        static NOBODY_LOOKED: Verdicts = Verdicts::new();
        PlanInput {
            cr,
            annotations,
            live: &self.live,
            last_applied,
            desired: &self.desired,
            verdicts: &NOBODY_LOOKED,
            held_by: None,
            unproven: None,
            takes_gateways_in_turn: false,
            now: Instant::now(),
        }
    }

    /// The IstioOperator that a user means: the one of this name, as NAME or NAMESPACE/NAME, or else the only one.
    pub(super) fn cr(
        &self,
        name: Option<&str>,
        connection: &Connection,
    ) -> Result<&StoredCr, Failure> {
        let (namespace, name) = match name.and_then(|name| name.split_once('/')) {
            Some((namespace, name)) => (Some(namespace), Some(name)),
            None => (connection.namespace.as_deref(), name),
        };
        let is_meant = |cr: &&StoredCr| {
            let key = CrKey::of(cr);
            namespace.is_none_or(|wanted| key.namespace == wanted)
                && name.is_none_or(|wanted| key.name == wanted)
        };
        let found: Vec<_> = self.crs.iter().filter(is_meant).collect();
        let known = |crs: &mut dyn Iterator<Item = &StoredCr>| {
            crs.map(|cr| CrKey::of(cr).to_string())
                .collect::<Vec<_>>()
                .join(", ")
        };
        match found.as_slice() {
            [one] => Ok(one),
            [] if self.crs.is_empty() => Err(self.no_crs()),
            [] => Err(Failure::input(format_args!(
                "there is no such IstioOperator; there are {}",
                known(&mut self.crs.iter())
            ))),
            several => Err(Failure::input(format_args!(
                "there are several IstioOperators: {}; name one as NAMESPACE/NAME",
                known(&mut several.iter().copied())
            ))),
        }
    }

    /// Why no IstioOperator is known.
    fn no_crs(&self) -> Failure {
        match self.unknown.iter().find(|why| why.starts_with(CRS)) {
            Some(why) => Failure::Input(vec![why.clone()]),
            None => Failure::input("there is no IstioOperator in this cluster"),
        }
    }
}

/// What [`Observed::unknown`] calls IstioOperators.
const CRS: &str = "istiooperators";

fn note(desired: &mut DesiredInventory, key: &CrKey, spec: &RenderedSpec, is_paused: bool) {
    let mut request = TagRequest::of(&spec.merged, &spec.rendered);
    if is_paused {
        request.mode = TagMode::Keep;
    }
    desired.set_tag_request(key, request);
    desired.set_objects(key, keys(&spec.rendered));
}

/// All IstioOperators; if that is refused, those of the namespace that was asked for or that is the user's.
async fn crs(connection: &Connection) -> Result<Vec<StoredCr>, String> {
    let all: Api<StoredCr> = Api::all(connection.client.clone());
    let why = match all.list(&ListParams::default()).await {
        Ok(list) => return Ok(list.items),
        Err(error) if is_not_served(&error) => return Ok(Vec::new()),
        Err(error) => said(&error),
    };
    let own: Api<StoredCr> =
        Api::namespaced(connection.client.clone(), &connection.default_namespace);
    match own.list(&ListParams::default()).await {
        Ok(list) if !list.items.is_empty() => Ok(list.items),
        _ => Err(format!("{CRS}: {why}")),
    }
}

pub(super) fn is_not_served(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// What the API server says, or else what went wrong on the way to it.
pub(super) fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}
