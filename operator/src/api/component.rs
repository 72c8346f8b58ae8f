//! The table of components: everything that differs between the parts of an Istio installation.

use std::fmt;

/// What the operator knows of one kind of component. Every row of the table has every field, or it does not compile.
#[derive(Debug)]
pub struct ComponentInfo {
    /// The value of the label `operator.istio.io/component` and the key in `status.componentStatus`; both are upstream's
    /// since 1.5.
    pub label: &'static str,
    /// The field of `spec` that it stands in.
    pub section: Section,
    /// The key in that field.
    pub spec_key: &'static str,
    /// Whether it is installed if neither profile nor CR names it. Upstream does so with an ingress gateway too, but
    /// without a name; here, a list that is null is an error.
    pub is_installed_unnamed: bool,
    /// The directory of its chart under `charts/`.
    pub chart: &'static str,
    /// The keys under `values` that lead to its own settings.
    pub values_root: &'static [&'static str],
    /// Which values its chart reads without a prefix.
    pub scope: ValuesScope,
    /// What runs it; none for a component of configuration alone.
    pub workload: Option<Workload>,
    /// The components that have to be applied and ready before this one is rolled out. A parent that is not rendered (it
    /// runs in another cluster, or belongs to another CR) is not waited for.
    pub parents: &'static [ComponentKind],
    /// The components that it follows, beside its parents, when it goes to another version.
    pub upgraded_after: &'static [ComponentKind],
}

/// The field of `spec` that names a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// `spec.components`.
    Components,
    /// `spec.addonComponents`.
    AddonComponents,
}

impl Section {
    /// The name of the field.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Components => "components",
            Self::AddonComponents => "addonComponents",
        }
    }
}

/// Which of the merged values a chart reads without a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValuesScope {
    /// All of them.
    All,
    /// All of them, with those at the values root laid over.
    RootOverAll,
    /// Those at the values root.
    RootOnly,
    /// Those at the values root, `global`, and whatever else at the top is not a map, all on one level.
    Flattened,
}

/// The Deployment or `DaemonSet` of a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Its kind.
    pub kind: &'static str,
    /// How it is named.
    pub name: WorkloadName,
    /// The container that settings of the `k8s` block are for.
    pub container: &'static str,
    /// The Service that settings of the `k8s` block are for, if its name is not that of the workload.
    pub service: Option<&'static str>,
}

