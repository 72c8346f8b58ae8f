//! What is watched to learn who uses a revision of Istio.
//!
//! Metadata is enough for almost all of it. Pods of gateways and of ztunnel are no work of the injector, so their images
//! have to tell the version; they are few.

/// One watch.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// What it follows, for people.
    pub name: &'static str,
    /// API group; empty for the core group.
    pub group: &'static str,
    /// API version.
    pub version: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// The resource name in URLs and in RBAC rules.
    pub plural: &'static str,
    /// The labels of what is followed.
    pub labels: Option<&'static str>,
    /// The fields of what is followed.
    pub fields: Option<&'static str>,
    /// What its objects tell.
    pub tells: Tells,
}

/// What an object of a [`Source`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tells {
    /// The annotations of a pod tell its revision and the version of its proxy.
    Pod,
    /// The annotations of a pod tell its revision, and its image tells the version of its proxy.
    PodWithImage,
    /// The labels of a namespace tell the revision of its pods.
    Namespace,
    /// The label of an object of the Gateway API tells the revision that serves it.
    Gateway,
    /// The labels of a Service tell a tag and its revision.
    TagService,
    /// The annotations of a virtual machine's entry tell the istiod that it is connected to.
    Machine,
    /// The annotation of a CRD tells which bundle of Gateway API it belongs to. It uses no revision.
    Bundle,
}

/// Pods that ended use nothing any more.
const RUNNING: Option<&str> = Some("status.phase!=Succeeded,status.phase!=Failed");

/// The source of the pods that istiod makes for gateways and waypoints. It brings them to its own version.
pub(super) const MANAGED_PODS: &str = "pods of gateways";

/// The source of the pods of Istio itself, gateways of IstioOperators among them.
pub(super) const ISTIO_PODS: &str = "pods of Istio";

/// Every watch. No two of those for pods follow the same pod.
pub const SOURCES: [Source; 8] = [
    Source {
        labels: Some("!gateway.istio.io/managed,app.kubernetes.io/part-of!=istio"),
        fields: RUNNING,
        ..core("pods", "Pod", "pods", Tells::Pod)
    },
    Source {
        labels: Some("!gateway.istio.io/managed,app.kubernetes.io/part-of=istio"),
        fields: RUNNING,
        ..core(ISTIO_PODS, "Pod", "pods", Tells::PodWithImage)
    },
    Source {
        labels: Some("gateway.istio.io/managed"),
        fields: RUNNING,
        ..core(MANAGED_PODS, "Pod", "pods", Tells::PodWithImage)
    },
    core("namespaces", "Namespace", "namespaces", Tells::Namespace),
    Source {
        labels: Some("istio.io/tag"),
        ..core("Services of tags", "Service", "services", Tells::TagService)
    },
    Source {
        labels: Some("istio.io/rev"),
        group: "gateway.networking.k8s.io",
        ..core("Gateways", "Gateway", "gateways", Tells::Gateway)
    },
    Source {
        group: "apiextensions.k8s.io",
        ..core(
            "CRDs",
            "CustomResourceDefinition",
            "customresourcedefinitions",
            Tells::Bundle,
        )
    },
    Source {
        group: "networking.istio.io",
        ..core(
            "WorkloadEntries",
            "WorkloadEntry",
            "workloadentries",
            Tells::Machine,
        )
    },
];

const fn core(
    name: &'static str,
    kind: &'static str,
    plural: &'static str,
    tells: Tells,
) -> Source {
    Source {
        name,
        group: "",
        version: "v1",
        kind,
        plural,
        labels: None,
        fields: None,
        tells,
    }
}

impl Source {
    /// Whether a cluster may lack the kind, and then has nothing of it.
    #[must_use]
    pub fn is_optional(&self) -> bool {
        !self.group.is_empty()
    }
}
