//! Every IstioOperator that upstream accepts is stored by the API server as it was written, and one
//! that is wrong can still be reported about and be deleted.

use e2e::{
    actions::cr::resource,
    control_plane::ControlPlane,
    observe::health::{Kstatus, kstatus},
    operator, yaml,
};
use kube::{
    Api,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams, ResourceExt},
};
use serde_json::{Value, json};

/// The default minor, by which inputs are judged.
const MINOR: &str = "1.31";

#[tokio::test]
async fn any_spec_is_stored_as_it_was_written() {
    let plane = ControlPlane::reuse_or_start().await.unwrap();
    plane.apply(&crd()).unwrap();
    plane.wait_until_served("istiooperators").await.unwrap();
    plane
        .kubectl(["create", "namespace", "istio-system"])
        .unwrap();
    let client = plane.client().await.unwrap();
    let mut accepted = 0;
    for (name, input) in inputs() {
        let namespace = input["metadata"]["namespace"].as_str().unwrap_or("default");
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource());
        let cr: DynamicObject = serde_json::from_value(input.clone()).unwrap();
        let stored = api.create(&PostParams::default(), &cr).await;
        let stored = stored.unwrap_or_else(|error| panic!("{name}: {error}"));
        let stored = serde_json::to_value(stored).unwrap();
        assert_eq!(stored["spec"], input["spec"], "{name}");
        assert_eq!(
            stored["status"],
            json!({"observedGeneration": -1}),
            "{name}"
        );
        assert_eq!(kstatus(&stored), Kstatus::InProgress, "{name}");
        if upstream_accepts(&name) {
            accepted += 1;
        } else {
            can_be_reported_about_and_deleted(&api, &cr.name_any()).await;
        }
    }
    println!("{accepted} inputs accepted unchanged");
    assert!(accepted > 40, "{accepted}");
}

/// As the operator does with a CR whose spec is invalid.
async fn can_be_reported_about_and_deleted(api: &Api<DynamicObject>, name: &str) {
    let finalizer = json!({"metadata": {"finalizers": ["example.com/test"]}});
    let params = PatchParams::default();
    api.patch(name, &params, &Patch::Merge(finalizer))
        .await
        .unwrap();
    let status = json!({"status": {"status": "ERROR", "observedGeneration": 1}});
    let reported = api
        .patch_status(name, &params, &Patch::Merge(status))
        .await
        .unwrap();
    assert_eq!(reported.data["status"]["status"], "ERROR");
    api.delete(name, &DeleteParams::default()).await.unwrap();
    let none = json!({"metadata": {"finalizers": null}});
    api.patch(name, &params, &Patch::Merge(none)).await.unwrap();
    assert!(api.get_opt(name).await.unwrap().is_none(), "{name}");
}

/// The CRD alone, from what installs the operator.
fn crd() -> String {
    let manifests = operator::manifests().unwrap();
    let mut documents = yaml::documents("manifests", &manifests).unwrap();
    documents.retain(|document| document["kind"] == "CustomResourceDefinition");
    yaml::stream(&documents)
}

/// All inputs with their names.
pub fn inputs() -> Vec<(String, Value)> {
    let inputs = goldens::inputs().into_iter().map(|(name, text)| {
        let mut documents = yaml::documents(&name, &text).unwrap();
        assert_eq!(documents.len(), 1, "{name}");
        (name, documents.remove(0))
    });
    inputs.collect()
}

fn upstream_accepts(name: &str) -> bool {
    goldens::case(name).column(MINOR)[goldens::ANSWER] == "accepted"
}
