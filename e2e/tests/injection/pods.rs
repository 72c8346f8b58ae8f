//! Random pods, and installs to inject them with.

use serde_json::{Map, Value, json};

use fastrand::Rng;

/// Some of the entries, each with one of its values: about one in `rarity` is chosen.
fn some(rng: &mut Rng, table: &[(&str, &[&str])], rarity: usize) -> Map<String, Value> {
    let mut chosen = Map::new();
    for (key, choices) in table {
        if rng.usize(..rarity) == 0 {
            let value = *rng.choice(choices.iter()).unwrap();
            chosen.insert((*key).to_owned(), value.into());
        }
    }
    chosen
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

const ANNOTATIONS: [(&str, &[&str]); 35] = [
    (
        "inject.istio.io/templates",
        &[
            "sidecar",
            "gateway",
            "grpc-agent",
            "grpc-simple",
            "grpc-simple,sidecar",
            "mine",
            " sidecar , mine",
            "gateway,mine",
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
        &[
            r#"{"b": {"emptyDir": {}}, "a": {"secret": {"secretName": "s"}}}"#,
            r#"{"under": {"name": "inside", "emptyDir": {"sizeLimit": "1Gi"}}}"#,
            r#"[{"name": "listed", "hostPath": {"path": "/x: y"}}]"#,
            "{}",
        ],
    ),
    (
        "sidecar.istio.io/userVolumeMount",
        &[
            r#"{"b": {"mountPath": "/b", "readOnly": true}}"#,
            r#"{"under": {"name": "inside", "mountPath": "/inside"}}"#,
            r#"[{"name": "listed", "mountPath": "/listed"}]"#,
            r#"{"istio-data": {"mountPath": "/d"}}"#,
        ],
    ),
    (
        "apm.datadoghq.com/env",
        &[r#"{"DD_ENV": "prod", "DD_SAMPLES": 5}"#],
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
            "proxyMetadata: {EMPTY: '', URL: 'http://a:1/b?c=d&e'}",
            "image: {imageType: debug}",
            "tracing: {sampling: 10, tlsSettings: {caCertificates: /etc/ls/ca.pem}}",
            "drainDuration: 10s",
        ],
    ),
];

/// What a container may bring along, besides its name and image.
const CONTAINERS: [&str; 10] = [
    r#"{"readinessProbe": {"httpGet": {"path": "/r", "port": "web"}}, "ports": [{"containerPort": 80, "name": "web"}]}"#,
    r#"{"livenessProbe": {"httpGet": {"path": "/l", "port": 8443, "scheme": "HTTPS"}, "timeoutSeconds": 5}}"#,
    r#"{"livenessProbe": {"tcpSocket": {"port": 8000}}, "startupProbe": {"exec": {"command": ["true"]}}}"#,
    r#"{"readinessProbe": {"grpc": {"port": 9000, "service": "s"}}, "securityContext": {"runAsUser": 2000}}"#,
    r#"{"lifecycle": {"preStop": {"httpGet": {"path": "/bye", "port": 80}}, "postStart": {"exec": {"command": ["x"]}}}}"#,
    r#"{"lifecycle": {"preStop": {"tcpSocket": {"port": 7}}}, "resources": {"limits": {"cpu": "1"}}}"#,
    r#"{"env": [{"name": "POD_NAME", "value": "mine"}, {"name": "GRPC_XDS_BOOTSTRAP", "value": "/mine"}]}"#,
    r#"{"ports": [{"containerPort": 53, "name": "dns", "protocol": "UDP", "hostPort": 53}]}"#,
    r#"{"volumeMounts": [{"name": "istio-data", "mountPath": "/own"}]}"#,
    "{}",
];

/// What the spec of a pod may say, besides its containers; some volumes have the names of ours.
const SPECS: [&str; 9] = [
    r#"{"volumes": [{"name": "workload-socket", "csi": {"driver": "csi.spiffe.io", "readOnly": true}}]}"#,
    r#"{"volumes": [{"name": "istio-data", "emptyDir": {"sizeLimit": "1Mi"}}, {"name": "data", "emptyDir": {}}]}"#,
    r#"{"volumes": [{"name": "istiod-ca-cert", "configMap": {"name": "own"}}]}"#,
    r#"{"initContainers": [{"name": "first-init", "image": "init"}, {"name": "helper", "image": "h", "restartPolicy": "Always"}]}"#,
    r#"{"securityContext": {"runAsUser": 1000, "fsGroup": 1337, "sysctls": [{"name": "kernel.shm_rmid_forced", "value": "1"}]}}"#,
    r#"{"imagePullSecrets": [{"name": "own"}, {"name": "one"}], "dnsConfig": {"searches": ["global"]}}"#,
    r#"{"hostNetwork": true}"#,
    r#"{"restartPolicy": "Never", "nodeName": "n1", "terminationGracePeriodSeconds": 5}"#,
    "{}",
];

const OWNERS: [&str; 3] = [
    "shop",
    "1.2",
    "a-name-that-goes-on-until-label-values-end.and-then-b",
];

/// A pod that injection accepts, or an object that makes such pods, with random annotations, labels and containers.
pub fn pod(rng: &mut Rng, number: usize) -> Value {
    let rarity = [2, 6, 20][rng.usize(..3)];
    let mut containers = Vec::new();
    for name in ["first", "second", "third"].iter().take(1 + rng.usize(..3)) {
        let ports: Vec<Value> = (0..rng.usize(..3))
            .map(|n| json!({"containerPort": 8000 + n}))
            .collect();
        let image = rng
            .choice(["example.com/app:1", "app@sha256:0f", "app"])
            .unwrap();
        let container = json!({"name": name, "image": image, "ports": ports});
        containers.push(with(container, rng.choice(&CONTAINERS).unwrap()));
    }
    if rng.usize(..4) == 0 {
        let own =
            json!({"name": "istio-proxy", "image": "auto", "ports": [{"containerPort": 8443}]});
        containers.insert(rng.usize(..=containers.len()), own);
    }
    let mut annotations = some(rng, &ANNOTATIONS, rarity);
    // Upstream's grpc-agent is not valid YAML without a status port.
    if !annotations.contains_key("inject.istio.io/templates") && rng.usize(..8) == 0 {
        annotations.insert("status.sidecar.istio.io/port".into(), "0".into());
    }
    let metadata = json!({"labels": some(rng, &LABELS, rarity), "annotations": annotations});
    let spec = json!({
        "serviceAccountName": rng.choice(["", "account"]).unwrap(),
        "containers": containers,
    });
    let spec = with(spec, rng.choice(&SPECS).unwrap());
    of_some_kind(rng, number, &metadata, &spec)
}

/// The pod itself, or a workload that makes it, whose name, kind and version the proxy learns.
fn of_some_kind(rng: &mut Rng, number: usize, metadata: &Value, spec: &Value) -> Value {
    let template = json!({"metadata": metadata, "spec": spec});
    let owner = json!({"name": rng.choice(&OWNERS).unwrap(), "namespace": rng.choice(["", "apps"]).unwrap()});
    match rng.usize(..6) {
        0 => json!({
            "apiVersion": "batch/v1", "kind": "CronJob", "metadata": owner,
            "spec": {"schedule": "* * * * *", "jobTemplate": {
                "metadata": metadata, "spec": {"template": template},
            }},
        }),
        1 => json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": owner,
            "spec": {"template": template},
        }),
        2 => json!({
            "apiVersion": "apps/v1",
            "kind": rng.choice(["DaemonSet", "Deployment", "ReplicaSet", "StatefulSet"]).unwrap(),
            "metadata": owner,
            "spec": {"selector": {"matchLabels": {"app": "shop"}}, "template": template},
        }),
        _ => {
            let name = json!({"name": format!("pod-{number}"), "namespace": "apps"});
            json!({
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": with(name, &metadata.to_string()),
                "spec": spec,
            })
        }
    }
}

