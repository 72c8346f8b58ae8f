//! The status of a CR.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// What the operator observed of an installation.
///
/// `status`, `message` and `componentStatus` are those of Istio's own operator, which Argo CD's
/// built-in check reads; `observedGeneration` and `conditions` are what kstatus reads.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IstioOperatorStatus {
    /// The newest generation of the spec that the operator has seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// State of the whole installation.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub status: Option<InstallState>,
    /// What the state means, in a sentence; every error of an invalid spec.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Istio version that is installed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Revision that is installed, "default" if the spec names none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Whether the default tag points to the revision, so that it serves namespaces labeled istio-injection=enabled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_tag: Option<bool>,
    /// State of each component, by its name such as Pilot or IngressGateways.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub component_status: BTreeMap<String, ComponentStatus>,
    /// The installed gateways.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gateways: Vec<GatewayStatus>,
    /// The control planes of this resource: the one that the spec asks for, then old ones that are still there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub revisions: Vec<RevisionStatus>,
    /// The restarts of workloads with older proxies, where spec.updateStrategy.dataPlane asks for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restarts: Option<RestartStatus>,
    /// The change of the Istio version that is under way or refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<UpgradeStatus>,
    /// The image that proxies are held at, where spec.updateStrategy.dataPlane.image is Hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_proxy: Option<HeldProxyStatus>,
    /// The canary that is under way, where spec.updateStrategy.type is Canary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryStatus>,
    /// What the newest change of the spec does to what runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanStatus>,
    /// Value of the annotation reconcile.istio-operator.io/requestedAt that the operator acted upon last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
    /// Conditions, one per type.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
}

/// State of an installation or of one component, in the words of Istio's own operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum InstallState {
    /// Nothing of it is installed.
    None,
    /// Another version is being rolled out.
    Updating,
    /// It is being applied or is not available yet.
    Reconciling,
    /// Everything runs as the spec says.
    Healthy,
    /// Something failed in a way that needs a person.
    Error,
    /// A person has to act before it goes on.
    ActionRequired,
}

impl InstallState {
    /// The word for it in a status.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Updating => "UPDATING",
            Self::Reconciling => "RECONCILING",
            Self::Healthy => "HEALTHY",
            Self::Error => "ERROR",
            Self::ActionRequired => "ACTION_REQUIRED",
        }
    }
}

/// State of one component.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ComponentStatus {
    /// State of the component.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub status: Option<InstallState>,
    /// Why it is not healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Istio version of its objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Image of an addon.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Type of the Service that people open an addon by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_type: Option<String>,
    /// Ports of every node that lead to that Service.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Option<Vec<NodePort>>")]
    pub node_ports: Vec<NodePort>,
}

/// A port of every node that leads to a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NodePort {
    /// Name of the port of the Service; empty if it has none.
    pub name: String,
    /// Port of the Service.
    pub port: i32,
    /// Port of the nodes.
    pub node_port: i32,
}

/// State of one gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewayStatus {
    /// Name of the gateway.
    pub name: String,
    /// Namespace of the gateway.
    pub namespace: String,
    /// Whether its newest pods are available.
    pub ready: bool,
    /// Addresses at which it is reached from outside: those of the load balancer of its Service, its external IPs, and
    /// ports of every node for a Service of the type NodePort, such as NodePort 80:30080.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Option<Vec<String>>")]
    pub addresses: Vec<String>,
    /// Istio version of its pods, as far as their images tell; several, oldest first, while pods are replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// One control plane, and who uses it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RevisionStatus {
    /// Name of the revision, "default" if it has none.
    pub name: String,
    /// Its proxies, by their version.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Option<Vec<ProxyCount>>")]
    pub proxies: Vec<ProxyCount>,
    /// Who uses it. An old revision stays while this is not empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Option<Vec<String>>")]
    pub used_by: Vec<String>,
    /// What could not be looked at, so that it may be used by others too. An old revision stays while this is not empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Option<Vec<String>>")]
    pub unknown: Vec<String>,
}

