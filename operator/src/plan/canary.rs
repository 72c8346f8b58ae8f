//! Where a CR with `updateStrategy.type: Canary` is between two control planes.
//!
//! The status remembers which one serves, and whether tags and gateways were given to the next one. Where it was lost, as in
//! a restored backup, the owner labels of gateways and tags tell which one serves.

use crate::api::{CanaryStatus, ComponentKind, ControlPlaneStatus, IstioOperator};
use crate::catalogue::Version;
use crate::cluster::{CrKey, Injector, Live, LiveObject, revision_label};
use crate::merge::{ControlPlane, Merged};

/// The control planes of a CR, as status and cluster tell of them. Revisions are named as labels name them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ControlPlanes {
    /// The one that serves.
    pub serving: Option<ControlPlane>,
    /// Those that are there.
    found: Vec<ControlPlane>,
    /// The change of control planes that was promoted.
    promoted: Option<(ControlPlane, ControlPlane)>,
    /// Those that gateways, node agents and tags of the CR belong to, if no status tells which one serves. There are several
    /// while a promotion is under way.
    followed: Vec<ControlPlane>,
}

/// What a CR is rendered as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Course {
    /// This control plane alone.
    Alone(ControlPlane),
    /// One that takes the place of another.
    Canary(Canary),
}

/// A control plane that takes the place of another one. Revisions are empty where they have no name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canary {
    /// The one that serves before.
    pub from: ControlPlane,
    /// The one that takes its place.
    pub to: ControlPlane,
    /// Whether tags and gateways belong to the new one.
    pub is_promoted: bool,
}

impl ControlPlanes {
    /// What is known of the control planes of a CR.
    #[must_use]
    pub fn of(cr: &IstioOperator, live: &Live) -> Self {
        let status = cr.status.as_ref();
        let told = status.and_then(|status| {
            let version = Version::parse(status.version.as_ref()?)?;
            let revision = status.revision.clone()?;
            Some(ControlPlane { version, revision })
        });
        let key = &CrKey::of(cr);
        let found: Vec<_> = istiods(key, live).collect();
        let promoted = status
            .and_then(|status| status.canary.as_ref())
            .filter(|canary| canary.step.is_promoted())
            .and_then(promoted);
        let followed = match told {
            Some(_) => Vec::new(),
            None => followed(key, live, &found),
        };
        let first = || followed.first().cloned();
        let serving = told.or_else(first).or_else(|| serving(live, &found));
        Self {
            serving,
            found,
            promoted,
            followed,
        }
    }

    /// What a CR is rendered as, which asks for canaries and was merged without a look at the cluster.
    #[must_use]
    pub fn course(&self, merged: &Merged) -> Course {
        let asked = ControlPlane {
            revision: revision_label(&merged.revision).to_owned(),
            ..merged.control_plane()
        };
        let named = &merged.named_revision;
        // Labels call the revision without a name `default`, and somebody may have named one so.
        let in_spec = |plane: ControlPlane| ControlPlane {
            revision: match plane.revision.as_str() {
                revision if revision == revision_label(named) => named.clone(),
                revision if revision == revision_label("") => String::new(),
                revision => revision.to_owned(),
            },
            ..plane
        };
        // One that the CR may have had before its author wanted canaries.
        let is_asked = |plane: &ControlPlane| {
            plane.version == asked.version
                && (plane.revision == asked.revision || plane.revision == revision_label(named))
        };
        let Some(serving) = self.serving.clone() else {
            let found = self.found.iter().find(|plane| is_asked(plane));
            return Course::Alone(in_spec(found.cloned().unwrap_or(asked)));
        };
        if is_asked(&serving) {
            let mut followed = self.followed.iter();
            return match followed.find(|plane| !is_asked(plane)) {
                Some(before) => Course::Canary(Canary {
                    from: in_spec(before.clone()),
                    to: in_spec(serving),
                    is_promoted: true,
                }),
                None => Course::Alone(in_spec(serving)),
            };
        }
        let mut others = self.found.iter();
        let found = others.find(|plane| is_asked(plane) && plane.revision != serving.revision);
        let to = found.cloned().unwrap_or_else(|| asked.clone());
        let is_promoted =
            self.promoted == Some((serving.clone(), to.clone())) || self.followed.contains(&to);
        Course::Canary(Canary {
            from: in_spec(serving),
            to: in_spec(to),
            is_promoted,
        })
    }
}

