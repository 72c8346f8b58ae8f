//! Checks how many pods a component may have: the bounds of its autoscaler, and what its disruption budget leaves.

use std::cell::OnceCell;
use std::fmt;

use serde_json::Value;

use super::{Checked, Findings};
use crate::api::{ComponentKind, Path, format};
use crate::charts::tree::at;
use crate::merge::Component;
use crate::merge::tree::text_at;

pub(super) fn check(checked: &Checked, findings: &mut Findings) {
    for kind in ComponentKind::ALL {
        let workload = kind.info().workload;
        if workload.is_none_or(|workload| workload.kind != "Deployment") {
            continue;
        }
        let defaults = OnceCell::new();
        let of_kind = checked.components.iter().filter(|c| c.kind == kind);
        for component in of_kind.filter(|component| !is_remote(checked, component)) {
            let defaults = &defaults;
            let replicas = Replicas {
                checked,
                component,
                defaults,
            };
            replicas.check_bounds(findings);
            replicas.check_budget(findings);
        }
    }
}

/// Whether istiod runs in another cluster, so that its chart renders nothing to scale.
fn is_remote(checked: &Checked, component: &Component) -> bool {
    let is_remote = checked.value(&["istiodRemote", "enabled"]) == Some(&Value::Bool(true));
    component.kind == ComponentKind::Pilot
        && (is_remote || text_at(checked.spec, &["values", "profile"]) == Some("remote"))
}

/// A number of pods that applies, and the field that the author set it in; none if it is a default.
struct Count {
    number: i64,
    field: Option<Path>,
    /// The field of `values` with the default.
    place: Path,
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.field {
            Some(field) => write!(f, "the {} of {field}", self.number),
            None => write!(f, "the {} that {} is by default", self.number, self.place),
        }
    }
}

/// The numbers of pods of one component.
struct Replicas<'a> {
    checked: &'a Checked<'a>,
    component: &'a Component,
    /// The default values of its chart, which are read if they are needed.
    defaults: &'a OnceCell<Value>,
}

