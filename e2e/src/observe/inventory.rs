//! The objects that the operator made. The API server is asked for every kind that it serves, so no list of kinds can
//! miss one.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, TryStreamExt, stream};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, ListParams, ResourceExt},
    discovery::{ApiGroup, Discovery, Scope, verbs},
};
use serde_json::Value;

use crate::{error::Error, observe::managed_fields};

/// The field manager of all that the operator applies.
pub const MANAGER: &str = "istio-operator";

/// The label that names the CR of an object.
pub const OWNER: &str = "install.operator.istio.io/owning-resource";

/// How many lists run at once.
const PARALLEL: usize = 8;

/// An object with what it takes to ask for it again.
#[derive(Clone, Debug)]
pub struct Item {
    /// Its kind.
    pub resource: ApiResource,
    /// The object.
    pub object: DynamicObject,
}

/// The kinds of a cluster.
#[derive(Clone)]
pub struct Inventory {
    client: Client,
    resources: Vec<ApiResource>,
}

/// Objects by what they are called, without what differs from one run to another.
pub type Snapshot = BTreeMap<String, Value>;

impl Inventory {
    /// Asks the API server which kinds it serves.
    pub(crate) async fn discover(client: Client) -> Result<Self, Error> {
        let discovery = Discovery::new(client.clone()).run_aggregated().await?;
        let mut resources: Vec<_> = discovery
            .groups()
            .flat_map(ApiGroup::recommended_resources)
            .filter(|(_, capabilities)| capabilities.supports_operation(verbs::LIST))
            .map(|(resource, _)| resource)
            .collect();
        // Events expire by themselves, and the operator manages fields of every CR.
        resources.retain(|resource| !["Event", "IstioOperator"].contains(&&*resource.kind));
        Ok(Self { client, resources })
    }

    /// All objects with an owner label that the operator applied, sorted by name. Endpoints are none of them, although
    /// Kubernetes copies the labels of their Service to them.
    pub async fn owned(&self) -> Result<Vec<Item>, Error> {
        self.applied(&ListParams::default().labels(OWNER)).await
    }

    /// All objects that the operator applied or created, owner label or not.
    pub async fn touched(&self) -> Result<Vec<Item>, Error> {
        self.applied(&ListParams::default()).await
    }

    /// All objects, whoever made them.
    pub async fn everything(&self) -> Result<Vec<Item>, Error> {
        self.list(&ListParams::default()).await
    }

    async fn applied(&self, params: &ListParams) -> Result<Vec<Item>, Error> {
        let mut items = self.list(params).await?;
        items.retain(Item::is_by_operator);
        Ok(items)
    }

    async fn list(&self, params: &ListParams) -> Result<Vec<Item>, Error> {
        let lists = self.resources.iter().map(|resource| async move {
            let api: Api<DynamicObject> = Api::all_with(self.client.clone(), resource);
            let objects = api.list(params).await?.items;
            Ok::<_, Error>((resource, objects))
        });
        let lists: Vec<_> = stream::iter(lists)
            .buffer_unordered(PARALLEL)
            .try_collect()
            .await?;
        let mut items: Vec<_> = lists
            .into_iter()
            .flat_map(|(resource, objects)| {
                let item = |object| Item {
                    resource: resource.clone(),
                    object,
                };
                objects.into_iter().map(item)
            })
            .collect();
        items.sort_by_key(Item::name);
        Ok(items)
    }
}

impl Item {
    /// Kind, namespace and name, such as `Deployment istio-system/istiod`.
    #[must_use]
    pub fn name(&self) -> String {
        let Self { resource, object } = self;
        let name = object.name_any();
        match object.namespace() {
            Some(namespace) => format!("{} {namespace}/{name}", resource.kind),
            None => format!("{} {name}", resource.kind),
        }
    }

    fn is_by_operator(&self) -> bool {
        let mut managers = self.object.managed_fields().iter();
        managers.any(|entry| entry.manager.as_deref() == Some(MANAGER))
    }

    /// The API of its kind, in its namespace.
    #[must_use]
    pub fn api(&self, client: Client) -> Api<DynamicObject> {
        let scope = match self.object.namespace() {
            Some(_) => Scope::Namespaced,
            None => Scope::Cluster,
        };
        let namespace = self.object.namespace().unwrap_or_default();
        Api::dynamic(client, &self.resource, &scope).constrain(&namespace)
    }
}

/// Objects by name, each as [`settled`].
#[must_use]
pub fn snapshot(items: &[Item]) -> Snapshot {
    items
        .iter()
        .map(|item| (item.name(), settled(&item.object)))
        .collect()
}

/// What an object says, without what the cluster adds to it by itself and what differs each time:
/// identity and history, status, allocated addresses and ports, and the replicas that an autoscaler
/// chose.
#[must_use]
pub fn settled(object: &DynamicObject) -> Value {
    let mut value = serde_json::to_value(object).unwrap_or_default();
    let ours = managed_fields::owned(object, MANAGER);
    let mut remove = |pointer: &str| managed_fields::remove(&mut value, pointer);
    for name in [
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "managedFields",
    ] {
        remove(&format!("/metadata/{name}"));
    }
    remove("/metadata/annotations/deployment.kubernetes.io~1revision");
    remove("/status");
    let ports = object.data.pointer("/spec/ports").and_then(Value::as_array);
    let node_ports =
        (0..ports.map_or(0, Vec::len)).map(|port| format!("/spec/ports/{port}/nodePort"));
    let allocated = ["/spec/clusterIP", "/spec/clusterIPs", "/spec/replicas"].map(String::from);
    for pointer in allocated.into_iter().chain(node_ports) {
        if !ours.iter().any(|field| field.pointer == pointer) {
            remove(&pointer);
        }
    }
    value
}

/// What differs between two snapshots, one line for each object.
#[must_use]
pub fn differences(expected: &Snapshot, found: &Snapshot) -> Vec<String> {
    let names: BTreeSet<_> = expected.keys().chain(found.keys()).collect();
    let mut lines = Vec::new();
    for name in names {
        match (expected.get(name), found.get(name)) {
            (Some(_), None) => lines.push(format!("{name} is missing")),
            (None, Some(_)) => lines.push(format!("{name} is too many")),
            (Some(expected), Some(found)) if expected != found => {
                let differing = managed_fields::differing(expected, found, "");
                lines.push(format!("{name} differs: {}", differing.join(", ")));
            }
            _ => {}
        }
    }
    lines
}
