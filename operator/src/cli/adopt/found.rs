//! Finds out what an installation consists of.

use std::collections::BTreeSet;
use std::fmt;

use istio_operator::api::{ComponentKind, RawSpec, StoredCr};
use istio_operator::catalogue::Version;
use istio_operator::charts::{Charts, yaml};
use istio_operator::cluster::{CrKey, LiveObject};
use istio_operator::merge::{SpecKind, migrate};
use istio_operator::render::ObjectKey;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::Api;
use kube::core::ObjectMeta;
use serde_json::{Value, json};

use super::{ADOPT, settings};
use crate::cli::Failure;
use crate::cli::connection::Connection;
use crate::cli::observed::{Observed, said};

/// An installation.
pub(super) struct Found {
    /// The namespace of istiod.
    pub(super) namespace: String,
    /// The revision, as labels have it.
    pub(super) revision: String,
    pub(super) version: Version,
    /// What istiod was installed with: the values of its chart.
    pub(super) values: Value,
    /// The gateways of each list.
    pub(super) ingress: Vec<Gateway>,
    pub(super) egress: Vec<Gateway>,
    /// The node agents, and their namespaces.
    pub(super) cni: Option<String>,
    pub(super) ztunnel: Option<String>,
    /// The record of istioctl or of the former operator.
    record: Option<StoredCr>,
    owner: CrKey,
}

/// A gateway.
pub(super) struct Gateway {
    pub(super) name: String,
    pub(super) namespace: String,
    /// What its Deployment selects its pods by.
    pub(super) selector: Value,
}

/// What the names of records begin with that istioctl and the former operator wrote.
const RECORD: &str = "installed-state";
/// The name of an IstioOperator where nothing names one.
const NAME: &str = "istio";
/// The owner of what was installed without a name.
const NOBODY: &str = "unknown";
/// The revision without a name, as labels have it.
pub(super) const DEFAULT: &str = "default";

impl Found {
    /// Looks at the only control plane, or at that of `revision`.
    pub(super) async fn look(
        revision: Option<&str>,
        observed: &Observed,
        connection: &Connection,
        charts: &Charts,
    ) -> Result<Self, Failure> {
        let (key, istiod) = istiod(revision, observed)?;
        let namespace = key.namespace.clone().unwrap_or_default();
        let revision = istiod.owner_labels.revision.as_deref().unwrap_or(DEFAULT);
        let of = |kind| workloads(observed, kind, revision);
        let (mut ingress, mut egress) = (Vec::new(), Vec::new());
        for (kind, gateways) in [
            (ComponentKind::IngressGateways, &mut ingress),
            (ComponentKind::EgressGateways, &mut egress),
        ] {
            for key in of(kind) {
                gateways.push(Gateway::read(key, connection).await?);
            }
        }
        let agent = |kind| of(kind).first().and_then(|key| key.namespace.clone());
        let owner = istiod.owner_labels.owner.as_ref();
        let owner = owner.filter(|owner| owner.name != NOBODY && !owner.name.starts_with(RECORD));
        let owner = owner.cloned().unwrap_or_else(|| CrKey {
            namespace: namespace.clone(),
            name: match revision {
                DEFAULT => NAME.to_owned(),
                revision => format!("{NAME}-{revision}"),
            },
        });
        Ok(Self {
            version: version(key, istiod, connection, charts).await?,
            values: values(&namespace, revision, connection).await?,
            ingress,
            egress,
            cni: agent(ComponentKind::Cni),
            ztunnel: agent(ComponentKind::Ztunnel),
            record: record(revision, observed),
            owner,
            revision: revision.to_owned(),
            namespace,
        })
    }

    /// An IstioOperator like it, as far as records and values tell.
    pub(super) fn istio_operator(&self, charts: &Charts) -> Result<StoredCr, Failure> {
        let spec = match &self.record {
            Some(record) => {
                let mut spec = migrate(&record.spec.0, SpecKind::IstioOperator, charts).spec;
                spec["version"] = self.version.minor_text().into();
                spec
            }
            None => settings::spec(self, charts)?,
        };
        let metadata = ObjectMeta {
            name: Some(self.owner.name.clone()),
            namespace: Some(self.owner.namespace.clone()),
            annotations: Some([(ADOPT.to_owned(), "true".to_owned())].into()),
            ..ObjectMeta::default()
        };
        let mut cr = istio_operator::api::IstioOperator::new(&self.owner.name, RawSpec(spec));
        cr.metadata = metadata;
        Ok(cr.into())
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            version,
            revision,
            namespace,
            ..
        } = self;
        write!(f, "Istio {version} of revision {revision} in {namespace}")
    }
}