impl Canary {
    /// The control plane that tags and gateways belong to.
    #[must_use]
    pub fn serving(&self) -> ControlPlane {
        let serving = if self.is_promoted {
            &self.to
        } else {
            &self.from
        };
        serving.clone()
    }

    /// Both control planes as a status names them.
    #[must_use]
    pub fn status(&self) -> (ControlPlaneStatus, ControlPlaneStatus) {
        let tell = |plane: &ControlPlane| ControlPlaneStatus {
            version: plane.version.to_string(),
            revision: revision_label(&plane.revision).to_owned(),
        };
        (tell(&self.from), tell(&self.to))
    }
}

fn promoted(canary: &CanaryStatus) -> Option<(ControlPlane, ControlPlane)> {
    let read = |plane: &ControlPlaneStatus| {
        Some(ControlPlane {
            version: Version::parse(&plane.version)?,
            revision: plane.revision.clone(),
        })
    };
    read(&canary.from).zip(read(&canary.to))
}

/// The control planes that belong to a CR, by the labels of their Deployments, sorted.
fn istiods(cr: &CrKey, live: &Live) -> impl Iterator<Item = ControlPlane> {
    let mut found: Vec<_> = live
        .iter()
        .filter(|(key, object)| {
            key.kind == "Deployment"
                && object.is_owned_by(cr)
                && !object.terminating
                && object.owner_labels.component == Some(ComponentKind::Pilot)
        })
        .filter_map(|(_, object)| {
            Some(ControlPlane {
                version: object.istio_version()?,
                revision: object.owner_labels.revision.clone()?,
            })
        })
        .collect();
    found.sort();
    found.into_iter()
}

/// The control planes that gateways, node agents and tags of a CR belong to, those of gateways and node agents first.
fn followed(cr: &CrKey, live: &Live, found: &[ControlPlane]) -> Vec<ControlPlane> {
    let own = || {
        let objects = live.iter().map(|(_, object)| object);
        objects.filter(|object| object.is_owned_by(cr))
    };
    let workloads = own()
        .filter(|object| follows_istiod(object))
        .filter_map(|object| object.owner_labels.revision.as_deref());
    let tags = own().filter_map(|object| Some(object.injector.as_ref()?.tag()?.1));
    let mut followed: Vec<ControlPlane> = Vec::new();
    for revision in workloads.chain(tags) {
        let plane = found.iter().find(|plane| plane.revision == revision);
        followed.extend(plane.filter(|plane| !followed.contains(plane)).cloned());
    }
    followed
}

/// The control plane that a default tag of somebody else leads to, or that is the only one.
fn serving(live: &Live, found: &[ControlPlane]) -> Option<ControlPlane> {
    let mut tags = live
        .iter()
        .filter_map(|(_, object)| match &object.injector {
            Some(Injector::DefaultTag(revision)) => Some(revision.as_str()),
            _ => None,
        });
    let is_of = |revision: &str| found.iter().find(|plane| plane.revision == revision);
    let only = || found.first().filter(|_| found.len() == 1);
    tags.find_map(is_of).or_else(only).cloned()
}

fn follows_istiod(object: &LiveObject) -> bool {
    matches!(
        object.owner_labels.component,
        Some(
            ComponentKind::IngressGateways
                | ComponentKind::EgressGateways
                | ComponentKind::Cni
                | ComponentKind::Ztunnel
        )
    )
}

#[cfg(test)]
mod tests;
