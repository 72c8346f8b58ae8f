//! What a pod uses: a revision, and in it a proxy of some version.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde_json::Value;

use super::words::{Word, Words};
use crate::catalogue::Version;
use crate::cluster::{DEFAULT, REVISION};

/// The annotation by which injected pods tell the version of their proxy.
pub const PROXY_VERSION: &str = "istio-operator.io/proxy-version";
/// The annotation that the injector leaves on each pod that it changed.
const STATUS: &str = "sidecar.istio.io/status";
/// The annotation by which a pod chooses another image for its proxy.
const PROXY_IMAGE: &str = "sidecar.istio.io/proxyImage";
/// The annotation by which a pod chooses what is injected into it.
const TEMPLATES: &str = "inject.istio.io/templates";
/// The label of pods that istiod made for an object of the Gateway API.
const MANAGED: &str = "gateway.istio.io/managed";
/// The label of the component that a pod was rendered for.
const COMPONENT: &str = "operator.istio.io/component";
/// The container of the proxy, whoever made the pod.
const PROXY: &str = "istio-proxy";

/// What a proxy does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProxyKind {
    /// It stands beside an application.
    Sidecar,
    /// It stands at the edge of the mesh.
    Gateway,
    /// It stands in front of services of ambient mode.
    Waypoint,
    /// It serves the pods of a node in ambient mode.
    Ztunnel,
}

/// What is kept of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// The revision or the tag that it names.
    pub revision: Word,
    /// What its proxy does; none if it asks for a revision and has no proxy.
    pub proxy: Option<ProxyKind>,
    /// The version of its proxy, where something tells it.
    pub version: Option<Version>,
    /// What runs it, such as `Deployment/web`; none if nothing does.
    pub workload: Option<Word>,
}

/// The part of a pod's spec that tells its images; everything else is skipped while parsing.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Containers {
    containers: Vec<Container>,
    init_containers: Vec<Container>,
}

/// The part of a container that tells its image.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Container {
    name: String,
    image: String,
}

impl Containers {
    fn proxy_image(&self) -> Option<&str> {
        let mut all = self.containers.iter().chain(&self.init_containers);
        let proxy = all.find(|container| container.name == PROXY)?;
        Some(&proxy.image)
    }
}

impl Pod {
    /// Reads a pod by its metadata, and by its containers where these are known; none if it does not use Istio.
    #[must_use]
    pub fn read(
        meta: &ObjectMeta,
        containers: Option<&Containers>,
        words: &mut Words,
    ) -> Option<Self> {
        let none = BTreeMap::new();
        let labels = meta.labels.as_ref().unwrap_or(&none);
        let annotations = meta.annotations.as_ref().unwrap_or(&none);
        let image = containers.and_then(Containers::proxy_image);
        let is_ztunnel = labels.get("app").is_some_and(|app| app == "ztunnel");
        let is_injected = annotations.contains_key(STATUS);
        let named = annotations.get(REVISION);
        let has_proxy = match containers {
            Some(_) => image.is_some(),
            None => is_injected || named.is_some(),
        };
        if !has_proxy && is_control_plane(labels, containers) {
            return None;
        }
        let injected = annotations
            .get(STATUS)
            .and_then(|status| injected_by(status));
        let revision = named.cloned().or(injected);
        let revision = revision.or_else(|| labels.get(REVISION).cloned());
        // Neither ztunnel nor a proxy without gRPC settings names the revision that has no name.
        let revision = revision.or_else(|| has_proxy.then(|| DEFAULT.to_owned()))?;
        let chosen = annotations.get(PROXY_IMAGE).map(String::as_str);
        let version = match image.or(chosen) {
            Some(image) => Version::of_image(image),
            None => annotations
                .get(PROXY_VERSION)
                .and_then(|version| Version::parse(version)),
        };
        let is_gateway = || {
            labels
                .get(COMPONENT)
                .is_some_and(|component| component.ends_with("Gateways"))
                || annotations.get(TEMPLATES).is_some_and(|templates| {
                    templates.split(',').any(|one| one.trim() == "gateway")
                })
        };
        let kind = match labels.get(MANAGED).map(String::as_str) {
            Some("istio.io-mesh-controller") => ProxyKind::Waypoint,
            Some(_) => ProxyKind::Gateway,
            None if is_ztunnel => ProxyKind::Ztunnel,
            None if is_gateway() => ProxyKind::Gateway,
            None => ProxyKind::Sidecar,
        };
        Some(Self {
            revision: words.word(&revision),
            proxy: has_proxy.then_some(kind),
            version,
            workload: workload(meta, labels).map(|workload| words.word(&workload)),
        })
    }
}

