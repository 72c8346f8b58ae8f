//! Each minor in turn is installed in full, equals what `render` prints, is repaired, comes to rest, and is removed.

use e2e::{
    actions::{
        cr::Cr,
        damage::{Damage, damage},
    },
    control_plane::ControlPlane,
    observe::{
        inventory::{Item, MANAGER, settled},
        managed_fields,
    },
    operator::{self, Operator},
    yaml,
};
use futures::{StreamExt, stream};
use istio_operator::{catalogue::Release, charts::Charts, dataplane::PROXY_VERSION};
use k8s_openapi::jiff::Timestamp;
use kube::{
    Client,
    api::{DynamicObject, Patch, PatchParams, ResourceExt},
};
use serde_json::{Value, json};

use crate::{
    SOON, bystander::object_writes, commands::nothing_to_change, deletion::only_crds_are_left,
    running,
};

/// What is installed.
const EVERYTHING: &str = include_str!("everything.yaml");

/// Labels that only applying adds.
const OWNER_LABELS: [&str; 3] = [
    "install.operator.istio.io/",
    "operator.istio.io/",
    "istio.io/rev",
];

/// How many objects are compared at once.
const PARALLEL: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_minor_is_installed_as_printed_and_removed() {
    let (plane, operator) = running().await;
    let client = plane.client().await.unwrap();
    let inventory = plane.inventory().await.unwrap();
    let charts = Charts::embedded().unwrap();
    for release in charts.catalogue().releases() {
        let minor = release.version.minor_text();
        let start = Timestamp::now();
        let text = everything(release);
        let cr = Cr::apply(&plane, &text).await.unwrap();
        let healthy = cr.wait_for("HEALTHY", SOON).await;
        let healthy = healthy.unwrap_or_else(|error| panic!("{minor}: {error}"));
        let status = &healthy.data["status"];
        assert_eq!(status["version"], release.version.to_string());
        assert_eq!(status["gateways"].as_array().map(Vec::len), Some(3));

        let items = inventory.owned().await.unwrap();
        is_as_printed(&client, &minor, &items, &operator::render(&text).unwrap()).await;
        comes_back(
            &client,
            &items,
            "Deployment istio-system/istiod",
            Damage::Change,
        )
        .await;
        comes_back(
            &client,
            &items,
            "Service edge/public-gateway",
            Damage::Delete,
        )
        .await;
        cr.wait_for("HEALTHY", SOON).await.unwrap();
        a_second_pass_writes_nothing(&plane, &operator, &cr).await;
        nothing_to_change(&plane);
        cr.delete(SOON).await.unwrap();
        only_crds_are_left(&inventory).await;
        let took = Timestamp::now().duration_since(start).as_secs_f64();
        println!("{minor}: {} objects, {took:.1} s", items.len());
    }
}

/// The CR for one minor.
pub fn everything(release: &Release) -> String {
    let mut cr = yaml::documents("everything.yaml", EVERYTHING)
        .unwrap()
        .remove(0);
    cr["spec"]["version"] = release.version.minor_text().into();
    if release.version.minor >= 28 {
        cr["spec"]["values"]["global"] = json!({"networkPolicy": {"enabled": true}});
    }
    cr.to_string()
}

/// The cluster holds the printed objects and no others, and each of them with the printed fields and no others.
pub async fn is_as_printed(client: &Client, minor: &str, items: &[Item], printed: &[Value]) {
    let mut expected: Vec<_> = printed.iter().map(name).collect();
    expected.sort();
    let found: Vec<_> = items.iter().map(Item::name).collect();
    assert_eq!(found, expected, "{minor}");
    let pairs = items.iter().filter_map(|item| {
        let printed = printed.iter().find(|object| name(object) == item.name())?;
        Some(difference(client, item, printed))
    });
    let differences: Vec<_> = stream::iter(pairs)
        .buffer_unordered(PARALLEL)
        .filter_map(std::future::ready)
        .collect()
        .await;
    assert!(differences.is_empty(), "{minor}: {differences:#?}");
}

/// How an object differs from the printed one.
async fn difference(client: &Client, item: &Item, printed: &Value) -> Option<String> {
    let name = item.name();
    let answer = match applied(client, item, printed).await {
        Ok(answer) => answer,
        Err(error) => return Some(format!("{name}: {error}")),
    };
    let differing = managed_fields::differing(&settled(&item.object), &settled(&answer), "");
    let is_same =
        managed_fields::owned(&item.object, MANAGER) == managed_fields::owned(&answer, MANAGER);
    (!differing.is_empty() || !is_same).then(|| format!("{name}: {differing:?}"))
}

/// The object as a dry run of applying the printed one as the operator leaves it. That removes fields that the operator
/// applied and that are not printed.
async fn applied(client: &Client, item: &Item, printed: &Value) -> kube::Result<DynamicObject> {
    let mut body = printed.clone();
    tell_proxy_version(&mut body, item);
    for (label, value) in item.object.labels() {
        if OWNER_LABELS.iter().any(|owner| label.starts_with(owner)) {
            body["metadata"]["labels"][label] = value.as_str().into();
        }
    }
    let params = PatchParams {
        dry_run: true,
        ..PatchParams::apply(MANAGER).validation_strict().force()
    };
    let api = item.api(client.clone());
    let patch = Patch::Apply(body);
    let answer = api.patch(&item.object.name_any(), &params, &patch).await?;
    // Elements of a list have no kind.
    let types = None;
    Ok(DynamicObject { types, ..answer })
}

/// What injected pods tell of their proxies is written for a cluster only.
fn tell_proxy_version(body: &mut Value, item: &Item) {
    let version = item.object.labels().get("operator.istio.io/version");
    let config = body.pointer_mut("/data/config");
    if item.resource.kind != "ConfigMap" || !item.object.name_any().contains("injector") {
        return;
    }
    let (config, version) = (config.unwrap(), version.unwrap());
    let none = "injectedAnnotations: null";
    let told = format!("injectedAnnotations:\n  {PROXY_VERSION}: {version}");
    assert!(config.as_str().unwrap().contains(none));
    *config = config.as_str().unwrap().replace(none, &told).into();
}

async fn comes_back(client: &Client, items: &[Item], name: &str, kind: Damage) {
    let item = items.iter().find(|item| item.name() == name).unwrap();
    let repair = damage(client, item, kind, SOON).await.unwrap();
    assert!(repair.is_some(), "{name}");
}

/// A new generation with the same meaning takes a whole pass, which finds nothing to do.
async fn a_second_pass_writes_nothing(plane: &ControlPlane, operator: &Operator, cr: &Cr) {
    let since = Timestamp::now();
    let same = json!({"spec": {"deletionPolicy": "Delete"}});
    cr.patch(&same).await.unwrap();
    cr.wait_for("HEALTHY", SOON).await.unwrap();
    let writes = object_writes(plane, operator, since);
    assert!(writes.is_empty(), "{writes:?}");
}

/// Kind, namespace and name of a printed object, as [`Item::name`] gives them.
fn name(object: &Value) -> String {
    let text = |pointer| object.pointer(pointer).and_then(Value::as_str);
    let (kind, name) = (text("/kind"), text("/metadata/name"));
    let (kind, name) = (kind.unwrap_or_default(), name.unwrap_or_default());
    match text("/metadata/namespace") {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    }
}
