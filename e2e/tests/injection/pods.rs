//! Pods and installs that nobody wrote down.

use serde_json::{Map, Value, json};

use crate::dice::Dice;

impl Dice {
    /// Some of the entries, each with one of its values: about one in `rarity` is chosen.
    fn some(&mut self, table: &[(&str, &[&str])], rarity: usize) -> Map<String, Value> {
        let mut chosen = Map::new();
        for (key, choices) in table {
            if self.roll(rarity) == 0 {
                chosen.insert((*key).to_owned(), self.pick(choices).into());
            }
        }
        chosen
    }
}

const LABELS: [(&str, &[&str]); 9] = [
    ("app", &["shop"]),
    ("version", &["v2"]),
    ("app.kubernetes.io/name", &["shop-kube"]),
    ("app.kubernetes.io/version", &["3"]),
    ("service.istio.io/canonical-name", &["canon"]),
    ("service.istio.io/canonical-revision", &["r7"]),
    ("service.istio.io/workload-name", &["other"]),
    ("security.istio.io/tlsMode", &["disabled"]),
    ("topology.istio.io/network", &["net7"]),
];

const ANNOTATIONS: [(&str, &[&str]); 34] = [
    (
        "inject.istio.io/templates",
        &[
            "sidecar",
            "gateway",
            "grpc-agent",
            "grpc-simple",
            "grpc-simple,sidecar",
        ],
    ),
    ("sidecar.istio.io/proxyCPU", &["10m", "1"]),
    ("sidecar.istio.io/proxyMemory", &["10Mi"]),
    ("sidecar.istio.io/proxyCPULimit", &["20m"]),
    ("sidecar.istio.io/proxyMemoryLimit", &["20Mi"]),
    (
        "sidecar.istio.io/interceptionMode",
        &["REDIRECT", "TPROXY", "NONE"],
    ),
    ("sidecar.istio.io/capNetBindService", &["true", "false"]),
    ("sidecar.istio.io/nativeSidecar", &["true", "false"]),
    (
        "sidecar.istio.io/proxyImage",
        &["example.com/proxy:9", "debug"],
    ),
    ("sidecar.istio.io/proxyImageType", &["distroless"]),
    ("sidecar.istio.io/logLevel", &["trace"]),
    (
        "sidecar.istio.io/componentLogLevel",
        &["rbac:debug,jwt:trace"],
    ),
    ("sidecar.istio.io/agentLogLevel", &["ca:debug"]),
    ("sidecar.istio.io/bootstrapOverride", &["bootstrap"]),
    ("sidecar.istio.io/rewriteAppHTTPProbers", &["false"]),
    (
        "sidecar.istio.io/userVolume",
        &[r#"{"b": {"emptyDir": {}}, "a": {"secret": {"secretName": "s"}}}"#],
    ),
    (
        "sidecar.istio.io/userVolumeMount",
        &[r#"{"b": {"mountPath": "/b", "readOnly": true}}"#],
    ),
    ("status.sidecar.istio.io/port", &["15020", "16020"]),
    (
        "readiness.status.sidecar.istio.io/initialDelaySeconds",
        &["7"],
    ),
    ("readiness.status.sidecar.istio.io/periodSeconds", &["8"]),
    ("readiness.status.sidecar.istio.io/failureThreshold", &["9"]),
    (
        "traffic.sidecar.istio.io/includeOutboundIPRanges",
        &["*", "10.0.0.0/8", ""],
    ),
    (
        "traffic.sidecar.istio.io/excludeOutboundIPRanges",
        &["", "10.1.0.0/16,10.2.0.0/16"],
    ),
    (
        "traffic.sidecar.istio.io/includeInboundPorts",
        &["*", "", "80,90"],
    ),
    (
        "traffic.sidecar.istio.io/excludeInboundPorts",
        &["", "22", "15020,22"],
    ),
    (
        "traffic.sidecar.istio.io/includeOutboundPorts",
        &["", "443"],
    ),
    (
        "traffic.sidecar.istio.io/excludeOutboundPorts",
        &["", "3306,5432"],
    ),
    ("traffic.sidecar.istio.io/kubevirtInterfaces", &["net1"]),
    ("istio.io/reroute-virtual-interfaces", &["net2,net3"]),
    ("traffic.sidecar.istio.io/excludeInterfaces", &["net4"]),
    (
        "k8s.v1.cni.cncf.io/networks",
        &["default/other", r#"[{"name": "other"}]"#],
    ),
    ("kubectl.kubernetes.io/default-container", &["second"]),
    ("prometheus.io/port", &["9090"]),
    (
        "proxy.istio.io/config",
        &[
            "holdApplicationUntilProxyStarts: true",
            "interceptionMode: TPROXY",
            "proxyMetadata: {A_B: 'true', IPTABLES_TRACE_LOGGING: 'true'}",
            "proxyMetadata: {ISTIO_META_ENABLE_HBONE: 'true'}",
        ],
    ),
];

/// A pod that injection accepts, with annotations, labels and containers as they fall.
pub fn pod(dice: &mut Dice, number: usize) -> Value {
    let rarity = [2, 6, 20][dice.roll(3)];
    let mut containers = Vec::new();
    for name in ["first", "second", "third"].iter().take(1 + dice.roll(3)) {
        let ports: Vec<Value> = (0..dice.roll(3))
            .map(|n| json!({"containerPort": 8000 + n}))
            .collect();
        let image = dice.pick(&["example.com/app:1", "app@sha256:0f", "app"]);
        containers.push(json!({"name": name, "image": image, "ports": ports}));
    }
    if dice.roll(4) == 0 {
        let own =
            json!({"name": "istio-proxy", "image": "auto", "ports": [{"containerPort": 8443}]});
        containers.insert(dice.roll(containers.len() + 1), own);
    }
    let mut annotations = dice.some(&ANNOTATIONS, rarity);
    // Upstream's grpc-agent is not valid YAML without a status port.
    if !annotations.contains_key("inject.istio.io/templates") && dice.roll(8) == 0 {
        annotations.insert("status.sidecar.istio.io/port".into(), "0".into());
    }
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": format!("pod-{number}"),
            "namespace": "apps",
            "labels": dice.some(&LABELS, rarity),
            "annotations": annotations,
        },
        "spec": {
            "serviceAccountName": dice.pick(&["", "account"]),
            "containers": containers,
        },
    })
}

