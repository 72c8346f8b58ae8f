//! Objects that another tool may manage, and that no watch tells of.
//!
//! Watches see objects with an owner label. What Helm installs carries it in part only: Istio's charts render it for
//! istiod, CNI and the validator, and leave it out in base and in the gateways' own chart. So before the first write, one
//! decisive object of each component that is not known is read: one request for each component of a new installation.

use super::PlanInput;
use crate::cluster::{Kind, Role};
use crate::render::{ObjectKey, Rendered, RenderedComponent};

/// The objects to read before anything is written: a decisive one of each component that is not known yet, and those
/// that another tool managed when they were read last.
pub(super) fn unseen(rendered: &Rendered, input: PlanInput<'_>) -> Vec<ObjectKey> {
    if input.annotations.may_adopt {
        return Vec::new();
    }
    let is_unseen = |key: &&ObjectKey| {
        input.live.get(key).is_none()
            && !input.last_applied.has(key)
            && !input.live.is_unmanaged(key)
    };
    let was_managed =
        |key: &&ObjectKey| input.live.get(key).is_none() && input.live.managing_tool(key).is_some();
    let decisive = rendered.components.iter().filter_map(decisive_object);
    // By its mesh configuration an old Istio is recognized that has no istiod.
    let mesh_configs =
        super::keys(rendered).filter(|key| key.kind == "ConfigMap" && key.name == "istio");
    let looked_at = decisive.chain(mesh_configs);
    let mut unseen: Vec<_> = looked_at.filter(is_unseen).cloned().collect();
    unseen.extend(super::keys(rendered).filter(was_managed).cloned());
    unseen.sort();
    unseen.dedup();
    unseen
}

/// The object of a component that whoever installs it cannot leave out.
fn decisive_object(component: &RenderedComponent) -> Option<&ObjectKey> {
    let keys = component.objects.iter().map(|object| &object.key);
    keys.min_by_key(|key| {
        let role = Kind::of(key).map(|kind| kind.role);
        match (role, key.kind.as_str()) {
            (_, "Deployment" | "DaemonSet") => 0,
            (_, "ServiceAccount") => 1,
            (_, "ConfigMap" | "Service") => 2,
            (Some(Role::Crd), _) => 4,
            _ => 3,
        }
    })
}
