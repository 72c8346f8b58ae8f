//! Argo CD and Flux at work on a repository like that of the samples.

pub mod argo_cd;
pub mod flux;
pub mod repository;

use std::path::PathBuf;

use serde_json::json;

use crate::{control_plane::ControlPlane, error::Error, yaml};

/// A kubeconfig of a service account that may do everything, which is what both have. Makes it.
async fn administrator(
    plane: &ControlPlane,
    namespace: &str,
    name: &str,
) -> Result<PathBuf, Error> {
    plane.create_namespace(namespace)?;
    let account = json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": name, "namespace": namespace},
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": "cluster-admin",
        },
    });
    plane.apply(&yaml::stream(&[account, binding]))?;
    plane.kubeconfig_of(namespace, name).await
}
