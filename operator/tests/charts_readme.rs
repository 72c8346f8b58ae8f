//! Follows the steps of `charts/README.md` in a copy of the charts, and renders what comes of them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use istio_operator::api::{ComponentKind, IstioOperator, strict_schema};
use istio_operator::charts::{Charts, yaml};
use istio_operator::merge::{Cluster, merge};
use istio_operator::render::{Object, render};
use regex::Regex;
use serde_json::{Value, json};

const CHARTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts");
const SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../samples");

/// A copy of the charts in which the steps of one section were followed. It is deleted when dropped.
struct Copy(PathBuf);

impl Copy {
    fn with_steps_of(section: &str) -> Self {
        let name = section.replace(' ', "-").to_lowercase();
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&dir);
        copy(Path::new(CHARTS), &dir);
        let readme = fs::read_to_string(dir.join("README.md")).unwrap();
        let sections = readme.split("\n## ");
        let steps = sections.clone().find(|text| text.starts_with(section));
        let steps = steps.unwrap_or_else(|| panic!("no section {section}"));
        let step =
            Regex::new(r"(?s)n `([^`]+)`(?:, after the line `([^`]+)`)?:\n```yaml\n(.*?)```");
        let mut count = 0;
        for step in step.unwrap().captures_iter(steps) {
            let file = dir.join(&step[1]);
            match step.get(2) {
                Some(line) => insert(&file, line.as_str(), &step[3]),
                None => create(&file, &step[3]),
            }
            count += 1;
        }
        assert_eq!(
            count,
            steps.matches("```yaml").count(),
            "a step is not understood"
        );
        assert!(count > 0, "{section} has no steps");
        Self(dir)
    }

    fn charts(&self) -> Charts {
        Charts::from_dir(&self.0).unwrap()
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let from = entry.unwrap().path();
        let to = to.join(from.file_name().unwrap());
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).unwrap();
        }
    }
}

fn insert(file: &Path, after: &str, text: &str) {
    let old = fs::read_to_string(file).unwrap();
    let (mut new, mut count) = (String::new(), 0);
    for line in old.split_inclusive('\n') {
        new.push_str(line);
        if line.trim_end() == after {
            new.push_str(text);
            count += 1;
        }
    }
    assert_eq!(count, 1, "{}: lines {after}", file.display());
    fs::write(file, new).unwrap();
}

fn create(file: &Path, text: &str) {
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, text).unwrap();
}

fn rendered(cr: &IstioOperator, version: Option<&str>, charts: &Charts) -> Vec<Object> {
    let merged = merge(cr, version, Cluster::default(), charts).unwrap();
    let rendered = render(&merged, charts).unwrap();
    rendered
        .components
        .into_iter()
        .flat_map(|c| c.objects)
        .collect()
}

/// The newest minor of these charts, such as `1.31`.
fn newest(charts: &Charts) -> String {
    charts
        .catalogue()
        .releases()
        .last()
        .unwrap()
        .version
        .minor_text()
}

#[test]
fn a_value_can_be_added() {
    let charts = Copy::with_steps_of("Add a value").charts();
    let cr = |values: Value| -> IstioOperator {
        let spec = json!({"profile": "minimal", "values": values});
        serde_json::from_value(json!({
            "apiVersion": "install.istio.io/v1alpha1",
            "kind": "IstioOperator",
            "metadata": {"name": "cr"},
            "spec": spec,
        }))
        .unwrap()
    };
    let greeting = |values| {
        let objects = rendered(&cr(values), None, &charts);
        let mesh = objects
            .iter()
            .find(|o| o.key.kind == "ConfigMap" && o.key.name == "istio");
        mesh.unwrap().body.field("data")["greeting"].clone()
    };
    assert_eq!(greeting(json!({})), "hello");
    assert_eq!(greeting(json!({"pilot": {"greeting": "hi"}})), "hi");
}

#[test]
fn a_minor_can_be_added() {
    let newest_today = newest(&Charts::from_dir(Path::new(CHARTS)).unwrap());
    let charts = Copy::with_steps_of("Add a minor").charts();
    let added = newest(&charts);
    assert_ne!(added, newest_today, "the minor in the README exists by now");
    let keys = |cr: &IstioOperator, version: &str| -> Vec<String> {
        let objects = rendered(cr, Some(version), &charts);
        objects
            .iter()
            .map(|object| object.key.to_string())
            .collect()
    };
    let mut samples = 0;
    for file in fs::read_dir(SAMPLES).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let text = fs::read_to_string(path).unwrap();
        let cr: IstioOperator = yaml::parse(&text).unwrap();
        assert_eq!(keys(&cr, &added), keys(&cr, &newest_today));
        samples += 1;
    }
    assert!(samples > 0, "no samples");
}

#[test]
fn a_component_can_be_added() {
    let charts = Copy::with_steps_of("Add a component").charts();
    assert_eq!(charts.release("greeter", "Greeter").unwrap(), "greeter");
    let minor = charts.catalogue().default_version().minor;
    let own = charts.defaults("greeter", minor).unwrap();
    let outputs = charts.execute("greeter", json!({ "own": own })).unwrap();
    let [output] = outputs.as_slice() else {
        panic!("{} outputs", outputs.len())
    };
    let object: Value = yaml::parse(&output.text).unwrap();
    assert_eq!(object["data"]["text"], "hello");
}

/// What the README asks of a component, those of the table have.
#[test]
fn every_component_has_its_chart_and_its_field() {
    let charts = Charts::from_dir(Path::new(CHARTS)).unwrap();
    let minor = charts.catalogue().default_version().minor;
    let spec = strict_schema().to_string();
    for kind in ComponentKind::ALL {
        let info = kind.info();
        assert!(charts.defaults(info.chart, minor).unwrap().is_object());
        charts.release(info.chart, kind.as_str()).unwrap();
        assert!(spec.contains(&format!("{:?}", info.spec_key)), "{kind}");
    }
}
