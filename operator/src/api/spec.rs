//! The fields of `spec`. The CRD and the strict schema of `merge` are generated from these types. A stored spec stays raw
//! JSON, because old CRs may hold anything.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::addons::AddonComponents;
use super::k8s::KubernetesResources;
use super::update_strategy::UpdateStrategy;

/// What to install: a profile, and what to change about it.
#[derive(Clone, Debug, Default, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IstioOperatorSpec {
    /// Named set of defaults to start from: default, demo, minimal, empty, ambient, openshift,
    /// openshift-ambient, preview, remote or stable.
    pub profile: Option<String>,
    /// Istio version to install, as a minor ("1.30") or a patch release ("1.30.3"). Write it in
    /// quotes. Left out, the minor of tag decides, and without one the newest minor that this
    /// operator knows.
    #[schemars(extend("x-istio-format" = "version"))]
    pub version: Option<String>,
    /// Registry and path in front of every image name.
    #[schemars(extend("x-istio-format" = "hub"))]
    pub hub: Option<String>,
    /// Image tag of every component.
    #[schemars(extend("x-istio-format" = "tag"))]
    pub tag: Option<ImageTag>,
    /// Without effect since Istio 1.24: use values.global.istioNamespace.
    pub namespace: Option<String>,
    /// Name of this control plane beside others. It becomes part of the names of its objects.
    #[schemars(extend("x-istio-format" = "revision"))]
    pub revision: Option<String>,
    /// Minor whose default behavior is kept, such as "1.29".
    pub compatibility_version: Option<String>,
    /// Without effect: the charts are part of the operator.
    pub install_package_path: Option<String>,
    /// Mesh-wide settings that istiod and the proxies read. Wins over values.meshConfig.
    pub mesh_config: Option<Map<String, Value>>,
    /// What to install, and how each part runs on Kubernetes.
    pub components: Option<IstioComponents>,
    /// Tools that show what the mesh does.
    pub addon_components: Option<AddonComponents>,
    /// How a changed spec reaches a running mesh.
    pub update_strategy: Option<UpdateStrategy>,
    /// What happens to the installed objects when this resource is deleted.
    pub deletion_policy: Option<DeletionPolicy>,
    /// Chart settings, checked against the chart's schema.
    pub values: Option<Map<String, Value>>,
    /// Chart settings laid over values without a check.
    pub unvalidated_values: Option<Map<String, Value>>,
}

/// A tag is a string, but numbers are accepted as upstream accepts them.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(extend("x-istio-scalar" = true))]
pub struct ImageTag(#[allow(dead_code, reason = "describes the schema only")] Value);

/// The parts of an Istio installation.
#[derive(Clone, Debug, Default, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IstioComponents {
    /// Istio's CRDs and its cluster-wide reader account.
    pub base: Option<BaseComponent>,
    /// istiod, the control plane.
    pub pilot: Option<Component>,
    /// Node agent that redirects pod traffic instead of an init container.
    pub cni: Option<Component>,
    /// Node proxy of ambient mode.
    pub ztunnel: Option<Component>,
    /// Accepted for compatibility and without effect: use the profile remote.
    pub istiod_remote: Option<Component>,
    /// Gateways for traffic into the mesh. The list replaces that of the profile.
    pub ingress_gateways: Option<Vec<Gateway>>,
    /// Gateways for traffic out of the mesh. The list replaces that of the profile.
    pub egress_gateways: Option<Vec<Gateway>>,
}

/// The base component, which has no workload.
#[derive(Clone, Debug, Default, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BaseComponent {
    /// Whether to install it. Left out, it is installed.
    pub enabled: Option<bool>,
    /// Only overlays have an effect, because base has no workload.
    pub k8s: Option<KubernetesResources>,
}

/// A component with one workload.
#[derive(Clone, Debug, Default, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Component {
    /// Whether to install it. A component that is present without this field is installed.
    pub enabled: Option<bool>,
    /// Namespace of its objects; the namespace of the installation if left out.
    pub namespace: Option<String>,
    /// Image registry and path of this component alone.
    pub hub: Option<String>,
    /// Image tag of this component alone.
    pub tag: Option<ImageTag>,
    /// Kubernetes settings.
    pub k8s: Option<KubernetesResources>,
}

/// A gateway.
#[derive(Clone, Debug, Default, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Gateway {
    /// Whether to install it. A gateway that is listed without this field is installed.
    pub enabled: Option<bool>,
    /// Name of its Deployment, Service and autoscaler.
    #[schemars(extend("x-istio-format" = "gateway-name"))]
    pub name: Option<String>,
    /// Namespace of its objects; the namespace of the installation if left out.
    pub namespace: Option<String>,
    /// Labels of its pods, laid over the chart's own. They also select the pods, so they cannot be
    /// changed later.
    pub label: Option<BTreeMap<String, String>>,
    /// Accepted for compatibility; gateways take their hub from the installation.
    pub hub: Option<String>,
    /// Image tag of this gateway alone, since Istio 1.26.
    pub tag: Option<ImageTag>,
    /// Kubernetes settings.
    pub k8s: Option<KubernetesResources>,
}

/// What happens to the installed objects when the CR is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub enum DeletionPolicy {
    /// They are deleted, except CRDs and namespaces.
    #[default]
    Delete,
    /// They stay and keep running without the operator.
    Orphan,
}
