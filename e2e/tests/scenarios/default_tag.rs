//! One revision has the default tag: every pod is injected once, every Istio object validated, and `istioctl` moves the
//! tag and the operator does not move it back.

use std::{collections::BTreeMap, time::Duration};

use e2e::{
    actions::cr::Cr,
    control_plane::ControlPlane,
    error::Error,
    host::workspace::root,
    istio::{istioctl, istiod::Istiod},
    observe::{
        history::History,
        injection_webhooks::{Probe, moments},
        inventory::{OWNER, Snapshot, differences, snapshot},
    },
    operator::Operator,
    wait::wait_until,
    yaml,
};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::api::ApiResource;
use serde_json::{Value, json};

use crate::{SOON, bystander::quiet, healthy, manifest, running, sample};

/// For how long nothing may be written once operator and istiod are done.
const QUIET: Duration = Duration::from_secs(10);

const TAG: &str = "MutatingWebhookConfiguration istio-revision-tag-default";
const VALIDATOR: &str = "ValidatingWebhookConfiguration istiod-default-validator";
const SERVICE: &str = "Service istio-system/istiod-revision-tag-default";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fresh_installation_injects_once_and_validates_everything() {
    let (plane, _operator) = running().await;
    // A CR that cannot be rendered does not hold up the tag.
    let spec = json!({"profile": "minimal", "revision": "paused"});
    let mut paused = manifest("paused", &spec);
    paused["metadata"]["annotations"] = json!({"install.istio.io/ignoreReconcile": "true"});
    Cr::apply(&plane, &paused.to_string()).await.unwrap();
    let cr = healthy(&plane, &sample("minimal.yaml")).await;
    let _istiod = Istiod::start(&plane, "istio-system", "istiod")
        .await
        .unwrap();
    let configurations = injectors(&plane);
    for probe in Probe::all(&["default", "other"]) {
        let called = probe.called(&configurations);
        assert!(called.len() <= 1, "{probe:?}: {called:?}");
    }
    assert_eq!(
        Probe::enabled().called(&configurations),
        ["istio-revision-tag-default/namespace.sidecar-injector.istio.io"]
    );

    patched(&plane, "istiod-default-validator").await;
    plane.create_injected_namespace("apps").unwrap();
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "namespace": "apps"},
        "spec": {"containers": [{"name": "web", "image": "example.com/web"}]},
    });
    let is_injected = |pod: &Value| proxies(pod) > 0;
    let pod = plane.admitted(&pod, is_injected).await.unwrap();
    assert_eq!(proxies(&pod), 1, "{pod:#}");

    // Only istiod knows that this is wrong; the schema allows it.
    let wrong = json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "wrong", "namespace": "apps"},
        "spec": {"hosts": ["*"], "http": [{"route": [{"destination": {"host": "web"}}]}]},
    });
    let trial = ["create", "--dry-run=server", "-f=-"];
    wait_until("the validator to refuse it", SOON, || async {
        let answer = plane.kubectl_with_input(trial, &wrong.to_string());
        let answer = answer.unwrap_or_else(|refused| refused.to_string());
        let is_refused = answer.contains("validation.istio.io");
        is_refused.then_some(()).ok_or(answer)
    })
    .await
    .unwrap();

    cr.delete(SOON).await.unwrap();
    assert!(tag_objects(&plane).await.is_empty());
}

/// After one apply, the operator owns what `istioctl install` installed, the default tag too. In between no object was
/// missing, and no pod met two webhooks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tag_of_istioctl_install_is_taken_over_in_place() {
    let plane = ControlPlane::reuse_or_start().await.unwrap();
    let file = root().join("samples/default.yaml");
    let file = file.display().to_string();
    istioctl::run(&plane, ["install", "-y", "-f", &file]).unwrap();
    let _istiod = Istiod::start(&plane, "istio-system", "istiod")
        .await
        .unwrap();
    answers(&plane).await;
    patched(&plane, "istiod-default-validator").await;
    // While istiod runs, the tag is created with its CA, so istiod need not write it.
    delete_tag(&plane);
    istioctl::run(&plane, ["install", "-y", "-f", &file]).unwrap();
    let theirs = tag_objects(&plane).await;
    assert_eq!(theirs.len(), 3, "{theirs:#?}");
    let start = injectors(&plane);
    let history = record(&plane).await;

    let operator = Operator::start(&plane).await.unwrap();
    healthy(&plane, &sample("default.yaml")).await;
    quiet(&plane, &operator, QUIET).await;
    one_injector_at_every_moment(&history, &start);
    no_pod_is_refused(&history, &start);
    let ours = tag_objects(&plane).await;
    assert_eq!(
        ours.keys().collect::<Vec<_>>(),
        theirs.keys().collect::<Vec<_>>()
    );
    for (name, uid) in uids(&plane, &theirs) {
        assert_eq!(uids(&plane, &ours)[&name], uid, "{name} was made anew");
    }
    let mut expected = theirs;
    for object in expected.values_mut() {
        let labels = object["metadata"]["labels"].as_object_mut().unwrap();
        // The label that protects it from istioctl's own prune.
        labels.remove("install.operator.istio.io/owning-resource-not-pruned");
        // Releases of Istio write their version into the charts, which in the source tree say 1.0.0.
        for label in ["app.kubernetes.io/version", "helm.sh/chart"] {
            let released = labels[label].as_str().unwrap().replace("1.0.0", "1.31.1");
            labels[label] = released.into();
        }
    }
    // The same pods are selected by another label, as upstream's charts do for `values.revisionTags`.
    let selector = &mut expected.get_mut(SERVICE).unwrap()["spec"]["selector"];
    assert_eq!(
        *selector,
        json!({"app": "istiod", "istio.io/rev": "default"})
    );
    *selector = json!({"app": "istiod", "istio": "pilot"});
    let differing = differences(&expected, &ours);
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

