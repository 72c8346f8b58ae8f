//! A gateway as the world outside reaches it: the port of the nodes that its Service has, and real proxies for its pods.

use std::{collections::BTreeMap, net::SocketAddr};

use k8s_openapi::{
    api::core::v1::{Pod, Service, ServicePort},
    apimachinery::pkg::util::intstr::IntOrString,
};
use kube::{
    Api,
    api::{ListParams, ResourceExt},
};
use tokio::task::spawn_blocking;

use crate::{
    control_plane::ControlPlane,
    error::Error,
    host::balancer::Balancer,
    istio::{mesh::Mesh, proxy::Proxy},
};

/// A gateway that answers on 127.0.0.1; it does no more when dropped.
#[derive(Debug)]
pub struct Ingress {
    pods: Api<Pod>,
    selector: BTreeMap<String, String>,
    proxies: Vec<Proxy>,
    target_port: u16,
    balancer: Balancer,
}

impl Ingress {
    /// Opens, on 127.0.0.1, the port of the nodes that the Service has for its port `port`, and starts a proxy for each of
    /// its pods. A port that is taken is [`Error::PortTaken`].
    pub async fn start(
        plane: &ControlPlane,
        mesh: &Mesh,
        namespace: &str,
        service: &str,
        port: i32,
    ) -> Result<Self, Error> {
        let client = plane.client().await?;
        let services: Api<Service> = Api::namespaced(client.clone(), namespace);
        let spec = services.get(service).await?.spec.unwrap_or_default();
        let mut ports = spec.ports.iter().flatten();
        let entry = ports.find(|entry| entry.port == port);
        let (node_port, target_port) = entry.and_then(numbers).ok_or_else(|| {
            Error::Unexpected(format!(
                "Service {service} has no node port for port {port}"
            ))
        })?;
        let mut ingress = Self {
            pods: Api::namespaced(client, namespace),
            selector: spec.selector.unwrap_or_default(),
            proxies: Vec::new(),
            target_port,
            balancer: Balancer::start(node_port)?,
        };
        ingress.follow(plane, mesh).await?;
        Ok(ingress)
    }

    /// Starts proxies for new pods, and then ends those whose pods are gone, as kubelets and kube-proxy do.
    pub async fn follow(&mut self, plane: &ControlPlane, mesh: &Mesh) -> Result<(), Error> {
        let labels = self.selector.iter();
        let labels: Vec<_> = labels
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let chosen = ListParams::default().labels(&labels.join(","));
        let pods = self.pods.list(&chosen).await?.items;
        let pods: Vec<_> = pods.into_iter().filter(is_ready).collect();
        for pod in &pods {
            if !self
                .proxies
                .iter()
                .any(|proxy| proxy.pod().uid() == pod.uid())
            {
                self.proxies.push(mesh.gateway(plane, pod.clone()).await?);
                self.tell();
            }
        }
        let is_there = |proxy: &Proxy| pods.iter().any(|pod| pod.uid() == proxy.pod().uid());
        let proxies = std::mem::take(&mut self.proxies);
        let (stay, gone) = proxies.into_iter().partition(is_there);
        self.proxies = stay;
        self.tell();
        let gone: Vec<Proxy> = gone;
        for proxy in gone {
            // Draining takes seconds, in which the others serve.
            spawn_blocking(|| proxy.stop());
        }
        Ok(())
    }

    /// The proxies that take connections now.
    #[must_use]
    pub fn proxies(&self) -> &[Proxy] {
        &self.proxies
    }

    /// The labels of its pods, by which a `Gateway` selects them.
    #[must_use]
    pub fn selector(&self) -> &BTreeMap<String, String> {
        &self.selector
    }

    /// Where it is reached.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.balancer.address()
    }

    /// The proxy that took the last connection.
    #[must_use]
    pub fn last(&self) -> Option<&Proxy> {
        let last = self.balancer.last()?;
        self.proxies
            .iter()
            .find(|proxy| last.ip() == proxy.address())
    }

    fn tell(&self) {
        let proxies = self.proxies.iter();
        let addresses = proxies.map(|proxy| (proxy.address(), self.target_port).into());
        self.balancer.lead_to(addresses.collect());
    }
}

/// The port of the nodes and the port of the pods, if both are numbers.
fn numbers(entry: &ServicePort) -> Option<(u16, u16)> {
    let target = match &entry.target_port {
        Some(IntOrString::Int(target)) => *target,
        Some(IntOrString::String(_)) => return None,
        None => entry.port,
    };
    let number = |port: i32| u16::try_from(port).ok();
    Some((number(entry.node_port?)?, number(target)?))
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter();
    let mut conditions = conditions.flat_map(|status| status.conditions.iter().flatten());
    let is_ready = conditions.any(|one| one.type_ == "Ready" && one.status == "True");
    is_ready && pod.metadata.deletion_timestamp.is_none()
}