/// Whether a pod without proxy is one of Istio's own, which carry the revision that they serve.
fn is_control_plane(labels: &BTreeMap<String, String>, containers: Option<&Containers>) -> bool {
    containers.is_some() || labels.get("istio").is_some_and(|istio| istio == "pilot")
}

/// The revision of the injector that wrote this annotation.
fn injected_by(status: &str) -> Option<String> {
    let status: Value = serde_json::from_str(status).ok()?;
    let revision = status["revision"].as_str()?;
    Some(revision.to_owned())
}

/// What runs a pod. The name of a `ReplicaSet` is that of its owner, and the hash of the pod template.
fn workload(meta: &ObjectMeta, labels: &BTreeMap<String, String>) -> Option<String> {
    let mut owners = meta.owner_references.iter().flatten();
    let owner = owners.find(|owner| owner.controller == Some(true))?;
    let made_by = |label: &str| {
        let hash = labels.get(label)?;
        let name = owner.name.strip_suffix(hash)?;
        name.strip_suffix('-')
    };
    if owner.kind == "ReplicaSet" {
        if let Some(name) = made_by("rollouts-pod-template-hash") {
            return Some(format!("Rollout/{name}"));
        }
        if let Some(name) = made_by("pod-template-hash") {
            return Some(format!("Deployment/{name}"));
        }
    }
    Some(format!("{}/{}", owner.kind, owner.name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(meta: Value, spec: Option<Value>) -> Option<Pod> {
        let meta: ObjectMeta = serde_json::from_value(meta).unwrap();
        let containers: Option<Containers> = spec.map(|spec| serde_json::from_value(spec).unwrap());
        Pod::read(&meta, containers.as_ref(), &mut Words::default())
    }

    fn told(pod: Option<Pod>) -> Option<(String, Option<ProxyKind>, Option<String>)> {
        let pod = pod?;
        let version = pod.version.map(|version| version.to_string());
        Some((pod.revision.to_string(), pod.proxy, version))
    }

    fn used(
        revision: &str,
        proxy: Option<ProxyKind>,
        version: Option<&str>,
    ) -> (String, Option<ProxyKind>, Option<String>) {
        (revision.to_owned(), proxy, version.map(str::to_owned))
    }

    #[test]
    fn metadata_tells_the_revision_and_the_version_of_a_sidecar() {
        use ProxyKind::{Gateway, Sidecar};
        for (meta, expected) in [
            (json!({"labels": {"app": "web"}}), None),
            (
                json!({"annotations": {"istio.io/rev": "blue", PROXY_VERSION: "1.30.5"}}),
                Some(used("blue", Some(Sidecar), Some("1.30.5"))),
            ),
            // Injected before the annotation was there.
            (
                json!({"annotations": {"istio.io/rev": "default", STATUS: "{}"}}),
                Some(used("default", Some(Sidecar), None)),
            ),
            // Without an agent there is no revision but in the status of the injector.
            (
                json!({"annotations": {STATUS: r#"{"revision":"blue"}"#}}),
                Some(used("blue", Some(Sidecar), None)),
            ),
            (
                json!({"annotations": {STATUS: "no JSON"}}),
                Some(used("default", Some(Sidecar), None)),
            ),
            // Its own image counts, and not what the injector would have taken.
            (
                json!({"annotations": {
                    "istio.io/rev": "blue", PROXY_VERSION: "1.31.1", PROXY_IMAGE: "hub/proxyv2:1.29.8",
                }}),
                Some(used("blue", Some(Sidecar), Some("1.29.8"))),
            ),
            (
                json!({"annotations": {
                    "istio.io/rev": "blue", PROXY_VERSION: "1.31.1", PROXY_IMAGE: "hub/proxyv2@sha256:1",
                }}),
                Some(used("blue", Some(Sidecar), None)),
            ),
            (
                json!({"annotations": {"istio.io/rev": "blue", STATUS: "{}", TEMPLATES: "gateway"}}),
                Some(used("blue", Some(Gateway), None)),
            ),
            // It asks for a revision, and was not injected.
            (
                json!({"labels": {"istio.io/rev": "prod"}}),
                Some(used("prod", None, None)),
            ),
            (
                json!({"labels": {"istio.io/rev": "prod", "istio": "pilot"}}),
                None,
            ),
        ] {
            assert_eq!(told(read(meta.clone(), None)), expected, "{meta}");
        }
    }

    #[test]
    fn images_tell_the_version_of_gateways_and_ztunnels() {
        use ProxyKind::{Gateway, Sidecar, Waypoint, Ztunnel};
        let proxy =
            json!({"containers": [{"name": PROXY, "image": "hub/proxyv2:1.31.1-distroless"}]});
        let native =
            json!({"containers": [], "initContainers": [{"name": PROXY, "image": "x:1.30.5"}]});
        let other = json!({"containers": [{"name": "discovery", "image": "hub/pilot:1.31.1"}]});
        let revision = json!({"istio.io/rev": "blue"});
        for (labels, annotations, spec, expected) in [
            (
                json!({MANAGED: "istio.io-gateway-controller"}),
                &revision,
                &proxy,
                Some(used("blue", Some(Gateway), Some("1.31.1"))),
            ),
            (
                json!({MANAGED: "istio.io-mesh-controller"}),
                &revision,
                &proxy,
                Some(used("blue", Some(Waypoint), Some("1.31.1"))),
            ),
            (
                json!({COMPONENT: "IngressGateways"}),
                &revision,
                &proxy,
                Some(used("blue", Some(Gateway), Some("1.31.1"))),
            ),
            (
                json!({"app": "ztunnel"}),
                &json!({}),
                &proxy,
                Some(used("default", Some(Ztunnel), Some("1.31.1"))),
            ),
            (
                json!({"app": "kiali"}),
                &revision,
                &native,
                Some(used("blue", Some(Sidecar), Some("1.30.5"))),
            ),
            (json!({"istio.io/rev": "blue"}), &json!({}), &other, None),
        ] {
            let meta = json!({"labels": labels, "annotations": annotations});
            let found = read(meta.clone(), Some(spec.clone()));
            assert_eq!(told(found), expected, "{meta}");
        }
    }

    #[test]
    fn the_owner_of_a_pod_is_its_workload() {
        let of = |kind: &str, name: &str, labels: Value| {
            let owner = json!({
                "apiVersion": "apps/v1", "kind": kind, "name": name, "uid": "1", "controller": true,
            });
            let meta = json!({
                "labels": labels,
                "annotations": {"istio.io/rev": "blue"},
                "ownerReferences": [owner],
            });
            read(meta, None).unwrap().workload.unwrap().to_string()
        };
        let hash = json!({"pod-template-hash": "7c9"});
        assert_eq!(of("ReplicaSet", "web-7c9", hash.clone()), "Deployment/web");
        let rollout = json!({"rollouts-pod-template-hash": "7c9"});
        assert_eq!(of("ReplicaSet", "web-7c9", rollout), "Rollout/web");
        assert_eq!(of("ReplicaSet", "web", hash), "ReplicaSet/web");
        assert_eq!(of("StatefulSet", "db", json!({})), "StatefulSet/db");
        let bare = json!({"annotations": {"istio.io/rev": "blue"}});
        assert_eq!(read(bare, None).unwrap().workload, None);
    }
}