/// How a workload is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkloadName {
    /// Always so.
    Fixed(&'static str),
    /// So for the default revision, and with the name of any other revision behind it.
    WithRevision(&'static str),
    /// As its entry in `spec.components` says.
    FromSpec,
}

/// Makes the enum of all components and the table from one list, so that neither can lack what the other has.
macro_rules! components {
    ($($(#[$doc:meta])* $kind:ident => $info:expr,)*) => {
        /// A component of `spec.components`, in the order in which upstream renders them, or of `spec.addonComponents`.
        ///
        /// Its [`Display`](fmt::Display) form is its label.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ComponentKind {
            $($(#[$doc])* $kind,)*
        }

        impl ComponentKind {
            /// Every component, in render order.
            pub const ALL: [Self; [$(stringify!($kind)),*].len()] = [$(Self::$kind),*];

            /// Its row of the table.
            #[must_use]
            pub const fn info(self) -> &'static ComponentInfo {
                match self {
                    $(Self::$kind => {
                        const INFO: ComponentInfo = $info;
                        &INFO
                    })*
                }
            }
        }
    };
}

components! {
    /// Istio's CRDs and the cluster-wide reader account.
    Base => ComponentInfo {
        label: "Base",
        section: Section::Components,
        spec_key: "base",
        is_installed_unnamed: true,
        chart: "base",
        values_root: &["global"],
        scope: ValuesScope::All,
        workload: None,
        parents: &[],
        upgraded_after: &[],
    },
    /// istiod.
    Pilot => ComponentInfo {
        label: "Pilot",
        section: Section::Components,
        spec_key: "pilot",
        is_installed_unnamed: true,
        chart: "pilot",
        values_root: &["pilot"],
        scope: ValuesScope::RootOverAll,
        workload: Some(Workload {
            kind: "Deployment",
            name: WorkloadName::WithRevision("istiod"),
            container: "discovery",
            service: None,
        }),
        parents: &[ComponentKind::Base],
        upgraded_after: &[],
    },
    /// One entry of `spec.components.ingressGateways`.
    IngressGateways => ComponentInfo {
        label: "IngressGateways",
        section: Section::Components,
        spec_key: "ingressGateways",
        is_installed_unnamed: false,
        chart: "gateway",
        values_root: &["gateways", "istio-ingressgateway"],
        scope: ValuesScope::RootOnly,
        workload: Some(GATEWAY),
        parents: &[ComponentKind::Base, ComponentKind::Pilot],
        upgraded_after: &[ComponentKind::Cni, ComponentKind::Ztunnel],
    },
    /// One entry of `spec.components.egressGateways`.
    EgressGateways => ComponentInfo {
        label: "EgressGateways",
        section: Section::Components,
        spec_key: "egressGateways",
        is_installed_unnamed: false,
        chart: "gateway",
        values_root: &["gateways", "istio-egressgateway"],
        scope: ValuesScope::RootOnly,
        workload: Some(GATEWAY),
        parents: &[ComponentKind::Base, ComponentKind::Pilot],
        upgraded_after: &[ComponentKind::Cni, ComponentKind::Ztunnel],
    },
    /// The CNI node agent.
    Cni => ComponentInfo {
        label: "Cni",
        section: Section::Components,
        spec_key: "cni",
        is_installed_unnamed: false,
        chart: "cni",
        values_root: &["cni"],
        scope: ValuesScope::RootOverAll,
        workload: Some(Workload {
            kind: "DaemonSet",
            name: WorkloadName::Fixed("istio-cni-node"),
            container: "install-cni",
            service: None,
        }),
        parents: &[ComponentKind::Base, ComponentKind::Pilot],
        upgraded_after: &[],
    },
    /// The ambient node proxy.
    Ztunnel => ComponentInfo {
        label: "Ztunnel",
        section: Section::Components,
        spec_key: "ztunnel",
        is_installed_unnamed: false,
        chart: "ztunnel",
        values_root: &["ztunnel"],
        scope: ValuesScope::Flattened,
        workload: Some(Workload {
            kind: "DaemonSet",
            name: WorkloadName::Fixed("ztunnel"),
            container: "istio-proxy",
            service: None,
        }),
        parents: &[ComponentKind::Base, ComponentKind::Pilot, ComponentKind::Cni],
        upgraded_after: &[],
    },
    /// The metrics store.
    Prometheus => addon("Prometheus", "prometheus", "addons/prometheus", &["addons", "prometheus"], None),
    /// The log store.
    Loki => addon("Loki", "loki", "addons/loki", &["addons", "loki"], None),
    /// The trace store.
    Jaeger => addon("Jaeger", "jaeger", "addons/jaeger", &["addons", "jaeger"], Some("tracing")),
    /// The trace store in memory.
    Zipkin => addon("Zipkin", "zipkin", "addons/zipkin", &["addons", "zipkin"], None),
    /// The dashboards.
    Grafana => addon("Grafana", "grafana", "addons/grafana", &["addons", "grafana"], None),
    /// The mesh console.
    Kiali => addon("Kiali", "kiali", "addons/kiali", &["addons", "kiali"], None),
}

/// The row of an addon. Addons come after the mesh, and nothing waits for them.
const fn addon(
    label: &'static str,
    key: &'static str,
    chart: &'static str,
    values_root: &'static [&'static str],
    service: Option<&'static str>,
) -> ComponentInfo {
    ComponentInfo {
        label,
        section: Section::AddonComponents,
        spec_key: key,
        is_installed_unnamed: false,
        chart,
        values_root,
        scope: ValuesScope::RootOnly,
        workload: Some(Workload {
            kind: "Deployment",
            name: WorkloadName::Fixed(key),
            container: key,
            service,
        }),
        parents: &[
            ComponentKind::Pilot,
            ComponentKind::IngressGateways,
            ComponentKind::EgressGateways,
        ],
        upgraded_after: &[],
    }
}

const GATEWAY: Workload = Workload {
    kind: "Deployment",
    name: WorkloadName::FromSpec,
    container: "istio-proxy",
    service: None,
};

impl ComponentKind {
    /// The value of the label `operator.istio.io/component`, such as `IngressGateways`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.info().label
    }

    /// The key in its field of `spec`, such as `ingressGateways`.
    #[must_use]
    pub const fn spec_key(self) -> &'static str {
        self.info().spec_key
    }

    /// The keys below `spec` that lead to it, such as `components` and `pilot`.
    #[must_use]
    pub const fn spec_keys(self) -> [&'static str; 2] {
        [self.info().section.key(), self.spec_key()]
    }

    /// Whether it shows the mesh rather than being a part of it.
    #[must_use]
    pub fn is_addon(self) -> bool {
        self.info().section == Section::AddonComponents
    }

    /// The key under `values.gateways` with the settings of all gateways of this list; none if it is not a gateway.
    #[must_use]
    pub fn gateway_key(self) -> Option<&'static str> {
        match self.info().values_root {
            ["gateways", key] => Some(key),
            _ => None,
        }
    }

    /// The position of a component in an installation: after all that it follows. Deletion goes the other way.
    #[must_use]
    pub fn apply_rank(self) -> u8 {
        let info = self.info();
        let earlier = info.parents.iter().chain(info.upgraded_after);
        let after = earlier.map(|earlier| earlier.apply_rank() + 1);
        after.max().unwrap_or(0)
    }
}

impl fmt::Display for ComponentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::api::strict_schema;

    #[test]
    fn every_component_of_the_spec_has_a_row() {
        for (section, definition) in [
            (Section::Components, "IstioComponents"),
            (Section::AddonComponents, "AddonComponents"),
        ] {
            let spec = &strict_schema()["$defs"][definition]["properties"];
            let fields = spec.as_object().unwrap().keys().map(String::as_str);
            // Accepted for compatibility: the first has no effect, the second is another name.
            let old = ["istiodRemote", "tracing"];
            let fields: BTreeSet<&str> = fields.filter(|key| !old.contains(key)).collect();
            let rows = ComponentKind::ALL.into_iter();
            let rows = rows.filter(|kind| kind.info().section == section);
            assert_eq!(fields, rows.map(ComponentKind::spec_key).collect());
        }
    }

    #[test]
    fn parents_come_first() {
        for (kind, rank) in [
            (ComponentKind::Base, 0),
            (ComponentKind::Pilot, 1),
            (ComponentKind::Cni, 2),
            (ComponentKind::Ztunnel, 3),
            (ComponentKind::IngressGateways, 4),
            (ComponentKind::EgressGateways, 4),
            (ComponentKind::Prometheus, 5),
            (ComponentKind::Kiali, 5),
        ] {
            assert_eq!(kind.apply_rank(), rank, "{kind}");
        }
    }

    #[test]
    fn only_gateways_have_a_key_under_gateways() {
        let keys = ComponentKind::ALL.map(ComponentKind::gateway_key);
        let keys: Vec<&str> = keys.into_iter().flatten().collect();
        assert_eq!(keys, ["istio-ingressgateway", "istio-egressgateway"]);
    }
}
