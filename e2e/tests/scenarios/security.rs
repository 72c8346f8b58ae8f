//! What an IstioOperator may not reach, and what nobody gets to know.

use std::fs;

use e2e::{
    actions::{
        admission_policy::{AdmissionPolicy, Requests},
        cr::Cr,
    },
    control_plane::ControlPlane,
    host::{probe, workspace::root},
    observe::health::condition,
    operator::{Operator, Options},
    yaml,
};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use crate::{SOON, bystander::object_writes, manifest};

/// The specs of the table that the operator's own tests judge.
fn hostile() -> Vec<(Value, String)> {
    let name = "operator/src/controller/limits/hostile.yaml";
    let text = fs::read_to_string(root().join(name)).unwrap();
    let table = yaml::documents(name, &text).unwrap();
    let specs = table[0]["specs"].as_array().unwrap().iter();
    let row = |row: &Value| {
        (
            row["spec"].clone(),
            row["told"].as_str().unwrap().to_owned(),
        )
    };
    let overlays = [
        (
            "Deployment",
            "istiod",
            "spec.template.spec.hostNetwork",
            json!(true),
            "hostNetwork",
        ),
        (
            "Deployment",
            "istiod",
            "metadata.namespace",
            json!("kube-system"),
            "kube-system/istiod",
        ),
        (
            "ClusterRoleBinding",
            "istiod-clusterrole-istio-system",
            "roleRef.name",
            json!("cluster-admin"),
            "binds ClusterRole cluster-admin",
        ),
    ];
    let overlay = |(kind, name, path, value, told): (&str, &str, &str, Value, &str)| {
        let patches = json!([{"path": path, "value": value}]);
        let overlay = json!({"kind": kind, "name": name, "patches": patches});
        let pilot = json!({"k8s": {"overlays": [overlay]}});
        (
            json!({"profile": "minimal", "components": {"pilot": pilot}}),
            told.to_owned(),
        )
    };
    // Every other one, because each is rendered. The operator's own tests judge all of them.
    specs
        .step_by(2)
        .map(row)
        .chain(overlays.map(overlay))
        .collect()
}

/// Accepted row 5: an IstioOperator that reaches further than the operator allows is told so, and nothing of it is written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_resources_write_nothing() {
    let plane = ControlPlane::reuse_or_start().await.unwrap();
    let limits = [
        ("ALLOWED_NAMESPACES", "istio-system,edge"),
        ("ALLOWED_HUBS", "registry.istio.io/release"),
    ];
    let options = Options {
        env: limits
            .map(|(name, value)| (name.into(), value.into()))
            .into(),
        ..Options::default()
    };
    let operator = Operator::start_with(&plane, options).await.unwrap();
    let rows = hostile();
    let crs = rows.iter().enumerate();
    let crs: Vec<_> = crs
        .map(|(number, (spec, _))| manifest(&format!("hostile-{number}"), spec))
        .collect();
    plane.create_namespace("istio-system").unwrap();
    plane.apply(&yaml::stream(&crs)).unwrap();
    let client = plane.client().await.unwrap();
    for (number, (spec, told)) in rows.iter().enumerate() {
        let cr = Cr::of(client.clone(), "istio-system", &format!("hostile-{number}"));
        let refused = cr.wait_for("ERROR", SOON).await.unwrap().data;
        let stalled = condition(&refused, "Stalled");
        assert_eq!(stalled["reason"], "NotAllowed", "{spec}: {stalled}");
        let message = stalled["message"].as_str().unwrap();
        assert!(message.contains(told), "{spec}: {message}");
    }
    let written = object_writes(&plane, &operator, Timestamp::UNIX_EPOCH);
    assert_eq!(written, [""; 0]);

    // Once it keeps to the limits, it is installed like any other.
    let mended = Cr::of(client, "istio-system", "hostile-0");
    let harmless = json!({"spec": {"profile": "minimal", "values": null}});
    mended.patch(&harmless).await.unwrap();
    mended.wait_for("HEALTHY", SOON).await.unwrap();
}

/// Texts that nobody has guessed, one for each place.
fn texts() -> Vec<String> {
    (0..20)
        .map(|_| format!("{:032x}", fastrand::u128(..)))
        .collect()
}

/// Secrets of the cluster that hold some of the texts, in clear and as a certificate.
fn secrets(texts: &[String]) -> String {
    let secret = |name: &str, namespace: &str, key: &str, text: &str| {
        json!({"apiVersion": "v1", "kind": "Secret", "stringData": { key: text },
            "metadata": {"name": name, "namespace": namespace,
                "labels": {"app.kubernetes.io/part-of": "istio"}}})
    };
    yaml::stream(&[
        secret("cacerts", "istio-system", "ca-key.pem", &texts[0]),
        secret("istio-ca-secret", "istio-system", "ca-key.pem", &texts[1]),
        secret("grafana", "istio-system", "admin-password", &texts[2]),
        secret("edge-tls", "istio-system", "tls.key", &texts[3]),
        secret("registry", "default", "password", &texts[4]),
    ])
}

