//! A spec that is accepted can be applied: what the API server would refuse is told with the setting that is why.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::sync::LazyLock;

use istio_operator::api::{IstioOperator, RawSpec};
use istio_operator::charts::Charts;
use istio_operator::merge::{Cluster, merge};
use istio_operator::render::{Rendered, render};
use serde_json::{Value, json};

static CHARTS: LazyLock<Charts> = LazyLock::new(|| Charts::embedded().unwrap());

/// The objects and warnings of a spec, or its errors.
fn run(spec: &Value) -> Result<(Rendered, Vec<String>), Vec<String>> {
    let cr = IstioOperator::new("cr", RawSpec(spec.clone()));
    let merged = merge(&cr, None, Cluster::default(), &CHARTS).map_err(|all| texts(&all))?;
    let rendered = render(&merged, &CHARTS).map_err(|all| texts(&all))?;
    let warnings = rendered.warnings.iter().map(ToString::to_string).collect();
    Ok((rendered, warnings))
}

fn texts(errors: &[impl ToString]) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

fn errors(spec: &Value) -> Vec<String> {
    match run(spec) {
        Ok(_) => Vec::new(),
        Err(errors) => errors,
    }
}

/// A spec from YAML. Base has no part in these tests.
fn spec(yaml: &str) -> Value {
    let mut spec: Value = serde_saphyr::from_str(yaml).unwrap();
    if spec.pointer("/components/base").is_none() {
        spec["components"]["base"] = json!({"enabled": false});
    }
    spec
}

/// istiod with a `k8s` block.
fn pilot(k8s: &str) -> Value {
    let k8s: Value = serde_saphyr::from_str(k8s).unwrap();
    spec(&json!({"components": {"pilot": {"k8s": k8s}}}).to_string())
}

/// An ingress gateway with a `k8s` block.
fn gateway(k8s: &str) -> Value {
    let k8s: Value = serde_saphyr::from_str(k8s).unwrap();
    let gateways = json!([{"name": "gw", "enabled": true, "k8s": k8s}]);
    spec(&json!({"components": {"ingressGateways": gateways}}).to_string())
}

/// A patch of istiod's Deployment.
fn patched(path: &str, value: &str) -> Value {
    let value: Value = serde_saphyr::from_str(value).unwrap();
    let patches = json!([{"path": path, "value": value}]);
    let overlays = json!([{"kind": "Deployment", "name": "istiod", "patches": patches}]);
    pilot(&json!({"overlays": overlays}).to_string())
}

/// A patch of istiod's Deployment with a text as it is.
fn patched_with_text(path: &str, text: &str) -> Value {
    let patches = json!([{"path": path, "value": text}]);
    let overlays = json!([{"kind": "Deployment", "name": "istiod", "patches": patches}]);
    pilot(&json!({"overlays": overlays}).to_string())
}

fn found(rendered: &Rendered, kind: &str, name: &str, pointer: &str) -> Value {
    let mut objects = rendered.components.iter().flat_map(|c| &c.objects);
    let object = objects.find(|o| o.key.kind == kind && o.key.name == name);
    let body = object.unwrap().body.value();
    body.pointer(pointer).cloned().unwrap_or_default()
}

