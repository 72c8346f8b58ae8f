//! Where an IstioOperator comes from: files, directories, standard input and single fields.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::run::{complaints, documents, refusal, run, run_on, text};

/// A directory of files, gone when dropped.
struct Files(PathBuf);

impl Files {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let dir =
            std::env::temp_dir().join(format!("istio-operator-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        for (file, content) in files {
            fs::write(dir.join(file), content).unwrap();
        }
        Self(dir)
    }

    fn path(&self, file: &str) -> String {
        self.0.join(file).display().to_string()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn cr(spec: &Value) -> String {
    json!({"apiVersion": "install.istio.io/v1alpha1", "kind": "IstioOperator", "spec": spec})
        .to_string()
}

/// What `render` prints for files and flags.
fn rendered(args: &[&str]) -> Vec<Value> {
    let args = [&["render"], args].concat();
    let output = run(&args);
    assert_eq!(complaints(&output), [""; 0], "{args:?}");
    documents(&text(&output.stdout))
}

fn rendered_spec(spec: &Value) -> Vec<Value> {
    let output = run_on(cr(spec), &["render", "-f", "-"]);
    documents(&text(&output.stdout))
}

#[test]
fn files_lie_over_each_other_and_flags_over_them() {
    let (a, b) = (
        json!({"profile": "empty", "hub": "a", "components": {
            "ingressGateways": [{"name": "one", "enabled": true}]}}),
        json!({"hub": "b", "components": {"egressGateways": [{"name": "two", "enabled": true}]}}),
    );
    let files = Files::new(
        "layers",
        &[("a.yaml", &cr(&a)), ("b.yaml", &cr(&b)), ("label", "x=y\n")],
    );
    let (a, b) = (files.path("a.yaml"), files.path("b.yaml"));
    let merged = json!({"profile": "empty", "hub": "b", "components": {
        "ingressGateways": [{"name": "one", "enabled": true}],
        "egressGateways": [{"name": "two", "enabled": true}]}});
    let expected = rendered_spec(&merged);
    assert!(expected.len() > 8, "{expected:?}");
    assert_eq!(rendered(&["-f", &a, "-f", &b]), expected);
    assert_eq!(rendered(&["-f", &format!("{a},{b}")]), expected);
    assert_ne!(rendered(&["-f", &b, "-f", &a]), expected);

    let mut set = merged.clone();
    set["components"]["ingressGateways"][0]["k8s"] =
        json!({"replicaCount": 3, "podAnnotations": {"a.b/c": "1"}});
    set["components"]["egressGateways"][0]["k8s"] = json!({"podAnnotations": {"file": "x=y\n"}});
    set["tag"] = json!("1.30");
    set["version"] = json!("1.30");
    let label = format!(
        "components.egressGateways[0].k8s.podAnnotations.file={}",
        files.path("label")
    );
    let flags = [
        "-f",
        &a,
        "--filename",
        &b,
        "--set",
        "components.ingressGateways.[name:one].k8s.replicaCount=3",
        "--set-string",
        r"components.ingressGateways[0].k8s.podAnnotations.a\.b/c=1",
        "--set-file",
        &label,
        "-s",
        "tag=1.30",
        "--set",
        "version=1.30",
    ];
    assert_eq!(rendered(&flags), rendered_spec(&set));
}

#[test]
fn no_file_is_needed_where_a_flag_says_what_to_render() {
    let expected = rendered_spec(&json!({"profile": "minimal", "revision": "canary"}));
    let found = rendered(&["--set", "profile=minimal", "--revision", "canary"]);
    assert_eq!(found, expected);
    let default = rendered(&["--set", "profile=minimal", "--revision", "default"]);
    assert_eq!(default, rendered_spec(&json!({"profile": "minimal"})));
}

#[test]
fn a_directory_has_the_files_of_one_istio_operator() {
    let named = |name: &str, spec: Value| {
        json!({"apiVersion": "install.istio.io/v1alpha1", "kind": "IstioOperator", "metadata": {"name": name}, "spec": spec})
            .to_string()
    };
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\n";
    let first = format!("{namespace}{}", named("one", json!({"profile": "demo"})));
    let second = named("one", json!({"profile": "minimal"}));
    let files = Files::new(
        "directory",
        &[
            ("1.yaml", &first),
            ("2.yml", &second),
            ("readme.md", "a: ["),
        ],
    );
    let dir = files.path("");
    assert_eq!(
        rendered(&["-f", &dir]),
        rendered_spec(&json!({"profile": "minimal"}))
    );

    fs::write(files.path("3.json"), named("two", json!({}))).unwrap();
    let several = refusal(&run(&["render", "-f", &dir]));
    assert!(
        several.contains("has several IstioOperators (/one, /two); name the files of one"),
        "{several}"
    );
    let none = Files::new("nothing", &[("a.yaml", "kind: Namespace\n")]);
    let none = refusal(&run(&["render", "-f", &none.path("")]));
    assert!(none.contains("no file has an IstioOperator"), "{none}");
}

#[test]
fn every_wrong_flag_and_file_has_its_line() {
    let refused = refusal(&run(&["render", "-f", "no.yaml", "-f", "nor.yaml"]));
    let lines: Vec<_> = refused.lines().collect();
    assert_eq!(lines.len(), 2, "{refused}");
    assert!(
        lines[0].starts_with("no.yaml: ") && lines[1].starts_with("nor.yaml: "),
        "{refused}"
    );
    let refused = refusal(&run(&[
        "render",
        "--set",
        "profile",
        "--set",
        "a[b]=1",
        "--set-file",
        "values.x=no-file",
    ]));
    let lines: Vec<_> = refused.lines().collect();
    assert_eq!(lines[0], "--set profile: expected PATH=VALUE");
    assert!(
        lines[1].starts_with("--set a[b]=1: [b] is neither"),
        "{refused}"
    );
    assert!(
        lines[2].starts_with("--set-file values.x=no-file: no-file: "),
        "{refused}"
    );
}

#[test]
fn components_are_chosen_by_name() {
    let of = |names: &[&str]| {
        let flags = names.iter().flat_map(|name| ["--component", name]);
        let args: Vec<_> = ["--set", "profile=demo"].into_iter().chain(flags).collect();
        rendered(&args)
    };
    let whole = rendered(&["--set", "profile=demo"]);
    let both = of(&["pilot", "IngressGateways", "istio-egressgateway"]);
    let rest = of(&["base"]);
    assert_eq!(both.len() + rest.len(), whole.len());
    assert!(rest.iter().all(|object| !both.contains(object)));
    let refused = refusal(&run(&[
        "render",
        "--set",
        "profile=demo",
        "--component",
        "cni",
        "--component",
        "x",
    ]));
    assert!(refused.starts_with("--component cni: is not installed; what is: base, pilot, istio-ingressgateway, istio-egressgateway\n"), "{refused}");
    assert!(refused.contains("\n--component x: "), "{refused}");
}

#[test]
fn a_file_for_each_component_holds_all_objects_in_order() {
    let files = Files::new("split", &[("old.yaml", "")]);
    let dir = files.path("");
    let output = run(&["render", "--set", "profile=demo", "--split", &dir]);
    assert!(output.status.success());
    assert_eq!(
        complaints(&output),
        [format!(
            "warning: {}: was not written now",
            files.path("old.yaml")
        )]
    );
    let mut names: Vec<_> = fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "00-base.yaml",
            "01-pilot.yaml",
            "02-ingressGateways-istio-ingressgateway.yaml",
            "03-egressGateways-istio-egressgateway.yaml",
            "old.yaml"
        ]
    );
    let mut found: Vec<Value> = names[..4]
        .iter()
        .flat_map(|name| {
            documents(&fs::read_to_string(files.path(name.to_str().unwrap())).unwrap())
        })
        .collect();
    let mut whole = rendered(&["--set", "profile=demo"]);
    let key = |object: &Value| object.to_string();
    found.sort_by_key(key);
    whole.sort_by_key(key);
    assert_eq!(found, whole);
}

#[test]
fn a_cluster_that_does_not_answer_has_an_exit_code_of_its_own() {
    let files = Files::new(
        "kubeconfig",
        &[(
            "config",
            r#"{"apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}], "users": [{"name": "c", "user": {}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}]}"#,
        )],
    );
    let config = files.path("config");
    let args = [
        "render",
        "--set",
        "profile=minimal",
        "--cluster-specific",
        "--kubeconfig",
    ];
    for (config, more) in [
        (config.as_str(), &[][..]),
        (config.as_str(), &["--context", "other"]),
        ("no-file", &[]),
    ] {
        let output = run(&[&args[..], &[config], more].concat());
        assert_eq!(output.status.code(), Some(2), "{config} {more:?}");
        let said = text(&output.stderr);
        assert!(
            said.starts_with("the cluster cannot be reached: "),
            "{said}"
        );
    }
}
