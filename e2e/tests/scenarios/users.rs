//! People who look at a cluster with fewer rights than the operator has.

use std::path::PathBuf;

use e2e::control_plane::ControlPlane;

/// A user who may read everything but Secrets, and one who may read nothing.
const USERS: &str = r"
{apiVersion: v1, kind: Namespace, metadata: {name: people}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: reader, namespace: people}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: nobody, namespace: people}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: reader}
rules:
- {apiGroups: ['', apps, autoscaling, policy, discovery.k8s.io, networking.k8s.io, rbac.authorization.k8s.io,
    apiextensions.k8s.io, admissionregistration.k8s.io, install.istio.io, coordination.k8s.io, k8s.cni.cncf.io],
   resources: [bindings, componentstatuses, configmaps, endpoints, endpointslices, events, namespaces, nodes, persistentvolumeclaims,
     pods, resourcequotas, serviceaccounts, services, deployments, daemonsets, replicasets, horizontalpodautoscalers,
     poddisruptionbudgets, networkpolicies, clusterroles, clusterrolebindings, roles, rolebindings, customresourcedefinitions,
     mutatingwebhookconfigurations, validatingwebhookconfigurations, validatingadmissionpolicies,
     validatingadmissionpolicybindings, istiooperators, leases, network-attachment-definitions],
   verbs: [get, list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: reader}
subjects: [{kind: ServiceAccount, name: reader, namespace: people}]
";

/// The kubeconfigs of the users.
pub struct Users {
    pub admin: PathBuf,
    pub reader: PathBuf,
    pub nobody: PathBuf,
}

impl Users {
    pub async fn create(plane: &ControlPlane) -> Self {
        plane.apply(USERS).unwrap();
        Self {
            admin: plane.kubeconfig(),
            reader: plane.kubeconfig_of("people", "reader").await.unwrap(),
            nobody: plane.kubeconfig_of("people", "nobody").await.unwrap(),
        }
    }
}
