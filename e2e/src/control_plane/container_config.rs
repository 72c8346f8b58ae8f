//! How the container of a Deployment runs, for a process that takes its place.

use std::collections::BTreeMap;

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Container, EnvVar},
};
use kube::api::ResourceExt;

use crate::error::Error;

/// What a kubelet would read from a Deployment to start one of its containers.
#[derive(Clone, Debug)]
pub(crate) struct ContainerConfig {
    pub(crate) namespace: String,
    pub(crate) service_account: String,
    pub(crate) pod_labels: BTreeMap<String, String>,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
}

impl ContainerConfig {
    /// Reads the container called `name`; the process will call itself `pod_name`.
    pub(crate) fn of(deployment: &Deployment, name: &str, pod_name: &str) -> Result<Self, Error> {
        let owner = deployment.name_any();
        let missing = |what| Error::Unexpected(format!("Deployment {owner} has no {what} {name}"));
        let namespace = deployment.namespace().unwrap_or_else(|| "default".into());
        let template = deployment.spec.as_ref().map(|spec| &spec.template);
        let pod = template.and_then(|template| template.spec.as_ref());
        let pod = pod.ok_or_else(|| missing("pod for"))?;
        let container = pod
            .containers
            .iter()
            .find(|container| container.name == name);
        let container = container.ok_or_else(|| missing("container"))?;
        let service_account = pod.service_account_name.clone();
        let service_account = service_account.unwrap_or_else(|| "default".into());
        let metadata = template.and_then(|template| template.metadata.as_ref());
        Ok(Self {
            env: environment(container, pod_name, &namespace, &service_account),
            args: container.args.clone().unwrap_or_default(),
            pod_labels: metadata
                .and_then(|meta| meta.labels.clone())
                .unwrap_or_default(),
            service_account,
            namespace,
        })
    }
}

/// The environment without what is about the pod's resources and addresses, which it does not have.
fn environment(
    container: &Container,
    pod_name: &str,
    namespace: &str,
    service_account: &str,
) -> Vec<(String, String)> {
    let value = |var: &EnvVar| {
        let Some(source) = &var.value_from else {
            return var.value.clone();
        };
        match source.field_ref.as_ref()?.field_path.as_str() {
            "metadata.name" => Some(pod_name.to_string()),
            "metadata.namespace" => Some(namespace.to_string()),
            "spec.serviceAccountName" => Some(service_account.to_string()),
            _ => None,
        }
    };
    let vars = container.env.iter().flatten();
    vars.filter_map(|var| Some((var.name.clone(), value(var)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn arguments_environment_and_account_are_those_of_the_container() {
        let deployment = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"selector": {}, "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"serviceAccountName": "seller", "containers": [{
                    "name": "main",
                    "args": ["serve"],
                    "env": [
                        {"name": "PLAIN", "value": "1"},
                        {"name": "SELF", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                        {"name": "SPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
                        {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
                    ],
                }]},
            }},
        }));
        let deployment: Deployment = deployment.unwrap();
        let container = ContainerConfig::of(&deployment, "main", "web-0").unwrap();
        assert_eq!(
            (container.namespace, container.service_account),
            ("shop".into(), "seller".into())
        );
        assert_eq!(container.args, ["serve"]);
        let expected = [("PLAIN", "1"), ("SELF", "web-0"), ("SPACE", "shop")];
        let expected = expected.map(|(name, value)| (name.into(), value.into()));
        assert_eq!(container.env, expected);
        assert_eq!(container.pod_labels["app"], "web");

        let error = ContainerConfig::of(&deployment, "other", "web-0")
            .unwrap_err()
            .to_string();
        assert_eq!(error, "Deployment web has no container other");
    }
}
