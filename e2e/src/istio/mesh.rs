//! A mesh at work: the real istiod, and real proxies for pods that kwok plays.

use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use crate::{
    control_plane::ControlPlane,
    error::Error,
    host::ports,
    istio::{istiod::Istiod, proxy::Proxy},
};

/// Istio's own Envoy has filters that the stock one lacks. These settings of istiod leave two of them out of what it sends.
const STOCK_ENVOY: [(&str, &str); 2] = [
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
        // The third filter counts requests for Istio's metrics.
        let telemetry = json!({
            "apiVersion": "telemetry.istio.io/v1",
            "kind": "Telemetry",
            "metadata": {"name": "stock-envoy", "namespace": namespace},
            "spec": {"metrics": [{
                "providers": [{"name": "prometheus"}],
                "overrides": [{"disabled": true}],
            }]},
        });
        plane.apply(&telemetry.to_string())?;
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
        Box::pin(Proxy::start(plane, &self.istiod, pod, address)).await
    }

    /// Starts the proxy of a gateway's pod, on an address of its own.
    pub async fn gateway(&self, plane: &ControlPlane, pod: Pod) -> Result<Proxy, Error> {
        let address = ports::address()?;
        // The listeners of a gateway would be on all addresses of the machine.
        let filter = json!({
            "apiVersion": "networking.istio.io/v1alpha3",
            "kind": "EnvoyFilter",
            "metadata": {"name": format!("loopback-{address}"), "namespace": self.namespace},
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
        });
        plane.apply(&filter.to_string())?;
        Box::pin(Proxy::start(plane, &self.istiod, pod, address)).await
    }
}
