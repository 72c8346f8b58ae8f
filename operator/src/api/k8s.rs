//! The `k8s` block of a component: settings laid over its rendered workload, Service, HPA and PDB.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::DeploymentStrategy;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscalerSpec;
use k8s_openapi::api::core::v1::{
    Affinity, EnvVar, PodSecurityContext, Probe, ResourceRequirements, ServiceSpec, Toleration,
    Volume, VolumeMount,
};
use k8s_openapi::api::policy::v1::PodDisruptionBudgetSpec;
use schemars::JsonSchema;
use serde_json::Value;

/// Kubernetes settings of one component. Each is laid over what the chart rendered, as a
/// strategic merge patch of the object it names; a null deletes what the chart set.
#[derive(Clone, Debug, Default, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KubernetesResources {
    /// Scheduling constraints of the pods, merged into those of the chart.
    pub affinity: Option<Affinity>,
    /// Environment variables of the main container, merged by name.
    pub env: Option<Vec<EnvVar>>,
    /// Spec of the HorizontalPodAutoscaler, such as minReplicas and maxReplicas.
    pub hpa_spec: Option<HorizontalPodAutoscalerSpec>,
    /// Pull policy of the main container's image: Always, IfNotPresent or Never.
    pub image_pull_policy: Option<String>,
    /// Node labels that the pods require.
    pub node_selector: Option<BTreeMap<String, String>>,
    /// Changes to single fields of any rendered object, applied after everything else.
    pub overlays: Option<Vec<KubernetesOverlay>>,
    /// Annotations added to the pods.
    pub pod_annotations: Option<BTreeMap<String, String>>,
    /// Spec of the PodDisruptionBudget. Setting maxUnavailable drops the chart's minAvailable.
    pub pod_disruption_budget: Option<PodDisruptionBudgetSpec>,
    /// Priority class of the pods.
    pub priority_class_name: Option<String>,
    /// Readiness probe of the main container, merged into that of the chart.
    pub readiness_probe: Option<Probe>,
    /// Number of replicas. A HorizontalPodAutoscaler, if there is one, changes it again.
    pub replica_count: Option<u32>,
    /// CPU and memory requests and limits of the main container.
    pub resources: Option<ResourceRequirements>,
    /// Security context of the pods.
    pub security_context: Option<PodSecurityContext>,
    /// Spec of the Service. A gateway's ports replace those of the chart; of other components they
    /// are merged by port.
    pub service: Option<ServiceSpec>,
    /// Annotations added to the Service.
    pub service_annotations: Option<BTreeMap<String, String>>,
    /// Update strategy of the Deployment.
    pub strategy: Option<DeploymentStrategy>,
    /// Taints that the pods tolerate. Replaces the chart's own list.
    pub tolerations: Option<Vec<Toleration>>,
    /// Accepted for compatibility and without effect in every Istio version.
    pub volumes: Option<Vec<Volume>>,
    /// Accepted for compatibility and without effect in every Istio version.
    pub volume_mounts: Option<Vec<VolumeMount>>,
}

/// Changes to the rendered objects of one kind and name.
#[derive(Clone, Debug, Default, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KubernetesOverlay {
    /// Kept for compatibility; objects are selected by kind and name alone.
    pub api_version: Option<String>,
    /// Kind of the objects to change.
    pub kind: Option<String>,
    /// Name of the objects to change.
    pub name: Option<String>,
    /// The changes, applied in order.
    pub patches: Option<Vec<KubernetesPatch>>,
}

/// One change to an object.
#[derive(Clone, Debug, Default, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KubernetesPatch {
    /// Where to change the object, such as `spec.template.spec.containers.[name:discovery].image`.
    #[schemars(extend("x-istio-format" = "overlay-path"))]
    pub path: Option<String>,
    /// The new value, which replaces the whole node. Null or absent deletes the node.
    pub value: Option<Value>,
}
