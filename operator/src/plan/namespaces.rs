//! The namespaces that objects need.

use std::collections::BTreeSet;

use super::ObjectToApply;
use crate::cluster::Live;
use crate::merge::Merged;

/// A namespace that has to exist. It is created if absent and otherwise not touched, and it carries no owner label, so
/// nothing ever prunes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// The network of its pods, for the label `topology.istio.io/network`.
    pub network: Option<String>,
}

/// The namespaces of what is sent that are not known to exist.
pub(super) fn namespaces<'a>(
    merged: &Merged,
    objects: impl Iterator<Item = &'a ObjectToApply>,
    live: &Live,
) -> Vec<Namespace> {
    let sent = objects.filter_map(|send| send.key.namespace.as_ref());
    let missing: BTreeSet<_> = sent
        .filter(|namespace| !live.has_namespace(namespace))
        .collect();
    missing
        .into_iter()
        .map(|name| Namespace {
            name: name.clone(),
            network: network(merged, name),
        })
        .collect()
}

/// The network of the namespace that Istio is installed in; others carry none, as upstream has it.
pub(super) fn network(merged: &Merged, namespace: &str) -> Option<String> {
    let values = merged.components.iter().map(|component| &component.values);
    let mut networks = values.filter_map(|values| values.pointer("/global/network")?.as_str());
    networks
        .next()
        .filter(|name| !name.is_empty() && namespace == merged.namespace)
        .map(str::to_owned)
}
