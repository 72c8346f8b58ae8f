//! Which Istio the pods of gateways run.

use super::State;
use crate::api::GatewayStatus;
use crate::cluster::{CrKey, digest};

impl State {
    /// Adds to the gateways of a status which versions their pods have.
    pub fn tell_gateways(&mut self, cr: &CrKey, gateways: &mut [GatewayStatus]) {
        for gateway in gateways.iter_mut() {
            let workload = format!("Deployment/{}", gateway.name);
            let pods = &self.users.data_plane;
            let versions = pods.versions_of(&gateway.namespace, &workload).into_iter();
            let versions: Vec<_> = versions.map(|version| version.to_string()).collect();
            gateway.version = (!versions.is_empty()).then(|| versions.join(", "));
        }
        let told = self.gateways_digest(cr);
        self.users.told_gateways.insert(cr.clone(), told);
    }

    /// Whether the pods of a CR's gateways have other versions than its status told. Whatever the pass comes to that follows, it
    /// is not asked for again.
    pub(super) fn has_untold_gateways(&mut self, cr: &CrKey) -> bool {
        let now = self.gateways_digest(cr);
        let told = self.users.told_gateways.get_mut(cr);
        told.is_some_and(|told| std::mem::replace(told, now) != now)
    }

    /// A digest of the versions that the pods of a CR's gateways have.
    fn gateways_digest(&self, cr: &CrKey) -> u64 {
        let gateways = self.workloads(cr, |_, object| {
            let component = object.owner_labels.component;
            component.is_some_and(|component| component.gateway_key().is_some())
        });
        let pods = &self.users.data_plane;
        let versions = gateways.iter().map(|(namespace, workload)| {
            let versions = pods.versions_of(namespace, workload);
            (namespace, workload, versions)
        });
        digest(&versions.collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
    use serde_json::{Value, json};

    use super::*;
    use crate::dataplane::{Containers, SOURCES, Source};

    /// A pod of the gateway `edge`.
    fn put(state: &mut State, name: &str, image: &str) {
        let owner = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "edge-1",
            "uid": "1", "controller": true});
        let labels =
            json!({"operator.istio.io/component": "IngressGateways", "pod-template-hash": "1"});
        let meta = json!({"namespace": "mesh", "name": name, "labels": labels, "ownerReferences": [owner]});
        let containers = json!({"containers": [{"name": "istio-proxy", "image": image}]});
        let read = |value: Value| serde_json::from_value::<ObjectMeta>(value).unwrap();
        let containers: Containers = serde_json::from_value(containers).unwrap();
        let is_it = |source: &&Source| source.name == "pods of Istio";
        let source = SOURCES.iter().find(is_it).unwrap();
        let pods = &mut state.users.data_plane;
        pods.put(source, &read(meta), Some(&containers), Instant::now());
    }

    /// Accepted row 6: a gateway tells the versions of its pods, also while they are replaced.
    #[test]
    fn a_gateway_tells_the_versions_of_its_pods() {
        let mut state = State::new(None, std::iter::empty());
        let cr = CrKey {
            namespace: "mesh".into(),
            name: "one".into(),
        };
        let mut gateways = ["edge", "other"].map(|name| GatewayStatus {
            name: name.into(),
            namespace: "mesh".into(),
            ..GatewayStatus::default()
        });
        let mut told = |state: &mut State| {
            state.tell_gateways(&cr, &mut gateways);
            gateways.clone().map(|gateway| gateway.version)
        };
        assert_eq!(told(&mut state), [None, None]);
        put(&mut state, "a", "hub/proxyv2:1.30.5");
        assert_eq!(told(&mut state), [Some("1.30.5".to_owned()), None]);
        put(&mut state, "b", "hub/proxyv2:1.31.1-distroless");
        put(&mut state, "c", "hub/proxyv2@sha256:1");
        assert_eq!(told(&mut state), [Some("1.30.5, 1.31.1".to_owned()), None]);
    }
}
