//! The kinds that charts can render: what may be sent, watched and pruned, and nothing else.
//!
//! A table rather than API discovery: the operator's own RBAC names the same kinds, so a kind that is not here could
//! not be written anyway, and a start costs no discovery requests.

use super::owner_labels::{OWNER, REVISION};
use crate::render::ObjectKey;

/// One kind that charts can render.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// The API version that charts render and that is watched.
    pub version: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// The resource name in URLs and in RBAC rules.
    pub plural: &'static str,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// What part its objects play in an installation.
    pub role: Role,
    /// What is done with its objects once they are there.
    pub upkeep: Upkeep,
}

/// What is done with an object once it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upkeep {
    /// It is watched, repaired, and deleted when no CR renders it any more.
    Full,
    /// It is watched and repaired, and stays when no CR renders it any more, because users' data would go with it.
    Kept,
    /// It is created where it is absent, and then neither read nor changed nor deleted: it holds what only its readers
    /// may know.
    CreatedOnly,
}

/// What part an object plays in an installation; decides in which order it comes and goes.
///
/// The order of the variants is the order of apply: CRDs, roles, then what workloads read, then workloads, then webhooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// A CRD: first in, and never deleted, because deleting it deletes every user's objects.
    Crd,
    /// A role: the API server lets a binding in only if it can read the role and finds that we hold what it grants.
    Rbac,
    /// What workloads read or need beside them: configuration, accounts, bindings, Services.
    Config,
    /// What runs pods, and what scales them.
    Workload,
    /// An admission webhook. It comes once the API server took the workload that answers it, and goes before that
    /// workload, so that no request waits for nobody.
    Webhook,
}

impl Role {
    /// The position in which objects of this role are deleted, lowest first.
    #[must_use]
    pub const fn deletion_rank(self) -> u8 {
        match self {
            Self::Webhook => 0,
            Self::Workload => 1,
            Self::Config => 2,
            Self::Rbac | Self::Crd => 3,
        }
    }
}

const RBAC: &str = "rbac.authorization.k8s.io";
const ADMISSION: &str = "admissionregistration.k8s.io";

/// Every kind that charts can render.
pub const KINDS: [Kind; 23] = [
    global(
        "apiextensions.k8s.io",
        "CustomResourceDefinition",
        "customresourcedefinitions",
    )
    .playing(Role::Crd)
    .kept_as(Upkeep::Kept),
    local("", "ServiceAccount", "serviceaccounts"),
    local("", "Secret", "secrets").kept_as(Upkeep::CreatedOnly),
    local("", "PersistentVolumeClaim", "persistentvolumeclaims").kept_as(Upkeep::Kept),
    local("", "ConfigMap", "configmaps"),
    local("", "Service", "services"),
    local("", "Endpoints", "endpoints"),
    local("", "ResourceQuota", "resourcequotas"),
    local("discovery.k8s.io", "EndpointSlice", "endpointslices"),
    local("networking.k8s.io", "NetworkPolicy", "networkpolicies"),
    local("policy", "PodDisruptionBudget", "poddisruptionbudgets"),
    local(
        "k8s.cni.cncf.io",
        "NetworkAttachmentDefinition",
        "network-attachment-definitions",
    ),
    global(RBAC, "ClusterRole", "clusterroles").playing(Role::Rbac),
    global(RBAC, "ClusterRoleBinding", "clusterrolebindings"),
    local(RBAC, "Role", "roles").playing(Role::Rbac),
    local(RBAC, "RoleBinding", "rolebindings"),
    global(
        ADMISSION,
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations",
    )
    .playing(Role::Webhook),
    global(
        ADMISSION,
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfigurations",
    )
    .playing(Role::Webhook),
    global(
        ADMISSION,
        "ValidatingAdmissionPolicy",
        "validatingadmissionpolicies",
    ),
    global(
        ADMISSION,
        "ValidatingAdmissionPolicyBinding",
        "validatingadmissionpolicybindings",
    ),
    local("apps", "Deployment", "deployments").playing(Role::Workload),
    local("apps", "DaemonSet", "daemonsets").playing(Role::Workload),
    local(
        "autoscaling",
        "HorizontalPodAutoscaler",
        "horizontalpodautoscalers",
    )
    .in_version("v2")
    .playing(Role::Workload),
];

