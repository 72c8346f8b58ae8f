//! A broken CR beside a good one tells its author what is wrong and never disturbs the good one.

use std::time::Duration;

use e2e::{
    actions::{
        cr::Cr,
        damage::{Damage, damage},
    },
    control_plane::ControlPlane,
    error::Error,
    observe::{
        health::{ArgoHealth, Kstatus, argo, condition, kstatus},
        inventory::Item,
    },
    operator::Operator,
    wait::wait_until,
};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{SOON, healthy, manifest, running, sample};

/// A spec with seven errors, and the path of each.
fn broken() -> (Value, [&'static str; 7]) {
    let spec = json!({
        "hub": "not a hub",
        "components": {
            "pilot": {
                "enabled": "maybe",
                "k8s": {"replicaCounts": 2, "resources": {"requests": {"cpu": "lots"}}},
            },
            "ingressGateways": [{"enabled": true}],
            "mixer": {"enabled": true},
        },
        "values": {"global": {"proxy": 7}},
    });
    let paths = [
        "spec.hub",
        "spec.components.pilot.enabled",
        "spec.components.pilot.k8s.replicaCounts",
        "spec.components.pilot.k8s.resources.requests.cpu",
        "spec.components.ingressGateways[0].name",
        "spec.components.mixer",
        "spec.values.global.proxy",
    ];
    (spec, paths)
}

/// An IstioOperator in a namespace of its own.
fn cr(name: &str, spec: &Value) -> String {
    let mut cr = manifest(name, spec);
    cr["metadata"]["namespace"] = name.into();
    cr.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_cr_does_not_disturb_a_good_one() {
    let (plane, operator) = running().await;
    let good = healthy(&plane, &sample("default.yaml")).await;
    let client = plane.client().await.unwrap();
    let inventory = plane.inventory().await.unwrap();
    let items = inventory.owned().await.unwrap();
    quiet(&plane, &operator, Duration::from_secs(2)).await;

    let since = Timestamp::now();
    let (spec, paths) = broken();
    let bad = Cr::apply(&plane, &cr("broken", &spec)).await.unwrap();
    let told = serde_json::to_value(bad.wait_for("ERROR", SOON).await.unwrap()).unwrap();
    assert_eq!(
        (argo(&told), kstatus(&told)),
        (ArgoHealth::Degraded, Kstatus::Failed)
    );
    assert_eq!(condition(&told, "Stalled")["reason"], "InvalidSpec");
    let message = told["status"]["message"].as_str().unwrap();
    assert!(paths.iter().all(|path| message.contains(path)), "{message}");
    sleep(Duration::from_secs(3)).await;
    let writes = object_writes(&plane, &operator, since);
    assert!(writes.is_empty(), "{writes:?}");

    for item in items.iter().filter(|item| is_of_istiod(item)) {
        for kind in [Damage::Change, Damage::Delete] {
            damage(&client, item, kind, SOON).await.unwrap();
        }
    }
    let healthy = good.wait_for("HEALTHY", SOON).await.unwrap();
    assert_eq!(healthy.metadata.generation, Some(1));

    // Once mended, it is a second control plane. Objects that both render stay with the first.
    let mended = json!({"spec": {
        "hub": null,
        "profile": "minimal",
        "revision": "next",
        "components": null,
        "values": null,
    }});
    bad.patch(&mended).await.unwrap();
    bad.wait_for("HEALTHY", SOON).await.unwrap();
    good.wait_for("HEALTHY", SOON).await.unwrap();
}

/// An object that only the API server can find invalid is sent again with growing delay.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_api_server_refuses_is_tried_again_with_growing_delay() {
    let (plane, operator) = running().await;
    let overlay = json!({
        "kind": "Service",
        "name": "istiod",
        // No Service of this cluster can have it, which only the API server knows.
        "patches": [{"path": "spec.clusterIP", "value": "203.0.113.7"}],
    });
    // An installation that runs already, so that no other event starts a pass.
    let spec = json!({"profile": "minimal"});
    let refused = healthy(&plane, &cr("refused", &spec)).await;
    quiet(&plane, &operator, Duration::from_secs(2)).await;
    let since = Timestamp::now();
    let change = json!({"components": {"pilot": {"k8s": {"overlays": [overlay]}}}});
    refused.patch(&json!({"spec": change})).await.unwrap();
    let told = serde_json::to_value(refused.wait_for("ERROR", SOON).await.unwrap()).unwrap();
    assert_eq!(condition(&told, "Stalled")["reason"], "ApplyRefused");
    let message = told["status"]["message"].as_str().unwrap();
    assert!(
        message.contains("istiod")
            && message.contains("clusterIP")
            && message.contains("Invalid value: …"),
        "{message}"
    );

    let attempts = wait_until("four attempts", SOON, || async {
        let mut events = plane.audit().by(operator.user(), since)?;
        // Nothing is written, so these are dry runs.
        events.retain(|event| {
            event.verb == "patch"
                && event.is_about("", "services")
                && event.object_ref.name == "istiod"
        });
        let times: Vec<_> = events.iter().map(|event| event.received).collect();
        if times.len() >= 4 {
            Ok(times)
        } else {
            Err(Error::Unexpected(format!("{times:?}")))
        }
    });
    let attempts = attempts.await.unwrap();
    let delays: Vec<_> = attempts
        .windows(2)
        .map(|pair| pair[1].duration_since(pair[0]).as_secs_f64())
        .collect();
    // The delay doubles each time, with a jitter of up to a fifth; a busy machine makes it longer. The first may be
    // shorter, because the writes of the other objects start the next pass.
    let shortest = [0.0, 1.6, 3.2];
    let are_long = delays
        .iter()
        .zip(shortest)
        .all(|(delay, least)| *delay >= least);
    assert!(are_long, "{delays:?}");

    let without = json!({"spec": {"components": {"pilot": {"k8s": null}}}});
    refused.patch(&without).await.unwrap();
    refused.wait_for("HEALTHY", SOON).await.unwrap();
}

fn is_of_istiod(item: &Item) -> bool {
    item.object.metadata.name.as_deref() == Some("istiod")
        && item.resource.kind != "PodDisruptionBudget"
}

/// Writes of the operator to anything but IstioOperators and Events.
pub fn object_writes(plane: &ControlPlane, operator: &Operator, since: Timestamp) -> Vec<String> {
    let writes = plane.audit().object_writes_by(operator.user(), since);
    writes.unwrap().iter().map(ToString::to_string).collect()
}

/// Waits until the operator has written nothing for this long.
pub async fn quiet(plane: &ControlPlane, operator: &Operator, silence: Duration) {
    wait_until("the operator to be done", SOON, || async {
        let since = Timestamp::now();
        sleep(silence).await;
        let writes = plane.audit().writes_by(operator.user(), since)?;
        match writes.first() {
            None => Ok(()),
            Some(write) => Err(Error::Unexpected(write.request_uri.clone())),
        }
    })
    .await
    .unwrap();
}
