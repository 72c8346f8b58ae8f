//! The real istiod works with what the operator applied, and the operator leaves it alone.

use std::{path::Path, time::Duration};

use e2e::{
    control_plane::ControlPlane,
    error::Error,
    istio::istiod::Istiod,
    operator::{self, Operator},
    wait::wait_until,
    yaml,
};
use goldens::{HINT, Texts, as_admitted, differences, digest};
use istio_operator::dataplane::PROXY_VERSION;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{SOON, healthy, running, sample, users::Users};

/// The minor of the real istiod.
const MINOR: &str = "1.31";

/// The annotation of every pod that the injector changed.
const INJECTED: &str = "sidecar.istio.io/status";

/// For how long nothing may happen.
const QUIET: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn istiod_runs_on_what_was_applied_and_is_left_alone() {
    let (plane, operator) = running().await;
    let cr = healthy(&plane, &sample("default.yaml")).await;
    let istiod = Istiod::start(&plane, "istio-system", "istiod")
        .await
        .unwrap();
    plane.create_injected_namespace("apps").unwrap();
    pods_are_injected_as_upstream_does(&plane, &istiod).await;
    a_command_shows_what_injection_changes(&plane).await;
    webhooks_are_patched(&plane).await;

    let minimum = json!({"spec": {"components": {"pilot": {"k8s": {"hpaSpec": {
        "minReplicas": 2,
        "maxReplicas": 4,
    }}}}}});
    cr.patch(&minimum).await.unwrap();
    autoscaler_wrote_replicas(&plane).await;
    comes_to_rest(&plane, &operator).await;
    webhooks_are_patched(&plane).await;
    cr.wait_for("HEALTHY", SOON).await.unwrap();
}

/// Once the new replica has made its way into the status, there is nothing left to ask or to write.
async fn comes_to_rest(plane: &ControlPlane, operator: &Operator) {
    wait_until("a minute without requests", SOON, || async {
        let since = Timestamp::now();
        sleep(QUIET).await;
        let mut requests = plane.audit().by(operator.user(), since)?;
        requests.retain(|event| event.verb != "watch" && event.object_ref.resource != "leases");
        let requests = requests.iter();
        let requests: Vec<_> = requests.map(|one| (&one.verb, &one.request_uri)).collect();
        if requests.is_empty() {
            Ok(())
        } else {
            Err(Error::Unexpected(format!("{requests:?}")))
        }
    })
    .await
    .unwrap();
}

/// Each pod, sent to istiod's own port and created through the API server.
async fn pods_are_injected_as_upstream_does(plane: &ControlPlane, istiod: &Istiod) {
    let (inputs, admitted) = (goldens::pods(), goldens::admitted());
    let texts = Texts::find().map(|texts| texts.injected(MINOR, "profile-default"));
    let mut compared = 0;
    for (name, expected) in admitted.column(MINOR) {
        let mut input = yaml::documents(name, &inputs[name]).unwrap().remove(0);
        if input["kind"] != "Pod" {
            continue;
        }
        let mut injected = istiod
            .inject("apps", &with_empty_resources(&input))
            .await
            .unwrap();
        // Upstream's own pods do not tell it.
        let annotations = injected["metadata"]["annotations"].as_object_mut();
        if let Some(annotations) = annotations.filter(|all| all.contains_key(INJECTED)) {
            let version = annotations.remove(PROXY_VERSION);
            assert_eq!(version, Some(json!("1.31.1")), "{name}");
        }
        let found = as_admitted(injected.clone());
        let differing = texts
            .as_ref()
            .map(|texts| differences(&as_admitted(texts[name].clone()), &found));
        let differing = differing.unwrap_or_default();
        assert_eq!(digest(&found), *expected, "{name}: {HINT}: {differing:#?}");

        if let Some(account) = input["spec"]["serviceAccountName"].as_str() {
            plane
                .kubectl(["create", "serviceaccount", account, "-n", "apps"])
                .unwrap();
        }
        input["metadata"]["namespace"] = "apps".into();
        let is_expected = |created: &Value| containers(created) == containers(&injected);
        let created = plane.admitted(&input, is_expected).await;
        created.unwrap_or_else(|error| panic!("{name}: {error}"));
        compared += 1;
    }
    assert!(compared >= 12, "{compared} pods");
}

