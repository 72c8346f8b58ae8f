//! The commands for people at a terminal, on a running installation: what they say is so, and what they leave alone stays.

use std::path::Path;
use std::process::Command;

use e2e::{
    actions::cr::Cr,
    control_plane::ControlPlane,
    operator::{self, Said},
};
use serde_json::{Value, json};

use crate::{healthy, running, sample, users::Users};

/// A command says that applying the only IstioOperator again changes nothing.
pub fn nothing_to_change(plane: &ControlPlane) {
    let said = ran(&plane.kubeconfig(), &["diff", "--exit-code"]);
    assert_eq!(said.code, 0, "{said:?}");
}

pub fn ran(kubeconfig: &Path, args: &[&str]) -> Said {
    operator::run(kubeconfig, args, "").unwrap()
}

/// What a command prints as JSON, with its exit code.
pub fn told(kubeconfig: &Path, args: &[&str]) -> (i32, Value) {
    let said = ran(kubeconfig, &[args, &["-o", "json"]].concat());
    let value = said
        .json()
        .unwrap_or_else(|error| panic!("{args:?}: {error}"));
    (said.code, value)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_diff_tells_what_an_apply_changes() {
    let (plane, _operator) = running().await;
    let cr = healthy(&plane, &sample("acceptance.yaml")).await;
    let users = Users::create(&plane).await;
    for user in [&users.admin, &users.reader] {
        let said = ran(user, &["diff", "--exit-code"]);
        assert_eq!(said.code, 0, "{said:?}");
        let (_, report) = told(user, &["diff"]);
        assert_eq!(report["objects"], json!([]), "{report:#}");
        assert!(report["unchanged"].as_u64() > Some(30), "{report}");
    }
    a_change_is_told_field_by_field(&users, &cr).await;
    what_comes_and_goes_is_told(&users, &plane);
    a_plan_is_asked_of_the_cluster_that_is_named(&users);
    who_may_not_look_learns_it(&users);
    names_are_completed_from_the_cluster_that_was_typed(&users);
}

/// A shell asks for the names of IstioOperators.
fn names_are_completed_from_the_cluster_that_was_typed(users: &Users) {
    let completed = |kubeconfig: &Path| {
        let words = ["--", "istio-operator", "status", "--kubeconfig"];
        let output = Command::new(operator::binary().unwrap())
            .args(words)
            .args([kubeconfig.as_os_str(), "".as_ref()])
            .envs([("COMPLETE", "fish"), ("KUBECONFIG", "/nonexistent")])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let offered = completed(&users.reader);
    assert!(
        offered.starts_with("istio-system/example-istio\n"),
        "{offered}"
    );
    assert!(!completed(&users.nobody).contains("example-istio"));
}

async fn a_change_is_told_field_by_field(users: &Users, cr: &Cr) {
    let before = cr.get().await.unwrap();
    let change = [
        "diff",
        "--exit-code",
        "--set",
        "values.pilot.traceSampling=7",
        "--set",
        "components.pilot.k8s.resources.requests.memory=1536Mi",
        "--set",
        "meshConfig.accessLogFile=/dev/other",
    ];
    for user in [&users.admin, &users.reader] {
        let (code, report) = told(user, &change);
        assert_eq!(code, 3);
        assert_eq!(
            report["restarts"],
            json!(["Deployment istio-system/istiod"]),
            "{report:#}"
        );
        let fields = |kind: &str, name: &str| {
            let objects = report["objects"].as_array().unwrap().iter();
            let mut found =
                objects.filter(|object| object["kind"] == kind && object["name"] == name);
            found
                .next()
                .map(|object| object["fields"].clone())
                .unwrap_or_default()
        };
        let deployment = fields("Deployment", "istiod");
        let memory = "spec.template.spec.containers[discovery].resources.requests.memory";
        let found = deployment
            .as_array()
            .unwrap()
            .iter()
            .find(|field| field["path"] == memory);
        let expected = json!({"path": memory, "before": "512Mi", "after": "1536Mi"});
        assert_eq!(found, Some(&expected), "{report:#}");
        assert_eq!(fields("ConfigMap", "istio")[0]["path"], "data.mesh");
        let changed = report["objects"].as_array().unwrap().len();
        assert!(changed <= 4, "{report:#}");
    }
    let said = ran(&users.reader, &change);
    assert!(
        said.errors.contains("because you may not ask for dry runs"),
        "{said:?}"
    );
    assert!(
        said.output
            .starts_with("~ Deployment istio-system/istiod (restarts its pods)\n"),
        "{said:?}"
    );
    let after = cr.get().await.unwrap();
    assert_eq!(before.metadata.generation, after.metadata.generation);
}

fn what_comes_and_goes_is_told(users: &Users, plane: &ControlPlane) {
    let metadata = json!({"name": "acceptance", "namespace": "istio-system"});
    let names = plane
        .kubectl(["get", "iop", "-n", "istio-system", "-o", "name"])
        .unwrap();
    let name = names.trim().rsplit('/').next().unwrap();
    let cr = json!({
        "apiVersion": "install.istio.io/v1alpha1",
        "kind": "IstioOperator",
        "metadata": {"name": name, "namespace": metadata["namespace"]},
        "spec": {"profile": "minimal", "components": {"egressGateways": [
            {"name": "exit", "namespace": "new", "enabled": true}]}},
    });
    let said = operator::run(
        &users.admin,
        &["diff", "-f", "-", "-o", "json"],
        &cr.to_string(),
    )
    .unwrap();
    let report = said.json().unwrap();
    let of = |change: &str| -> Vec<String> {
        let objects = report["objects"].as_array().unwrap().iter();
        let objects = objects.filter(|object| object["change"] == change);
        objects
            .map(|object| {
                format!(
                    "{} {}",
                    object["kind"].as_str().unwrap(),
                    object["name"].as_str().unwrap()
                )
            })
            .collect()
    };
    let created = of("create");
    assert!(created.contains(&"Namespace new".to_owned()), "{created:?}");
    assert!(
        created.contains(&"Deployment exit".to_owned()),
        "{created:?}"
    );
    let deleted = of("delete");
    assert!(
        deleted.contains(&"Deployment istio-ingressgateway".to_owned()),
        "{deleted:?}"
    );
    assert_eq!(of("refused"), [""; 0]);
    assert!(plane.kubectl(["get", "namespace", "new"]).is_err());
}

fn a_plan_is_asked_of_the_cluster_that_is_named(users: &Users) {
    let admin = users.admin.to_str().unwrap();
    let nowhere = Path::new("/nonexistent");
    let change = "values.pilot.traceSampling=7";
    let (code, plan) = told(nowhere, &["plan", "--kubeconfig", admin, "--set", change]);
    assert_eq!(code, 0);
    let objects = plan["objects"].as_array().unwrap();
    let istiod = "Deployment istio-system/istiod";
    let found = objects.iter().find(|object| object["object"] == istiod);
    assert!(found.unwrap()["restart"].is_string(), "{plan:#}");
    let lines = ran(&users.admin, &["plan", "--set", change]).output;
    assert!(lines.contains(plan["digest"].as_str().unwrap()), "{lines}");
    let said = ran(&users.admin, &["plan", "nonesuch", "-n", "istio-system"]);
    assert!(
        said.errors.contains("there is no such IstioOperator"),
        "{said:?}"
    );

    let said = ran(&users.reader, &["plan", "--set", change]);
    assert_eq!((said.code, said.output.as_str()), (1, ""), "{said:?}");
    assert!(
        said.errors
            .contains("istio-operator diff does without them"),
        "{said:?}"
    );
    let said = ran(&users.nobody, &["plan"]);
    assert_eq!((said.code, said.output.as_str()), (1, ""), "{said:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_installation_is_applied_watched_and_removed() {
    let (plane, _operator) = running().await;
    let users = Users::create(&plane).await;
    let file = plane.dir().join("istio.yaml");
    std::fs::write(&file, sample("acceptance.yaml")).unwrap();
    let file = file.to_str().unwrap();
    let said = ran(&users.admin, &["apply", "-f", file, "--wait"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(
        said.errors.contains("created namespace istio-system"),
        "{said:?}"
    );
    assert!(
        said.errors
            .ends_with("istio-system/example-istio: healthy\n"),
        "{said:?}"
    );
    assert_eq!(ran(&users.reader, &["wait", "example-istio"]).code, 0);
    nothing_to_change(&plane);

    for user in [&users.admin, &users.reader] {
        let (_, status) = told(user, &["status"]);
        assert_eq!(status[0]["state"], "HEALTHY", "{status:#}");
        let components = status[0]["components"].as_array().unwrap();
        let pilot = components
            .iter()
            .find(|one| one["component"] == "Pilot")
            .unwrap();
        let istiod = json!({"object": "Deployment istio-system/istiod", "desired": 2, "updated": 2, "available": 2, "unready": null});
        assert_eq!(pilot["workloads"], json!([istiod]));
        let lines = ran(user, &["status", "istio-system/example-istio"]).output;
        assert!(
            lines.starts_with("istio-system/example-istio  HEALTHY  Istio 1.31"),
            "{lines}"
        );
        assert!(
            lines.contains("Deployment istio-system/istiod  [##########] 2/2"),
            "{lines}"
        );
        assert!(
            lines.contains("gateway istio-system/istio-ingressgateway  ready"),
            "{lines}"
        );
        assert!(!lines.contains('\u{1b}'), "colors on no terminal: {lines}");
    }
    checks_tell_what_is_wrong(&users, &plane);
    a_wrong_change_is_refused_before_it_is_written(&users, file);
    what_is_removed_is_shown_first(&users, &plane);
}

/// The result of a check by what it is about.
fn checked(kubeconfig: &Path, args: &[&str]) -> (i32, Vec<(String, String, String)>) {
    let (code, lines) = told(kubeconfig, &[&["check"], args].concat());
    let text = |line: &Value, key: &str| line[key].as_str().unwrap().to_owned();
    let line = |line: &Value| {
        (
            text(line, "check"),
            text(line, "result"),
            text(line, "message"),
        )
    };
    (code, lines.as_array().unwrap().iter().map(line).collect())
}

fn checks_tell_what_is_wrong(users: &Users, plane: &ControlPlane) {
    let (code, lines) = checked(&users.admin, &[]);
    assert_eq!(code, 0, "{lines:#?}");
    let of = |lines: &[(String, String, String)], about: &str| {
        let found = lines.iter().filter(|(check, ..)| check == about);
        found
            .map(|(_, result, text)| format!("{result}: {text}"))
            .collect::<Vec<_>>()
    };
    assert!(
        of(&lines, "Kubernetes")[0].starts_with("ok: v1."),
        "{lines:#?}"
    );
    assert_eq!(
        of(&lines, "clock"),
        ["ok: the API server and this machine agree"]
    );
    assert!(of(&lines, "webhooks")[0].starts_with("ok: "), "{lines:#?}");
    assert!(of(&lines, "lease")[0].ends_with(" leads"), "{lines:#?}");
    assert!(
        of(&lines, "IstioOperator istio-system/example-istio")[0].starts_with("ok: HEALTHY"),
        "{lines:#?}"
    );
    assert_eq!(
        of(&checked(&users.admin, &["--pre"]).1, "your rights"),
        ["ok: you may create what the operator and Istio consist of"]
    );
    let (code, lines) = checked(&users.reader, &["--pre"]);
    assert_eq!(code, 1);
    assert!(
        of(&lines, "your rights")[0]
            .starts_with("failed: you may not create customresourcedefinitions, "),
        "{lines:#?}"
    );
    let (_, lines) = checked(&users.nobody, &[]);
    assert!(
        lines.iter().any(|(check, result, text)| check == "CRDs"
            && result == "unknown"
            && text.contains("cannot list")),
        "{lines:#?}"
    );

    let webhook = "{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingWebhookConfiguration, \
        metadata: {name: lost, labels: {istio.io/rev: lost}}, webhooks: [{name: lost.example.com, sideEffects: None, \
        admissionReviewVersions: [v1], failurePolicy: Ignore, clientConfig: {service: {name: gone, namespace: people}}}]}";
    let old = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: istio-operator, namespace: people}, spec: {replicas: 0, \
        selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: o, \
        image: 'docker.io/istio/operator:1.23.6'}]}}}}";
    plane.apply(&format!("{webhook}\n---\n{old}")).unwrap();
    let (code, lines) = checked(&users.admin, &[]);
    assert_eq!(code, 1);
    assert!(
        of(&lines, "webhooks")[0].starts_with(
            "failed: ValidatingWebhookConfiguration lost leads to Service people/gone"
        ),
        "{lines:#?}"
    );
    assert!(
        of(&lines, "other operators")[0]
            .starts_with("failed: Deployment people/istio-operator is Istio's old operator"),
        "{lines:#?}"
    );
    plane
        .kubectl([
            "delete",
            "validatingwebhookconfiguration/lost",
            "deployment/istio-operator",
            "-n",
            "people",
        ])
        .unwrap();
}

