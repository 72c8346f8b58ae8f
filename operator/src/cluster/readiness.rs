//! How far a live object is, from the few fields of its spec and status that say so.

use serde::Deserialize;

use crate::api::NodePort;
use crate::catalogue::Version;

/// How far a live object is, from its status.
#[derive(Clone, Debug, PartialEq)]
pub enum Readiness {
    /// A `Deployment` or a `DaemonSet`.
    Workload(Workload),
    /// A CRD.
    Crd {
        /// Whether the API server serves it.
        established: bool,
    },
    /// A `Service` that is reached from outside the cluster.
    Exposed(Exposure),
}

/// How a `Service` is reached from outside the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exposure {
    /// The type of the Service, such as `NodePort`.
    pub service_type: String,
    /// Its addresses outside, sorted.
    pub addresses: Vec<String>,
    /// The ports of every node that lead to it.
    pub node_ports: Vec<NodePort>,
}

impl Exposure {
    /// Where the Service is reached, for people: its addresses, and the ports of nodes where its type asks for them. Those of a
    /// load balancer are its own business.
    #[must_use]
    pub fn reached_at(&self) -> Vec<String> {
        let is_meant = |_: &&NodePort| self.service_type == "NodePort";
        let ports = self.node_ports.iter().filter(is_meant);
        let ports = ports.map(|port| format!("NodePort {}:{}", port.port, port.node_port));
        self.addresses.iter().cloned().chain(ports).collect()
    }
}

/// How far a `Deployment` or a `DaemonSet` is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// The generation that the numbers below were counted for.
    pub observed_generation: i64,
    /// Pods that there should be.
    pub desired: i64,
    /// Pods that there are, of whichever generation.
    pub current: i64,
    /// Pods of the newest generation.
    pub updated: i64,
    /// Pods that serve.
    pub available: i64,
}

impl Readiness {
    /// What is assumed of a new object until its status is seen: that it is not ready.
    pub(crate) fn unknown(kind: &str) -> Option<Self> {
        match kind {
            "CustomResourceDefinition" => Some(Self::Crd { established: false }),
            "Deployment" | "DaemonSet" => {
                let observed_generation = -1;
                Some(Self::Workload(Workload {
                    observed_generation,
                    ..Workload::default()
                }))
            }
            _ => None,
        }
    }

    /// Why an object of this generation is not ready; `None` means that it is ready.
    pub(crate) fn unready_reason(&self, generation: i64) -> Option<String> {
        match self {
            Self::Crd { established: true } | Self::Exposed(_) => None,
            Self::Crd { established: false } => Some("it is not served yet".to_owned()),
            Self::Workload(workload) => workload.unready_reason(generation),
        }
    }

    /// Reads the spec and the status of an object of `kind`.
    #[must_use]
    pub fn read(kind: &str, spec: &WatchedSpec, status: &WatchedStatus) -> Option<Self> {
        let workload = |desired, current, updated, available| {
            Some(Self::Workload(Workload {
                observed_generation: status.observed_generation.unwrap_or(-1),
                desired,
                current,
                updated,
                available,
            }))
        };
        match kind {
            "CustomResourceDefinition" => {
                let is_established = |condition: &WatchedCondition| {
                    condition.r#type == "Established" && condition.status == "True"
                };
                let established = status.conditions.iter().flatten().any(is_established);
                Some(Self::Crd { established })
            }
            "Deployment" => workload(
                spec.replicas.unwrap_or(1),
                status.replicas,
                status.updated_replicas,
                status.available_replicas,
            ),
            // Pods of an older generation are not counted apart, so those that are not updated stand for them.
            "DaemonSet" => workload(
                status.desired_number_scheduled,
                status.updated_number_scheduled,
                status.updated_number_scheduled,
                status.number_available,
            ),
            "Service" => {
                let exposure = Exposure {
                    service_type: spec.r#type.clone().unwrap_or_default(),
                    addresses: addresses(spec, status),
                    node_ports: node_ports(spec),
                };
                let is_open = !exposure.addresses.is_empty() || !exposure.node_ports.is_empty();
                is_open.then_some(Self::Exposed(exposure))
            }
            _ => None,
        }
    }
}

