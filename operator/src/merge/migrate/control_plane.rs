//! Writes the features of an `IstioControlPlane`, the resource of Istio 1.4, as components of an `IstioOperator`.
//!
//! A feature had components, and each of both a switch; a component was installed if both were on. Facts: the published files of
//! 1.4, and its page on the configuration of features.

use serde_json::{Map, Value, json};

use super::{Migration, place};
use crate::api::Path;
use crate::charts::tree::at;
use crate::merge::tree::set;

/// Where a component stands in an `IstioOperator`.
#[derive(Clone, Copy)]
enum Home {
    /// Under this key of `components`.
    Component(&'static str),
    /// In this list of `components`, under this name.
    Gateway(&'static str, &'static str),
}

/// A component as a feature called it, and where it stands now.
type Renamed = (&'static str, Home);

const FEATURES: [(&str, &[Renamed]); 9] = [
    ("trafficManagement", &[("pilot", Home::Component("pilot"))]),
    ("policy", &[("policy", Home::Component("policy"))]),
    ("telemetry", &[("telemetry", Home::Component("telemetry"))]),
    (
        "security",
        &[
            ("citadel", Home::Component("citadel")),
            ("certManager", Home::Component("certManager")),
            ("nodeAgent", Home::Component("nodeAgent")),
        ],
    ),
    ("configManagement", &[("galley", Home::Component("galley"))]),
    (
        "autoInjection",
        &[("injector", Home::Component("sidecarInjector"))],
    ),
    (
        "gateways",
        &[
            (
                "ingressGateway",
                Home::Gateway("ingressGateways", "istio-ingressgateway"),
            ),
            (
                "egressGateway",
                Home::Gateway("egressGateways", "istio-egressgateway"),
            ),
        ],
    ),
    ("cni", &[("cni", Home::Component("cni"))]),
    ("coreDNS", &[("coreDNS", Home::Component("istiocoredns"))]),
];

/// Writes every feature as components, and the namespace of all of them where an `IstioOperator` has it.
pub(super) fn write_components(migration: &mut Migration) {
    let spec = Path::root("spec");
    let default = spec.key("defaultNamespace");
    if let Some((path, namespace)) = take(migration, &default) {
        set(&mut migration.spec, &["namespace"], namespace);
        migration.moved(path, spec.key("namespace"));
    }
    for (feature, components) in FEATURES {
        let path = spec.key(feature);
        if let Some((_, Value::Object(written))) = take(migration, &path) {
            write_feature(migration, &path, written, components);
        }
    }
}

/// Takes the field at a path out if it is there.
fn take(migration: &mut Migration, path: &Path) -> Option<(Path, Value)> {
    at(&migration.spec, &[path.last()])?;
    place::take(&mut migration.spec, path)
}

fn write_feature(
    migration: &mut Migration,
    path: &Path,
    mut feature: Map<String, Value>,
    components: &[Renamed],
) {
    let switch = feature.remove("enabled").filter(|it| !it.is_null());
    let below = path.key("components");
    let mut written = match feature.remove("components") {
        Some(Value::Object(written)) => written,
        _ => Map::new(),
    };
    let namespace = written.remove("namespace");
    let namespace = namespace.or_else(|| feature.remove("namespace"));
    let mut is_told = false;
    for (name, home) in components {
        let (from, mut component) = match written.remove(*name) {
            Some(Value::Object(component)) => (below.key(name), component),
            _ => (path.clone(), Map::new()),
        };
        let is_only = components.len() == 1;
        let is_off = switch == Some(Value::Bool(false));
        let says_nothing = component.get("enabled").is_none_or(Value::is_null);
        if let Some(switch) = switch.clone().filter(|_| is_off || is_only && says_nothing) {
            component.insert("enabled".to_owned(), switch);
        }
        if let Some(namespace) = namespace.clone().filter(|_| !component.is_empty()) {
            component.entry("namespace").or_insert(namespace);
        }
        if !component.is_empty() {
            is_told = true;
            let to = put(&mut migration.spec, *home, component);
            migration.moved(from, to);
        }
    }
    let unknown = feature.into_iter().map(|(key, was)| (path.key(&key), was));
    let unknown_below = written.into_iter().map(|(key, was)| (below.key(&key), was));
    for (path, was) in unknown.chain(unknown_below) {
        migration.removed(path, "Istio 1.4 knows no such setting of a feature", was);
    }
    if let Some(switch) = switch.filter(|_| !is_told) {
        let why = "the profile says which components of this feature are installed";
        migration.removed(path.key("enabled"), why, switch);
    }
}

/// Writes a component where it stands now; gives that place.
fn put(spec: &mut Value, home: Home, mut component: Map<String, Value>) -> Path {
    let components = Path::root("spec").key("components");
    match home {
        Home::Component(key) => {
            set(spec, &["components", key], component.into());
            components.key(key)
        }
        Home::Gateway(list, name) => {
            component.insert("name".to_owned(), name.into());
            set(spec, &["components", list], json!([component]));
            components.key(list).index(0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merge::migrate::What;

    fn written(spec: Value) -> (Value, Vec<String>) {
        let mut migration = Migration {
            spec,
            changes: Vec::new(),
        };
        write_components(&mut migration);
        let changes = migration.changes.iter();
        let told = changes.map(|change| match &change.what {
            What::Moved { from } => format!("{from} -> {}", change.path),
            _ => format!("{} gone", change.path),
        });
        (migration.spec, told.collect())
    }

    #[test]
    fn components_leave_their_features() {
        let k8s = json!({"replicaCount": 2});
        let (spec, told) = written(json!({
            "profile": "default",
            "defaultNamespace": "mesh",
            "trafficManagement": {"enabled": true, "components": {"pilot": {"k8s": k8s}}},
            "gateways": {"components": {
                "namespace": "edge", "ingressGateway": {"enabled": true, "k8s": k8s}}},
            "cni": {"enabled": true, "components": {"namespace": "kube-system"}},
            "telemetry": {"enabled": false},
        }));
        let ingress = json!({
            "name": "istio-ingressgateway", "namespace": "edge", "enabled": true, "k8s": k8s});
        let expected = json!({
            "profile": "default",
            "namespace": "mesh",
            "components": {
                "pilot": {"enabled": true, "k8s": k8s},
                "ingressGateways": [ingress],
                "cni": {"enabled": true, "namespace": "kube-system"},
                "telemetry": {"enabled": false},
            },
        });
        assert_eq!(spec, expected);
        assert_eq!(
            told,
            [
                "spec.defaultNamespace -> spec.namespace",
                "spec.trafficManagement.components.pilot -> spec.components.pilot",
                "spec.telemetry -> spec.components.telemetry",
                "spec.gateways.components.ingressGateway -> spec.components.ingressGateways[0]",
                "spec.cni -> spec.components.cni",
            ]
        );
    }

    #[test]
    fn a_feature_that_is_off_switches_its_components_off() {
        let (spec, _) = written(json!({"gateways": {
            "enabled": false, "components": {"ingressGateway": {"enabled": true}}}}));
        let gateway = |name: &str| json!([{"name": name, "enabled": false}]);
        let expected = json!({"components": {
            "ingressGateways": gateway("istio-ingressgateway"),
            "egressGateways": gateway("istio-egressgateway"),
        }});
        assert_eq!(spec, expected);
    }

    #[test]
    fn what_has_no_place_is_told() {
        let (spec, told) = written(json!({
            "gateways": {"enabled": true},
            "security": {"size": 1, "components": {"other": {}}},
        }));
        assert_eq!(spec, json!({}));
        assert_eq!(
            told,
            [
                "spec.security.size gone",
                "spec.security.components.other gone",
                "spec.gateways.enabled gone",
            ]
        );
    }
}
