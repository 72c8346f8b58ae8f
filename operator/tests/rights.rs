//! What the operator may do in a cluster: as much as its work takes, and no more.
//!
//! The API server lets nobody write a role that grants more than its author has. So the operator has to have whatever
//! the roles in the charts grant; this is computed from the charts, for every minor and everything that adds to a role.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what goes wrong here fails the test"
)]

use std::collections::BTreeSet;

use istio_operator::api::IstioOperator;
use istio_operator::charts::Charts;
use istio_operator::cluster::{KINDS, Upkeep};
use istio_operator::dataplane::{SOURCES, TEMPLATE_KINDS};
use istio_operator::merge::{Cluster, merge};
use istio_operator::render::{Object, operator, operator_values, render};
use serde_json::{Value, json};

/// The smallest piece of a rule: one verb on one resource, of all objects or of one name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Right {
    group: String,
    resource: String,
    name: Option<String>,
    verb: String,
}

impl Right {
    /// Whether this right includes `other`, as the API server judges it.
    fn covers(&self, other: &Self) -> bool {
        let matches = |mine: &str, theirs: &str| mine == "*" || mine == theirs;
        matches(&self.group, &other.group)
            && matches(&self.resource, &other.resource)
            && matches(&self.verb, &other.verb)
            && (self.name.is_none() || self.name == other.name)
    }
}

