//! Rules of the chart pilot that no golden shows: each case sets a value and looks at what comes of it.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::BTreeSet;
use std::sync::LazyLock;

use istio_operator::api::{IstioOperator, RawSpec};
use istio_operator::charts::Charts;
use istio_operator::merge::{Cluster, merge};
use istio_operator::render::render;
use serde_json::{Value, json};

static CHARTS: LazyLock<Charts> = LazyLock::new(|| Charts::embedded().unwrap());

/// Every known minor.
fn minors() -> impl Iterator<Item = u16> {
    CHARTS
        .catalogue()
        .releases()
        .iter()
        .map(|release| release.version.minor)
}

/// The objects of istiod in a profile with these values, whose types nobody checks; or what is refused.
fn rendered(minor: u16, profile: &str, values: &Value) -> Result<Vec<Value>, String> {
    let components = json!({"base": {"enabled": false}});
    let spec = json!({"profile": profile, "components": components, "unvalidatedValues": values});
    let cr = IstioOperator::new("cr", RawSpec(spec));
    let merged = merge(
        &cr,
        Some(&format!("1.{minor}")),
        Cluster::default(),
        &CHARTS,
    );
    let merged = merged.map_err(|errors| errors[0].to_string())?;
    let rendered = render(&merged, &CHARTS).map_err(|errors| errors[0].to_string())?;
    let objects = rendered.components.into_iter().flat_map(|c| c.objects);
    Ok(objects.map(|object| object.body.value()).collect())
}

fn names(objects: &[Value]) -> BTreeSet<String> {
    let name = |o: &Value| {
        let text = |pointer| o.pointer(pointer).and_then(Value::as_str).unwrap();
        format!("{} {}", text("/kind"), text("/metadata/name"))
    };
    objects.iter().map(name).collect()
}

fn named<'a>(objects: &'a [Value], kind: &str, name: &str) -> Option<&'a Value> {
    objects
        .iter()
        .find(|o| o["kind"] == kind && o["metadata"]["name"] == name)
}

#[test]
fn a_resource_scope_parts_the_objects_since_1_28() {
    for minor in minors() {
        let of = |scope: &str| {
            let values = json!({
                "global": {"resourceScope": scope, "networkPolicy": {"enabled": true}},
                "revisionTags": ["prod"],
                "experimental": {"stableValidationPolicy": true},
            });
            names(&rendered(minor, "minimal", &values).unwrap())
        };
        let (all, cluster, namespace) = (of("all"), of("cluster"), of("namespace"));
        if minor < 28 {
            assert_eq!(cluster, all, "1.{minor}");
            continue;
        }
        assert!(cluster.is_disjoint(&namespace), "1.{minor}");
        assert_eq!(&cluster | &namespace, all, "1.{minor}");
    }
}

#[test]
fn the_address_of_a_remote_control_plane_decides_how_it_is_found() {
    // (minor, address, kind of the endpoints, whether the Service points to a name)
    let cases = [
        (24, "192.0.2.1", Some("Endpoints"), false),
        (27, "192.0.2.1", Some("Endpoints"), false),
        (28, "192.0.2.1", Some("EndpointSlice"), false),
        (29, "2001:db8::1", None, true),
        (30, "2001:db8::1", Some("EndpointSlice"), false),
        (31, "istiod.example", None, true),
    ];
    for (minor, address, kind, is_name) in cases {
        let values = json!({"global": {"remotePilotAddress": address}});
        let objects = rendered(minor, "remote", &values).unwrap();
        for endpoints in ["Endpoints", "EndpointSlice"] {
            let found = named(&objects, endpoints, "istiod").is_some();
            assert_eq!(found, kind == Some(endpoints), "1.{minor} {address}");
        }
        let service = named(&objects, "Service", "istiod").unwrap();
        assert_eq!(service["spec"]["externalName"] == address, is_name);
        assert_eq!(service["spec"]["type"] == "ExternalName", is_name);
    }
}

/// There upstream renders the Service of the istiod that runs here, too, and both have one name.
#[test]
fn an_istiod_beside_a_remote_one_has_one_service_before_1_27() {
    let values = json!({"global": {"remotePilotAddress": "192.0.2.1"}});
    for minor in [25, 26] {
        let objects = rendered(minor, "minimal", &values).unwrap();
        let services = objects.iter().filter(|o| o["kind"] == "Service");
        let named = services.filter(|o| o["metadata"]["name"] == "istiod");
        assert_eq!(named.count(), 1, "1.{minor}");
    }
}

