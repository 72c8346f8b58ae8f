//! How the container of a workload runs, for a process that takes its place.

use std::collections::BTreeMap;

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Container, EnvVar, Pod, PodSpec},
};
use kube::api::ResourceExt;

use crate::error::Error;

/// What a kubelet would read from a workload to start one of its containers.
#[derive(Clone, Debug)]
pub(crate) struct ContainerConfig {
    pub(crate) namespace: String,
    pub(crate) service_account: String,
    pub(crate) pod_labels: BTreeMap<String, String>,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
}

/// What a container may ask about the pod that it is in. A Deployment's pod has no addresses yet.
struct PodFacts<'a> {
    name: &'a str,
    namespace: &'a str,
    service_account: &'a str,
    pod_ip: Option<&'a str>,
    host_ip: Option<&'a str>,
}

impl ContainerConfig {
    /// Reads the container called `name`; the process will call itself `pod_name`.
    pub(crate) fn of(deployment: &Deployment, name: &str, pod_name: &str) -> Result<Self, Error> {
        let owner = format!("Deployment {}", deployment.name_any());
        let namespace = deployment.namespace().unwrap_or_else(|| "default".into());
        let template = deployment.spec.as_ref().map(|spec| &spec.template);
        let spec = template.and_then(|template| template.spec.as_ref());
        let spec = spec.ok_or_else(|| missing(&owner, "pod for", name))?;
        let container = container(spec, name).ok_or_else(|| missing(&owner, "container", name))?;
        let metadata = template.and_then(|template| template.metadata.as_ref());
        let labels = metadata.and_then(|metadata| metadata.labels.clone());
        let facts = PodFacts {
            name: pod_name,
            namespace: &namespace,
            service_account: service_account(spec),
            pod_ip: None,
            host_ip: None,
        };
        Ok(Self::read(container, &facts, labels.unwrap_or_default()))
    }

    /// Reads the container called `name` of a pod that runs.
    pub(crate) fn of_pod(pod: &Pod, name: &str) -> Result<Self, Error> {
        let owner = format!("pod {}", pod.name_any());
        let spec = pod.spec.as_ref();
        let spec = spec.ok_or_else(|| missing(&owner, "spec for", name))?;
        let container = container(spec, name).ok_or_else(|| missing(&owner, "container", name))?;
        let status = pod.status.as_ref();
        let facts = PodFacts {
            name: &pod.name_any(),
            namespace: &pod.namespace().unwrap_or_else(|| "default".into()),
            service_account: service_account(spec),
            pod_ip: status.and_then(|status| status.pod_ip.as_deref()),
            host_ip: status.and_then(|status| status.host_ip.as_deref()),
        };
        Ok(Self::read(container, &facts, pod.labels().clone()))
    }

    fn read(container: &Container, facts: &PodFacts, pod_labels: BTreeMap<String, String>) -> Self {
        let env = environment(container, facts);
        let args = container.args.iter().flatten();
        Self {
            args: args.map(|arg| with_variables(arg, &env)).collect(),
            env,
            pod_labels,
            service_account: facts.service_account.into(),
            namespace: facts.namespace.into(),
        }
    }
}

/// A container of a pod by its name; a sidecar is one of the containers that start first.
pub(crate) fn container<'a>(spec: &'a PodSpec, name: &str) -> Option<&'a Container> {
    let starting = spec.init_containers.iter().flatten();
    let mut containers = starting.chain(&spec.containers);
    containers.find(|container| container.name == name)
}

fn service_account(spec: &PodSpec) -> &str {
    spec.service_account_name.as_deref().unwrap_or("default")
}

fn missing(owner: &str, what: &str, name: &str) -> Error {
    Error::Unexpected(format!("{owner} has no {what} {name}"))
}

/// The environment without what is about the pod's resources, which a process does not have, and what is not known.
fn environment(container: &Container, facts: &PodFacts) -> Vec<(String, String)> {
    let value = |var: &EnvVar| {
        let Some(source) = &var.value_from else {
            return var.value.clone();
        };
        let value = match source.field_ref.as_ref()?.field_path.as_str() {
            "metadata.name" => Some(facts.name),
            "metadata.namespace" => Some(facts.namespace),
            "spec.serviceAccountName" => Some(facts.service_account),
            "status.podIP" => facts.pod_ip,
            "status.hostIP" => facts.host_ip,
            _ => None,
        };
        value.map(str::to_owned)
    };
    let vars = container.env.iter().flatten();
    vars.filter_map(|var| Some((var.name.clone(), value(var)?)))
        .collect()
}

/// An argument with the variables that it names, as `$(NAME)`.
fn with_variables(arg: &str, env: &[(String, String)]) -> String {
    env.iter().fold(arg.to_owned(), |arg, (name, value)| {
        arg.replace(&format!("$({name})"), value)
    })
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

    #[test]
    fn a_running_pod_has_addresses_and_its_arguments_may_name_variables() {
        let pod = serde_json::from_value(json!({
            "metadata": {"name": "web-0", "namespace": "shop", "labels": {"app": "web"}},
            "spec": {"containers": [], "initContainers": [{
                "name": "proxy",
                "args": ["--domain", "$(SPACE).svc", "$(UNKNOWN)"],
                "env": [
                    {"name": "SPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
                    {"name": "ADDRESS", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                ],
            }]},
            "status": {"podIP": "10.0.0.1"},
        }));
        let container = ContainerConfig::of_pod(&pod.unwrap(), "proxy").unwrap();
        assert_eq!(container.args, ["--domain", "shop.svc", "$(UNKNOWN)"]);
        assert_eq!(container.env[1], ("ADDRESS".into(), "10.0.0.1".into()));
        assert_eq!(container.service_account, "default");
    }
}
