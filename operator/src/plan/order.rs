//! Which component stands on which.

use crate::api::ComponentKind;

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
