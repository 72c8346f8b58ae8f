//! IstioOperators of somebody who wants to reach further than he may: each is refused, and is told why.

use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::{Value, json};

use super::*;
use crate::api::{IstioOperator, RawSpec};
use crate::charts::Charts;
use crate::merge::{Cluster, merge};
use crate::render::render;

static CHARTS: LazyLock<Charts> = LazyLock::new(|| Charts::embedded().unwrap());

/// The table of `hostile.yaml`.
#[derive(Deserialize)]
struct Table {
    overlays: Vec<Patch>,
    specs: Vec<Row>,
}

/// A patch of an overlay, and what is told of it.
#[derive(Deserialize)]
struct Patch {
    /// The component, the kind and the name of an object.
    of: String,
    path: String,
    value: Value,
    /// The field of the patch that is told, if it is not all of it.
    at: Option<String>,
    told: String,
}

/// A spec, the field that is told, and what is told of it.
#[derive(Clone, Deserialize)]
struct Row {
    spec: Value,
    at: String,
    told: String,
}

/// A spec with one patch of an overlay, and the path of the patch.
fn patched(of: &str, path: &str, value: &Value) -> (Value, String) {
    let [component, kind, name]: [&str; 3] = of.split(' ').collect::<Vec<_>>().try_into().unwrap();
    let change = json!({"path": path, "value": value});
    let overlay = json!({"kind": kind, "name": name, "patches": [change]});
    let k8s = json!({"overlays": [overlay]});
    let (components, at) = if component == "ingressGateways" {
        let gateway = json!({"name": "edge", "enabled": true, "k8s": k8s});
        (json!({ component: [gateway] }), format!("{component}[0]"))
    } else {
        let written = json!({"enabled": true, "k8s": k8s});
        // The node agents belong into an allowed namespace.
        let namespace = (component == "cni").then_some("istio-system");
        let mut components = json!({ component: written });
        if let Some(namespace) = namespace {
            components[component]["namespace"] = namespace.into();
        }
        (components, component.to_owned())
    };
    let spec = json!({"profile": "minimal", "components": components});
    let at = format!("spec.components.{at}.k8s.overlays[0].patches[0]");
    (spec, at)
}

/// Everything that is refused.
fn hostile() -> Vec<Row> {
    let table: Table = serde_saphyr::from_str(include_str!("hostile.yaml")).unwrap();
    let of_patch = |patch: &Patch| {
        let (spec, mut at) = patched(&patch.of, &patch.path, &patch.value);
        if let Some(field) = &patch.at {
            at = format!("{at}.{field}");
        }
        let told = patch.told.clone();
        Row { spec, at, told }
    };
    let overlays = table.overlays.iter().map(of_patch);
    overlays.chain(table.specs.iter().cloned()).collect()
}

/// What an operator allows that installs into two namespaces, from one hub.
fn strict() -> Limits {
    Limits {
        namespaces: vec!["istio-system".into(), "edge".into()],
        hubs: vec!["registry.istio.io/release".into()],
        allows_privileged_overlays: false,
    }
}

/// What is told of a spec. The table is of specs that can be rendered: another error than one of a limit begins with its stage.
fn errors(limits: &Limits, spec: &Value) -> Vec<String> {
    let cr = IstioOperator::new("cr", RawSpec(spec.clone()));
    let merged = match merge(&cr, None, Cluster::default(), &CHARTS) {
        Ok(merged) => merged.for_cluster(),
        Err(errors) => return vec![format!("merge: {errors:?}")],
    };
    let errors = match render(&merged, &CHARTS) {
        Ok(rendered) => limits.check(&merged, &rendered).err().unwrap_or_default(),
        Err(errors) => return vec![format!("render: {errors:?}")],
    };
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn sixty_hostile_resources_are_refused_and_told_why() {
    let (limits, rows) = (strict(), hostile());
    assert!(rows.len() >= 60, "{} rows", rows.len());
    let mut wrong = Vec::new();
    for Row { spec, at, told } in &rows {
        let errors = errors(&limits, spec);
        let start = format!("{at}: ");
        let is_it = |error: &String| error.starts_with(&start) && error.contains(told);
        if !errors.iter().any(is_it) {
            wrong.push(format!("{spec}\n  {start}{told}\n  {errors:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn with_the_flag_overlays_may_do_everything() {
    let limits = Limits {
        allows_privileged_overlays: true,
        ..Limits::none()
    };
    let mut wrong = Vec::new();
    for Row { spec, .. } in hostile() {
        wrong.extend(errors(&limits, &spec));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_the_charts_do_by_themselves_is_allowed() {
    let limits = Limits {
        // OpenShift's Multus reads what names the CNI plugin from this one.
        namespaces: vec!["istio-system".into(), "edge".into(), "default".into()],
        hubs: Vec::new(),
        ..strict()
    };
    for profile in CHARTS.profile_names() {
        let gateway = json!({"name": "edge", "enabled": true, "namespace": "edge"});
        let here = json!({"namespace": "istio-system"});
        let components = json!({"ingressGateways": [gateway], "cni": here, "ztunnel": here});
        let told = errors(
            &limits,
            &json!({"profile": profile, "components": components}),
        );
        assert!(told.is_empty(), "{profile}: {told:#?}");
    }
}

#[test]
fn an_overlay_that_reaches_nothing_is_allowed() {
    let container = |field: &str| format!("spec.template.spec.containers.[0].{field}");
    for (path, value) in [
        (container("resources.limits.cpu"), json!("1")),
        (
            container("image"),
            json!("registry.istio.io/release/pilot:1.31.1-debug"),
        ),
        (
            "spec.template.spec.priorityClassName".to_owned(),
            json!("high"),
        ),
        ("metadata.labels.team".to_owned(), json!("mesh")),
    ] {
        let (spec, _) = patched("pilot Deployment istiod", &path, &value);
        let told = errors(&strict(), &spec);
        assert!(told.is_empty(), "{path}: {told:#?}");
    }
}

#[test]
fn hubs_and_images_are_compared_in_full() {
    for (hub, image, is_allowed) in [
        ("docker.io/istio", "istio/pilot:1.31.1", true),
        ("istio", "docker.io/istio/pilot", true),
        ("istio", "istio-evil/pilot", false),
        (
            "registry.example.com",
            "registry.example.com/any/pilot@sha256:1",
            true,
        ),
        (
            "registry.example.com:5000/",
            "registry.example.com:5000/pilot",
            true,
        ),
        (
            "registry.example.com",
            "registry.example.com.evil/pilot",
            false,
        ),
        ("ghcr.io/a/pilot", "ghcr.io/a/pilot:1", true),
        ("ghcr.io/a/pilot", "ghcr.io/a/pilot-evil:1", false),
        ("istio", "busybox:1.36", false),
        ("docker.io/library", "busybox:1.36", true),
    ] {
        let is_taken = is_of(&in_full(image), &hub_in_full(hub));
        assert_eq!(is_taken, is_allowed, "{hub} {image}");
    }
}
