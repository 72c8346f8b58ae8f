//! Issue 11 row 9: whoever installed Istio before, one IstioOperator takes it over in place. Every object stays the same one, with the same
//! content but for the labels that name its owner, and no pod is restarted.

use std::{collections::BTreeMap, fs, path::PathBuf, time::Instant};

use e2e::{
    actions::cr::Cr,
    control_plane::ControlPlane,
    istio::{charts, istioctl},
    observe::inventory::{Item, Snapshot, differences, settled},
    operator::{Operator, helm},
    yaml,
};
use serde_json::{Value, json};

use crate::{SOON, adopt, healthy, manifest, old_installations, pages::Reader, users::Users};

/// The release that the installers here are of.
pub const RELEASE: &str = "1.31.1";

/// What the operator has otherwise on purpose: templates tell the version of proxies, and the default tag selects istiod by its usual
/// label. The values are told as they are written. Names of other revisions begin with the same.
pub const OURS: [&str; 3] = [
    "ConfigMap istio-system/istio-sidecar-injector",
    "Service istio-system/istiod-revision-tag-default",
    "ConfigMap istio-system/values",
];

/// What comes with the default tag, which Helm does not install: from then on it serves the namespaces that the injector did.
pub const DEFAULT_TAG: [&str; 3] = [
    "MutatingWebhookConfiguration istio-revision-tag-default",
    "MutatingWebhookConfiguration istio-sidecar-injector",
    "ValidatingWebhookConfiguration istiod-default-validator",
];

/// Sail's operator and its kinds.
const SAIL: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: sail-operator}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: sail-operator, namespace: sail-operator}
spec:
  selector: {matchLabels: {app: sail-operator}}
  template: {metadata: {labels: {app: sail-operator}}, spec: {containers: [{name: operator, image: sail}]}}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: istios.sailoperator.io}
spec:
  group: sailoperator.io
  scope: Cluster
  names: {kind: Istio, plural: istios, singular: istio}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: istiorevisions.sailoperator.io}
spec:
  group: sailoperator.io
  scope: Cluster
  names: {kind: IstioRevision, plural: istiorevisions, singular: istiorevision}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]
";

/// As much as is printed of a difference.
const MAX_LINE: usize = 400;

/// Labels of an object that name Helm's release, and the revision of who installed it.
const RELEASE_LABELS: [&str; 3] = ["app.kubernetes.io/instance", "istio.io/rev", "release"];

/// Kinds whose objects change by themselves.
const RESTLESS: [&str; 8] = [
    "APIService",
    "Endpoints",
    "EndpointSlice",
    "FlowSchema",
    "IPAddress",
    "Lease",
    "Node",
    "PriorityLevelConfiguration",
];

/// A cluster in which one installer works after the other.
pub struct Site {
    pub plane: ControlPlane,
    pub users: Users,
    /// Istio's charts and profiles, as the release has them.
    manifests: PathBuf,
}

/// All objects of a cluster at one moment.
pub struct Moment(BTreeMap<String, Item>);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_installed_is_taken_over_in_place() {
    let plane = ControlPlane::reuse_or_start().await.unwrap();
    plane.create_namespace("edge").unwrap();
    let site = Site {
        users: Users::create(&plane).await,
        manifests: charts::of_release(RELEASE, plane.dir()).unwrap(),
        plane,
    };
    let begun = Instant::now();
    let told = |what: &str| println!("{what}: {:?}", begun.elapsed());
    let written = adopt::what_istioctl_installed_is_written_down(&site);
    let _operator = Operator::start(&site.plane).await.unwrap();
    let before = site.look().await;
    let cr = healthy(&site.plane, &written).await;
    before.is_left_alone(&site, &[]).await;
    told("demo with settings");
    cr.delete(SOON).await.unwrap();

    ambient_by_the_page(&site).await;
    told("ambient");
    default_beside_a_revision_with_tags(&site).await;
    told("default, and a revision with tags and a gateway");
    releases_of_helm(&site).await;
    told("Helm");
    resources_of_sail(&site).await;
    told("Sail");
    old_installations::of_the_former_operator(&site).await;
    told("the former operator");
    old_installations::of_old_releases(&site).await;
    told("old releases");
}

