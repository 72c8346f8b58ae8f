//! The fields of `spec.addonComponents`.

use schemars::JsonSchema;
use serde_json::{Number, Value};

use super::k8s::KubernetesResources;
use super::spec::ImageTag;

/// Tools that show what the mesh does. All are off unless they are named here.
#[derive(Clone, Debug, Default, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AddonComponents {
    /// Metrics store.
    pub prometheus: Option<PrometheusAddon>,
    /// Dashboards.
    pub grafana: Option<GrafanaAddon>,
    /// Trace store. The mesh sends its spans there.
    pub jaeger: Option<JaegerAddon>,
    /// Mesh console. It needs Prometheus.
    pub kiali: Option<KialiAddon>,
    /// Trace store in memory, in the place of Jaeger.
    pub zipkin: Option<ZipkinAddon>,
    /// Log store. Proxies cannot send their access logs to it: they send them by gRPC, and it takes them by HTTP. Something
    /// that reads the logs of pods brings them there, or an OpenTelemetry collector, which meshConfig.extensionProviders names.
    pub loki: Option<LokiAddon>,
    /// Older name of jaeger, or of zipkin if values.tracing.provider says so.
    pub tracing: Option<JaegerAddon>,
}

/// What every addon has.
#[derive(Clone, Debug, Default, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Addon {
    /// Whether to install it. An addon that is present without this field is installed.
    pub enabled: Option<bool>,
    /// Namespace of its objects; the namespace of the installation if left out.
    pub namespace: Option<String>,
    /// Image registry and path of this addon, such as a mirror. The hub of the installation is not for addons.
    #[schemars(extend("x-istio-format" = "hub"))]
    pub hub: Option<String>,
    /// Image tag of this addon; that of the Istio minor if left out.
    #[schemars(extend("x-istio-format" = "tag"))]
    pub tag: Option<ImageTag>,
    /// Kubernetes settings. Those of the Service are for the one that people open.
    pub k8s: Option<KubernetesResources>,
}

/// Where an addon keeps its data. Without it, the data goes with the pod.
#[derive(Clone, Debug, Default, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Storage {
    /// Size of the volume. It can grow later, if its class can.
    #[schemars(extend("x-istio-format" = "quantity"))]
    pub size: Option<Value>,
    /// Storage class of the volume; that of the cluster if left out.
    pub storage_class_name: Option<String>,
}

/// How people get in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum GrafanaAuth {
    /// With the user and password of the Secret grafana.
    Login,
    /// Everybody may look at everything. For tutorials.
    Anonymous,
}

/// How people get in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum KialiAuth {
    /// With a token of Kubernetes, such as the one that "kubectl create token kiali" prints.
    Token,
    /// Everybody may do what Kiali may. For tutorials.
    Anonymous,
}

/// Prometheus.
#[derive(Clone, Debug, Default, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PrometheusAddon {
    #[allow(missing_docs, reason = "its fields stand in the place of this one")]
    #[serde(flatten)]
    pub addon: Addon,
    /// Where it keeps the metrics. With storage, all minors have the same Prometheus, because an older one cannot read what
    /// a newer one wrote.
    pub storage: Option<Storage>,
    /// How long it keeps them; 15d if left out.
    #[schemars(extend("x-istio-format" = "retention"))]
    pub retention: Option<String>,
    /// URL at which people reach it from outside. Its path is the one that Prometheus serves.
    #[serde(rename = "externalURL")]
    #[schemars(extend("x-istio-format" = "url"))]
    pub external_url: Option<String>,
}

/// Grafana.
#[derive(Clone, Debug, Default, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrafanaAddon {
    #[allow(missing_docs, reason = "its fields stand in the place of this one")]
    #[serde(flatten)]
    pub addon: Addon,
    /// Where it keeps users and dashboards of your own.
    pub storage: Option<Storage>,
    /// How people get in; Login if left out.
    pub auth: Option<GrafanaAuth>,
    /// Time zone of the dashboards, such as Asia/Shanghai; that of the browser if left out.
    #[schemars(extend("x-istio-format" = "time-zone"))]
    pub timezone: Option<String>,
    /// URL at which people reach it from outside. Its path is the one that Grafana serves.
    #[serde(rename = "externalURL")]
    #[schemars(extend("x-istio-format" = "url"))]
    pub external_url: Option<String>,
    /// URL of a Prometheus that is not this addon.
    #[serde(rename = "prometheusURL")]
    #[schemars(extend("x-istio-format" = "url"))]
    pub prometheus_url: Option<String>,
}

/// Jaeger.
#[derive(Clone, Debug, Default, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JaegerAddon {
    #[allow(missing_docs, reason = "its fields stand in the place of this one")]
    #[serde(flatten)]
    pub addon: Addon,
    /// Where it keeps the traces.
    pub storage: Option<Storage>,
    /// How long it keeps them; 3d if left out.
    #[schemars(extend("x-istio-format" = "retention"))]
    pub retention: Option<String>,
    /// How many percent of the requests are traced; 1 if left out, 100 in the profile demo.
    #[schemars(extend("x-istio-format" = "percentage"))]
    pub sampling: Option<Number>,
    /// URL at which people reach it from outside. Its path is the one that Jaeger serves; /jaeger if left out.
    #[serde(rename = "externalURL")]
    #[schemars(extend("x-istio-format" = "url"))]
    pub external_url: Option<String>,
}

/// Kiali.
#[derive(Clone, Debug, Default, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KialiAddon {
    #[allow(missing_docs, reason = "its fields stand in the place of this one")]
    #[serde(flatten)]
    pub addon: Addon,
    /// How people get in; Token if left out.
    pub auth: Option<KialiAuth>,
    /// Whether it changes nothing; true if left out. With false, it may write Istio's objects and those of the Gateway API.
    pub view_only: Option<bool>,
    /// URL at which people reach it from outside. Its path is the one that Kiali serves; /kiali if left out.
    #[serde(rename = "externalURL")]
    #[schemars(extend("x-istio-format" = "url"))]
    pub external_url: Option<String>,
    /// URL of a Prometheus that is not this addon.
    #[serde(rename = "prometheusURL")]
    #[schemars(extend("x-istio-format" = "url"))]
    pub prometheus_url: Option<String>,
    /// URL of a Grafana that is not this addon.
    #[serde(rename = "grafanaURL")]
    #[schemars(extend("x-istio-format" = "url"))]
    pub grafana_url: Option<String>,
    /// URL of a Jaeger that is not this addon.
    #[serde(rename = "jaegerURL")]
    #[schemars(extend("x-istio-format" = "url"))]
    pub jaeger_url: Option<String>,
}

/// Zipkin.
#[derive(Clone, Debug, Default, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ZipkinAddon {
    #[allow(missing_docs, reason = "its fields stand in the place of this one")]
    #[serde(flatten)]
    pub addon: Addon,
    /// How many percent of the requests are traced; 1 if left out, 100 in the profile demo.
    #[schemars(extend("x-istio-format" = "percentage"))]
    pub sampling: Option<Number>,
}

/// Loki.
#[derive(Clone, Debug, Default, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LokiAddon {
    #[allow(missing_docs, reason = "its fields stand in the place of this one")]
    #[serde(flatten)]
    pub addon: Addon,
    /// Where it keeps the logs.
    pub storage: Option<Storage>,
    /// How long it keeps them; 7d if left out.
    #[schemars(extend("x-istio-format" = "retention"))]
    pub retention: Option<String>,
}
