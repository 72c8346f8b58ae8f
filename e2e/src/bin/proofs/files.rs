//! What the charts render in every minor, before the programs that read it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use e2e::{
    actions::cr::manifest,
    error::Error,
    host::{
        go_programs::Bundle,
        workspace::{root, state_dir},
    },
    operator, yaml,
};
use serde_json::{Value, json};

use crate::{ensure, say};

/// The configurations, rules and flags of Prometheus, and the dashboards of Grafana, are valid in every minor.
pub fn prove() -> Result<(), Error> {
    let programs = Bundle::Prometheus.dir()?;
    let promtool = programs.join("promtool");
    let (mut configurations, mut dashboards, mut flags) = (0, Vec::new(), BTreeSet::new());
    let mut rules = BTreeMap::from([("PrometheusRule".to_owned(), rules_for_helm()?)]);
    let minors = minors()?;
    for minor in &minors {
        let spec = json!({
            "profile": "empty",
            "version": minor,
            "addonComponents": {"prometheus": {}, "grafana": {}},
        });
        for object in operator::render(&manifest("mesh", &spec).to_string())? {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            for (file, text) in object["data"].as_object().into_iter().flatten() {
                let text = text.as_str().unwrap_or_default();
                match file.as_str() {
                    "prometheus.yml" => {
                        check_configuration(&promtool, minor, text)?;
                        configurations += 1;
                    }
                    file if file.ends_with("-rules.yml") => {
                        // They are the same in every minor, so the last one stands for all.
                        rules.insert(file.to_owned(), text.to_owned());
                    }
                    _ => {}
                }
            }
            if name.ends_with("grafana-dashboards") {
                let texts = object["data"].as_object().into_iter().flatten();
                dashboards.extend(texts.filter_map(|(_, text)| text.as_str().map(str::to_owned)));
            }
            if name == "prometheus" {
                flags.extend(flags_of(&object));
            }
        }
    }
    ensure(
        configurations == minors.len(),
        format!("{configurations} configurations of {} minors", minors.len()),
    )?;
    for (name, text) in &rules {
        let found = check_rules(&promtool, name, text)?;
        say(&format!("promtool takes the rules of {name}: {found}"))?;
    }
    let help = output(&programs.join("prometheus"), &["--help-long"], "")?;
    let unknown: Vec<_> = flags.iter().filter(|flag| !help.contains(*flag)).collect();
    ensure(
        !flags.is_empty() && unknown.is_empty(),
        format!("unknown flags: {unknown:?}"),
    )?;
    say(&format!(
        "promtool takes {configurations} configurations, one for each minor, and Prometheus knows the {} flags",
        flags.len()
    ))?;
    let check = Bundle::Grafana.dir()?.join("dashboard-check");
    output(&check, &[], &dashboards.join("\n"))?;
    ensure(!dashboards.is_empty(), "no dashboards")?;
    say(&format!(
        "Grafana's schema takes {} dashboards of all minors",
        dashboards.len()
    ))
}

/// The minors that the charts have, oldest first.
fn minors() -> Result<Vec<String>, Error> {
    let name = "charts/versions.yaml";
    let text = fs::read_to_string(root().join(name)).map_err(Error::io(name))?;
    let documents = yaml::documents(name, &text)?;
    let versions = documents
        .iter()
        .filter_map(|document| document["versions"].as_array());
    let minors = versions
        .flatten()
        .filter_map(|version| version["minor"].as_str());
    Ok(minors.map(str::to_owned).collect())
}

fn check_configuration(promtool: &Path, minor: &str, text: &str) -> Result<(), Error> {
    let path = state_dir().join(format!("prometheus-{minor}.yml"));
    fs::write(&path, text).map_err(Error::io(path.display().to_string()))?;
    // Without the files that only a pod has, such as its token.
    let args = [
        "check",
        "config",
        "--syntax-only",
        &path.display().to_string(),
    ];
    output(promtool, &args, "").map(drop)
}

/// Gives what promtool found.
fn check_rules(promtool: &Path, name: &str, text: &str) -> Result<String, Error> {
    let path = state_dir().join(format!("rules-of-{name}"));
    fs::write(&path, text).map_err(Error::io(path.display().to_string()))?;
    let path = path.display().to_string();
    let args = ["check", "rules", "--lint=all", "--lint-fatal", &path];
    let said = output(promtool, &args, "")?;
    let found = said.split_once("SUCCESS: ").map(|(_, found)| found.trim());
    let found = found.filter(|found| !found.starts_with('0'));
    found
        .map(str::to_owned)
        .ok_or_else(|| Error::Unexpected(format!("{name}: {said}")))
}

/// The rules of the Helm chart of the operator, as Helm renders them.
fn rules_for_helm() -> Result<String, Error> {
    let dir = state_dir().join("chart-with-alerts");
    let dir = dir.display().to_string();
    operator::manifests_with(&["--helm", &dir])?;
    let helm = Bundle::Istio.dir()?.join("helm");
    let args = [
        "template",
        "istio-operator",
        &dir,
        "--set=alerts.enabled=true",
    ];
    let rendered = yaml::documents("helm template", &output(&helm, &args, "")?)?;
    let rule = rendered
        .iter()
        .find(|object| object["kind"] == "PrometheusRule");
    let rule = rule.ok_or_else(|| Error::Unexpected("the chart has no PrometheusRule".into()))?;
    Ok(rule["spec"].to_string())
}

/// The names of the flags that a Deployment has.
fn flags_of(deployment: &Value) -> Vec<String> {
    let args = deployment.pointer("/spec/template/spec/containers/0/args");
    let args = args.and_then(Value::as_array).into_iter().flatten();
    let flags = args.filter_map(|arg| arg.as_str()?.split('=').next());
    flags.map(str::to_owned).collect()
}

/// What a program prints; if it fails, the error is what it complains about.
fn output(program: &Path, args: &[&str], input: &str) -> Result<String, Error> {
    let name = program.display().to_string();
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(Error::io(&name))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin
            .write_all(input.as_bytes())
            .map_err(Error::io(&name))?;
    }
    let output = child.wait_with_output().map_err(Error::io(&name))?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    if output.status.success() {
        return Ok(said);
    }
    Err(Error::Command {
        command: format!("{name} {}", args.join(" ")),
        message: said,
    })
}
