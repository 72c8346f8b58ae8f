//! A mesh at work: the real istiod, and real proxies for pods that kwok plays.

use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use crate::{
    control_plane::ControlPlane,
    error::Error,
    host::ports,
    istio::{istiod::Istiod, proxy::Proxy, release::Release},
};

/// Istio's own Envoy has filters that the stock one lacks. These settings of istiod leave two of them out of what it sends.
pub(crate) const STOCK_ENVOY: [(&str, &str); 2] = [
    ("PILOT_ENABLE_METADATA_EXCHANGE", "false"),
    ("PILOT_ENABLE_ALPN_FILTER", "false"),
];

/// A running istiod with the proxies that are started; ends when dropped.
#[derive(Debug)]
pub struct Mesh {
    istiod: Istiod,
    namespace: String,
}

impl Mesh {
    /// Starts istiod in place of the Deployment `deployment`, for proxies that are a stock Envoy.
    pub async fn start(
        plane: &ControlPlane,
        namespace: &str,
        deployment: &str,
    ) -> Result<Self, Error> {
        let istiod = Istiod::start_with(plane, namespace, deployment, &STOCK_ENVOY).await?;
        plane.apply(&without_metrics(namespace).to_string())?;
        Ok(Self {
            istiod,
            namespace: namespace.into(),
        })
    }

    /// The istiod.
    pub fn istiod(&mut self) -> &mut Istiod {
        &mut self.istiod
    }

    /// Starts the proxy of an injected pod. Its listeners are where a `Sidecar` says, on `address`.
    pub async fn sidecar(
        &self,
        plane: &ControlPlane,
        pod: Pod,
        address: Ipv4Addr,
    ) -> Result<Proxy, Error> {
        let discovery = self.istiod.discovery();
        Box::pin(Proxy::start(
            plane,
            Release::Current,
            &discovery,
            pod,
            address,
        ))
        .await
    }

    /// Starts the proxy of a gateway's pod, on an address of its own.
    pub async fn gateway(&self, plane: &ControlPlane, pod: Pod) -> Result<Proxy, Error> {
        let address = ports::address()?;
        let filter = gateway_on_loopback(&self.namespace, address);
        plane.apply(&filter.to_string())?;
        self.sidecar(plane, pod, address).await
    }
}

/// The third filter that the stock Envoy lacks counts requests for Istio's metrics; this leaves it out.
pub(crate) fn without_metrics(namespace: &str) -> Value {
    json!({
        "apiVersion": "telemetry.istio.io/v1",
        "kind": "Telemetry",
        "metadata": {"name": "stock-envoy", "namespace": namespace},
        "spec": {"metrics": [{
            "providers": [{"name": "prometheus"}],
            "overrides": [{"disabled": true}],
        }]},
    })
}

/// The listeners of a gateway would be on all addresses of the machine; this moves those of one gateway to its address.
pub(crate) fn gateway_on_loopback(namespace: &str, address: Ipv4Addr) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": {"name": format!("loopback-{address}"), "namespace": namespace},
        "spec": {"configPatches": [{
            "applyTo": "LISTENER",
            "match": {
                "context": "GATEWAY",
                "proxy": {"metadata": {"LOOPBACK": address.to_string()}},
            },
            "patch": {
                "operation": "MERGE",
                "value": {"address": {"socket_address": {"address": address.to_string()}}},
            },
        }]},
    })
}