/// A spec with the other texts wherever people write what nobody should read.
fn spec(texts: &[String]) -> Value {
    let text = |number: usize| texts[number].as_str();
    let variable = |name: &str, number| json!({"name": name, "value": text(number)});
    let overlay = json!({"kind": "Deployment", "name": "istiod", "patches": [
        {"path": "spec.template.spec.containers.[0].env.[-1]", "value": variable("API_KEY", 5)},
        {"path": "metadata.annotations.token", "value": text(6)},
        {"path": "spec.template.spec.containers.[name:none].token", "value": text(7)},
    ]});
    json!({
        "profile": "minimal",
        "components": {
            "pilot": {"k8s": {
                "env": [variable("PASSWORD", 8), variable("TOKEN", 9)],
                "podAnnotations": {"vault.example.com/token": text(10)},
                "overlays": [overlay],
            }},
            "ingressGateways": [{"name": "edge", "enabled": true, "k8s": {
                "env": [variable("CLIENT_SECRET", 11)],
                "serviceAnnotations": {"example.com/key": text(12)},
            }}],
        },
        "values": {
            "pilot": {"env": {"DB_PASSWORD": text(13)}, "podAnnotations": {"password": text(14)}},
            "global": {"caAddress": "ca.example.com:443"},
        },
        "meshConfig": {
            "defaultConfig": {"proxyMetadata": {"ACCESS_TOKEN": text(15)}},
        },
        "unvalidatedValues": {"vendor": {"password": text(16), "privateKey": text(17)}},
    })
}

/// The text of everything that the operator says.
async fn said(
    plane: &ControlPlane,
    operator: &mut Operator,
    cr: &Cr,
) -> Vec<(&'static str, String)> {
    let log = operator.process().log().to_owned();
    let status = cr.get().await.unwrap().data["status"].to_string();
    let events = ["get", "events.events.k8s.io", "-A", "-o=json"];
    vec![
        ("log", fs::read_to_string(log).unwrap()),
        ("status", status),
        ("Events", plane.kubectl(events).unwrap()),
        ("metrics", probe::get(operator.port(), "/metrics").unwrap()),
    ]
}

/// Accepted row 5: what stands where secrets stand is in no log, Event, status or metric: of an installation, of one that is refused
/// by the API server, of a wrong spec, and of one that nobody may have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_gets_to_know_a_secret() {
    let plane = ControlPlane::reuse_or_start().await.unwrap();
    let options = Options {
        env: vec![("RUST_LOG".into(), "info,istio_operator=trace".into())],
        ..Options::default()
    };
    let mut operator = Operator::start_with(&plane, options).await.unwrap();
    let texts = texts();
    for namespace in ["istio-system", "default"] {
        plane.create_namespace(namespace).unwrap();
    }
    plane.apply(&secrets(&texts)).unwrap();
    let requests = Requests::NEW_DEPLOYMENTS;
    let policy = AdmissionPolicy::refuse(&plane, "not-yet", requests, "not yet")
        .await
        .unwrap();
    let cr = Cr::apply(&plane, &manifest("mesh", &spec(&texts)).to_string())
        .await
        .unwrap();
    cr.wait_for_message("not yet", SOON).await.unwrap();
    let mut heard = said(&plane, &mut operator, &cr).await;
    policy.lift().await.unwrap();
    cr.wait_for("HEALTHY", SOON).await.unwrap();
    heard.extend(said(&plane, &mut operator, &cr).await);

    // Wrong in ways that tell of the place: an unknown field, another type, what no API server takes, and what is not allowed.
    let text = |number: usize| texts[number].as_str();
    for (change, state) in [
        (
            json!({"values": {"global": {"passwords": text(18)}}}),
            "ERROR",
        ),
        (
            json!({"values": {"global": {"passwords": null}, "pilot": {"env": [text(19)]}}}),
            "ERROR",
        ),
        (
            json!({"values": {"pilot": {"env": null}}, "components": {"pilot": {"k8s": {
                "env": [{"name": "a=b", "value": text(8)}]}}}}),
            "ERROR",
        ),
        (
            json!({"components": {"pilot": {"k8s": {"env": null, "overlays": [{"kind": "Deployment",
                "name": "istiod", "patches": [
                    {"path": "metadata.annotations.token", "value": text(6)},
                    {"path": "spec.template.spec.hostPID", "value": true}]}]}}}}),
            "ERROR",
        ),
        (json!({"components": {"pilot": {"k8s": null}}}), "HEALTHY"),
    ] {
        cr.patch(&json!({"spec": change})).await.unwrap();
        cr.wait_for(state, SOON).await.unwrap();
        heard.extend(said(&plane, &mut operator, &cr).await);
    }
    for (place, what) in &heard {
        let found: Vec<_> = (0..20)
            .filter(|number| what.contains(text(*number)))
            .collect();
        let lines: Vec<_> = what
            .lines()
            .filter(|line| texts.iter().any(|text| line.contains(text)))
            .collect();
        assert!(found.is_empty(), "{found:?} in the {place}: {lines:#?}");
    }
    assert!(heard.iter().all(|(_, what)| !what.is_empty()));
}