/// Every case has exactly one error, which begins as it says.
fn refused(cases: &[(Value, String)]) {
    let mut wrong = Vec::new();
    for (spec, expected) in cases {
        let errors = errors(spec);
        if errors.len() != 1 || !errors[0].starts_with(expected) {
            wrong.push(format!(
                "{spec}\n  expected {expected}\n  found {errors:#?}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Settings of istiod's `k8s` block, and how the error begins behind the path of the block.
const K8S: &[(&str, &str)] = &[
    (
        "hpaSpec: {metrics: [{type: Resource, resource: {name: cpu}}]}",
        ".hpaSpec.metrics[0].resource.target: is required (HorizontalPodAutoscaler istio-system/istiod, \
             spec.metrics[0].resource.target)",
    ),
    (
        "hpaSpec: {metrics: [{type: Memory}]}",
        ".hpaSpec.metrics[0].type: expected one of Object, Pods, ",
    ),
    (
        "hpaSpec: {metrics: [{type: Pods, pods: {metric: {name: a}, target: {type: AverageValue}}}]}",
        ".hpaSpec.metrics[0].pods.target: expected one of averageValue",
    ),
    (
        "hpaSpec: {minReplicas: 7, maxReplicas: 6}",
        ".hpaSpec.minReplicas: 7 is above the most pods that there may be, the 6 of",
    ),
    (
        "hpaSpec: {behavior: {scaleUp: {policies: []}}}",
        ".hpaSpec.behavior.scaleUp.policies: expected at least one",
    ),
    (
        "imagePullPolicy: Sometimes",
        ".imagePullPolicy: expected one of Always, IfNotPresent, Never, found the string",
    ),
    (
        "nodeSelector: {'a b': c}",
        ".nodeSelector.a b: expected a key such as",
    ),
    (
        "nodeSelector: {a: 'b c'}",
        ".nodeSelector.a: expected a value of at most 63",
    ),
    (
        "podAnnotations: {'a/b/c': x}",
        ".podAnnotations.a/b/c: expected a key such as",
    ),
    (
        "{hpaSpec: {minReplicas: 2}, podDisruptionBudget: {minAvailable: '150%'}}",
        ".podDisruptionBudget.minAvailable: expected a number of at least 0",
    ),
    (
        "{hpaSpec: {minReplicas: 2}, podDisruptionBudget: {unhealthyPodEvictionPolicy: x}}",
        ".podDisruptionBudget.unhealthyPodEvictionPolicy: expected one of",
    ),
    (
        "priorityClassName: Hi there",
        ".priorityClassName: expected a name of at most 253",
    ),
    (
        "readinessProbe: {tcpSocket: {port: 1}, httpGet: {port: 1}}",
        ".readinessProbe: expected only one of httpGet, tcpSocket",
    ),
    (
        "readinessProbe: {periodSeconds: -1}",
        ".readinessProbe.periodSeconds: expected a number of at least 0, found the number -1",
    ),
    (
        "resources: {requests: {cpu: 2}, limits: {cpu: 1}}",
        ".resources.requests.cpu: expected at most the limit",
    ),
    (
        "resources: {limits: {disk: 1}}",
        ".resources.limits.disk: expected one of cpu, memory",
    ),
    (
        "env: [{name: A, value: x}, {name: B, value: z, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]",
        ".env[1].valueFrom: cannot stand beside value",
    ),
    (
        "env: [{name: A, valueFrom: {}}]",
        ".env[0].valueFrom: expected one of configMapKeyRef, ",
    ),
    (
        "env: [{name: A, valueFrom: {secretKeyRef: {name: s}}}]",
        ".env[0].valueFrom.secretKeyRef.key: is required",
    ),
    (
        "env: [{name: 'A=B', value: x}]",
        ".env[0].name: expected a name of printable letters",
    ),
    (
        "tolerations: [{operator: Exists, value: x}]",
        ".tolerations[0].value: cannot stand beside Exists",
    ),
    (
        "tolerations: [{key: a, operator: Sometimes}]",
        ".tolerations[0].operator: expected one of Exists, Equal",
    ),
    (
        "tolerations: [{key: a, operator: Exists, effect: Never}]",
        ".tolerations[0].effect: expected one of NoSchedule",
    ),
    (
        "tolerations: [{key: a, operator: Exists, tolerationSeconds: 5}]",
        ".tolerations[0].effect: expected NoExecute",
    ),
    (
        "tolerations: [{value: a}]",
        ".tolerations[0].operator: expected Exists where there is no key",
    ),
    (
        "strategy: {rollingUpdate: {maxSurge: 0, maxUnavailable: '0%'}}",
        ".strategy.rollingUpdate.maxUnavailable: cannot be 0",
    ),
    (
        "strategy: {type: Recreate, rollingUpdate: {maxSurge: 1}}",
        ".strategy: cannot stand beside the type Recreate",
    ),
    (
        "strategy: {type: Blue}",
        ".strategy.type: expected one of RollingUpdate, Recreate",
    ),
    (
        "service: {type: Loadbalancer}",
        ".service.type: expected one of ClusterIP",
    ),
    (
        "service: {loadBalancerSourceRanges: [10.0.0.0/8]}",
        ".service.loadBalancerSourceRanges: needs the type LoadBalancer",
    ),
    (
        "service: {ports: [{port: 15010, name: grpc-xds, nodePort: 30000}]}",
        ".service.ports[0].nodePort: cannot be set for the type ClusterIP",
    ),
    ("service: {ports: [{port: 1, name: https-dns}]}", ".service"),
    (
        "service: {sessionAffinity: Server}",
        ".service.sessionAffinity: expected one of None, ClientIP",
    ),
    (
        "service: {ipFamilies: [IPv5]}",
        ".service.ipFamilies[0]: expected one of IPv4, IPv6",
    ),
    (
        "serviceAnnotations: {'': x}",
        ".serviceAnnotations.: expected a key such as",
    ),
    (
        "affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 0, preference: {}}]}}",
        ".affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: expected a number from 1 to 100",
    ),
    (
        "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: In}]}]}}}",
        ".affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].values: is required by In",
    ),
    (
        "affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{labelSelector: {}}]}}",
        ".affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: is required",
    ),
    (
        "securityContext: {fsGroup: -1}",
        ".securityContext.fsGroup: expected a number from 0",
    ),
    (
        "securityContext: {seccompProfile: {type: Localhost}}",
        ".securityContext.seccompProfile.localhostProfile: is required by Localhost",
    ),
    (
        "securityContext: {fsGroupChangePolicy: Never}",
        ".securityContext.fsGroupChangePolicy: expected one of Always",
    ),
];

#[test]
fn a_k8s_setting_that_no_api_server_takes_is_told_with_its_path() {
    let cases: Vec<_> = K8S
        .iter()
        .map(|(k8s, expected)| (pilot(k8s), format!("spec.components.pilot.k8s{expected}")))
        .collect();
    refused(&cases);
}

#[test]
fn a_value_that_no_api_server_takes_is_told_with_its_path() {
    let cases = [
        (
            "{pilot: {autoscaleMin: 9}}",
            "pilot.autoscaleMin: 9 is above the most pods that there may be, the 5 that",
        ),
        (
            "{pilot: {nodeSelector: {a: 'b c'}}}",
            "pilot.nodeSelector.a: expected a value",
        ),
        (
            "{pilot: {tolerations: [{operator: Equal}]}}",
            "pilot.tolerations[0].operator: expected Exists",
        ),
        (
            "{pilot: {rollingMaxSurge: 0, rollingMaxUnavailable: 0}}",
            "pilot.rolling",
        ),
        (
            "{pilot: {podLabels: {a: '-'}}}",
            "pilot.podLabels.a: expected a value",
        ),
        (
            "{pilot: {podAnnotations: {'-': a}}}",
            "pilot.podAnnotations.-: expected a key",
        ),
        (
            "{pilot: {volumeMounts: [{name: x, mountPath: /x}]}}",
            "pilot.volumeMounts[0].name: there is no volume x",
        ),
        (
            "{pilot: {volumes: [{name: Big, emptyDir: {}}]}}",
            "pilot.volumes[0].name: expected a name of at most 63",
        ),
        (
            "{pilot: {volumes: [{name: cacerts, emptyDir: {}}]}}",
            "pilot.volumes[0]: another element has the same name cacerts",
        ),
        (
            "{pilot: {volumes: [{name: a, emptyDir: {}, secret: {secretName: b}}]}}",
            "pilot.volumes[0]: expected only one of emptyDir, secret",
        ),
        (
            "{pilot: {topologySpreadConstraints: [{maxSkew: 0, topologyKey: a, whenUnsatisfiable: DoNotSchedule}]}}",
            "pilot.topologySpreadConstraints[0].maxSkew: expected a number of at least 1",
        ),
        (
            "{pilot: {topologySpreadConstraints: [{maxSkew: 1, topologyKey: a, whenUnsatisfiable: Never}]}}",
            "pilot.topologySpreadConstraints[0].whenUnsatisfiable: expected one of DoNotSchedule",
        ),
        (
            "{global: {imagePullPolicy: Often}}",
            "global.imagePullPolicy: expected one of Always",
        ),
        (
            "{global: {priorityClassName: A}}",
            "global.priorityClassName: expected a name",
        ),
    ];
    let cases: Vec<_> = cases
        .iter()
        .map(|(values, expected)| {
            let spec = spec(&format!("values: {values}"));
            (spec, format!("spec.values.{expected}"))
        })
        .collect();
    refused(&cases);
}

/// Patches of istiod's Deployment: path, in which `C` is its container, value, and how the error begins behind the patch.
const PATCHES: &[(&str, &str, &str)] = &[
    (
        "C.args",
        "--grpcAddr=x",
        ": expected a list, found the string \"--grpcAddr=x\" (Deployment istio-system/istiod, spec.template.spec.containers[0].args)",
    ),
    ("C.image", "{a: b}", ": expected a string, found an object"),
    ("C.image", "''", ": is required"),
    ("C.imag", "x", ": unknown field, did you mean image?"),
    (
        "C.env.[-1]",
        "{name: REVISION, value: x}",
        ": another element has the same name REVISION",
    ),
    ("C.env.[-1]", "{value: x}", ".name: is required"),
    (
        "C.ports.[-1]",
        "{containerPort: 8080}",
        ": another element has the same containerPort 8080 and protocol TCP",
    ),
    (
        "C.ports.[-1]",
        "{containerPort: 80, name: http-debug}",
        ": another element has the same name http-debug",
    ),
    (
        "C.volumeMounts.[-1]",
        "{name: cacerts, mountPath: /etc/cacerts}",
        ": another element has the same mountPath /etc/cacerts",
    ),
    (
        "C.volumeMounts.[-1]",
        "{name: nope, mountPath: /x}",
        ".name: there is no volume nope",
    ),
    (
        "C.securityContext.privileged",
        "1",
        ": expected true or false, found the number 1",
    ),
    (
        "C.securityContext.privileged",
        "true",
        ": cannot be false beside privileged",
    ),
    (
        "C.readinessProbe.httpGet.port",
        "A B",
        ": expected a number from 1 to 65535 or the name of a port",
    ),
    ("C.resources.requests.cpu", "a lot", ": expected a quantity"),
    (
        "spec.replicas",
        "-1",
        ": expected a number of at least 0, found the number -1",
    ),
    (
        "spec.replicas",
        "1.5",
        ": expected a whole number of 32 bits",
    ),
    (
        "spec.replicas",
        "'two'",
        ": expected a whole number of 32 bits, found the string \"two\"",
    ),
    (
        "spec.paused",
        "'maybe'",
        ": expected true or false, found the string",
    ),
    (
        "spec.selector.matchLabels.a",
        "b",
        ": do not have the label a of the selector",
    ),
    ("spec.selector.matchLabels", "{}", ": selects nothing"),
    (
        "spec.template.metadata.labels.istio",
        "x",
        ": do not have the label istio",
    ),
    (
        "spec.template.spec.containers.[-1]",
        "{name: discovery, image: x}",
        ": another element has the same name discovery",
    ),
    (
        "spec.template.spec.containers.[-1]",
        "{name: x}",
        ".image: is required",
    ),
    (
        "spec.template.spec.containers",
        "[]",
        ": expected at least one element",
    ),
    (
        "spec.template.spec.containers.[0].name",
        "A",
        ": expected a name of at most 63",
    ),
    (
        "spec.template.spec.initContainers",
        "[{name: discovery, image: x}]",
        "[0].name: is the name of a container too",
    ),
    (
        "spec.template.spec.volumes.[-1]",
        "null name",
        ": expected an object, found the string",
    ),
    (
        "spec.template.spec.restartPolicy",
        "Never",
        ": expected one of Always",
    ),
    (
        "spec.template.spec.dnsPolicy",
        "Mine",
        ": expected one of ClusterFirst",
    ),
    (
        "spec.progressDeadlineSeconds",
        "0",
        ": expected more than the minReadySeconds 0",
    ),
    (
        "metadata.name",
        "Istiod",
        ": expected a name of at most 253",
    ),
    (
        "metadata.namespace",
        "a.b",
        ": expected a name of at most 63",
    ),
    (
        "metadata.labels.a",
        "5",
        ": expected a string, found the number 5",
    ),
    (
        "metadata.labels.a",
        "b c",
        ": expected a value of at most 63",
    ),
    (
        "metadata.labels",
        "[a]",
        ": expected an object, found a list",
    ),
    ("metadata.annotations.a b", "x", ": expected a key such as"),
    ("spec.foo.bar", "x", ": unknown field"),
    (
        "kind",
        "Deploymint",
        ": Deploymint in apps/v1 is no kind that charts render",
    ),
];

#[test]
fn an_overlay_that_no_api_server_takes_is_told_with_its_patch() {
    const PATCH: &str = "spec.components.pilot.k8s.overlays[0].patches[0].value";
    const CONTAINER: &str = "spec.template.spec.containers.[name:discovery].";
    let cases: Vec<_> = PATCHES
        .iter()
        .map(|(path, value, expected)| {
            (
                patched(&path.replace("C.", CONTAINER), value),
                format!("{PATCH}{expected}"),
            )
        })
        .collect();
    refused(&cases);
}

#[test]
fn of_several_overlays_the_one_that_is_wrong_is_told() {
    let overlay = |kind: &str, name: &str, patches: Value| json!({"kind": kind, "name": name, "patches": patches});
    let overlays = json!([
        overlay(
            "Service",
            "istiod",
            json!([{"path": "spec.ports.[port:15010]"}])
        ),
        overlay(
            "Deployment",
            "istiod",
            json!([
                {"path": "spec.template.spec.volumes.[-1]", "value": {"name": "a", "emptyDir": {}}},
                {"path": "spec.template.spec.volumes.[-1]", "value": {"name": "a", "emptyDir": {}}},
                {"path": "spec.template.spec.volumes.[name:local-certs]", "value": null},
                {"path": "spec.replicas", "value": 2},
            ])
        ),
    ]);
    let mut found = errors(&pilot(&json!({"overlays": overlays}).to_string()));
    found.sort();
    assert_eq!(
        found,
        [
            "spec.components.pilot.k8s.overlays[1].patches[1].value: another element has the same name a \
             (Deployment istio-system/istiod, spec.template.spec.volumes[6])",
            "spec.components.pilot.k8s.overlays[1].patches[2]: there is no volume local-certs \
             (Deployment istio-system/istiod, spec.template.spec.containers[0].volumeMounts[1].name)",
        ]
    );
}

#[test]
fn errors_of_every_component_come_together() {
    let spec = spec(
        "components:\n  pilot: {k8s: {imagePullPolicy: x}}\n  ingressGateways:\n  - {name: gw, label: {a: 'b c'}}\n\
         \x20 - {name: gx, k8s: {service: {type: X}}}\n",
    );
    let found = errors(&spec);
    let starts = [
        "spec.components.pilot.k8s.imagePullPolicy: ",
        "spec.components.ingressGateways[0].label.a: ",
        "spec.components.ingressGateways[1].k8s.service.type: ",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (error, start) in found.iter().zip(starts) {
        assert!(error.starts_with(start), "{found:#?}");
    }
}

#[test]
fn gateways_tell_their_own_settings() {
    const K8S: &str = "spec.components.ingressGateways[0].k8s";
    let cases = [
        (
            "service: {ports: [{name: a, port: 8080}, {name: a, port: 8081}]}",
            ".service.ports[1].name: another port is called a too",
        ),
        (
            "service: {ports: [{name: a, port: 8080}, {name: b, port: 8080}]}",
            ".service.ports[1]: another element has the same port 8080 and protocol TCP",
        ),
        (
            "service: {ports: [{name: a, port: 8080}, {port: 8081}]}",
            ".service.ports[1].name: is required of several ports",
        ),
        (
            "service: {ports: [{name: a, port: 80, targetPort: http2}]}",
            ".service.ports[0].targetPort: expected a whole number",
        ),
        (
            "service: {ports: [{name: a, port: 8080, protocol: tcp}]}",
            ".service.ports[0].protocol: expected one of TCP",
        ),
        (
            "hpaSpec: {maxReplicas: 0}",
            ".hpaSpec.maxReplicas: 0 is below the fewest pods that there may be",
        ),
    ];
    for (k8s, expected) in cases {
        let found = errors(&gateway(k8s));
        let expected = format!("{K8S}{expected}");
        assert!(
            found.iter().any(|error| error.starts_with(&expected)),
            "{k8s}: {found:#?}"
        );
    }
}

#[test]
fn a_text_is_read_by_the_type_of_its_field() {
    const POD: &str = "/spec/template/spec";
    let path = |field: &str| format!("spec.template.spec.{field}");
    let cases = [
        (
            path("volumes[100]"),
            "name: extra\nconfigMap: {name: extra}",
            "/volumes/6",
            json!({"name": "extra", "configMap": {"name": "extra"}}),
        ),
        (
            path("tolerations"),
            "- {key: a, operator: Exists}\n",
            "/tolerations",
            json!([{"key": "a", "operator": "Exists"}]),
        ),
        (
            path("nodeSelector"),
            "{a: b}",
            "/nodeSelector",
            json!({"a": "b"}),
        ),
        (path("hostNetwork"), "true", "/hostNetwork", json!(true)),
        (
            path("terminationGracePeriodSeconds"),
            "30",
            "/terminationGracePeriodSeconds",
            json!(30),
        ),
        (
            path("containers.[0].args"),
            "[a, b]",
            "/containers/0/args",
            json!(["a", "b"]),
        ),
        (
            path("containers.[0].args.[0]"),
            "1",
            "/containers/0/args/0",
            json!("1"),
        ),
        (
            path("containers.[0].image"),
            "a: b",
            "/containers/0/image",
            json!("a: b"),
        ),
        (
            path("containers.[0].readinessProbe.httpGet.port"),
            "http-debug",
            "/containers/0/readinessProbe/httpGet/port",
            json!("http-debug"),
        ),
        (
            path("containers.[0].resources.requests.cpu"),
            "1",
            "/containers/0/resources/requests/cpu",
            json!("1"),
        ),
    ];
    for (path, text, pointer, expected) in cases {
        let (rendered, _) = run(&patched_with_text(&path, text)).unwrap();
        let value = found(
            &rendered,
            "Deployment",
            "istiod",
            &format!("{POD}{pointer}"),
        );
        assert_eq!(value, expected, "{path}");
    }
}

#[test]
fn a_text_in_a_config_map_stays_a_text() {
    let patches = json!([{"path": "data.x", "value": "a: b\nc: d\n"}]);
    let overlays = json!([{"kind": "ConfigMap", "name": "istio", "patches": patches}]);
    let (rendered, _) = run(&pilot(&json!({"overlays": overlays}).to_string())).unwrap();
    assert_eq!(
        found(&rendered, "ConfigMap", "istio", "/data/x"),
        "a: b\nc: d\n"
    );
}

/// The entries of a variable in the first container of a workload.
fn variable(rendered: &Rendered, kind: &str, workload: &str, name: &str) -> Value {
    let env = found(
        rendered,
        kind,
        workload,
        "/spec/template/spec/containers/0/env",
    );
    let entries = env.as_array().into_iter().flatten();
    entries
        .filter(|entry| entry["name"] == name)
        .cloned()
        .collect()
}

/// Where a variable is set, its workload, its name, and its value; none for one from a Secret.
const VARIABLES: &[(&str, &str, &str, &str, Option<&str>)] = &[
    (
        "k8s",
        "Deployment",
        "istiod",
        "POD_NAMESPACE",
        Some("other"),
    ),
    ("k8s", "Deployment", "istiod", "REVISION", None),
    ("k8s", "Deployment", "istiod", "POD_NAME", None),
    ("pilot", "Deployment", "istiod", "POD_NAME", Some("x")),
    (
        "pilot",
        "Deployment",
        "istiod",
        "PILOT_TRACE_SAMPLING",
        Some("5"),
    ),
    ("pilot", "Deployment", "istiod", "CLUSTER_ID", Some("c")),
    ("cni", "DaemonSet", "istio-cni-node", "NODE_NAME", Some("n")),
    (
        "ztunnel",
        "DaemonSet",
        "ztunnel",
        "XDS_ADDRESS",
        Some("https://istiod-canary.istio-system.svc:15012"),
    ),
    ("ztunnel", "DaemonSet", "ztunnel", "RUST_LOG", Some("debug")),
    ("gateway", "Deployment", "gw", "CA_ADDR", Some("ca:1")),
    (
        "gateway",
        "Deployment",
        "gw",
        "ISTIO_META_CLUSTER_ID",
        Some("c"),
    ),
    (
        "mesh",
        "Deployment",
        "gw",
        "ISTIO_META_CLUSTER_ID",
        Some("m"),
    ),
];

#[test]
fn the_users_variable_replaces_that_of_the_chart() {
    let secret = json!({"secretKeyRef": {"name": "s", "key": "k"}});
    for (place, kind, workload, name, value) in VARIABLES {
        let entry = match value {
            Some(value) => json!({"name": name, "value": value}),
            None => json!({"name": name, "valueFrom": secret}),
        };
        let env = json!({*name: value});
        let gateways = json!([{"name": "gw"}]);
        let mut written =
            json!({"profile": "ambient", "components": {"ingressGateways": gateways}});
        match *place {
            "k8s" => written["components"]["pilot"]["k8s"]["env"] = json!([entry]),
            "gateway" => written["values"]["gateways"]["istio-ingressgateway"]["env"] = env,
            "mesh" => written["meshConfig"]["defaultConfig"]["proxyMetadata"] = env,
            root => written["values"][root]["env"] = env,
        }
        let (rendered, _) = run(&spec(&written.to_string())).unwrap();
        assert_eq!(
            variable(&rendered, kind, workload, name),
            json!([entry]),
            "{place}"
        );
    }
}

#[test]
fn the_nearest_of_several_settings_of_a_variable_wins() {
    let spec = spec(
        "components: {pilot: {k8s: {env: [{name: A, value: k8s}]}}}\n\
         values: {pilot: {env: {A: values, B: values}, envVarFrom: [{name: B, valueFrom: {secretKeyRef: {name: s, key: k}}}]}}\n",
    );
    let (rendered, _) = run(&spec).unwrap();
    let variable = |name| variable(&rendered, "Deployment", "istiod", name);
    assert_eq!(variable("A"), json!([{"name": "A", "value": "k8s"}]));
    let source = json!({"secretKeyRef": {"name": "s", "key": "k"}});
    assert_eq!(variable("B"), json!([{"name": "B", "valueFrom": source}]));
}

#[test]
fn ports_with_one_target_open_it_once() {
    let spec = gateway(
        "service: {ports: [{name: a, port: 80, targetPort: 8080}, {name: b, port: 8080}, \
         {name: c, port: 81, targetPort: 8080, protocol: UDP}, {name: d, port: 1500, targetPort: 15090}]}",
    );
    let (rendered, _) = run(&spec).unwrap();
    let ports = found(
        &rendered,
        "Deployment",
        "gw",
        "/spec/template/spec/containers/0/ports",
    );
    let numbers: Vec<_> = ports
        .as_array()
        .unwrap()
        .iter()
        .map(|p| (&p["containerPort"], &p["protocol"], &p["name"]))
        .collect();
    let expected = json!([
        [8080, "TCP", null],
        [8080, "UDP", null],
        [15090, "TCP", "http-envoy-prom"]
    ]);
    assert_eq!(serde_json::to_value(numbers).unwrap(), expected);
    let ports = found(&rendered, "Service", "gw", "/spec/ports");
    assert_eq!(ports.as_array().unwrap().len(), 4);
}

#[test]
fn an_overlay_without_an_object_names_those_of_its_kind() {
    let overlay = json!({"kind": "Deployment", "name": "istiod", "patches": [{"path": "spec.replicas", "value": 2}]});
    let pilot = json!({"k8s": {"overlays": [overlay]}});
    let written = json!({"revision": "canary", "components": {"pilot": pilot}});
    let (_, warnings) = run(&spec(&written.to_string())).unwrap();
    let expected = "spec.components.pilot.k8s.overlays[0]: matches nothing: no Deployment istiod is rendered; \
                    there is istiod-canary";
    assert_eq!(warnings, [expected]);
}
