//! The components that a merged spec enables, each with the values for its chart.

use serde_json::{Map, Number, Value, json};

use super::Component;
use super::addons::{self, Addons};
use super::overlay::overlays;
use super::tree::{is_true, scalar_text, set, text_at, without_keys};
use crate::api::{ComponentKind, Path, WorkloadName, quantity};
use crate::catalogue::{Behavior, Catalogue, Version};
use crate::charts::tree::at;

/// What every component of one CR shares.
pub(super) struct Installation<'a> {
    /// The merged spec.
    pub spec: &'a Value,
    /// The namespace of components that name none.
    pub namespace: &'a str,
    /// The revision; empty if the spec names none.
    pub revision: &'a str,
    /// The version whose charts are rendered.
    pub version: Version,
    /// Where the images of addons are named.
    pub catalogue: &'a Catalogue,
}

impl Installation<'_> {
    /// The enabled components of every kind, in render order.
    pub fn components(&self) -> Vec<Component> {
        ComponentKind::ALL
            .into_iter()
            .flat_map(|kind| self.of_kind(kind))
            .collect()
    }

    fn of_kind(&self, kind: ComponentKind) -> Vec<Component> {
        let path = Path::root("spec").keys(&kind.spec_keys());
        let written = at(self.spec, &kind.spec_keys());
        let forced = kind
            .gateway_key()
            .is_some_and(|root| is_true(self.spec, &["values", "gateways", root, "enabled"]));
        let enabled = |spec: &Value| forced || spec.get("enabled") != Some(&Value::Bool(false));
        match written {
            Some(Value::Array(list)) => {
                let entries = list.iter().enumerate().filter(|(_, entry)| enabled(entry));
                entries
                    .map(|(i, entry)| Component {
                        index: Some(i),
                        ..self.component(kind, entry, path.index(i))
                    })
                    .collect()
            }
            Some(spec @ Value::Object(_)) if enabled(spec) => {
                vec![self.component(kind, spec, path)]
            }
            // A null removes what a profile says of the component.
            None | Some(Value::Null) if kind.info().is_installed_unnamed => {
                vec![self.component(kind, &json!({}), path)]
            }
            _ => Vec::new(),
        }
    }

    fn component(&self, kind: ComponentKind, written: &Value, path: Path) -> Component {
        let mut k8s = match written.get("k8s") {
            Some(Value::Object(k8s)) => k8s.clone(),
            _ => Map::new(),
        };
        let overlays = overlays(
            k8s.remove("overlays").as_ref(),
            &path.key("k8s").key("overlays"),
        );
        let values = self.values(kind, written, &k8s);
        if kind.gateway_key().is_some() {
            // The chart got them as values, because it makes container ports of them too.
            if let Some(Value::Object(service)) = k8s.get_mut("service") {
                service.remove("ports");
            }
        }
        Component {
            kind,
            name: self.name(kind, written),
            namespace: text_at(written, &["namespace"])
                .unwrap_or(self.namespace)
                .to_owned(),
            values,
            k8s: Value::Object(k8s),
            overlays,
            path,
            index: None,
        }
    }

    fn name(&self, kind: ComponentKind, written: &Value) -> String {
        match kind.info().workload.map(|workload| workload.name) {
            None => String::new(),
            Some(WorkloadName::WithRevision(name)) if !self.revision.is_empty() => {
                format!("{name}-{}", self.revision)
            }
            Some(WorkloadName::Fixed(name) | WorkloadName::WithRevision(name)) => name.to_owned(),
            Some(WorkloadName::FromSpec) => {
                text_at(written, &["name"]).unwrap_or_default().to_owned()
            }
        }
    }

    /// The values for one component's chart: `spec.values`, with the component's own fields written where the chart reads
    /// them.
    fn values(&self, kind: ComponentKind, written: &Value, k8s: &Map<String, Value>) -> Value {
        if kind.is_addon() {
            let (spec, namespace) = (self.spec, self.namespace);
            let addons = Addons { spec, namespace };
            return addons::values(addons, kind, self.version.minor, self.catalogue);
        }
        let mut values = self.spec.get("values").cloned().unwrap_or_default();
        // Where addons had their settings once; no other chart reads them.
        without_keys(&mut values, &addons::SECTIONS);
        let root = kind.info().values_root;
        let mut set = |keys: &[&str], value: Value| set(&mut values, &[root, keys].concat(), value);
        if kind.gateway_key().is_some() {
            let name = written.get("name").cloned().unwrap_or_else(|| "".into());
            set(&["name"], name);
            set(&["labels"], labels(written.get("label")));
            if let Some(Value::Array(ports)) = k8s.get("service").and_then(|s| s.get("ports"))
                && !ports.is_empty()
            {
                set(&["ports"], ports.iter().map(service_port).collect());
            }
        }
        for (keys, value) in self.scaling(kind, k8s) {
            set(&keys, value);
        }
        if kind.info().workload.is_some() {
            for key in ["hub", "tag"] {
                let text = written
                    .get(key)
                    .and_then(scalar_text)
                    .filter(|text| !text.is_empty());
                if let Some(text) = text {
                    set(&[key], flag_value(text));
                }
            }
        }
        values
    }

    /// Replicas and CPU of the `k8s` block, with the keys of the values that they become in minors whose charts see them.
    fn scaling(
        &self,
        kind: ComponentKind,
        k8s: &Map<String, Value>,
    ) -> Vec<(Vec<&'static str>, Value)> {
        let has = |behavior| self.catalogue.has(behavior, self.version.minor);
        let mut found = Vec::new();
        let workload = kind.info().workload;
        let scales = workload.is_some_and(|workload| workload.kind == "Deployment");
        if scales && has(Behavior::ChartsSeeReplicas) {
            let hpa = |key| {
                k8s.get("hpaSpec")
                    .and_then(|hpa| hpa.get(key))
                    .and_then(Value::as_i64)
            };
            let min = hpa("minReplicas");
            let max = hpa("maxReplicas").filter(|max| *max > 0);
            let replicas = k8s
                .get("replicaCount")
                .and_then(Value::as_i64)
                .filter(|n| *n > 0);
            for (key, count) in [
                ("autoscaleMin", min),
                ("autoscaleMax", max),
                ("replicaCount", replicas),
            ] {
                found.extend(count.map(|count| (vec![key], count.into())));
            }
        }
        if has(Behavior::ChartsSeeCpu) {
            for side in ["limits", "requests"] {
                let cpu = k8s
                    .get("resources")
                    .and_then(|r| r.get(side))
                    .and_then(|r| r.get("cpu"));
                if let Some(cpu) = cpu.and_then(quantity::canonical) {
                    found.push((vec!["resources", side, "cpu"], cpu.into()));
                }
            }
        }
        found
    }
}

