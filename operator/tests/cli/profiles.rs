//! What the charts say, as the commands `profile` and `values` print it.

use std::collections::BTreeMap;

use istio_operator::charts::Charts;
use serde_json::{Value, json};

use super::run::{documents, refusal, run, run_on, succeed, text};

fn as_json(args: &[&str]) -> Value {
    serde_json::from_str(&succeed(&[args, &["-o", "json"]].concat())).unwrap()
}

#[test]
fn a_dumped_profile_renders_as_its_name_does() {
    let charts = Charts::embedded().unwrap();
    for (index, name) in charts.profile_names().into_iter().enumerate() {
        let minor = ["1.24", "1.31"][index % 2];
        let version = ["--istio-version", minor];
        let dumped = succeed(&[&["profile", "dump", name], &version[..]].concat());
        let set = format!("profile={name}");
        let by_name = run(&[&["render", "--set", &set], &version[..]].concat());
        let by_dump = run_on(dumped, &[&["render", "-f", "-"], &version[..]].concat());
        assert!(by_dump.status.success(), "{}", text(&by_dump.stderr));
        assert!(by_name.stdout == by_dump.stdout, "{name} {minor}");
    }
}

#[test]
fn a_profile_has_parts_and_differs_from_others() {
    let components = as_json(&["profile", "dump", "ambient", "--path", "components.ztunnel"]);
    assert_eq!(components, json!({"enabled": true}));
    let gateway = as_json(&[
        "profile",
        "dump",
        "--path",
        "components.ingressGateways.0.name",
    ]);
    assert_eq!(gateway, json!("istio-ingressgateway"));
    let refused = refusal(&run(&["profile", "dump", "--path", "components.nothing"]));
    assert_eq!(
        refused,
        "--path components.nothing: the profile does not set nothing\n"
    );
    let refused = refusal(&run(&["profile", "dump", "nonesuch"]));
    assert!(
        refused.starts_with("profile \"nonesuch\" is not known; the known are ambient, "),
        "{refused}"
    );

    let lines = succeed(&["profile", "diff", "default", "demo"]);
    assert_eq!(
        lines,
        "~ components.egressGateways[istio-egressgateway].enabled: false -> true\n\
         ~ profile: default -> demo\n+ values.profile: demo\n"
    );
    assert_eq!(as_json(&["profile", "diff", "demo", "demo"]), json!([]));
    let status = |args: &[&str]| {
        run(&[&["profile", "diff", "--exit-code"], args].concat())
            .status
            .code()
    };
    assert_eq!(status(&["default", "demo"]), Some(3));
    assert_eq!(status(&["demo", "demo"]), Some(0));
}

#[test]
fn profiles_are_listed_with_what_they_install() {
    let list = as_json(&["profile", "list"]);
    let profiles = list["profiles"].as_array().unwrap();
    assert_eq!(
        profiles.len(),
        Charts::embedded().unwrap().profile_names().len()
    );
    let ambient = profiles
        .iter()
        .find(|profile| profile["name"] == "ambient")
        .unwrap();
    assert_eq!(
        ambient["components"],
        json!(["base", "pilot", "cni", "ztunnel"])
    );
    let table = succeed(&["profile", "list", "--istio-version", "1.24"]);
    assert!(table.contains("\nempty              nothing\n"), "{table}");
}

#[test]
fn every_field_of_values_is_told_once_with_its_minors() {
    let all = as_json(&["values"]);
    let all = all.as_array().unwrap();
    assert!(all.len() > 700, "{}", all.len());
    let by_path: BTreeMap<&str, &Value> = all
        .iter()
        .map(|one| (one["path"].as_str().unwrap(), one))
        .collect();
    assert_eq!(by_path.len(), all.len());
    let sampling = by_path["pilot.traceSampling"];
    assert_eq!(sampling["type"], "number");
    assert_eq!(sampling["defaults"]["1.24"], json!(1));
    assert_eq!(
        sampling["description"],
        "The share of requests that are traced, in percent."
    );
    assert_eq!(sampling.get("since").or(sampling.get("until")), None);
    let policy = by_path["global.networkPolicy.enabled"];
    assert_eq!(
        (&policy["since"], policy.get("until")),
        (&json!("1.28"), None)
    );
    assert_eq!(
        policy["defaults"]
            .as_object()
            .unwrap()
            .keys()
            .next()
            .unwrap(),
        "1.28"
    );
    assert_eq!(
        by_path["gateways.istio-ingressgateway.zvpn.enabled"]["until"],
        "1.25"
    );
    assert!(by_path.contains_key("meshConfig.defaultConfig.holdApplicationUntilProxyStarts"));
}

/// A default that is told is what the field has when nobody sets it: setting it changes nothing.
#[test]
fn a_default_that_is_set_changes_nothing() {
    let mut flags = Vec::new();
    for setting in as_json(&["values", "--istio-version", "1.31"])
        .as_array()
        .unwrap()
    {
        let path = setting["path"].as_str().unwrap();
        let default = &setting["defaults"]["1.31"];
        let text = match default {
            Value::String(text) => text.clone(),
            Value::Number(_) | Value::Bool(_) => default.to_string(),
            _ => continue,
        };
        // Hub and tag come from elsewhere where they are empty, and other components have other defaults of theirs.
        let is_of_istiod = ["pilot.", "global.proxy."]
            .iter()
            .any(|start| path.starts_with(start));
        if is_of_istiod && !text.is_empty() {
            flags.extend(["--set".to_owned(), format!("values.{path}={text}")]);
        }
    }
    assert!(flags.len() > 60, "{}", flags.len());
    let objects = |flags: &[String]| {
        let flags: Vec<_> = flags.iter().map(String::as_str).collect();
        let printed = succeed(&[&["render", "--set", "profile=default"], &flags[..]].concat());
        let mut objects = documents(&printed);
        // The injector's ConfigMap holds the values as they were given.
        objects.retain(|object| object["kind"] != "ConfigMap");
        objects
    };
    assert_eq!(objects(&flags), objects(&[]));
}

#[test]
fn values_are_found_by_component_and_word() {
    let paths = |args: &[&str]| -> Vec<String> {
        let found = as_json(&[&["values"], args].concat());
        let paths = found
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["path"].as_str().unwrap().to_owned());
        paths.collect()
    };
    let cni = paths(&["--component", "cni"]);
    assert!(
        cni.contains(&"cni.chained".to_owned())
            && !cni.iter().any(|path| path.starts_with("pilot.")),
        "{cni:?}"
    );
    assert_eq!(
        paths(&["--search", "tracesampling"]),
        ["pilot.traceSampling"]
    );
    assert!(paths(&["--istio-version", "1.27", "--search", "networkPolicy"]).is_empty());
    let refused = refusal(&run(&["values", "--component", "x"]));
    assert!(
        refused.starts_with("--component x: is no component; the components are base, "),
        "{refused}"
    );
}
