//! What is kept of each object that may use a revision.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::pod::{Containers, Pod};
use super::sources::Tells;
use super::words::{Word, Words};
use crate::catalogue::Bundle;
use crate::cluster::{DEFAULT, REVISION};
use crate::render::TAG;

/// The label that has pods of a namespace injected by the default tag, or not at all.
const INJECTION: &str = "istio-injection";
/// The label of Istio's namespace where the mesh has several networks, and so several clusters.
const NETWORK: &str = "topology.istio.io/network";
/// The annotation of Istio's namespace that names the clusters whose istiod serves this one.
const CONTROL_PLANE_CLUSTERS: &str = "topology.istio.io/controlPlaneClusters";
/// The annotation of a virtual machine's entry that names the pod of istiod that it is connected to, or was last.
const CONTROLLER: &str = "istio.io/workloadController";

/// The annotation of Gateway API's CRDs that names their bundle.
const BUNDLE: &str = "gateway.networking.k8s.io/bundle-version";

/// What is kept of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    Pod(Pod),
    Namespace(Namespace),
    /// An object of the Gateway API that names its revision or tag.
    Gateway(Word),
    TagService(Tag),
    /// A virtual machine, by the Deployment of its istiod.
    Machine(Word),
    /// A CRD of Gateway API.
    Bundle(Bundle),
}

/// What the labels of a namespace ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Namespace {
    /// The revision or tag that it names.
    pub revision: Option<Word>,
    /// Whether its pods are injected by the default tag.
    pub is_injected: bool,
    /// Whether it says that the mesh has several clusters.
    pub has_clusters: bool,
}

/// A tag, and the revision that it leads to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag {
    /// Its name, such as `prod` or `default`.
    pub name: String,
    /// The revision.
    pub revision: String,
}

impl Record {
    /// Reads an object; none if it has nothing to do with Istio.
    pub(super) fn read(
        tells: Tells,
        meta: &ObjectMeta,
        containers: Option<&Containers>,
        words: &mut Words,
    ) -> Option<Self> {
        let none = BTreeMap::new();
        let labels = meta.labels.as_ref().unwrap_or(&none);
        let annotations = meta.annotations.as_ref().unwrap_or(&none);
        match tells {
            Tells::Pod | Tells::PodWithImage => Pod::read(meta, containers, words).map(Self::Pod),
            Tells::Namespace => {
                let namespace = Namespace {
                    revision: labels.get(REVISION).map(|name| words.word(name)),
                    is_injected: labels.get(INJECTION).is_some_and(|it| it == "enabled"),
                    has_clusters: labels.contains_key(NETWORK)
                        || annotations.contains_key(CONTROL_PLANE_CLUSTERS),
                };
                let tells_something =
                    namespace.revision.is_some() || namespace.is_injected || namespace.has_clusters;
                tells_something.then_some(Self::Namespace(namespace))
            }
            Tells::Gateway => labels
                .get(REVISION)
                .map(|name| Self::Gateway(words.word(name))),
            Tells::TagService => {
                let (name, revision) = labels.get(TAG).zip(labels.get(REVISION))?;
                Some(Self::TagService(Tag {
                    name: name.clone(),
                    revision: revision.clone(),
                }))
            }
            Tells::Bundle => {
                let bundle = annotations.get(BUNDLE)?;
                Bundle::parse(bundle).map(Self::Bundle)
            }
            Tells::Machine => {
                // The name of a pod ends with two hashes.
                let mut parts = annotations.get(CONTROLLER)?.rsplitn(3, '-');
                let deployment = parts.nth(2)?;
                Some(Self::Machine(words.word(deployment)))
            }
        }
    }

    /// The revisions and tags that the object names.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let (first, second) = match self {
            Self::Pod(pod) => (Some(&*pod.revision), None),
            Self::Namespace(namespace) => (
                namespace.revision.as_deref(),
                namespace.is_injected.then_some(DEFAULT),
            ),
            Self::Gateway(name) => (Some(&**name), None),
            Self::TagService(_) | Self::Machine(_) | Self::Bundle(_) => (None, None),
        };
        first.into_iter().chain(second)
    }
}