/// How many proxies of one version there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxyCount {
    /// Version of the proxies, "unknown" where nothing tells it: pods that were injected before this operator was there.
    pub version: String,
    /// Proxies beside applications.
    pub sidecars: u32,
    /// Proxies of gateways.
    pub gateways: u32,
    /// Proxies in front of services in ambient mode.
    pub waypoints: u32,
    /// Proxies of nodes in ambient mode.
    pub ztunnels: u32,
}

/// How far the restarts of workloads with older proxies are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RestartStatus {
    /// Revision and version of the proxy that workloads get, such as default/1.31.1.
    pub target: String,
    /// Running, Waiting, Stopped or Done.
    #[schemars(with = "String")]
    pub state: RestartState,
    /// Why it waits or stopped, and how it goes on.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Workloads that came back with the new proxy.
    pub restarted: u32,
    /// Workloads that are still to be restarted.
    pub remaining: u32,
    /// Workloads that are coming back now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Option<Vec<String>>")]
    pub in_progress: Vec<String>,
    /// Workloads with an older proxy that are left alone, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Option<Vec<String>>")]
    pub skipped: Vec<String>,
    /// Generation of the spec in which it stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped_generation: Option<i64>,
    /// Value of the annotation install.istio.io/resume-restarts at that time. Another one goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped_resume: Option<String>,
}

/// What the restarts of workloads do now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RestartState {
    /// Workloads are restarted, or are coming back.
    #[default]
    Running,
    /// Nothing is restarted now: the window is closed, or the control plane is not healthy.
    Waiting,
    /// A workload did not come back. A person has to act.
    Stopped,
    /// No workload is left to restart.
    Done,
}

/// A change of the Istio version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpgradeStatus {
    /// The version that ran before.
    pub from: String,
    /// The version that is asked for.
    pub to: String,
    /// The component that the change has come to, while it is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<StepStatus>,
    /// Why the version that ran before comes back, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback: Option<RollbackStatus>,
    /// What was looked at before anything changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Option<Vec<CheckStatus>>")]
    pub checks: Vec<CheckStatus>,
    /// What the step changes for this mesh although nobody changes a setting.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Option<Vec<String>>")]
    pub notes: Vec<String>,
}

/// A change of the version that is taken back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RollbackStatus {
    /// The generation of the spec that is not tried again.
    pub generation: i64,
    /// Where the change stopped.
    pub reason: String,
}

/// The component that a change of the version has come to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepStatus {
    /// The component, such as Pilot.
    pub step: String,
    /// What is waited for.
    pub waiting_for: String,
    /// Since when the change is at this component.
    pub since: String,
}

/// An image from before an update that proxies still get.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeldProxyStatus {
    /// The image.
    pub image: String,
    /// The version of the control plane that held it back.
    pub to: String,
    /// Since when that control plane has been healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy_since: Option<String>,
}

/// A control plane that is installed beside the one that serves, and takes its place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CanaryStatus {
    /// The control plane that served before.
    pub from: ControlPlaneStatus,
    /// The one that takes its place.
    pub to: ControlPlaneStatus,
    /// Installing, AwaitingApproval, Promoting or Retiring.
    #[schemars(with = "String")]
    pub step: CanaryStep,
    /// What is waited for.
    #[serde(default)]
    pub waiting_for: String,
    /// Since when it is at this step.
    pub since: String,
}

/// A control plane by its revision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ControlPlaneStatus {
    /// Its Istio version.
    pub version: String,
    /// Its revision, "default" if it has no name.
    pub revision: String,
}

/// How far a canary is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CanaryStep {
    /// It is installed beside the control plane that serves, and proves that it works.
    #[default]
    Installing,
    /// It works, and a person has to approve what comes next.
    AwaitingApproval,
    /// Tags and gateways move to it.
    Promoting,
    /// It serves, and the control plane before it goes once nobody uses it.
    Retiring,
}