async fn ambient_by_the_page(site: &Site) {
    site.istioctl_install(&manifest("theirs", &json!({"profile": "ambient"})));
    let before = site.look().await;
    site.reader().follows("From istioctl");
    before.is_left_alone(site, &[]).await;
    site.remove("theirs").await;
}

async fn default_beside_a_revision_with_tags(site: &Site) {
    let stable = manifest("stable", &json!({"profile": "default"}));
    let gateway = json!({"name": "edge-canary", "namespace": "edge", "enabled": true});
    let spec = json!({
        "profile": "empty",
        "revision": "canary",
        "components": {"pilot": {"enabled": true}, "ingressGateways": [gateway]},
        "values": {"revisionTags": ["prod", "test"]},
    });
    let canary = manifest("canary", &spec);
    site.istioctl_install(&stable);
    site.istioctl_install(&canary);
    // What an earlier version installed and this one does not; istioctl leaves it.
    let leftover = "ConfigMap istio-system/of-1.30";
    site.plane
        .apply_as(
            "istio-operator",
            &owned_config_map("of-1.30", "stable").to_string(),
        )
        .unwrap();
    let before = site.look().await;
    let stable = healthy(&site.plane, &stable.to_string()).await;
    let canary = healthy(&site.plane, &canary.to_string()).await;
    before.is_left_alone(site, &[leftover]).await;
    canary.delete(SOON).await.unwrap();
    stable.delete(SOON).await.unwrap();
}

/// A `ConfigMap` with the labels that istioctl gives what it installs.
pub fn owned_config_map(name: &str, owner: &str) -> Value {
    let labels = json!({
        "install.operator.istio.io/owning-resource": owner,
        "install.operator.istio.io/owning-resource-namespace": "istio-system",
        "istio.io/rev": "default",
        "operator.istio.io/component": "Pilot",
        "operator.istio.io/managed": "Reconcile",
        "operator.istio.io/version": "1.30.3",
    });
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "istio-system", "labels": labels},
    })
}

/// Helm's releases are written down as an IstioOperator that changes nothing. A gateway of Istio's chart for gateways is none of an
/// IstioOperator, and stays with Helm.
async fn releases_of_helm(site: &Site) {
    for (release, chart, values) in [
        ("istio-base", "base", ""),
        (
            "istiod",
            "istio-control/istio-discovery",
            "pilot.traceSampling=7",
        ),
        ("istio-cni", "istio-cni", ""),
        ("istio-ingress", "gateway", "autoscaling.enabled=false"),
    ] {
        site.helm_install(release, chart, values);
    }
    let before = site.look().await;
    let reader = site.reader();
    let [takes_over, forgets] = <[String; 2]>::try_from(reader.blocks("From Helm")).unwrap();
    reader.runs(&takes_over);
    let written = reader.file("istio.yaml");
    adopt::everything_matches(&written);
    let document = yaml::documents("adopt", &written).unwrap().remove(0);
    let adopt = &document["metadata"]["annotations"]["install.istio.io/adopt"];
    assert_eq!(adopt, "true", "{written}");
    before.stays_but_for_the_tag(site, &[]).await;
    reader.runs(&forgets);
    let releases = helm::run(&site.plane, ["list", "--namespace=istio-system", "--short"]);
    assert_eq!(releases.unwrap(), "istio-ingress\n");
    site.remove("istio").await;
    let deployments = ["get", "deployments", "-n=istio-system", "-o=name"];
    let left = site.plane.kubectl(deployments).unwrap();
    assert_eq!(left, "deployment.apps/istio-ingress\n");
    let uninstall = ["uninstall", "istio-ingress", "--namespace=istio-system"];
    helm::run(&site.plane, uninstall).unwrap();
}