/// A mesh whose manifests were applied by hand has no default tag. A tag works at once when it is created, the first time
/// and after it was deleted, before istiod has seen it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_mesh_gets_a_tag_that_answers_at_once() {
    let plane = ControlPlane::reuse_or_start().await.unwrap();
    let manifests = istioctl::generate(&sample("minimal.yaml"))
        .unwrap()
        .unwrap();
    plane
        .kubectl(["create", "namespace", "istio-system"])
        .unwrap();
    plane.apply(&yaml::stream(&manifests)).unwrap();
    let _istiod = Istiod::start(&plane, "istio-system", "istiod")
        .await
        .unwrap();
    answers(&plane).await;
    let start = injectors(&plane);
    let history = record(&plane).await;

    let operator = Operator::start(&plane).await.unwrap();
    healthy(&plane, &sample("minimal.yaml")).await;
    has_tag(&plane, "minimal", "default").await;
    delete_tag(&plane);
    has_tag(&plane, "minimal", "default").await;
    quiet(&plane, &operator, QUIET).await;
    no_pod_is_refused(&history, &start);
    let called = Probe::enabled().called(&injectors(&plane));
    assert_eq!(called.len(), 1, "{called:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn istioctl_moves_the_tag_to_the_cr_of_another_revision() {
    let (plane, operator) = running().await;
    let stable = healthy(&plane, &sample("minimal.yaml")).await;
    let spec = json!({"profile": "minimal", "revision": "canary"});
    let canary = healthy(&plane, &manifest("canary", &spec).to_string()).await;
    has_tag(&plane, "minimal", "default").await;
    let made = uids(&plane, &tag_objects(&plane).await);
    let start = injectors(&plane);
    let history = record(&plane).await;

    let set = [
        "tag",
        "set",
        "default",
        "--revision",
        "canary",
        "--overwrite",
        "-y",
    ];
    istioctl::run(&plane, set).unwrap();
    has_tag(&plane, "canary", "canary").await;
    quiet(&plane, &operator, QUIET).await;
    has_tag(&plane, "canary", "canary").await;
    for (cr, has_tag) in [(&stable, false), (&canary, true)] {
        let cr = cr.wait_for("HEALTHY", SOON).await.unwrap();
        assert_eq!(cr.data["status"]["defaultTag"], has_tag);
    }

    // What the CR says wins over what istioctl set, as long as the CR says it.
    let named = json!({"spec": {"values": {"revisionTags": ["default"]}}});
    stable.patch(&named).await.unwrap();
    has_tag(&plane, "minimal", "default").await;
    stable
        .patch(&json!({"spec": {"values": null}}))
        .await
        .unwrap();
    stable.wait_for("HEALTHY", SOON).await.unwrap();
    istioctl::run(&plane, set).unwrap();
    has_tag(&plane, "canary", "canary").await;
    quiet(&plane, &operator, QUIET).await;

    canary.delete(SOON).await.unwrap();
    has_tag(&plane, "minimal", "default").await;
    quiet(&plane, &operator, QUIET).await;
    stable.wait_for("HEALTHY", SOON).await.unwrap();
    assert_eq!(uids(&plane, &tag_objects(&plane).await), made);
    one_injector_at_every_moment(&history, &start);
    stable.delete(SOON).await.unwrap();
    assert!(tag_objects(&plane).await.is_empty());
}

/// How many proxies a pod has.
fn proxies(pod: &Value) -> usize {
    let containers = ["initContainers", "containers"].map(|list| pod["spec"][list].as_array());
    let containers = containers.into_iter().flatten().flatten();
    let proxies = containers.filter(|container| container["name"] == "istio-proxy");
    proxies.count()
}