/// What `kubectl get service` shows as the external addresses of a Service, sorted because their order means nothing:
/// those of its load balancer and its external IPs. The ports of a `NodePort` are open on every node, whose addresses
/// are not the Service's.
fn addresses(spec: &WatchedSpec, status: &WatchedStatus) -> Vec<String> {
    let is_balanced = spec.r#type.as_deref() == Some("LoadBalancer");
    let balanced = status.load_balancer.ingress.iter().flatten();
    let balanced = balanced
        .filter(|_| is_balanced)
        .filter_map(|ingress| ingress.ip.as_ref().or(ingress.hostname.as_ref()));
    let external = spec.external_ips.iter().flatten();
    let mut addresses: Vec<_> = balanced.chain(external).cloned().collect();
    addresses.sort();
    addresses.dedup();
    addresses
}

/// The ports of a Service that every node opens.
fn node_ports(spec: &WatchedSpec) -> Vec<NodePort> {
    let ports = spec
        .ports
        .iter()
        .flatten()
        .filter(|port| port.node_port != 0);
    ports.cloned().collect()
}

/// The part of a spec that says how many pods there should be, or how a Service is reached; everything else is skipped
/// while parsing.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct WatchedSpec {
    replicas: Option<i64>,
    r#type: Option<String>,
    #[serde(rename = "externalIPs")]
    external_ips: Option<Vec<String>>,
    ports: Option<Vec<NodePort>>,
    template: Option<PodTemplate>,
}

/// The images of the pods of a workload.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct PodTemplate {
    spec: PodSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct PodSpec {
    containers: Vec<Container>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Container {
    image: Option<String>,
}

impl WatchedSpec {
    /// The version of Istio that the images of the pods are of.
    #[must_use]
    pub fn image_version(&self) -> Option<Version> {
        let containers = &self.template.as_ref()?.spec.containers;
        let mut images = containers.iter().filter_map(|one| one.image.as_deref());
        images.find_map(Version::of_image)
    }
}

/// The part of a status that says how far an object is; everything else is skipped while parsing.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WatchedStatus {
    observed_generation: Option<i64>,
    replicas: i64,
    updated_replicas: i64,
    available_replicas: i64,
    desired_number_scheduled: i64,
    updated_number_scheduled: i64,
    number_available: i64,
    // Null, not absent, in a CRD that was just created.
    conditions: Option<Vec<WatchedCondition>>,
    load_balancer: WatchedLoadBalancer,
}

/// What a load balancer says of itself.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct WatchedLoadBalancer {
    ingress: Option<Vec<WatchedIngress>>,
}

/// Where a load balancer is reached: by IP address or by name.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct WatchedIngress {
    ip: Option<String>,
    hostname: Option<String>,
}

/// The part of a condition that says whether it holds.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct WatchedCondition {
    r#type: String,
    status: String,
}

impl Workload {
    fn unready_reason(&self, generation: i64) -> Option<String> {
        let Self {
            observed_generation,
            desired,
            current,
            updated,
            available,
        } = *self;
        let told = |count| told(count, desired);
        if observed_generation < generation {
            Some("its newest generation is not being rolled out yet".to_owned())
        } else if updated < desired {
            Some(format!(
                "{} of {desired} replicas are updated",
                told(updated)
            ))
        } else if current > updated {
            let old = told(current - updated);
            Some(if available < current {
                format!("its new pods are not available yet; old ones still there: {old}")
            } else {
                format!("waiting for old pods to end: {old}")
            })
        } else if available < desired {
            let available = told(available);
            Some(format!("{available} of {desired} replicas are available"))
        } else {
            None
        }
    }
}