/// The object with more fields, which are JSON.
fn with(mut object: Value, more: &str) -> Value {
    let more: Map<String, Value> = serde_json::from_str(more).unwrap();
    object.as_object_mut().unwrap().extend(more);
    object
}

/// A template of the user's own, which may be laid over ours.
const MINE: &str = r#"
metadata:
  labels: {mine: "yes"}
spec:
  containers: [{name: istio-proxy, env: [{name: MINE, value: "{{ .Revision }}"}]}]
  volumes: [{name: workload-socket, csi: {driver: csi.spiffe.io, readOnly: true}}]
"#;

/// Installs whose settings reach every branch of the templates.
pub fn installs() -> Vec<Value> {
    let specs = [
        json!({"values": {}}),
        json!({"revision": "canary", "values": {"global": {
            "caName": "GkeWorkloadCertificate", "caAddress": "ca.example.com:443",
            "pilotCertProvider": "none", "mountMtlsCerts": true, "sts": {"servicePort": 463},
        }}}),
        json!({"values": {
            "pilot": {"cni": {"enabled": true, "provider": "multus"}, "env": {"ENABLE_NATIVE_SIDECARS": "true"}},
            "global": {
                "proxy": {"excludeInboundPorts": "22", "includeOutboundPorts": "443", "tracer": "datadog"},
                "multiCluster": {"clusterName": ""}, "logging": {"level": "all:debug"},
            },
        }}),
        json!({
            "unvalidatedValues": {"global": {"proxy_init": {"forceApplyIptables": true, "image": "init"}}},
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
    let cr = |mut spec: Value| {
        spec["values"]["sidecarInjectorWebhook"] = json!({"templates": {"mine": MINE}});
        json!({
            "apiVersion": "install.istio.io/v1alpha1",
            "kind": "IstioOperator",
            "metadata": {"name": "install", "namespace": "istio-system"},
            "spec": spec,
        })
    };
    specs.into_iter().map(cr).collect()
}