/// Sail installs by Helm, and its resources own what it installs.
async fn resources_of_sail(site: &Site) {
    for (release, chart) in [
        ("istio-base", "base"),
        ("istiod", "istio-control/istio-discovery"),
    ] {
        site.helm_install(release, chart, "pilot.traceSampling=7");
    }
    site.plane.apply(SAIL).unwrap();
    for plural in ["istios", "istiorevisions"] {
        site.plane.wait_until_served(plural).await.unwrap();
    }
    let owned = |kind: &str, owner: Value| {
        let metadata = json!({"name": "default", "ownerReferences": [owner],
            "finalizers": ["sailoperator.io/sail-operator"]});
        json!({"apiVersion": "sailoperator.io/v1", "kind": kind, "metadata": metadata})
    };
    let uid = |resource: &str| {
        let uid = ["get", resource, "default", "-o=jsonpath={.metadata.uid}"];
        site.plane.kubectl(uid).unwrap()
    };
    let reference = |kind: &str, uid: String| json!({"apiVersion": "sailoperator.io/v1", "kind": kind, "name": "default", "uid": uid});
    let mut istio = owned("Istio", json!({}));
    istio["metadata"]["ownerReferences"] = Value::Null;
    site.plane.apply(&istio.to_string()).unwrap();
    let revision = owned("IstioRevision", reference("Istio", uid("istios")));
    site.plane.apply(&revision.to_string()).unwrap();
    let owners = json!({"metadata": {"ownerReferences": [reference("IstioRevision", uid("istiorevisions"))]}});
    for object in ["deployment/istiod", "service/istiod", "configmap/istio"] {
        let patch = [
            "patch",
            object,
            "-n=istio-system",
            "--type=merge",
            "-p",
            &owners.to_string(),
        ];
        site.plane.kubectl(patch).unwrap();
    }
    let before = site.look().await;
    site.reader().follows("From Sail");
    before
        .stays_but_for_the_tag(site, &["Istio default", "IstioRevision default"])
        .await;
    site.remove("istio").await;
    let releases = [
        "delete",
        "secret",
        "-n=istio-system",
        "--selector=owner=helm",
    ];
    site.plane.kubectl(releases).unwrap();
    // CRDs stay where they are, and who comes next would find them managed by Helm.
    let forget = [
        "annotate",
        "crds",
        "--all",
        "meta.helm.sh/release-name-",
        "meta.helm.sh/release-namespace-",
    ];
    site.plane.kubectl(forget).unwrap();
}

impl Site {
    /// Installs what an IstioOperator says with the real istioctl.
    pub fn istioctl_install(&self, cr: &Value) {
        let file = self.plane.dir().join("theirs.yaml");
        fs::write(&file, cr.to_string()).unwrap();
        let manifests = format!("--manifests={}", self.manifests.display());
        let file = file.display().to_string();
        let install = ["install", "-y", &manifests, "-f", &file];
        istioctl::run(&self.plane, install).unwrap();
    }

    fn helm_install(&self, release: &str, chart: &str, values: &str) {
        let chart = self.manifests.join("charts").join(chart);
        let chart = chart.display().to_string();
        let images = "global.hub=registry.istio.io/release,global.tag=1.31.1";
        let install = ["install", release, &chart, "--namespace=istio-system"];
        // CRDs stay from one installation to the next.
        let flags = [
            "--take-ownership",
            "--force-conflicts",
            "--set",
            images,
            "--set",
            values,
        ];
        helm::run(&self.plane, install.iter().chain(&flags)).unwrap();
    }

    /// Somebody who follows the page of migrations.
    pub fn reader(&self) -> Reader<'_> {
        Reader::of(&self.plane, "migration.md")
    }

    /// Deletes an IstioOperator and what `operator install` brought, so that the next page begins without.
    pub async fn remove(&self, name: &str) {
        let client = self.plane.client().await.unwrap();
        Cr::of(client, "istio-system", name)
            .delete(SOON)
            .await
            .unwrap();
        let deployment = [
            "delete",
            "deployment,service",
            "istio-operator",
            "-n=istio-operator",
        ];
        self.plane.kubectl(deployment).unwrap();
    }

    /// Looks at all objects.
    pub async fn look(&self) -> Moment {
        let inventory = self.plane.inventory().await.unwrap();
        let items = inventory.everything().await.unwrap();
        let is_looked_at = |item: &Item| {
            let operators = ["istio-operator", "sail-operator"];
            let is_operator = operators.iter().any(|name| item.name().contains(name));
            !is_operator && !RESTLESS.contains(&item.resource.kind.as_str())
        };
        let items = items.into_iter().filter(is_looked_at);
        Moment(items.map(|item| (item.name(), item)).collect())
    }
}