impl Replicas<'_> {
    fn value_keys<'k>(&self, key: &'k str) -> Vec<&'k str> {
        [self.component.kind.info().values_root, &[key]].concat()
    }

    /// What the chart finds under one of the keys of the component: the user's, a layer's, or its own default.
    fn chart_value(&self, key: &str) -> Option<Value> {
        let keys = self.value_keys(key);
        if let Some(value) = self.checked.value(&keys) {
            return Some(value.clone());
        }
        let read = || {
            let minor = self.checked.version.minor;
            let defaults = self
                .checked
                .charts
                .defaults(self.component.kind.info().chart, minor);
            // Charts that cannot be read are reported where they are rendered.
            defaults.unwrap_or_default()
        };
        let defaults = self.defaults.get_or_init(read);
        at(defaults, &keys).or_else(|| defaults.get(key)).cloned()
    }

    /// What the chart finds as a number.
    fn of_chart(&self, key: &str) -> Option<Count> {
        let number = format::number(&self.chart_value(key)?)?;
        let keys = self.value_keys(key);
        let place = Path::root("spec").key("values").keys(&keys);
        let is_set = at(&self.checked.spec["values"], &keys).is_some_and(|value| !value.is_null());
        let field = is_set.then(|| place.clone());
        Some(Count {
            number,
            field,
            place,
        })
    }

    /// What the `k8s` block says, which is laid over what the chart renders.
    fn of_block(&self, keys: &[&str]) -> Option<Count> {
        let number = at(&self.component.k8s, keys).and_then(Value::as_i64)?;
        let place = self.component.path.key("k8s").keys(keys);
        let field = Some(place.clone());
        Some(Count {
            number,
            field,
            place,
        })
    }

    fn is_autoscaled(&self) -> bool {
        self.chart_value("autoscaleEnabled") == Some(Value::Bool(true))
    }

    /// Whether the author says anything about the number of pods or the disruption budget; defaults fit together.
    fn is_set(&self) -> bool {
        let values = [
            "autoscaleMin",
            "autoscaleMax",
            "autoscaleEnabled",
            "replicaCount",
            "pdb",
        ];
        let blocks = ["hpaSpec", "replicaCount", "podDisruptionBudget"];
        blocks
            .iter()
            .any(|key| self.component.k8s.get(*key).is_some())
            || values
                .iter()
                .any(|key| at(&self.checked.spec["values"], &self.value_keys(key)).is_some())
    }

    /// Refuses a least number of pods above the greatest, and warns of a zero, with which the chart renders no autoscaler.
    fn check_bounds(&self, findings: &mut Findings) {
        if !self.is_set() || !self.is_autoscaled() {
            return;
        }
        let (min, max) = (self.of_chart("autoscaleMin"), self.of_chart("autoscaleMax"));
        let mut is_off = false;
        for bound in [&min, &max]
            .into_iter()
            .flatten()
            .filter(|bound| bound.number == 0)
        {
            is_off = true;
            if let Some(field) = &bound.field {
                let text = "turns the autoscaler off, because it is 0; autoscaleEnabled: false says the same plainly";
                findings.warn(field.clone(), text);
            }
        }
        if is_off {
            return;
        }
        let min = self.of_block(&["hpaSpec", "minReplicas"]).or(min);
        let max = self.of_block(&["hpaSpec", "maxReplicas"]).or(max);
        let (Some(min), Some(max)) = (min, max) else {
            return;
        };
        if min.number <= max.number {
            return;
        }
        match (&min.field, &max.field) {
            (Some(field), _) => {
                let problem = format!(
                    "{} is above the most pods that there may be, {max}",
                    min.number
                );
                findings.error(field.clone(), problem);
            }
            (None, Some(field)) => {
                let problem = format!(
                    "{} is below the fewest pods that there may be, {min}",
                    max.number
                );
                findings.error(field.clone(), problem);
            }
            (None, None) => {}
        }
    }

    /// The fewest pods that there are without a disruption.
    fn fewest(&self) -> Option<Count> {
        if self.is_autoscaled() {
            let of_block = self.of_block(&["hpaSpec", "minReplicas"]);
            of_block.or_else(|| self.of_chart("autoscaleMin"))
        } else {
            self.of_block(&["replicaCount"])
                .or_else(|| self.of_chart("replicaCount"))
        }
    }

    /// Warns of a disruption budget that never lets a pod go, which blocks the draining of nodes, if the author set what it
    /// follows from.
    fn check_budget(&self, findings: &mut Findings) {
        if !self.is_set() || !self.has_budget() {
            return;
        }
        let Some(pods) = self.fewest().filter(|pods| pods.number > 0) else {
            return;
        };
        let (needed, set) = self.needed(pods.number);
        if needed < pods.number {
            return;
        }
        if let Some(field) = set.or(pods.field) {
            let pods = pods.number;
            let text = format!(
                "the PodDisruptionBudget wants {needed} to stay where there may be {pods}, so no node with such a pod \
                 can be drained; let there be more pods, or switch it off with values.global.defaultPodDisruptionBudget.enabled: false"
            );
            findings.warn(field, text);
        }
    }

    /// Whether the chart renders a disruption budget. It looks at the values of the component.
    fn has_budget(&self) -> bool {
        let enabled = ["global", "defaultPodDisruptionBudget", "enabled"];
        if self.checked.value(&enabled) == Some(&Value::Bool(false)) {
            return false;
        }
        let key = if self.is_autoscaled() {
            "autoscaleMin"
        } else {
            "replicaCount"
        };
        let own = at(&self.component.values, &self.value_keys(key)).and_then(format::number);
        let count = own.or_else(|| Some(self.of_chart(key)?.number));
        self.checked.version.minor < 28 || count.is_some_and(|count| count > 1)
    }

    /// How many of this many pods the disruption budget keeps, and the field that says so; none if it is a default.
    fn needed(&self, pods: i64) -> (i64, Option<Path>) {
        let block = self.component.k8s.get("podDisruptionBudget");
        let block = (
            block,
            self.component.path.key("k8s").key("podDisruptionBudget"),
        );
        let keys = ["pilot", "pdb"];
        let is_read =
            self.component.kind == ComponentKind::Pilot && self.checked.version.minor >= 27;
        let values = self.checked.value(&keys).filter(|_| is_read);
        let values = (values, Path::root("spec").key("values").keys(&keys));
        for (budget, path) in [block, values] {
            let share = |key: &str| budget.and_then(|budget| share(budget.get(key)?, pods));
            if let Some(away) = share("maxUnavailable") {
                return (pods - away, Some(path.key("maxUnavailable")));
            }
            if let Some(kept) = share("minAvailable") {
                return (kept, Some(path.key("minAvailable")));
            }
        }
        (1, None)
    }
}

/// A number or a percentage of the pods, rounded up as Kubernetes does.
fn share(value: &Value, pods: i64) -> Option<i64> {
    let percent = value.as_str().and_then(|text| text.strip_suffix('%'));
    match percent {
        Some(percent) => Some((percent.parse::<i64>().ok()?.clamp(0, 100) * pods + 99) / 100),
        None => format::number(value),
    }
}
