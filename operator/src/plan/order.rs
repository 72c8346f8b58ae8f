//! Which component stands on which.

use crate::api::ComponentKind;
use crate::cluster::{Kind, Role};
use crate::render::{Object, Rendered};

/// The components that have to be applied and ready before this one is rolled out. A parent that is not rendered (it
/// runs in another cluster, or belongs to another CR) is not waited for.
#[must_use]
pub const fn parents(kind: ComponentKind) -> &'static [ComponentKind] {
    use ComponentKind::{Base, Cni, EgressGateways, IngressGateways, Pilot, Ztunnel};
    match kind {
        Base => &[],
        Pilot => &[Base],
        IngressGateways | EgressGateways | Cni => &[Base, Pilot],
        Ztunnel => &[Base, Pilot, Cni],
    }
}

/// The position of a component in an installation; every parent has a lower one. Deletion goes the other way.
#[must_use]
pub const fn rank(kind: ComponentKind) -> u8 {
    match kind {
        ComponentKind::Base => 0,
        ComponentKind::Pilot => 1,
        ComponentKind::IngressGateways | ComponentKind::EgressGateways | ComponentKind::Cni => 2,
        ComponentKind::Ztunnel => 3,
    }
}

/// All objects in the order in which a cluster that has none of them gets them: parents first, and within a component
/// what workloads read before the workloads.
#[must_use]
pub fn in_apply_order(rendered: &Rendered) -> Vec<&Object> {
    let role = |object: &Object| Kind::of(&object.key).map_or(Role::Config, |kind| kind.role);
    let mut objects: Vec<_> = rendered
        .components
        .iter()
        .flat_map(|component| {
            component
                .objects
                .iter()
                .map(|object| (component.kind, object))
        })
        .collect();
    objects.sort_by_key(|(component, object)| (rank(*component), role(object)));
    objects.into_iter().map(|(_, object)| object).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_come_first() {
        for kind in ComponentKind::ALL {
            for parent in parents(kind) {
                assert!(rank(*parent) < rank(kind), "{parent} before {kind}");
            }
        }
    }
}