/// A hub or tag as upstream's `--set` flag reads it: a text that looks like a number becomes a number. Not so if that would
/// lose digits, as 1.10 would become 1.1.
fn flag_value(text: String) -> Value {
    match serde_json::from_str::<Number>(&text) {
        Ok(number) if number.to_string() == text => number.into(),
        _ => text.into(),
    }
}

/// The labels of a gateway. A null becomes an empty string, as in Go's maps of strings.
fn labels(written: Option<&Value>) -> Value {
    let written = written.and_then(Value::as_object).into_iter().flatten();
    let text = |value: &Value| {
        if value.is_null() {
            "".into()
        } else {
            value.clone()
        }
    };
    Value::Object(
        written
            .map(|(key, value)| (key.clone(), text(value)))
            .collect(),
    )
}

/// A port as Kubernetes' own type is written, because upstream reads it into that type before the chart gets it: optional
/// fields that are zero or empty are left out, `port` and `targetPort` are always present.
fn service_port(written: &Value) -> Value {
    let mut port = Map::new();
    for key in ["name", "protocol", "appProtocol", "nodePort"] {
        if let Some(value) = written
            .get(key)
            .filter(|v| **v != "" && **v != 0 && !v.is_null())
        {
            port.insert(key.to_owned(), value.clone());
        }
    }
    for key in ["port", "targetPort"] {
        let value = written.get(key).filter(|value| !value.is_null());
        let value = value.cloned().map_or_else(|| 0.into(), port_number);
        port.insert(key.to_owned(), value);
    }
    Value::Object(port)
}

/// A port number in quotes becomes a number, as in upstream's charts: a container port has to be one.
fn port_number(port: Value) -> Value {
    let number = port.as_str().and_then(|text| text.parse::<u16>().ok());
    number.map_or(port, Into::into)
}
