//! Random CRs render as by upstream.
//!
//! Fields come from the schema that CRs are checked with, so new fields are tried at once. The real istioctl renders every
//! CR, and we render it in every minor. One CR takes 0.35 s of CPU and all take a minute and a half on two cores;
//! `RANDOM_CRS` sets how many are tried. The seed is printed, and `RANDOM_CRS_SEED` sets another one.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on may stop anywhere, and says how far it came"
)]

#[path = "../../operator/tests/goldens/normal.rs"]
mod normal;
mod random;
#[path = "random/sweep.rs"]
mod sweep;

use std::panic::{AssertUnwindSafe, catch_unwind};

use e2e::istio::istioctl;
use goldens::user_templates;
use istio_operator::{
    api::IstioOperator,
    charts::Charts,
    merge::{Cluster, merge},
    render::{Rendered, render},
};
use normal::{of_objects, of_rendered};
use random::numbered_cr;
use serde_json::{Value, json};
use sweep::{Sweep, Verdict};

/// The minor of the istioctl that the local control plane pins.
const MINOR: u16 = 31;
const SWEEP: Sweep = Sweep {
    variable: "RANDOM_CRS",
    count: 500,
    seed: 131,
};

#[test]
fn crs_that_nobody_wrote_down_render_as_by_upstream() {
    let comparison = Comparison::new();
    SWEEP.run(|seed, index| {
        let cr = comparison.cr(seed, index);
        comparison.other_minors(&cr);
        match comparison.judge(&cr) {
            Verdict::Different(why) => Verdict::Different(format!("{cr}\n{why}")),
            same => same,
        }
    });
}

/// Upstream's charts leave two webhook configurations active there, and only `istioctl install` deactivates one of them.
/// Ours render it deactivated; everything else is equal.
#[test]
fn the_injector_rests_where_the_default_tag_is_named() {
    let comparison = Comparison::new();
    let cr = json!({
        "apiVersion": "install.istio.io/v1alpha1",
        "kind": "IstioOperator",
        "metadata": {"name": "tagged"},
        "spec": {"values": {"revisionTags": ["prod", "default"]}},
    });
    let mut expected = upstream(&cr).unwrap();
    let is_injector = |object: &&mut Value| object["metadata"]["name"] == "istio-sidecar-injector";
    let injector = expected
        .iter_mut()
        .filter(is_injector)
        .find(|object| object["kind"] == "MutatingWebhookConfiguration");
    for webhook in injector.unwrap()["webhooks"].as_array_mut().unwrap() {
        for selector in ["namespaceSelector", "objectSelector"] {
            webhook[selector] = json!({"matchLabels": {"istio.io/deactivated": "never-match"}});
        }
    }
    let templates = user_templates(&cr);
    let expected = of_objects(expected.into_iter(), &templates);
    let ours = comparison.ours(&cr, MINOR).unwrap();
    let found = expected.differences(&of_rendered(&ours, &templates));
    assert!(found.is_empty(), "{}", lines(&found));
}

struct Comparison {
    charts: Charts,
}

impl Comparison {
    fn new() -> Self {
        Self {
            charts: Charts::embedded().unwrap(),
        }
    }

    fn cr(&self, seed: usize, index: usize) -> Value {
        let render = |cr: &Value| self.ours(cr, MINOR).ok();
        numbered_cr(&self.charts, MINOR, (seed, index), render).1
    }

    fn ours(&self, cr: &Value, minor: u16) -> Result<Rendered, String> {
        let cr: IstioOperator = serde_json::from_value(cr.clone()).unwrap();
        let merged = merge(
            &cr,
            Some(&format!("1.{minor}")),
            Cluster::default(),
            &self.charts,
        )
        .map_err(|all| lines(&all))?;
        render(&merged, &self.charts).map_err(|all| lines(&all))
    }

    fn judge(&self, cr: &Value) -> Verdict {
        let (mut theirs, mut ours) = match (upstream(cr), self.ours(cr, MINOR)) {
            (Ok(theirs), Ok(ours)) => (theirs, ours),
            (Err(_), Err(_)) => return Verdict::Refused,
            // Some overlays crash istioctl, which is no difference of ours.
            (Err(why), _) if why.starts_with("panic:") => return Verdict::Refused,
            // What no API server takes is refused, which is a row of the table of differences.
            (Ok(_), Err(why)) if why.lines().all(is_of_what_no_api_server_takes) => {
                return Verdict::Refused;
            }
            (Ok(_), Err(why)) => return Verdict::Different(format!("refused: {why}")),
            (Err(why), Ok(_)) => {
                return Verdict::Different(format!("accepted, but upstream says: {why}"));
            }
        };
        if let Err(why) = drop_contradicting_variables(&mut theirs, &mut ours) {
            return Verdict::Different(why);
        }
        let templates = user_templates(cr);
        let theirs = of_objects(theirs.into_iter(), &templates);
        let found = theirs.differences(&of_rendered(&ours, &templates));
        match found.as_slice() {
            [] => Verdict::Equal,
            found => Verdict::Different(lines(&found[..found.len().min(20)])),
        }
    }