/// The istiod that is meant.
fn istiod<'o>(
    revision: Option<&str>,
    observed: &'o Observed,
) -> Result<(&'o ObjectKey, &'o LiveObject), Failure> {
    let is_istiod = |(key, object): &(&ObjectKey, &LiveObject)| {
        key.kind == "Deployment" && object.owner_labels.component == Some(ComponentKind::Pilot)
    };
    let revision_of = |object: &LiveObject| {
        let revision = object.owner_labels.revision.as_deref();
        revision.unwrap_or(DEFAULT).to_owned()
    };
    let all: Vec<_> = observed.live.iter().filter(is_istiod).collect();
    let is_meant = |(_, object): &(&ObjectKey, &LiveObject)| {
        revision.is_none_or(|wanted| revision_of(object) == wanted)
    };
    let mut meant = all.iter().copied().filter(is_meant);
    let known: BTreeSet<_> = all.iter().map(|(_, object)| revision_of(object)).collect();
    let known = known.into_iter().collect::<Vec<_>>().join(", ");
    match (meant.next(), meant.next()) {
        (Some(one), None) => Ok(one),
        (Some(_), Some(_)) => Err(Failure::input(format_args!(
            "several control planes are installed: {known}; name one with --revision"
        ))),
        (None, _) if !known.is_empty() => Err(Failure::input(format_args!(
            "no control plane of this revision is installed; there are {known}"
        ))),
        (None, _) if !observed.unknown.is_empty() => Err(Failure::Input(observed.unknown.clone())),
        (None, _) => Err(Failure::input(
            "no istiod is installed whose labels say what it is; istio-operator check tells more of the cluster",
        )),
    }
}

/// The workloads of a component, sorted by name. Gateways of other revisions are not counted.
fn workloads<'o>(
    observed: &'o Observed,
    kind: ComponentKind,
    revision: &str,
) -> Vec<&'o ObjectKey> {
    let is_workload = |key: &ObjectKey| matches!(key.kind.as_str(), "Deployment" | "DaemonSet");
    let found = observed.live.iter().filter(|(key, object)| {
        let own = object.owner_labels.revision.as_deref().unwrap_or(revision);
        is_workload(key) && object.owner_labels.component == Some(kind) && own == revision
    });
    let mut found: Vec<_> = found.map(|(key, _)| key).collect();
    found.sort();
    found
}

/// The record of an installation.
fn record(revision: &str, observed: &Observed) -> Option<StoredCr> {
    let crs = observed.crs.iter();
    let mut records = crs.filter(|cr| CrKey::of(cr).name.starts_with(RECORD));
    let own = |cr: &&StoredCr| cr.spec.0["revision"].as_str().unwrap_or(DEFAULT) == revision;
    records.find(own).cloned()
}

/// The version of istiod, by its label or else by its image.
async fn version(
    key: &ObjectKey,
    istiod: &LiveObject,
    connection: &Connection,
    charts: &Charts,
) -> Result<Version, Failure> {
    let version = if let Some(version) = istiod.istio_version() {
        version
    } else {
        let deployment = get::<Deployment>(key, connection).await?;
        let pods = deployment.spec.and_then(|spec| spec.template.spec);
        let containers = pods.map(|pods| pods.containers).unwrap_or_default();
        let mut images = containers.iter().filter_map(|one| one.image.as_deref());
        let version = images.find_map(Version::of_image);
        version.ok_or_else(|| {
            Failure::input(format_args!(
                "{key}: neither label nor image tell its version"
            ))
        })?
    };
    if charts.catalogue().release(version.minor).is_none() {
        let known = charts.catalogue().known();
        return Err(Failure::input(format_args!(
            "{key} is of Istio {version}, and this operator installs {known}: upgrade to one of these first, or rewrite the \
             file that it was installed from with istio-operator migrate"
        )));
    }
    Ok(version)
}

async fn get<K>(key: &ObjectKey, connection: &Connection) -> Result<K, Failure>
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
    K::DynamicType: Default,
{
    let namespace = key.namespace.as_deref().unwrap_or_default();
    let api: Api<K> = Api::namespaced(connection.client.clone(), namespace);
    let found = api.get(&key.name).await;
    found.map_err(|error| Failure::input(format_args!("{key}: {}", said(&error))))
}

/// The values that istiod was installed with: those that its chart leaves in the cluster since 1.26, or those of its injector
/// with the mesh settings.
async fn values(
    namespace: &str,
    revision: &str,
    connection: &Connection,
) -> Result<Value, Failure> {
    let api: Api<ConfigMap> = Api::namespaced(connection.client.clone(), namespace);
    let name = |base: &str| match revision {
        DEFAULT => base.to_owned(),
        revision => format!("{base}-{revision}"),
    };
    let text = async |base: &str, key: &str| {
        let name = name(base);
        let found = api.get_opt(&name).await;
        let found = found.map_err(|error| {
            Failure::input(format_args!(
                "ConfigMap {namespace}/{name}: {}",
                said(&error)
            ))
        })?;
        let data = found.and_then(|found| found.data).unwrap_or_default();
        Ok::<_, Failure>(data.get(key).cloned())
    };
    let read = |text: &str| {
        yaml::parse::<Value>(text).map_err(|error| {
            let why = error.message;
            Failure::input(format_args!("the values of istiod in {namespace}: {why}"))
        })
    };
    if let Some(values) = text("values", "original-values").await? {
        return read(&values);
    }
    let mut values = match text("istio-sidecar-injector", "values").await? {
        Some(values) => read(&values)?,
        None => json!({}),
    };
    if let Some(mesh) = text("istio", "mesh").await? {
        values["meshConfig"] = read(&mesh)?;
    }
    Ok(values)
}

impl Gateway {
    async fn read(key: &ObjectKey, connection: &Connection) -> Result<Self, Failure> {
        let deployment = get::<Deployment>(key, connection).await?;
        let selector = deployment.spec.map(|spec| spec.selector.match_labels);
        Ok(Self {
            name: key.name.clone(),
            namespace: key.namespace.clone().unwrap_or_default(),
            selector: json!(selector.flatten().unwrap_or_default()),
        })
    }
}