impl CanaryStep {
    /// Whether tags and gateways belong to the canary.
    #[must_use]
    pub const fn is_promoted(self) -> bool {
        matches!(self, Self::Promoting | Self::Retiring)
    }
}

/// What a change does to what runs. `istio-operator plan` prints it field by field.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanStatus {
    /// Digest of everything that the change does, as the annotation install.istio.io/approve takes it. Empty while the
    /// API server refuses a part of the change.
    pub digest: String,
    /// AwaitingApproval, UnderWay or Done.
    #[schemars(with = "String")]
    pub state: PlanState,
    /// Digest of the manifests that the change leads to.
    pub target: String,
    /// How many objects are created, changed and deleted.
    pub summary: String,
    /// The workloads whose pods are replaced or deleted, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Option<Vec<String>>")]
    pub restarts: Vec<String>,
}

/// How far a plan is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PlanState {
    /// A person has to approve it before anything of it is done.
    #[default]
    AwaitingApproval,
    /// It may be carried out.
    UnderWay,
    /// Everything of it is done and runs.
    Done,
}

/// One check before a change of the version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckStatus {
    /// Name of the check, as the annotation install.istio.io/skip-checks takes it.
    pub name: String,
    /// Passed, Warning, Failed, Skipped or NotChecked.
    #[schemars(with = "String")]
    pub result: CheckResult,
    /// What was found, and what to do about it.
    pub message: String,
}

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CheckResult {
    /// Nothing stands against the change.
    Passed,
    /// It may go wrong.
    Warning,
    /// It is refused.
    Failed,
    /// It would be refused, and the user wants it all the same.
    Skipped,
    /// The operator cannot see what it would have to.
    NotChecked,
}

impl<'de> Deserialize<'de> for IstioOperatorStatus {
    /// Never fails on a JSON value. A field of another type, which another operator may have written, counts as absent: the
    /// next status replaces it.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Value::Object(fields) = Value::deserialize(deserializer)? else {
            return Ok(Self::default());
        };
        Ok(Self {
            observed_generation: readable(&fields, "observedGeneration"),
            status: readable(&fields, "status"),
            message: readable(&fields, "message"),
            version: readable(&fields, "version"),
            revision: readable(&fields, "revision"),
            default_tag: readable(&fields, "defaultTag"),
            component_status: readable(&fields, "componentStatus").unwrap_or_default(),
            gateways: readable(&fields, "gateways").unwrap_or_default(),
            revisions: readable(&fields, "revisions").unwrap_or_default(),
            restarts: readable(&fields, "restarts"),
            upgrade: readable(&fields, "upgrade"),
            held_proxy: readable(&fields, "heldProxy"),
            canary: readable(&fields, "canary"),
            plan: readable(&fields, "plan"),
            last_handled_reconcile_at: readable(&fields, "lastHandledReconcileAt"),
            conditions: readable(&fields, "conditions").unwrap_or_default(),
        })
    }
}

fn readable<T: DeserializeOwned>(fields: &Map<String, Value>, key: &str) -> Option<T> {
    fields.get(key).and_then(|value| T::deserialize(value).ok())
}

/// A list that the API server merges by `type`, so that two writers can each own their conditions.
fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status"],
            "properties": {
                "type": {"type": "string", "description": "What the condition is about."},
                "status": {"type": "string", "description": "True, False or Unknown."},
                "reason": {"type": "string", "description": "Why, as one word."},
                "message": {"type": "string", "description": "Why, as a sentence."},
                "observedGeneration": {
                    "type": "integer",
                    "format": "int64",
                    "description": "Generation of the spec that the condition was computed from.",
                },
                "lastTransitionTime": {
                    "type": "string",
                    "format": "date-time",
                    "description": "When status last changed.",
                },
            },
        },
    })
}
