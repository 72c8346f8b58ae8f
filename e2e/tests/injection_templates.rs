//! Our injection templates do what upstream's do, in every minor.
//!
//! istiod runs them, so the real engine judges: `istioctl kube-inject` of 1.31 with the mesh
//! config, templates and values that our charts give. It needs no cluster as long as it is told the revision.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on may stop anywhere, and says how far it came"
)]

mod injection;

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use goldens::{HINT, STALE, Texts, as_stored, digest, digests, report};
use injection::{
    Injector,
    engine::{REFUSALS, as_engine_of},
    gateways::{Mesh, created, meshes},
    ours,
    pods::{installs, pod},
    upstream,
};
use istio_operator::charts::{Charts, yaml};
use serde_json::{Value, json};

/// Fixed, so that every run tries the same pods.
const SEED: u64 = 131;
const PODS_PER_INSTALL: usize = 60;

/// How many pods upstream injected in every minor, so that none is lost unseen.
const INJECTED_PODS: usize = 70;

#[test]
fn pods_are_injected_as_by_upstream_in_every_minor() {
    let charts = Charts::embedded().unwrap();
    let (inputs, crs, texts) = (goldens::pods(), goldens::inputs(), Texts::find());
    let pods: Vec<Value> = inputs
        .values()
        .map(|pod| yaml::parse(pod).unwrap())
        .collect();
    let (mut equal, mut wrong) = (0, Vec::new());
    for install in goldens::installs() {
        let (table, cr) = (
            goldens::injected(&install),
            yaml::parse(&crs[&install]).unwrap(),
        );
        for release in charts.catalogue().releases() {
            let minor = release.version.minor_text();
            let upstream = table.column(&minor);
            assert!(upstream.keys().eq(inputs.keys()), "{minor} {install}");
            let texts = texts.as_ref().map(|texts| stored(texts, &minor, &install));
            if texts
                .as_ref()
                .is_some_and(|texts| digests(texts) != *upstream)
            {
                wrong.push(format!("{minor} {install}: {STALE}"));
            }
            let injected =
                Injector::new(&ours(&charts, &cr, goldens::version(&minor))).inject(&pods);
            for ((name, pod), mut found) in inputs.keys().zip(&pods).zip(injected) {
                as_engine_of(release.version.minor, pod, &mut found);
                let found = as_stored(found);
                if digest(&found) == upstream[name] {
                    equal += 1;
                    continue;
                }
                let text = texts.as_ref().map(|texts| &texts[name]);
                let fields = text.map(|text| goldens::differences(text, &found));
                wrong.push(match fields {
                    Some(fields) => format!("{minor} {install} {name}: {fields:#?}"),
                    None => format!("{minor} {install} {name}: {HINT}"),
                });
            }
        }
    }
    let total = INJECTED_PODS * charts.catalogue().releases().len();
    report(&format!(
        "injected pods equal to upstream's: {equal} of {total}"
    ));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(equal, total);
}

/// Upstream's pods in the form that is compared.
fn stored(texts: &Texts, minor: &str, install: &str) -> BTreeMap<String, Value> {
    let pods = texts.injected(minor, install).into_iter();
    pods.map(|(name, pod)| (name, as_stored(pod))).collect()
}

/// Where two objects differ for the API server.
fn differences(expected: &Value, found: &Value) -> Vec<String> {
    goldens::differences(&as_stored(expected.clone()), &as_stored(found.clone()))
}

/// The real istioctl holds upstream's templates of 1.31, so any pod and any settings can be tried.
#[test]
fn pods_that_nobody_wrote_down_are_injected_as_by_upstream() {
    let charts = Charts::embedded().unwrap();
    let mut rng = Rng::with_seed(SEED);
    let (mut equal, mut wrong) = (0, Vec::new());
    for cr in installs() {
        let pods: Vec<Value> = (0..PODS_PER_INSTALL).map(|n| pod(&mut rng, n)).collect();
        let found = Injector::new(&ours(&charts, &cr, "1.31")).inject(&pods);
        let expected = Injector::new(&upstream(&cr).unwrap()).inject(&pods);
        for ((pod, found), expected) in pods.iter().zip(found).zip(expected) {
            match differences(&expected, &found).as_slice() {
                [] => equal += 1,
                found => wrong.push(format!("{cr}\n{pod}\n{found:#?}")),
            }
        }
    }
    let total = equal + wrong.len();
    println!("random pods equal: {equal}/{total} (seed {SEED})");
    assert!(wrong.is_empty(), "{}", wrong[0]);
}