    /// There is no istioctl of other minors, but no CR may make the operator panic.
    fn other_minors(&self, cr: &Value) {
        for release in self.charts.catalogue().releases() {
            let minor = release.version.minor;
            if minor != MINOR {
                let done = catch_unwind(AssertUnwindSafe(|| _ = self.ours(cr, minor)));
                assert!(done.is_ok(), "1.{minor} panics with {cr}");
            }
        }
    }
}

/// The objects that istioctl prints for a CR, or why it prints none.
fn upstream(cr: &Value) -> Result<Vec<Value>, String> {
    let mut objects = istioctl::generate(cr).unwrap()?;
    objects.iter_mut().for_each(as_released);
    Ok(objects)
}

/// Takes the variables out of both sides that upstream gives two entries, or a value and a source, which no API server takes
/// from an apply. Ours has one entry of each, which is one of upstream's.
fn drop_contradicting_variables(theirs: &mut [Value], ours: &mut Rendered) -> Result<(), String> {
    let ours = ours
        .components
        .iter_mut()
        .flat_map(|component| &mut component.objects);
    for object in
        ours.filter(|object| matches!(object.key.kind.as_str(), "Deployment" | "DaemonSet"))
    {
        let key = &object.key;
        let is_it = |other: &&mut Value| {
            let metadata = &other["metadata"];
            other["kind"] == *key.kind
                && metadata["name"] == *key.name
                && metadata["namespace"].as_str() == key.namespace.as_deref()
        };
        let Some(theirs) = theirs.iter_mut().find(is_it) else {
            continue;
        };
        object.body.change("spec", |spec| {
            let place = "/template/spec/containers";
            let containers = |spec: &mut Value| spec.pointer_mut(place).map(Value::take);
            let (Some(mut mine), Some(mut other)) =
                (containers(spec), containers(&mut theirs["spec"]))
            else {
                return Ok(());
            };
            let (my_list, other_list) = (mine.as_array_mut(), other.as_array_mut());
            let pairs = my_list
                .into_iter()
                .flatten()
                .zip(other_list.into_iter().flatten());
            let mut dropped = pairs.map(|(mine, other)| drop_in_container(mine, other));
            let result = dropped.find(Result::is_err).unwrap_or(Ok(()));
            drop(dropped);
            *spec.pointer_mut(place).unwrap() = mine;
            *theirs["spec"].pointer_mut(place).unwrap() = other;
            result
        })?;
    }
    Ok(())
}

fn drop_in_container(ours: &mut Value, theirs: &mut Value) -> Result<(), String> {
    let (Some(ours), Some(theirs)) = (ours["env"].as_array_mut(), theirs["env"].as_array_mut())
    else {
        return Ok(());
    };
    let of = |list: &[Value], name: &Value| -> Vec<Value> {
        list.iter()
            .filter(|entry| entry["name"] == *name)
            .cloned()
            .collect()
    };
    let names: Vec<Value> = theirs.iter().map(|entry| entry["name"].clone()).collect();
    for name in names {
        let (mine, others) = (of(ours, &name), of(theirs, &name));
        let has_both =
            |entry: &Value| entry.get("value").is_some() && entry.get("valueFrom").is_some();
        if others.len() < 2 && !others.iter().any(has_both) {
            continue;
        }
        let is_one_of =
            |field: &str, value: &Value| others.iter().any(|other| other.get(field) == Some(value));
        let is_right = match mine.as_slice() {
            [one] => ["value", "valueFrom"]
                .iter()
                .all(|field| one.get(*field).is_none_or(|value| is_one_of(field, value))),
            _ => false,
        };
        if !is_right {
            return Err(format!("{name}: {mine:?} is none of {others:?}"));
        }
        ours.retain(|entry| entry["name"] != name);
        theirs.retain(|entry| entry["name"] != name);
    }
    Ok(())
}

/// Whether an error is about what no API server takes: the object that a setting makes, which the error names at its end,
/// or settings that contradict each other.
fn is_of_what_no_api_server_takes(error: &str) -> bool {
    const CONTRADICTIONS: [&str; 4] = [
        "another variable is called",
        "another port is called",
        "is above the most pods",
        "is below the fewest pods",
    ];
    let names_an_object = error.ends_with(')') && error.contains(" (");
    names_an_object || CONTRADICTIONS.iter().any(|words| error.contains(words))
}

fn lines<T: ToString>(all: &[T]) -> String {
    let lines: Vec<String> = all.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// Releases of Istio write their version into the charts, which in the source tree say 1.0.0.
fn as_released(value: &mut Value) {
    let Value::Object(map) = value else {
        if let Value::Array(list) = value {
            list.iter_mut().for_each(as_released);
        }
        return;
    };
    for (key, value) in map {
        match value {
            Value::String(text)
                if matches!(key.as_str(), "app.kubernetes.io/version" | "helm.sh/chart") =>
            {
                *text = text.replace("1.0.0", "1.31.1");
            }
            other => as_released(other),
        }
    }
}