impl Moment {
    /// The UIDs of all objects, those of pods and of the `ReplicaSet`s of each pod template among them.
    fn uids(&self) -> BTreeMap<&String, Option<&String>> {
        let items = self.0.iter();
        items
            .map(|(name, item)| (name, item.object.metadata.uid.as_ref()))
            .collect()
    }

    /// What the objects say, without the labels of their owner. Pods say how often they were restarted.
    fn contents(&self) -> Snapshot {
        let says_it_otherwise = |name: &String| {
            OURS.iter().any(|ours| name.starts_with(ours))
                || name.starts_with("CustomResourceDefinition ")
        };
        let others = self.0.iter().filter(|(name, _)| !says_it_otherwise(name));
        let contents = others.map(|(name, item)| {
            let mut content = settled(&item.object);
            if item.resource.kind == "Pod" {
                content = item.object.data["status"]["containerStatuses"].clone();
            }
            without_owner(&mut content);
            let labels = content.pointer_mut("/metadata/labels");
            let labels = labels.and_then(Value::as_object_mut);
            if let Some(labels) = labels {
                labels.retain(|key, _| !RELEASE_LABELS.contains(&key.as_str()));
            }
            (name.clone(), content)
        });
        contents.collect()
    }

    /// What is another object or says something else than it did at an earlier moment.
    pub fn changed_since(&self, before: &Self) -> Vec<String> {
        let mut changed = differences(&before.contents(), &self.contents());
        let (uids, uids_before) = (self.uids(), before.uids());
        let names = uids.keys().filter(|name| uids_before.contains_key(*name));
        let is_other = |name: &&&String| uids[**name] != uids_before[**name];
        let others = names.filter(is_other);
        changed.extend(others.map(|name| format!("{name} is another one")));
        for line in &mut changed {
            line.truncate(line.floor_char_boundary(MAX_LINE));
        }
        changed
    }

    /// The names of objects of an earlier moment that are gone or were made anew; pods come and go with an upgrade.
    pub fn lost_since(&self, before: &Self) -> Vec<String> {
        let (uids, uids_before) = (self.uids(), before.uids());
        let is_lost = |name: &String| uids.get(name) != uids_before.get(name);
        let is_of_pods =
            |name: &String| name.starts_with("Pod ") || name.starts_with("ReplicaSet ");
        let names = before
            .0
            .keys()
            .filter(|name| is_lost(name) && !is_of_pods(name));
        names.cloned().collect()
    }

    /// Compares it with what is there now, but for these left-overs, which are gone.
    pub async fn is_left_alone(&self, site: &Site, leftovers: &[&str]) {
        let mut changed = site.look().await.changed_since(self);
        for name in leftovers {
            let line = format!("{name} is missing");
            assert!(changed.contains(&line), "{line}: {changed:?}");
            changed.retain(|other| *other != line);
        }
        println!("{} objects, changed: {changed:?}", self.0.len());
        assert!(changed.is_empty(), "{}", changed.join("\n"));
    }

    /// The same, where there was no default tag before.
    async fn stays_but_for_the_tag(mut self, site: &Site, leftovers: &[&str]) {
        let after = site.look().await;
        for name in DEFAULT_TAG {
            let now = after.0.get(name).cloned();
            now.map(|now| self.0.insert(name.to_owned(), now));
        }
        self.is_left_alone(site, leftovers).await;
    }
}

/// Removes what says who installed an object.
fn without_owner(node: &mut Value) {
    match node {
        Value::Object(fields) => {
            let is_owner = |key: &str| {
                key.contains("operator.istio.io/")
                    || key == "ownerReferences"
                    || key == "deprecated.daemonset.template.generation"
            };
            fields.retain(|key, _| !is_owner(key));
            fields.values_mut().for_each(without_owner);
        }
        Value::Array(list) => list.iter_mut().for_each(without_owner),
        _ => {}
    }
}

/// Waits until a CR refuses to touch what is there, for this reason; gives the message.
pub async fn until_refused(cr: &Cr, kind: &str, reason: &str) -> String {
    let found = cr
        .wait_for_condition(kind, "True", Some(reason), SOON)
        .await;
    let found = found.unwrap();
    let condition = e2e::observe::health::condition(&found.data, kind);
    condition["message"].as_str().unwrap_or_default().to_owned()
}