/// The table of deliberate differences: what upstream's templates fail on, or put in a wrong place.
#[test]
fn what_breaks_upstreams_templates_does_not_break_ours() {
    let none = json!({});
    let bundle = json!({"pilot": {"env": {"ENABLE_CLUSTER_TRUST_BUNDLE_API": "true"}}});
    let number = json!({"global": {"trustBundleName": "1"}});
    let volumes = json!({"sidecar.istio.io/userVolume": ""});
    let empty = json!({"sidecar.istio.io/userVolume": r#"{"v": {}}"#});
    let mounts = json!({
        "inject.istio.io/templates": "grpc-agent",
        "status.sidecar.istio.io/port": "0",
        "sidecar.istio.io/userVolumeMount": r#"{"mounted": {"mountPath": "/m"}}"#,
    });
    let no_mounts = json!({"sidecar.istio.io/userVolumeMount": ""});
    let agent = json!({"inject.istio.io/templates": "grpc-agent"});
    let simple = json!({"inject.istio.io/templates": "grpc-simple"});
    let charts = Charts::embedded().unwrap();
    for (values, annotations, ours_has, expected) in [
        (&none, &no_mounts, true, r#""name":"istio-envoy""#),
        (&none, &agent, true, r#""name":"n""#),
        (&none, &simple, true, r#""name":"n""#),
        (&bundle, &none, true, r#""clusterTrustBundle":"#),
        (&number, &none, true, r#""configMap":{"name":"1"}"#),
        (&none, &volumes, true, r#""name":"istio-envoy""#),
        (&none, &empty, true, r#"{"name":"v"}"#),
        (&none, &mounts, false, r#"{"name":"mounted"}"#),
    ] {
        let cr = install(values);
        let mut pods = [annotated(annotations)];
        pods[0]["spec"]["containers"][0]["name"] = json!("n");
        let found = Injector::new(&ours(&charts, &cr, "1.31")).inject(&pods);
        assert_eq!(found[0].to_string().contains(expected), ours_has, "{cr}");
        let upstreams = upstream(&cr).and_then(|all| Injector::new(&all).try_inject(&pods));
        let has = upstreams.map(|found| found[0].to_string().contains(expected));
        assert!(has != Ok(ours_has), "upstream does the same: {expected}");
    }
}

/// Refusals that the engine's changes explain.
#[test]
fn the_engine_refuses_what_older_ones_took() {
    let charts = Charts::embedded().unwrap();
    let injector = Injector::new(&ours(&charts, &install(&json!({})), "1.31"));
    injector.inject(&[annotated(&json!({}))]);
    for (since, annotation, value) in REFUSALS {
        let refused = injector.try_inject(&[annotated(&json!({annotation: value}))]);
        assert!(refused.is_err(), "1.{since} {annotation}");
    }
}

fn install(values: &Value) -> Value {
    json!({
        "apiVersion": "install.istio.io/v1alpha1",
        "kind": "IstioOperator",
        "metadata": {"name": "install", "namespace": "istio-system"},
        "spec": {"values": values},
    })
}

fn annotated(annotations: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "shop", "namespace": "apps", "annotations": annotations},
        "spec": {"containers": [{"name": "app", "image": "example.com/app:1"}]},
    })
}

/// Gateways and waypoints become Deployments, Services and accounts in the hands of the real istiod.
#[tokio::test]
async fn gateways_become_what_upstream_makes_of_them() {
    let charts = Charts::embedded().unwrap();
    let crs = meshes();
    let theirs = crs.iter().map(|cr| Mesh {
        cr: cr.clone(),
        objects: upstream(cr).unwrap(),
    });
    let theirs: Vec<Mesh> = theirs.collect();
    let expected = created(&theirs).await;
    // Only the objects that istiod reads are ours; the rest of the install is upstream's.
    let is_read = |object: &Value| object["kind"] == "ConfigMap";
    let with_ours = theirs.into_iter().map(|mut mesh| {
        mesh.objects.retain(|object| !is_read(object));
        let ours = ours(&charts, &mesh.cr, "1.31").into_iter();
        mesh.objects.extend(ours.filter(is_read));
        mesh
    });
    let found = created(&with_ours.collect::<Vec<_>>()).await;
    let families = &expected["edge-plain Service plain-istio"]["spec"]["ipFamilies"];
    assert_eq!(
        *families,
        json!(["IPv4", "IPv6"]),
        "nothing is dual-stack here"
    );
    let keys: BTreeSet<&String> = expected.keys().chain(found.keys()).collect();
    let nothing = Value::Null;
    let wrong: Vec<String> = keys
        .iter()
        .flat_map(|key| {
            let of =
                |objects: &BTreeMap<String, Value>| objects.get(*key).unwrap_or(&nothing).clone();
            let found = differences(&of(&expected), &of(&found));
            found
                .into_iter()
                .map(move |difference| format!("{key}{difference}"))
        })
        .collect();
    println!(
        "objects of gateways: {}, differences: {}",
        keys.len(),
        wrong.len()
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
}
