//! Metrics of an autoscaler in the forms of `autoscaling/v2beta1` and `autoscaling/v1`, which Kubernetes no longer has.

use serde_json::{Map, Value, json};

use crate::api::{Path, format};
use crate::merge::check::Findings;

/// One kind of metric, and how `v2beta1` wrote it.
struct Source {
    /// The field of a metric that holds it.
    key: &'static str,
    /// The fields that stayed.
    kept: &'static [&'static str],
    /// The field that became `metric.selector`, if there was one.
    selector: Option<&'static str>,
    /// Whether `metricName` became `metric.name`.
    is_named: bool,
    /// Whether `target` was the object that is described, which is called `describedObject` today.
    describes: bool,
    /// The fields of which one became `target`.
    targets: &'static [(&'static str, &'static str, &'static str)],
    /// An example of the new form.
    example: &'static str,
}

const UTILIZATION: (&str, &str, &str) = (
    "targetAverageUtilization",
    "Utilization",
    "averageUtilization",
);
const AVERAGE_VALUE: (&str, &str, &str) = ("targetAverageValue", "AverageValue", "averageValue");
const VALUE: (&str, &str, &str) = ("targetValue", "Value", "value");

const SOURCES: [Source; 5] = [
    Source {
        key: "resource",
        kept: &["name"],
        selector: None,
        is_named: false,
        describes: false,
        targets: &[UTILIZATION, AVERAGE_VALUE],
        example: "{name: cpu, target: {type: Utilization, averageUtilization: 70}}",
    },
    Source {
        key: "containerResource",
        kept: &["name", "container"],
        selector: None,
        is_named: false,
        describes: false,
        targets: &[UTILIZATION, AVERAGE_VALUE],
        example: "{name: cpu, container: discovery, target: {type: Utilization, averageUtilization: 70}}",
    },
    Source {
        key: "pods",
        kept: &[],
        selector: Some("selector"),
        is_named: true,
        describes: false,
        targets: &[AVERAGE_VALUE],
        example: "{metric: {name: requests}, target: {type: AverageValue, averageValue: 100}}",
    },
    Source {
        key: "object",
        kept: &[],
        selector: Some("selector"),
        is_named: true,
        describes: true,
        targets: &[VALUE, ("averageValue", "AverageValue", "averageValue")],
        example: "{describedObject: {kind: Service, name: a}, metric: {name: requests}, target: {type: Value, value: 100}}",
    },
    Source {
        key: "external",
        kept: &[],
        selector: Some("metricSelector"),
        is_named: true,
        describes: false,
        targets: &[VALUE, AVERAGE_VALUE],
        example: "{metric: {name: requests}, target: {type: AverageValue, averageValue: 100}}",
    },
];

/// Rewrites the metrics of the spec of an autoscaler, which is at `path`.
pub(super) fn translate(scaling: &mut Map<String, Value>, path: &Path, findings: &mut Findings) {
    cpu_percentage(scaling, path, findings);
    let Some(Value::Array(list)) = scaling.get_mut("metrics") else {
        return;
    };
    for (index, metric) in list.iter_mut().enumerate() {
        let path = path.key("metrics").index(index);
        for source in &SOURCES {
            if let Some(Value::Object(written)) = metric.get(source.key)
                && source.is_old(written)
            {
                let path = path.key(source.key);
                metric[source.key] = source.translated(written, &path, findings);
            }
        }
    }
}

/// Rewrites the only metric of `autoscaling/v1`.
fn cpu_percentage(scaling: &mut Map<String, Value>, path: &Path, findings: &mut Findings) {
    let Some(percentage) = scaling.remove("targetCPUUtilizationPercentage") else {
        return;
    };
    let home = path.key("metrics");
    let path = path.key("targetCPUUtilizationPercentage");
    let target = json!({"type": "Utilization", "averageUtilization": percentage});
    let metrics = json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]);
    let is_free = scaling.get("metrics").is_none_or(Value::is_null);
    if percentage.is_null() {
        return;
    }
    if percentage.is_i64() && is_free {
        findings.moves.push((path.clone(), home));
        findings.warn(
            path,
            format!("is the form of autoscaling/v1; it is read as metrics: {metrics}, write that"),
        );
        scaling.insert("metrics".to_owned(), metrics);
    } else {
        findings.error(
            path,
            "is the form of autoscaling/v1; write an entry of metrics instead",
        );
    }
}

impl Source {
    /// Whether a metric has a field that only the old form has.
    fn is_old(&self, written: &Map<String, Value>) -> bool {
        let names = ["metricName", "metricSelector"].into_iter();
        let mut old = names.chain(self.targets.iter().map(|(old, ..)| *old));
        old.any(|key| written.contains_key(key))
    }

    /// The metric in the form of today, or null if it is not plain what was meant.
    fn translated(
        &self,
        written: &Map<String, Value>,
        path: &Path,
        findings: &mut Findings,
    ) -> Value {
        let what = "is in the form of autoscaling/v2beta1, which Kubernetes no longer has";
        let Some(new) = self.read(written.clone()) else {
            let (key, example) = (self.key, self.example);
            findings.error(
                path.clone(),
                format!("{what}; write it as {key}: {example}"),
            );
            return Value::Null;
        };
        findings.warn(
            path.clone(),
            format!("{what}; it is read as {new}, write that"),
        );
        new
    }

    /// Reads the old form; none if a field is missing, of a wrong type, or none of that form.
    fn read(&self, mut written: Map<String, Value>) -> Option<Value> {
        written.retain(|_, value| !value.is_null());
        let mut new = Map::new();
        for key in self.kept {
            let text = written.remove(*key).filter(Value::is_string)?;
            new.insert((*key).to_owned(), text);
        }
        if self.describes {
            let object = written
                .remove("target")
                .filter(|object| object["name"].is_string())?;
            new.insert("describedObject".to_owned(), object);
        }
        if self.is_named {
            let name = written.remove("metricName").filter(Value::is_string)?;
            let mut metric = json!({"name": name});
            if let Some(selector) = self.selector.and_then(|key| written.remove(key)) {
                metric["selector"] = selector;
            }
            new.insert("metric".to_owned(), metric);
        }
        let mut targets = self.targets.iter();
        let (old, kind, key) = targets.find(|(old, ..)| written.contains_key(*old))?;
        let amount = written.remove(*old)?;
        let is_amount = match *kind {
            "Utilization" => amount.is_i64(),
            _ => format::holds("quantity", &amount),
        };
        new.insert("target".to_owned(), json!({"type": kind, (*key): amount}));
        // Whatever is left contradicts what was read.
        (is_amount && written.is_empty()).then_some(Value::Object(new))
    }
}
