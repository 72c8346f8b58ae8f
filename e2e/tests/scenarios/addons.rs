//! Addons come from the same CR as the mesh: admitted where only restricted pods are, repaired, pruned, and gone with the CR
//! but for their data and what was made up for them.

use std::collections::BTreeMap;

use e2e::{
    actions::{
        cr::Cr,
        damage::{Damage, damage},
    },
    control_plane::ControlPlane,
    error::Error,
    observe::inventory::{Inventory, Item},
    operator::{self, Operator},
    wait::wait_until,
    yaml,
};
use istio_operator::charts::Charts;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use crate::{SOON, bystander::object_writes, healthy, manifest, running};

/// Where the addons are: a namespace that admits restricted pods only, and a volume for what is kept.
const PLACE: &str = r"
apiVersion: v1
kind: Namespace
metadata:
  name: tools
  labels: {pod-security.kubernetes.io/enforce: restricted}
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: metrics}
spec:
  capacity: {storage: 2Gi}
  accessModes: [ReadWriteOnce]
  hostPath: {path: /metrics}
";

/// What stays when everything is deleted.
const KEPT: [&str; 3] = [
    "PersistentVolumeClaim tools/prometheus",
    "Secret tools/grafana",
    "Secret tools/kiali-signing-key",
];

fn spec() -> Value {
    let mut addons = json!({
        "prometheus": {"storage": {"size": "1Gi"}},
        "grafana": {},
        "jaeger": {"sampling": 100},
        "kiali": {"k8s": {"service": {"type": "NodePort"}}},
        "loki": {},
        "zipkin": {"enabled": false},
    });
    for addon in addons.as_object_mut().unwrap().values_mut() {
        addon["namespace"] = "tools".into();
    }
    json!({"profile": "minimal", "addonComponents": addons})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addons_come_stay_and_go_with_the_mesh() {
    let (plane, mut operator) = running().await;
    plane.apply(PLACE).unwrap();
    let start = Timestamp::now();
    let cr = healthy(&plane, &manifest("mesh", &spec()).to_string()).await;
    let status = are_healthy(&cr, &["Prometheus", "Grafana", "Jaeger", "Kiali", "Loki"]).await;
    let kiali = &status["componentStatus"]["Kiali"];
    assert!(
        kiali["image"]
            .as_str()
            .unwrap()
            .starts_with("quay.io/kiali/kiali:v2."),
        "{kiali}"
    );
    assert_eq!(kiali["serviceType"], "NodePort");
    assert!(
        kiali["nodePorts"][0]["nodePort"].as_i64() >= Some(30000),
        "{kiali}"
    );
    assert_eq!(
        status["componentStatus"]["Grafana"]["serviceType"],
        "ClusterIP"
    );
    let mesh = mesh_config(&plane);
    assert!(mesh.contains("tracing:\n  - jaeger"), "{mesh}");
    assert!(mesh.contains("metrics:\n  - prometheus"), "{mesh}");

    writes_nothing(
        &plane,
        &operator,
        &cr,
        json!({"spec": {"deletionPolicy": "Delete"}}),
    )
    .await;

    let inventory = plane.inventory().await.unwrap();
    each_comes_back(&plane, &inventory).await;

    // A restarted operator makes nothing up again.
    let secrets = secrets(&plane);
    assert_eq!(secrets.len(), 2, "{:?}", secrets.keys());
    operator.process().restart().unwrap();
    operator.wait_until_ready().await.unwrap();
    writes_nothing(
        &plane,
        &operator,
        &cr,
        json!({"spec": {"deletionPolicy": null}}),
    )
    .await;
    let zipkin = json!({"jaeger": {"enabled": false}, "grafana": {"enabled": false}, "zipkin": {"enabled": true}});
    cr.patch(&json!({"spec": {"addonComponents": zipkin}}))
        .await
        .unwrap();
    cr.wait_for("HEALTHY", SOON).await.unwrap();
    is_pruned(&inventory, &["grafana", "jaeger"]).await;
    are_healthy(&cr, &["Prometheus", "Zipkin", "Kiali", "Loki"]).await;
    let mesh = mesh_config(&plane);
    assert!(
        mesh.contains("tracing:\n  - zipkin") && !mesh.contains("jaeger"),
        "{mesh}"
    );
    cr.patch(&json!({"spec": {"addonComponents": {"grafana": {"enabled": true}}}}))
        .await
        .unwrap();
    are_healthy(&cr, &["Grafana"]).await;
    assert_eq!(self::secrets(&plane), secrets);

    cr.delete(SOON).await.unwrap();
    let left = inventory.owned().await.unwrap();
    let left: Vec<_> = left
        .iter()
        .filter(|item| is_in_tools(item))
        .map(Item::name)
        .collect();
    assert_eq!(left, KEPT);
    assert_eq!(self::secrets(&plane), secrets);
    nobody_read_secrets(&plane, operator.user(), start);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_addon_that_cannot_come_up_does_not_hold_up_the_mesh() {
    let (plane, _operator) = running().await;
    // Its claim waits for a volume that nobody has.
    let addons = json!({"loki": {"storage": {"size": "1Ti"}}, "zipkin": {}});
    let spec = json!({"profile": "minimal", "addonComponents": addons});
    let cr = healthy(&plane, &manifest("mesh", &spec).to_string()).await;
    let status = are_healthy(&cr, &["Zipkin", "Pilot"]).await;
    let of = |component: &str| &status["componentStatus"][component];
    assert_eq!(of("Loki")["status"], "RECONCILING");
    assert_eq!(of("AddonComponents")["status"], "RECONCILING");
    // What is switched off goes meanwhile.
    cr.patch(&json!({"spec": {"addonComponents": {"zipkin": {"enabled": false}}}}))
        .await
        .unwrap();
    let inventory = plane.inventory().await.unwrap();
    is_pruned(&inventory, &["zipkin"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addons_of_two_meshes_have_one_owner() {
    let (plane, _operator) = running().await;
    let first = json!({"profile": "empty", "addonComponents": {"zipkin": {}}});
    let first = healthy(&plane, &manifest("first", &first).to_string()).await;
    are_healthy(&first, &["Zipkin"]).await;
    let spec = json!({"profile": "empty", "addonComponents": {"zipkin": {"sampling": 1}}});
    let second = Cr::apply(&plane, &manifest("second", &spec).to_string())
        .await
        .unwrap();
    second.wait_for("ERROR", SOON).await.unwrap();
    second
        .wait_for_message("belongs to IstioOperator istio-system/first", SOON)
        .await
        .unwrap();
    first.delete(SOON).await.unwrap();
    second.wait_for("HEALTHY", SOON).await.unwrap();
}

/// Every minor's objects are accepted, and so are the pods that its Deployments make, where only restricted ones are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addons_of_every_minor_are_admitted() {
    let plane = ControlPlane::reuse_or_start().await.unwrap();
    plane.apply(PLACE).unwrap();
    let open = ["run", "open", "-n=tools", "--image=x", "--dry-run=server"];
    assert!(
        plane.kubectl(open).is_err(),
        "the namespace admits everything"
    );
    let zipkin = json!({"zipkin": {"namespace": "tools"}});
    let zipkin = json!({"profile": "empty", "addonComponents": zipkin});
    let mut all = spec();
    all["profile"] = "empty".into();
    let mut pods = 0;
    for release in Charts::embedded().unwrap().catalogue().releases() {
        for spec in [&all, &zipkin] {
            let mut spec = spec.clone();
            spec["version"] = release.version.minor_text().into();
            if release.version.minor >= 28 {
                spec["values"] = json!({"global": {"networkPolicy": {"enabled": true}}});
            }
            let objects = operator::render(&manifest("mesh", &spec).to_string()).unwrap();
            let (accounts, others): (Vec<_>, Vec<_>) = objects
                .into_iter()
                .partition(|object| object["kind"] == "ServiceAccount");
            plane.apply(&yaml::stream(&accounts)).unwrap();
            let made: Vec<_> = others.iter().filter_map(pod).collect();
            pods += made.len();
            let asked = yaml::stream(&[others, made].concat());
            let dry_run = ["apply", "--server-side", "--dry-run=server", "-f", "-"];
            let answer = plane.kubectl_with_input(dry_run, &asked);
            answer.unwrap_or_else(|error| panic!("{}: {error}", release.version));
        }
    }
    assert_eq!(pods, 6 * 8);
}

/// A pod as the Deployment would make it.
fn pod(object: &Value) -> Option<Value> {
    let template = object.pointer("/spec/template")?;
    let mut metadata = template["metadata"].clone();
    metadata["name"] = format!("{}-0", object["metadata"]["name"].as_str()?).into();
    metadata["namespace"] = object["metadata"]["namespace"].clone();
    Some(json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}))
}

fn is_in_tools(item: &Item) -> bool {
    item.object.metadata.namespace.as_deref() == Some("tools")
}

/// Everything of the addons but what is kept is edited and deleted, each in turn, and comes back as it was.
async fn each_comes_back(plane: &ControlPlane, inventory: &Inventory) {
    let client = plane.client().await.unwrap();
    let repaired = inventory.owned().await.unwrap();
    let is_repaired = |item: &&Item| is_in_tools(item) && !KEPT.contains(&item.name().as_str());
    let mut repairs = 0;
    for item in repaired.iter().filter(is_repaired) {
        for kind in [Damage::Change, Damage::Delete] {
            let repair = damage(&client, item, kind, SOON).await.unwrap();
            repairs += usize::from(repair.is_some());
        }
    }
    println!("{repairs} repairs of addons");
    assert!(repairs > 40, "{repairs}");
}

/// A change without a meaning, which takes a whole pass, leads to no write.
async fn writes_nothing(plane: &ControlPlane, operator: &Operator, cr: &Cr, change: Value) {
    let since = Timestamp::now();
    cr.patch(&change).await.unwrap();
    cr.wait_for("HEALTHY", SOON).await.unwrap();
    let writes = object_writes(plane, operator, since);
    assert!(writes.is_empty(), "{writes:?}");
}

/// Waits until these entries of `componentStatus` are healthy; gives the status then.
async fn are_healthy(cr: &Cr, components: &[&str]) -> Value {
    wait_until("the addons to be healthy", SOON, || async {
        let status = cr.get().await?.data["status"].clone();
        let is_healthy = |name: &&&str| status["componentStatus"][**name]["status"] == "HEALTHY";
        match components.iter().find(|name| !is_healthy(name)) {
            None => Ok(status),
            Some(name) => Err(Error::Unexpected(format!(
                "{name}: {}",
                status["componentStatus"][*name]
            ))),
        }
    })
    .await
    .unwrap()
}

fn mesh_config(plane: &ControlPlane) -> String {
    let path = "-o=jsonpath={.data.mesh}";
    plane
        .kubectl(["get", "configmap", "istio", "-n=istio-system", path])
        .unwrap()
}

/// The content of the Secrets of addons.
fn secrets(plane: &ControlPlane) -> BTreeMap<String, Value> {
    let list = plane
        .kubectl(["get", "secrets", "-n=tools", "-o=json"])
        .unwrap();
    let list: Value = serde_json::from_str(&list).unwrap();
    let entry = |secret: &Value| {
        let name = secret["metadata"]["name"].as_str().unwrap().to_owned();
        (name, secret["data"].clone())
    };
    list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(entry)
        .collect()
}

/// Waits until nothing of these addons is left but what is kept.
async fn is_pruned(inventory: &Inventory, addons: &[&str]) {
    wait_until("the addons to be pruned", SOON, || async {
        let left = inventory.owned().await?;
        let is_left = |item: &&Item| {
            let label = &item
                .object
                .metadata
                .labels
                .as_ref()
                .and_then(|labels| labels.get("app.kubernetes.io/name"));
            label.is_some_and(|name| addons.contains(&name.as_str()))
                && !KEPT.contains(&item.name().as_str())
        };
        match left.iter().find(is_left) {
            None => Ok(()),
            Some(item) => Err(Error::Unexpected(item.name())),
        }
    })
    .await
    .unwrap();
}

/// The operator creates Secrets, and does nothing else with them.
fn nobody_read_secrets(plane: &ControlPlane, user: &str, since: Timestamp) {
    let requests = plane.audit().by(user, since).unwrap();
    let about: Vec<_> = requests
        .iter()
        .filter(|event| event.is_about("", "secrets"))
        .collect();
    assert!(!about.is_empty());
    let others: Vec<_> = about
        .iter()
        .filter(|event| event.verb != "create")
        .collect();
    assert!(others.is_empty(), "{others:?}");
}