#[test]
fn beside_a_remote_control_plane_an_istiod_may_inject_since_1_27() {
    let values = json!({
        "global": {"remotePilotAddress": "192.0.2.1"},
        "istiodRemote": {"enabledLocalInjectorIstiod": true},
    });
    for minor in minors() {
        let objects = rendered(minor, "remote", &values).unwrap();
        let is_local = minor >= 27;
        assert_eq!(named(&objects, "Deployment", "istiod").is_some(), is_local);
        assert_eq!(
            named(&objects, "Service", "istiod-remote").is_some(),
            is_local
        );
        assert!(named(&objects, "Service", "istiod").is_some(), "1.{minor}");
    }
}

#[test]
fn a_budget_guards_two_pods_or_more_since_1_28() {
    let budget = |minor, values: &Value| {
        let objects = rendered(minor, "minimal", &json!({"pilot": values})).unwrap();
        named(&objects, "PodDisruptionBudget", "istiod").map(|o| o["spec"].clone())
    };
    let one = json!({"autoscaleMin": 1});
    assert!(budget(27, &one).is_some());
    assert_eq!(budget(28, &one), None);
    assert!(budget(28, &json!({"autoscaleMin": 2})).is_some());
    assert!(budget(28, &json!({"autoscaleEnabled": false, "replicaCount": 2})).is_some());

    let both = json!({"autoscaleMin": 2, "pdb": {"maxUnavailable": 1}});
    assert_eq!(budget(26, &both).unwrap()["minAvailable"], 1);
    let spec = budget(27, &both).unwrap();
    assert_eq!(
        (&spec["minAvailable"], &spec["maxUnavailable"]),
        (&Value::Null, &json!(1))
    );
}

#[test]
fn the_user_overrides_labels_and_annotations_but_not_the_identity() {
    let values = json!({"pilot": {
        "podLabels": {"number": 5, "operator.istio.io/component": "mine", "istio.io/dataplane-mode": "ambient"},
        "podAnnotations": {"prometheus.io/scrape": "false"},
    }});
    let objects = rendered(31, "minimal", &values).unwrap();
    let pod = &named(&objects, "Deployment", "istiod").unwrap()["spec"]["template"]["metadata"];
    assert_eq!(pod["labels"]["number"], "5");
    assert_eq!(pod["labels"]["operator.istio.io/component"], "mine");
    assert_eq!(pod["labels"]["istio.io/dataplane-mode"], "none");
    assert_eq!(pod["annotations"]["prometheus.io/scrape"], "false");
    assert_eq!(pod["annotations"]["prometheus.io/port"], "15014");
}

#[test]
fn settings_that_istio_no_longer_runs_with_are_refused_by_path() {
    let cases = [
        ("global.pilotCertProvider", json!("kubernetes")),
        ("telemetry.v2.prometheus.configOverride", json!({"a": 1})),
        ("telemetry.v2.stackdriver.disableOutbound", json!(false)),
        ("global.tracer.stackdriver.debug", json!(true)),
    ];
    for (path, value) in cases {
        let values = path
            .rsplit('.')
            .fold(value, |inner, key| json!({ key: inner }));
        for minor in [24, 31] {
            let error = rendered(minor, "minimal", &values).err().unwrap();
            assert!(error.contains(&format!("spec.values.{path}: ")), "{error}");
        }
    }
}

#[test]
fn every_compatibility_version_and_platform_renders_in_every_minor_that_knows_it() {
    for minor in minors() {
        for version in &CHARTS.catalogue().release(minor).unwrap().compatibility {
            let profile = CHARTS.chart_profile(&format!("compatibility-{version}"), minor);
            assert!(profile.unwrap().is_some(), "{version} in 1.{minor}");
            rendered(minor, "minimal", &json!({"compatibilityVersion": version})).unwrap();
        }
        for platform in ["k3d", "k3s", "microk8s", "minikube", "openshift"] {
            let values = json!({"global": {"platform": platform}});
            rendered(minor, "minimal", &values).unwrap();
        }
    }
}
