use serde_json::json;

use super::*;

/// The spec of today, and a line for each change.
fn migrated(spec: &Value) -> (Value, Vec<String>) {
    let charts = Charts::embedded().unwrap();
    let Migration { spec, changes } = migrate(spec, SpecKind::IstioOperator, &charts);
    let line = |change: &Change| match &change.what {
        What::Moved { from } => format!("{} from {from}", change.path),
        What::Rewritten { was } => format!("{} was {was}", change.path),
        What::Removed { why, was } => format!("{}: {why} ({was})", change.path),
        What::Added { why } => format!("{} added: {why}", change.path),
    };
    (spec, changes.iter().map(line).collect())
}

#[test]
fn a_spec_of_today_stays_as_it_is() {
    let spec = json!({
        "profile": "demo",
        "tag": "1.30.2",
        "components": {"egressGateways": [{"name": "exit"}]},
        "values": {"global": {"proxy": {"logLevel": "debug"}}},
    });
    assert_eq!(migrated(&spec), (spec, vec![]));
}

#[test]
fn what_has_a_successor_moves_to_it_unless_that_is_set() {
    let spec = json!({
        "meshConfig": {"trustDomain": "new"},
        "values": {
            "global": {
                "proxy": {"accessLogFile": "/dev/stdout", "concurrency": 2},
                "trustDomain": "old",
            },
            "istio_cni": {"logLevel": "debug"},
        },
    });
    let (spec, changes) = migrated(&spec);
    let mesh = json!({
        "accessLogFile": "/dev/stdout",
        "defaultConfig": {"concurrency": 2},
        "trustDomain": "new",
    });
    let values = json!({"cni": {"logging": {"level": "debug"}}});
    assert_eq!(
        (&spec["meshConfig"], &spec["values"]["cni"]),
        (&mesh, &values["cni"])
    );
    assert_eq!(
        changes,
        [
            "spec.values.cni.logging.level from spec.values.istio_cni.logLevel",
            "spec.meshConfig.accessLogFile from spec.values.global.proxy.accessLogFile",
            "spec.meshConfig.defaultConfig.concurrency from spec.values.global.proxy.concurrency",
            "spec.values.global.trustDomain: was removed after Istio 1.9; use meshConfig.trustDomain (\"old\")",
        ]
    );
}

#[test]
fn old_forms_are_written_as_they_are_read() {
    let metric =
        json!({"type": "Resource", "resource": {"name": "cpu", "targetAverageUtilization": 70}});
    let spec = json!({
        "profile": "external",
        "/hub": "example.com",
        "components": {"pilot": {"k8s": {"hpaSpec": {"metrics": [metric]}}}},
    });
    let (spec, changes) = migrated(&spec);
    assert_eq!(
        (&spec["profile"], &spec["hub"]),
        (&json!("remote"), &json!("example.com"))
    );
    let target = &spec["components"]["pilot"]["k8s"]["hpaSpec"]["metrics"][0]["resource"]["target"];
    assert_eq!(
        *target,
        json!({"type": "Utilization", "averageUtilization": 70})
    );
    assert_eq!(changes.len(), 3, "{changes:#?}");
    assert_eq!(changes[0], "spec.hub from hub");
    assert_eq!(changes[1], "spec.profile was \"external\"");
}

#[test]
fn gateways_of_the_profile_are_written_out_for_an_old_istio() {
    let spec = json!({
        "tag": "1.12.1",
        "components": {"ingressGateways": [{"name": "edge", "enabled": true}]},
        "values": {"gateways": {"istio-egressgateway": {"enabled": true, "type": "ClusterIP"}}},
    });
    let (spec, changes) = migrated(&spec);
    let names = |list: &str| {
        let list = spec["components"][list].as_array().unwrap().clone();
        let names = list
            .into_iter()
            .map(|entry| format!("{} {}", entry["name"], entry["enabled"]));
        names.collect::<Vec<_>>()
    };
    assert_eq!(
        names("ingressGateways"),
        [r#""edge" true"#, r#""istio-ingressgateway" true"#]
    );
    assert_eq!(names("egressGateways"), [r#""istio-egressgateway" true"#]);
    assert_eq!(
        spec["values"],
        json!({"gateways": {"istio-egressgateway": {"type": "ClusterIP"}}})
    );
    assert!(spec.get("tag").is_none());
    assert_eq!(changes.len(), 3, "{changes:#?}");

    let demo = json!({"profile": "demo", "components": {"egressGateways": [{"name": "istio-egressgateway", "k8s": {}}]}});
    let (spec, _) = migrated(&demo);
    assert_eq!(spec["components"]["egressGateways"][0]["enabled"], true);
    let minimal =
        json!({"profile": "minimal", "components": {"ingressGateways": [{"name": "edge"}]}});
    assert_eq!(migrated(&minimal), (minimal, vec![]));
}

#[test]
fn addons_stand_where_they_have_their_own_place() {
    let spec = json!({
        "addonComponents": {"tracing": {"enabled": true}},
        "values": {
            "tracing": {"provider": "zipkin"},
            "prometheus": {"enabled": true, "retention": "1d", "tag": "v2.15.1"},
            "kiali": {"dashboard": {"viewOnlyMode": true}},
        },
    });
    let (spec, changes) = migrated(&spec);
    assert_eq!(
        spec,
        json!({"addonComponents": {
            "prometheus": {"enabled": true, "retention": "1d"},
            "zipkin": {"enabled": true},
        }})
    );
    let told = changes.join("\n");
    for change in [
        "spec.addonComponents.zipkin from spec.addonComponents.tracing",
        "spec.addonComponents.prometheus from spec.values.prometheus",
        "spec.values.kiali: is of an addon that is not installed",
        "spec.values.prometheus.tag: has no effect",
    ] {
        assert!(told.contains(change), "{change} in {told}");
    }
}

#[test]
fn removed_settings_go_with_their_story() {
    let spec = json!({
        "components": {"telemetry": {"enabled": true}, "policy": {"enabled": false}},
        "values": {"mixer": {"adapters": {"stdio": {"enabled": true}}}},
    });
    let (spec, changes) = migrated(&spec);
    assert_eq!(spec, json!({}));
    assert_eq!(
        changes,
        [
            "spec.components.telemetry: was removed after Istio 1.7; use Telemetry objects, because proxies report by themselves ({\"enabled\":true})",
            "spec.values.mixer: was removed after Istio 1.7; use Telemetry and AuthorizationPolicy objects ({\"adapters\":{\"stdio\":{\"enabled\":true}}})",
            "spec.components.policy: was removed after Istio 1.7, and is off here ({\"enabled\":false})",
        ]
    );
}