fn a_wrong_change_is_refused_before_it_is_written(users: &Users, file: &str) {
    let said = ran(
        &users.admin,
        &["apply", "-f", file, "--set", "profile=nonesuch"],
    );
    assert_eq!(said.code, 1);
    assert!(
        said.errors
            .starts_with("spec.profile: profile \"nonesuch\" is not known"),
        "{said:?}"
    );
    let said = ran(&users.reader, &["apply", "-f", file]);
    assert_eq!(said.code, 1);
    assert!(
        said.errors
            .contains("cannot patch resource \"istiooperators\""),
        "{said:?}"
    );
    // The operator is told of what only a cluster refuses.
    let said = ran(
        &users.admin,
        &["apply", "-f", file, "--set", "version=1.24", "--wait"],
    );
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.errors.contains("the step from Istio 1.31"), "{said:?}");
    let said = ran(&users.admin, &["apply", "-f", file, "--wait"]);
    assert_eq!(said.code, 0, "{said:?}");
}

fn what_is_removed_is_shown_first(users: &Users, plane: &ControlPlane) {
    let (code, going) = told(&users.reader, &["uninstall", "--dry-run"]);
    assert_eq!(code, 0);
    let objects = going[0]["objects"].as_array().unwrap();
    assert!(
        objects.contains(&json!("Deployment istio-system/istiod")),
        "{going:#}"
    );
    assert!(
        !going.to_string().contains("CustomResourceDefinition"),
        "{going:#}"
    );
    let unasked = ran(&users.admin, &["uninstall"]);
    assert_eq!(unasked.code, 1);
    assert!(
        unasked
            .errors
            .contains("nobody can be asked here: say --yes"),
        "{unasked:?}"
    );
    plane
        .kubectl(["get", "deployment", "istiod", "-n", "istio-system"])
        .unwrap();
    let none = ran(&users.admin, &["uninstall", "--revision", "other", "--yes"]);
    assert!(
        none.errors.contains("nothing of that is installed"),
        "{none:?}"
    );
    let said = ran(
        &users.admin,
        &["uninstall", "--revision", "default", "--yes"],
    );
    assert_eq!(said.code, 0, "{said:?}");
    assert!(
        plane
            .kubectl(["get", "deployment", "istiod", "-n", "istio-system"])
            .is_err()
    );
    assert_eq!(ran(&users.admin, &["wait", "--until", "gone"]).code, 0);
    let said = ran(&users.admin, &["status"]);
    assert!(
        said.errors
            .contains("there is no IstioOperator in this cluster"),
        "{said:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_operator_one_run_installs_and_one_removes() {
    let plane = ControlPlane::reuse_or_start().await.unwrap();
    let users = Users::create(&plane).await;
    let file = plane.dir().join("istio.yaml");
    std::fs::write(&file, sample("acceptance.yaml")).unwrap();
    let file = file.to_str().unwrap();
    let said = ran(&users.admin, &["apply", "-f", file, "--wait"]);
    assert_eq!(said.code, 1);
    assert!(
        said.errors.contains("this cluster has no IstioOperators"),
        "{said:?}"
    );

    let said = ran(
        &users.admin,
        &["apply", "-f", file, "--no-operator", "--wait"],
    );
    assert_eq!(said.code, 0, "{said:?}");
    let ready = plane.kubectl([
        "get",
        "deployment",
        "istiod",
        "-n",
        "istio-system",
        "-o",
        "jsonpath={.status.availableReplicas}",
    ]);
    assert_eq!(ready.unwrap(), "2");
    let said = ran(&users.admin, &["diff", "-f", file, "--exit-code"]);
    assert_eq!(said.code, 0, "{said:?}");
    let said = ran(
        &users.reader,
        &["apply", "-f", file, "--set", "hub=x", "--no-operator"],
    );
    assert_eq!(said.code, 1);
    assert!(said.errors.contains("may not"), "{said:?}");

    let said = ran(&users.admin, &["uninstall", "--purge", "--yes"]);
    assert_eq!(said.code, 0, "{said:?}");
    let left = plane.inventory().await.unwrap().owned().await.unwrap();
    let left: Vec<_> = left
        .iter()
        .map(e2e::observe::inventory::Item::name)
        .collect();
    let kept: Vec<_> = left
        .iter()
        .filter(|name| !name.starts_with("CustomResourceDefinition "))
        .collect();
    assert!(kept.is_empty(), "{kept:?}");
}

fn who_may_not_look_learns_it(users: &Users) {
    let said = ran(&users.nobody, &["diff"]);
    assert_eq!((said.code, said.output.as_str()), (1, ""), "{said:?}");
    assert!(said.errors.contains("istiooperators"), "{said:?}");
    assert!(
        said.errors.contains("people:nobody\" cannot list"),
        "{said:?}"
    );
}