/// For every pod there is at most one webhook at every recorded moment, and for pods of a namespace that asks for
/// injection by the usual label exactly one.
fn one_injector_at_every_moment(history: &History, start: &[Value]) {
    let moments = moments(start, &history.entries().unwrap());
    println!("{} states of the injectors", moments.len());
    for (number, configurations) in moments.iter().enumerate() {
        for probe in Probe::all(&["default", "canary"]) {
            let called = probe.called(configurations.values());
            assert!(called.len() <= 1, "state {number}: {probe:?}: {called:?}");
        }
        let called = Probe::enabled().called(configurations.values());
        assert_eq!(called.len(), 1, "state {number}: {configurations:#?}");
    }
}

/// At every recorded moment, each webhook that is called for pods of such a namespace has a CA.
fn no_pod_is_refused(history: &History, start: &[Value]) {
    for (number, configurations) in moments(start, &history.entries().unwrap())
        .iter()
        .enumerate()
    {
        let refusing = refusing(configurations.values());
        assert!(refusing.is_empty(), "state {number}: {refusing:?}");
    }
}

/// The webhooks without a CA that are called for pods of a namespace that asks for injection by the usual label.
fn refusing<'a>(configurations: impl Iterator<Item = &'a Value>) -> Vec<String> {
    let mut configurations: Vec<_> = configurations.cloned().collect();
    for configuration in &mut configurations {
        let webhooks = configuration["webhooks"].as_array_mut().unwrap();
        webhooks.retain(|webhook| webhook["clientConfig"]["caBundle"].is_null());
    }
    Probe::enabled().called(&configurations)
}

/// Waits until istiod has written its CA into the webhooks that are called for such pods.
async fn answers(plane: &ControlPlane) {
    wait_until("istiod to patch its injector", SOON, || async {
        let refusing = refusing(injectors(plane).iter());
        if refusing.is_empty() {
            Ok(())
        } else {
            Err(format!("{refusing:?}"))
        }
    })
    .await
    .unwrap();
}

fn delete_tag(plane: &ControlPlane) {
    let (kind, name) = TAG.split_once(' ').unwrap();
    plane.kubectl(["delete", kind, name]).unwrap();
}

async fn record(plane: &ControlPlane) -> History {
    let kind = ApiResource::erase::<MutatingWebhookConfiguration>(&());
    let client = plane.client().await.unwrap();
    History::record(&client, &[kind]).await.unwrap()
}

fn injectors(plane: &ControlPlane) -> Vec<Value> {
    let list = get(plane, &["mutatingwebhookconfigurations"]);
    list["items"].as_array().unwrap().clone()
}

fn get(plane: &ControlPlane, what: &[&str]) -> Value {
    let text = plane.kubectl([&["get", "-o=json"], what].concat()).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The objects of the default tag that the operator or istioctl applied.
async fn tag_objects(plane: &ControlPlane) -> Snapshot {
    let inventory = plane.inventory().await.unwrap();
    let mut objects = snapshot(&inventory.touched().await.unwrap());
    objects.retain(|name, _| [TAG, VALIDATOR, SERVICE].contains(&&**name));
    objects
}

fn uids(plane: &ControlPlane, objects: &Snapshot) -> BTreeMap<String, String> {
    let uid = |name: &String| {
        let (kind, name) = name.split_once(' ').unwrap();
        let name = name.rsplit('/').next().unwrap();
        let object = get(plane, &[kind, name, "-n", "istio-system"]);
        object["metadata"]["uid"].as_str().unwrap().to_owned()
    };
    objects
        .keys()
        .map(|name| (name.clone(), uid(name)))
        .collect()
}

/// Waits until all objects of the tag name this CR and this revision, and its webhooks the istiod of it.
async fn has_tag(plane: &ControlPlane, cr: &str, revision: &str) {
    let service = match revision {
        "default" => "istiod".to_owned(),
        revision => format!("istiod-{revision}"),
    };
    wait_until("the tag to move", SOON, || async {
        let objects = tag_objects(plane).await;
        let is_moved = |(name, object): (&String, &Value)| {
            let labels = &object["metadata"]["labels"];
            let called = &object["webhooks"][0]["clientConfig"]["service"]["name"];
            labels[OWNER] == cr
                && labels["istio.io/rev"] == revision
                && (name == SERVICE || *called == service)
        };
        if objects.len() == 3 && objects.iter().all(is_moved) {
            Ok(())
        } else {
            Err(Error::Unexpected(format!("{objects:#?}")))
        }
    })
    .await
    .unwrap();
}

/// Waits until istiod has written its CA into a validating webhook and set it to fail closed.
async fn patched(plane: &ControlPlane, name: &str) {
    wait_until("istiod to patch its validator", SOON, || async {
        let configuration = get(plane, &["validatingwebhookconfiguration", name]);
        let webhook = &configuration["webhooks"][0];
        if webhook["failurePolicy"] == "Fail" && webhook["clientConfig"]["caBundle"].is_string() {
            Ok(())
        } else {
            Err(webhook.to_string())
        }
    })
    .await
    .unwrap();
}