fn strings(list: &Value) -> Vec<String> {
    let list = list.as_array().into_iter().flatten();
    list.map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn rights(role: &Value) -> BTreeSet<Right> {
    let mut rights = BTreeSet::new();
    for rule in role["rules"].as_array().unwrap() {
        let mut names: Vec<_> = strings(&rule["resourceNames"])
            .into_iter()
            .map(Some)
            .collect();
        if names.is_empty() {
            names.push(None);
        }
        for group in strings(&rule["apiGroups"]) {
            for resource in strings(&rule["resources"]) {
                for verb in strings(&rule["verbs"]) {
                    rights.extend(names.iter().map(|name| Right {
                        group: group.clone(),
                        resource: resource.clone(),
                        name: name.clone(),
                        verb: verb.clone(),
                    }));
                }
            }
        }
    }
    rights
}

/// The rights in one of the roles that `istio-operator manifests` prints.
fn own(charts: &Charts, kind: &str, name: &str) -> BTreeSet<Right> {
    let mut values = operator_values(charts).unwrap();
    values["workloadRestarts"]["enabled"] = true.into();
    let objects = operator("istio-operator", &values, charts).unwrap();
    let mut roles = objects
        .iter()
        .filter(|o| o.key.kind == kind && o.key.name == name);
    rights(&roles.next().unwrap().body.value())
}

fn objects(charts: &Charts, spec: &Value, minor: &str) -> Vec<Object> {
    let cr: IstioOperator = serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap();
    let merged = merge(&cr, Some(minor), Cluster::default(), charts)
        .unwrap_or_else(|e| panic!("{minor} {spec}: {e:?}"));
    let rendered = render(&merged, charts).unwrap_or_else(|e| panic!("{minor} {spec}: {e:?}"));
    rendered
        .components
        .into_iter()
        .flat_map(|component| component.objects)
        .collect()
}

/// The specs that between them make the charts grant all that they can, but for signers of certificates: which of
/// these a user trusts istiod with cannot be known here, so whoever names one has to give the operator that right too.
fn specs(charts: &Charts) -> Vec<Value> {
    let mut specs: Vec<_> = charts
        .profile_names()
        .iter()
        .map(|name| json!({"profile": name}))
        .collect();
    for repair in [json!({"deletePods": true}), json!({"labelPods": true})] {
        let mut spec = json!({
            "profile": "ambient",
            "components": {"egressGateways": [{"name": "egress", "enabled": true}]},
            "unvalidatedValues": {
                "cni": {"repair": {"repairPods": false}},
                "global": {"istiod": {"enableAnalysis": true}},
                "pilot": {"env": {"ENABLE_CLUSTER_TRUST_BUNDLE_API": true}, "taint": {"enabled": true}},
            },
        });
        let all = &mut spec["unvalidatedValues"]["cni"]["repair"];
        all.as_object_mut()
            .unwrap()
            .extend(repair.as_object().unwrap().clone());
        specs.push(spec);
    }
    specs.push(json!({
        "profile": "empty",
        "addonComponents": {"prometheus": {}, "kiali": {"viewOnly": false}},
    }));
    // Base is the same for all and by far the largest, so once is enough.
    for spec in specs.iter_mut().filter(|spec| spec["profile"] != "default") {
        spec["components"]["base"] = json!({"enabled": false});
    }
    specs
}

/// What the roles of all charts grant in all minors.
fn granted(charts: &Charts) -> BTreeSet<Right> {
    let mut granted = BTreeSet::new();
    for release in charts.catalogue().releases() {
        for spec in specs(charts) {
            for object in objects(charts, &spec, &release.version.minor_text()) {
                if ["Role", "ClusterRole"].contains(&object.key.kind.as_str()) {
                    granted.extend(rights(&object.body.value()));
                }
            }
        }
    }
    granted
}

#[test]
fn the_operator_has_what_the_charts_grant_and_no_more() {
    let charts = Charts::embedded().unwrap();
    let (granted, own) = (
        granted(&charts),
        own(&charts, "ClusterRole", "istio-operator-grants"),
    );
    let missing: Vec<_> = granted
        .iter()
        .filter(|right| !own.iter().any(|o| o.covers(right)))
        .collect();
    assert!(
        missing.is_empty(),
        "the operator cannot grant: {missing:#?}"
    );
    let needless: Vec<_> = own.difference(&granted).collect();
    assert!(needless.is_empty(), "no chart grants: {needless:#?}");
}

#[test]
fn the_operator_writes_exactly_the_kinds_that_charts_render() {
    let mut expected = BTreeSet::new();
    let mut expect = |group: &str, resource: &str, verbs: &[&str]| {
        expected.extend(verbs.iter().map(|verb| Right {
            group: group.to_owned(),
            resource: resource.to_owned(),
            name: None,
            verb: (*verb).to_owned(),
        }));
    };
    for kind in &KINDS {
        let verbs: &[&str] = match kind.upkeep {
            Upkeep::Full => &["get", "list", "watch", "create", "patch", "delete"],
            Upkeep::Kept => &["get", "list", "watch", "create", "patch"],
            Upkeep::CreatedOnly => &["create"],
        };
        expect(kind.group, kind.plural, verbs);
    }
    expect(
        "install.istio.io",
        "istiooperators",
        &["get", "list", "watch", "patch"],
    );
    expect("install.istio.io", "istiooperators/status", &["patch"]);
    for source in &SOURCES {
        expect(source.group, source.plural, &["list", "watch"]);
    }
    for kind in TEMPLATE_KINDS {
        expect(kind.group, kind.plural, &["list"]);
    }
    expect("", "namespaces", &["get", "create"]);
    expect("", "pods", &["create"]);
    expect("networking.istio.io", "envoyfilters", &["list"]);
    expect("events.k8s.io", "events", &["create", "patch"]);
    let charts = Charts::embedded().unwrap();
    assert_eq!(own(&charts, "ClusterRole", "istio-operator"), expected);
}

#[test]
fn no_right_is_a_way_to_more() {
    let charts = Charts::embedded().unwrap();
    let grants = own(&charts, "ClusterRole", "istio-operator-grants");
    let all = [
        own(&charts, "ClusterRole", "istio-operator"),
        own(&charts, "ClusterRole", "istio-operator-restarts"),
        own(&charts, "Role", "istio-operator"),
        grants,
    ];
    for right in all.iter().flatten() {
        assert!(
            !["escalate", "bind", "impersonate", "deletecollection"].contains(&right.verb.as_str()),
            "{right:?}"
        );
        assert_ne!(right.group, "*", "{right:?}");
        // The charts grant every verb on this subresource, which knows no harmful one.
        assert!(
            right.verb != "*" || right.resource == "ingresses/status",
            "{right:?}"
        );
    }
    let own = &all[0];
    assert!(own.iter().all(|right| right.resource != "*"), "{own:?}");
}

#[test]
fn addons_read_neither_secrets_nor_nodes() {
    let charts = Charts::embedded().unwrap();
    let addons = json!({
        "prometheus": {}, "grafana": {}, "jaeger": {}, "kiali": {"viewOnly": false}, "loki": {},
    });
    let spec = json!({"profile": "empty", "addonComponents": addons});
    let roles = objects(&charts, &spec, "1.31").into_iter();
    let roles = roles.filter(|o| ["Role", "ClusterRole"].contains(&o.key.kind.as_str()));
    let rights: BTreeSet<Right> = roles.flat_map(|role| rights(&role.body.value())).collect();
    assert!(!rights.is_empty());
    for right in rights {
        let is_wild = right.group.is_empty() && right.resource == "*";
        let forbidden = ["secrets", "nodes/proxy"].contains(&right.resource.as_str());
        assert!(!is_wild && !forbidden, "{right:?}");
    }
}

#[test]
fn the_pod_keeps_to_the_restricted_standard() {
    let charts = Charts::embedded().unwrap();
    let mut values = operator_values(&charts).unwrap();
    values["image"] = "registry.example/operator:1".into();
    let objects = operator("here", &values, &charts).unwrap();
    let namespace = objects[0].body.value();
    assert_eq!(namespace["metadata"]["name"], "here");
    assert_eq!(
        namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"],
        "restricted"
    );
    let deployment = &objects
        .iter()
        .find(|o| o.key.kind == "Deployment")
        .unwrap()
        .body
        .value();
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(
        pod["securityContext"]["seccompProfile"]["type"],
        "RuntimeDefault"
    );
    assert_eq!(pod["volumes"], Value::Null);
    let container = &pod["containers"][0];
    assert_eq!(container["image"], "registry.example/operator:1");
    assert_eq!(
        container["securityContext"],
        json!({
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": true,
        })
    );
    let subjects = objects
        .iter()
        .filter_map(|o| o.body.value().get("subjects").cloned());
    assert!(
        subjects
            .flat_map(|s| s.as_array().unwrap().clone())
            .all(|s| s["namespace"] == "here")
    );
}
