//! The API server accepts every object that we render for upstream's inputs and for those made after public files.
//!
//! For upstream's in the oldest and in the newest minor: between them they have nearly every field. What each minor makes of
//! one large installation is shown by the scenario `minors`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use e2e::{control_plane::ControlPlane, host::workspace::root, observe::inventory::MANAGER, yaml};
use futures::{StreamExt, stream};
use istio_operator::{
    api::{IstioOperator, RawSpec},
    charts::Charts,
    cluster::Kind,
    merge::{Cluster, merge},
    render::{Object, render},
};
use kube::{
    Api, Client,
    api::{DynamicObject, Patch, PatchParams},
    discovery::Scope,
};
use serde_json::{Value, json};

use crate::accepted_inputs::inputs;

/// How many objects are sent at once.
pub(crate) const PARALLEL: usize = 16;

/// A kind that no Kubernetes serves by itself; Multus brings it.
pub(crate) const FOREIGN: &str = r#"{
  "apiVersion": "apiextensions.k8s.io/v1",
  "kind": "CustomResourceDefinition",
  "metadata": {"name": "network-attachment-definitions.k8s.cni.cncf.io"},
  "spec": {
    "group": "k8s.cni.cncf.io",
    "scope": "Namespaced",
    "names": {"kind": "NetworkAttachmentDefinition", "plural": "network-attachment-definitions"},
    "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
      "type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]
  }
}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_rendered_object_is_accepted() {
    let objects = rendered();
    let namespaces = objects
        .values()
        .filter_map(|(object, _)| object.key.namespace.as_deref());
    let plane = prepared(namespaces).await;
    let client = plane.client().await.unwrap();
    let answers = objects.values().map(|(object, inputs)| {
        let client = client.clone();
        async move { (object, inputs, refusal(client, object).await) }
    });
    let answers: Vec<_> = stream::iter(answers)
        .buffer_unordered(PARALLEL)
        .collect()
        .await;
    println!("{} objects", answers.len());
    assert!(!answers.is_empty());
    let mut refused = Vec::new();
    for (object, inputs, refusal) in answers {
        let Some(refusal) = refusal else { continue };
        let at = |input: &String| format!("{input}: {}: {refusal}", object.key);
        refused.extend(inputs.iter().map(at));
    }
    refused.sort();
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

/// A control plane that has these namespaces, and every kind that charts render.
pub(crate) async fn prepared<'n>(namespaces: impl Iterator<Item = &'n str>) -> ControlPlane {
    let plane = ControlPlane::reuse_or_start().await.unwrap();
    plane.apply(FOREIGN).unwrap();
    plane
        .wait_until_served("network-attachment-definitions")
        .await
        .unwrap();
    let namespaces: BTreeSet<_> = namespaces.collect();
    let namespaces: Vec<_> = namespaces
        .iter()
        .map(|name| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}))
        .collect();
    plane.apply(&yaml::stream(&namespaces)).unwrap();
    plane
}

/// Every object of every input, once for all that give the same: with the minors and inputs that do.
fn rendered() -> BTreeMap<String, (Object, Vec<String>)> {
    let charts = Charts::embedded().unwrap();
    let mut objects: BTreeMap<String, (Object, Vec<String>)> = BTreeMap::new();
    let releases: Vec<_> = charts.catalogue().releases().iter().collect();
    let ends = [releases[0], releases[releases.len() - 1]];
    let upstreams = inputs().into_iter().map(|case| (case, &ends[..]));
    let published = published().into_iter().map(|case| (case, &releases[..]));
    for ((case, input), releases) in upstreams.chain(published) {
        let cr = IstioOperator::new("cr", RawSpec(input["spec"].clone()));
        for release in releases {
            let minor = release.version.minor_text();
            // What is refused, and how, is another test.
            let Ok(merged) = merge(&cr, Some(&minor), Cluster::default(), &charts) else {
                continue;
            };
            let Ok(rendered) = render(&merged, &charts) else {
                continue;
            };
            let components = rendered.components.into_iter();
            for object in components.flat_map(|component| component.objects) {
                let (_, inputs) = objects
                    .entry(object.body.value().to_string())
                    .or_insert_with(|| (object, Vec::new()));
                inputs.push(format!("{minor} {case}"));
            }
        }
    }
    objects
}

/// The inputs that were made after public bug reports and published files.
fn published() -> Vec<(String, Value)> {
    let files = fs::read_dir(root().join("operator/tests/field")).unwrap();
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.retain(|path| !path.ends_with("answers.yaml"));
    paths.sort();
    assert!(!paths.is_empty());
    let read = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let cr = yaml::documents(&name, &text).unwrap().remove(0);
        (name, cr)
    };
    paths.iter().map(read).collect()
}

/// Why the API server would not take an object from the operator.
pub(crate) async fn refusal(client: Client, object: &Object) -> Option<String> {
    let Some(kind) = Kind::of(&object.key) else {
        return Some("a kind that the operator does not know".into());
    };
    let scope = match object.key.namespace {
        Some(_) => Scope::Namespaced,
        None => Scope::Cluster,
    };
    let namespace = object.key.namespace.clone().unwrap_or_default();
    let api: Api<DynamicObject> =
        Api::dynamic(client, &kind.resource(), &scope).constrain(&namespace);
    let params = PatchParams {
        dry_run: true,
        ..PatchParams::apply(MANAGER).validation_strict().force()
    };
    let patch = Patch::Apply(object.body.value());
    let answer = api.patch(&object.key.name, &params, &patch).await;
    answer.err().map(|error| error.to_string())
}
