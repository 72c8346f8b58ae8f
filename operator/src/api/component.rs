//! The parts of an Istio installation.

use std::fmt;

/// A component of `spec.components`, in the order in which upstream renders them.
///
/// The [`Display`](fmt::Display) form is the value of the label `operator.istio.io/component` and the
/// key of `status.componentStatus`; both are upstream's since 1.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ComponentKind {
    /// Istio's CRDs and the cluster-wide reader account.
    Base,
    /// istiod.
    Pilot,
    /// One entry of `spec.components.ingressGateways`.
    IngressGateways,
    /// One entry of `spec.components.egressGateways`.
    EgressGateways,
    /// The CNI node agent.
    Cni,
    /// The ambient node proxy.
    Ztunnel,
}

impl ComponentKind {
    /// Every component, in render order.
    pub const ALL: [Self; 6] = [
        Self::Base,
        Self::Pilot,
        Self::IngressGateways,
        Self::EgressGateways,
        Self::Cni,
        Self::Ztunnel,
    ];

    /// The value of the label `operator.istio.io/component`, such as `IngressGateways`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Base => "Base",
            Self::Pilot => "Pilot",
            Self::IngressGateways => "IngressGateways",
            Self::EgressGateways => "EgressGateways",
            Self::Cni => "Cni",
            Self::Ztunnel => "Ztunnel",
        }
    }

    /// The key under `values.gateways` with the settings of all gateways of this list; none for what is no gateway.
    #[must_use]
    pub const fn gateway_key(self) -> Option<&'static str> {
        match self {
            Self::IngressGateways => Some("istio-ingressgateway"),
            Self::EgressGateways => Some("istio-egressgateway"),
            Self::Base | Self::Pilot | Self::Cni | Self::Ztunnel => None,
        }
    }

    /// The key under `spec.components`, such as `ingressGateways`.
    #[must_use]
    pub const fn spec_key(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Pilot => "pilot",
            Self::IngressGateways => "ingressGateways",
            Self::EgressGateways => "egressGateways",
            Self::Cni => "cni",
            Self::Ztunnel => "ztunnel",
        }
    }
}

impl fmt::Display for ComponentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