/// The command asks for the pod in a dry run, and shows what it gets beside what was written.
async fn a_command_shows_what_injection_changes(plane: &ControlPlane) {
    let users = Users::create(plane).await;
    let pod = json!({"containers": [{"name": "web", "image": "example.com/web"}]});
    let workload = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "asked", "namespace": "apps"},
        "spec": {"template": {"metadata": {"labels": {"app": "asked"}}, "spec": pod}}});
    let asked = |user: &Path, flags: &[&str]| {
        let args = [&["injection", "-"], flags].concat();
        operator::run(user, &args, &workload.to_string()).unwrap()
    };
    let said = asked(&users.admin, &["-o", "json"]);
    let answer = said.json().unwrap()[0].clone();
    assert_eq!(answer["revision"], "default", "{answer:#}");
    assert_eq!(answer["proxyVersion"], "1.31.1");
    let fields = answer["fields"].as_array().unwrap().iter();
    let paths: Vec<_> = fields
        .map(|field| field["path"].as_str().unwrap())
        .collect();
    let proxy = |path: &&str| path.ends_with("[istio-proxy]");
    assert!(paths.iter().any(proxy), "{paths:?}");
    assert!(
        !paths.iter().any(|path| path.contains("[web].image")),
        "{paths:?}"
    );
    let lines = asked(&users.admin, &[]).output;
    let head = "Deployment apps/asked: injected by revision default, Istio 1.31.1\n";
    assert!(lines.starts_with(head), "{lines}");
    let elsewhere = asked(&users.admin, &["-n", "default"]).output;
    assert!(
        elsewhere.contains("default/asked: no sidecar"),
        "{elsewhere}"
    );

    let said = asked(&users.reader, &[]);
    assert_eq!((said.code, said.output.as_str()), (1, ""), "{said:?}");
    assert!(
        said.errors.contains("needs the right to create pods"),
        "{said:?}"
    );
    let pods = plane
        .kubectl(["get", "pods", "-n", "apps", "-o", "name"])
        .unwrap();
    assert!(!pods.contains("asked"), "{pods}");
}

/// The API server sends this field of every container even when it is empty, and istiod's patches
/// rely on it.
fn with_empty_resources(pod: &Value) -> Value {
    let mut pod = pod.clone();
    for container in pod["spec"]["containers"]
        .as_array_mut()
        .into_iter()
        .flatten()
    {
        if container["resources"].is_null() {
            container["resources"] = json!({});
        }
    }
    pod
}

/// Name, image and arguments of every container; the API server adds its defaults to all else.
fn containers(pod: &Value) -> Vec<(Value, Value, Value)> {
    let lists = ["initContainers", "containers"].map(|list| pod["spec"][list].as_array());
    let containers = lists.into_iter().flatten().flatten();
    let field = |container: &Value, name: &str| container[name].clone();
    containers
        .map(|one| (field(one, "name"), field(one, "image"), field(one, "args")))
        .collect()
}

async fn webhooks_are_patched(plane: &ControlPlane) {
    wait_until("istiod to patch its webhooks", SOON, || async {
        let kinds = "mutatingwebhookconfigurations,validatingwebhookconfigurations";
        let text = plane.kubectl(["get", kinds, "-o", "json"])?;
        let all: Value = serde_json::from_str(&text).unwrap_or_default();
        let configurations = all["items"].as_array().into_iter().flatten();
        let webhooks =
            configurations.flat_map(|item| item["webhooks"].as_array().into_iter().flatten());
        let is_patched = |webhook: &&Value| {
            webhook["failurePolicy"] == "Fail" && webhook["clientConfig"]["caBundle"].is_string()
        };
        let open: Vec<_> = webhooks.filter(|webhook| !is_patched(webhook)).collect();
        if open.is_empty() {
            Ok(())
        } else {
            Err(Error::Unexpected(format!("{open:?}")))
        }
    })
    .await
    .unwrap();
}

/// Not we, but the autoscaler made istiod run twice.
async fn autoscaler_wrote_replicas(plane: &ControlPlane) {
    wait_until("the autoscaler to scale istiod", SOON, || async {
        let epoch = Timestamp::UNIX_EPOCH;
        let mut events = plane.audit().by(":horizontal-pod-autoscaler", epoch)?;
        events.retain(|event| event.object_ref.subresource == "scale" && event.is_write());
        let replicas: Vec<_> = events
            .iter()
            .map(|event| event.request_object["spec"]["replicas"].clone())
            .collect();
        if replicas.contains(&json!(2)) {
            Ok(())
        } else {
            Err(Error::Unexpected(format!("it wrote {replicas:?}")))
        }
    })
    .await
    .unwrap();
}