/// A count of pods, of about `all` that there should be, in words: exact where there are few, and up to the next tenth of
/// all where there are many. Each change of the words is a write of the status, and a node agent runs on thousands of nodes.
fn told(count: i64, all: i64) -> String {
    let step = all / 10;
    if step <= 1 {
        return count.to_string();
    }
    format!("fewer than {}", (count / step + 1) * step)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(kind: &str, spec: &Value, status: &Value) -> Option<Readiness> {
        let spec = WatchedSpec::deserialize(spec).unwrap_or_default();
        let status = WatchedStatus::deserialize(status).unwrap_or_default();
        Readiness::read(kind, &spec, &status)
    }

    #[test]
    fn a_deployment_is_ready_when_its_newest_generation_is_available() {
        let unready_reason = |status: Value| {
            let spec = json!({"replicas": 2});
            read("Deployment", &spec, &status)
                .unwrap()
                .unready_reason(3)
        };
        let status = |observed, replicas, updated, available| {
            json!({"observedGeneration": observed, "replicas": replicas,
                "updatedReplicas": updated, "availableReplicas": available})
        };
        assert_eq!(unready_reason(status(3, 2, 2, 2)), None);
        assert_eq!(
            unready_reason(json!(null)).unwrap(),
            "its newest generation is not being rolled out yet"
        );
        assert!(unready_reason(status(2, 2, 2, 2)).is_some());
        assert_eq!(
            unready_reason(status(3, 3, 1, 3)).unwrap(),
            "1 of 2 replicas are updated"
        );
        assert_eq!(
            unready_reason(status(3, 3, 2, 3)).unwrap(),
            "waiting for old pods to end: 1"
        );
        assert_eq!(
            unready_reason(status(3, 3, 2, 2)).unwrap(),
            "its new pods are not available yet; old ones still there: 1"
        );
        assert_eq!(
            unready_reason(status(3, 2, 2, 1)).unwrap(),
            "1 of 2 replicas are available"
        );
    }

    #[test]
    fn a_rollout_over_many_nodes_is_told_in_tenths() {
        let unready_reason = |updated: i64, available: i64| {
            let status = json!({"observedGeneration": 1, "desiredNumberScheduled": 1000,
                "updatedNumberScheduled": updated, "numberAvailable": available});
            let readiness = read("DaemonSet", &json!({}), &status);
            readiness.unwrap().unready_reason(1)
        };
        let steps = (0..=1000).map(|updated| unready_reason(updated, 0));
        let steps = steps.chain((0..=1000).map(|available| unready_reason(1000, available)));
        let mut told: Vec<_> = steps.collect();
        told.dedup();
        assert_eq!(told.len(), 10 + 10 + 1, "{told:#?}");
        let first = "fewer than 100 of 1000 replicas are updated";
        assert_eq!(told[0].as_deref(), Some(first));
        let last = "fewer than 1000 of 1000 replicas are available";
        assert_eq!(told[19].as_deref(), Some(last));
        assert_eq!(told[20], None);
    }

    #[test]
    fn a_daemon_set_without_nodes_is_ready() {
        let readiness = read("DaemonSet", &json!({}), &json!({"observedGeneration": 1}));
        assert_eq!(readiness.unwrap().unready_reason(1), None);
    }

    #[test]
    fn a_definition_is_ready_when_it_is_served() {
        let unready_reason = |status: &str| {
            let conditions = json!([{"type": "Established", "status": status}]);
            let status = json!({"conditions": conditions});
            let readiness = read("CustomResourceDefinition", &json!({}), &status);
            readiness.unwrap().unready_reason(1)
        };
        assert_eq!(unready_reason("True"), None);
        assert!(unready_reason("False").is_some());
        assert!(WatchedStatus::deserialize(&json!({"conditions": null})).is_ok());
    }

    #[test]
    fn a_service_has_the_addresses_that_kubectl_shows() {
        let of = |kind: &str, ingress: Value, external: Value| {
            let spec = json!({"type": kind, "externalIPs": external});
            let status = json!({"loadBalancer": {"ingress": ingress}});
            read("Service", &spec, &status)
        };
        let exposed = |service_type: &str, addresses: &[&str]| {
            Some(Readiness::Exposed(Exposure {
                service_type: service_type.into(),
                addresses: addresses.iter().map(ToString::to_string).collect(),
                node_ports: Vec::new(),
            }))
        };
        let ingress = json!([{"hostname": "lb.example.com"}, {"ip": "203.0.113.7", "ports": []}]);
        let both = exposed("LoadBalancer", &["203.0.113.7", "lb.example.com"]);
        assert_eq!(of("LoadBalancer", ingress.clone(), json!(null)), both);
        assert_eq!(of("LoadBalancer", json!(null), json!(null)), None);
        // Where a Service was a load balancer's before, the status may lag behind.
        assert_eq!(of("ClusterIP", ingress, json!(null)), None);
        let external = json!(["198.51.100.1"]);
        assert_eq!(
            of("NodePort", json!(null), external),
            exposed("NodePort", &["198.51.100.1"])
        );
    }

    #[test]
    fn a_service_has_the_node_ports_that_were_given_to_it() {
        let ports = json!([{"name": "http", "port": 80, "nodePort": 31080}, {"port": 81}]);
        let spec = json!({"type": "NodePort", "ports": ports});
        let Some(Readiness::Exposed(exposure)) = read("Service", &spec, &json!(null)) else {
            panic!("not exposed")
        };
        let node_port = NodePort {
            name: "http".into(),
            port: 80,
            node_port: 31080,
        };
        assert_eq!(exposure.node_ports, [node_port]);
        assert_eq!(exposure.service_type, "NodePort");
    }
}