const fn local(group: &'static str, kind: &'static str, plural: &'static str) -> Kind {
    Kind {
        group,
        version: "v1",
        kind,
        plural,
        namespaced: true,
        role: Role::Config,
        upkeep: Upkeep::Full,
    }
}

const fn global(group: &'static str, kind: &'static str, plural: &'static str) -> Kind {
    Kind {
        group,
        version: "v1",
        kind,
        plural,
        namespaced: false,
        role: Role::Config,
        upkeep: Upkeep::Full,
    }
}

/// An object of a kind that charts render, in `istio-system` unless it belongs to the whole cluster.
#[cfg(test)]
pub(crate) fn key(kind: &str, name: &str) -> ObjectKey {
    let kind = KINDS.iter().find(|entry| entry.kind == kind).unwrap();
    kind.key(
        kind.namespaced.then(|| "istio-system".to_owned()),
        name.to_owned(),
    )
}

impl Kind {
    /// The entry for objects such as `key`, if charts can render them.
    #[must_use]
    pub fn of(key: &ObjectKey) -> Option<&'static Self> {
        KINDS
            .iter()
            .find(|kind| kind.group == key.group && kind.kind == key.kind)
    }

    /// The identity of an object of this kind.
    #[must_use]
    pub fn key(&self, namespace: Option<String>, name: String) -> ObjectKey {
        ObjectKey {
            group: self.group.to_owned(),
            kind: self.kind.to_owned(),
            namespace,
            name,
        }
    }

    /// The label that watches of this kind select on. It is the owner label. For webhooks it is the revision label, because
    /// somebody else's may carry a tag, or validate by istiod of a revision.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self.kind {
            "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => REVISION,
            _ => OWNER,
        }
    }

    /// Whether the status of an object of this kind is read: it says if the object is ready, or where it is reached. All
    /// others are ready once they exist.
    #[must_use]
    pub fn reports_readiness(&self) -> bool {
        matches!(
            self.kind,
            "Deployment" | "DaemonSet" | "CustomResourceDefinition" | "Service"
        )
    }

    /// Whether the operator follows what happens to objects of this kind.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.upkeep != Upkeep::CreatedOnly
    }

    const fn playing(self, role: Role) -> Self {
        Self { role, ..self }
    }

    const fn kept_as(self, upkeep: Upkeep) -> Self {
        Self { upkeep, ..self }
    }

    const fn in_version(self, version: &'static str) -> Self {
        Self { version, ..self }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn kinds_are_unique() {
        let names: BTreeSet<_> = KINDS.iter().map(|kind| (kind.group, kind.kind)).collect();
        assert_eq!(names.len(), KINDS.len());
    }

    #[test]
    fn webhooks_go_before_what_answers_them_and_config_goes_last() {
        let mut roles = [Role::Rbac, Role::Config, Role::Workload, Role::Webhook];
        roles.sort_by_key(|role| role.deletion_rank());
        assert_eq!(
            roles,
            [Role::Webhook, Role::Workload, Role::Config, Role::Rbac]
        );
    }

    /// Upstream's own output in every minor is the widest sample of what a chart may hold.
    #[test]
    fn every_kind_that_upstream_renders_is_known() {
        let rendered = goldens::kinds();
        assert!(!rendered.is_empty());
        for found in rendered {
            let (group, version) = found
                .api_version
                .split_once('/')
                .unwrap_or(("", &found.api_version));
            let is_it = |kind: &&Kind| kind.group == group && kind.kind == found.kind;
            let kind = KINDS.iter().find(is_it);
            let kind = kind.unwrap_or_else(|| panic!("{found:?} is not in the table"));
            assert_eq!(kind.version, version, "{found:?}");
            assert_eq!(kind.namespaced, found.is_namespaced, "{found:?}");
        }
    }
}