/// Installs whose settings reach every branch of the templates.
pub fn installs() -> Vec<Value> {
    let specs = [
        json!({}),
        json!({"revision": "canary", "values": {"global": {
            "caName": "GkeWorkloadCertificate", "caAddress": "ca.example.com:443",
            "pilotCertProvider": "none", "mountMtlsCerts": true, "sts": {"servicePort": 463},
        }}}),
        json!({"values": {
            "pilot": {"cni": {"enabled": true, "provider": "multus"}, "env": {"ENABLE_NATIVE_SIDECARS": "true"}},
            "global": {"proxy": {"excludeInboundPorts": "22", "includeOutboundPorts": "443"}},
        }}),
        json!({
            "unvalidatedValues": {"global": {"proxy_init": {"forceApplyIptables": true}}},
            "meshConfig": {
                "trustDomain": "corp.example",
                "inboundTrafficPolicy": {"mode": "LOCALHOST"},
                "proxyListenPort": 16001,
                "defaultConfig": {"proxyMetadata": {"ISTIO_META_ENABLE_HBONE": "true"}, "concurrency": 2},
                "extensionProviders": [{"name": "otel", "opentelemetry": {
                    "service": "otel", "port": 4317, "serviceAttributeEnrichment": "OTEL_SEMANTIC_CONVENTIONS",
                }}],
            },
            "values": {"global": {
                "logAsJson": true, "nativeNftables": true, "meshID": "m1", "network": "net1",
                "multiCluster": {"clusterName": "c1"}, "imagePullPolicy": "Always",
                "imagePullSecrets": ["one", "two"], "trustBundleName": "bundle",
            }},
        }),
        json!({"values": {
            "gateways": {"securityContext": {"runAsUser": 7}},
            "pilot": {"env": {"ENABLE_CLUSTER_TRUST_BUNDLE_API": true}},
            "global": {"proxy": {
                "privileged": true, "outlierLogPath": "/var/log/outlier",
                "lifecycle": {"preStop": {"exec": {"command": ["sleep", "5"]}}},
                "seccompProfile": {"type": "RuntimeDefault"},
                "startupProbe": {"enabled": false}, "statusPort": 15099,
                "resources": {"limits": {"cpu": null, "memory": "1Gi"}, "requests": {"cpu": "5m"}},
            }},
        }}),
    ];
    let cr = |spec: Value| {
        json!({
            "apiVersion": "install.istio.io/v1alpha1",
            "kind": "IstioOperator",
            "metadata": {"name": "install", "namespace": "istio-system"},
            "spec": spec,
        })
    };
    specs.into_iter().map(cr).collect()
}
