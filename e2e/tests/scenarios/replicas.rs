//! While a Deployment has an autoscaler, the operator leaves `replicas` to it; adding or removing the autoscaler ends no
//! pod.

use std::time::Duration;

use e2e::{
    actions::cr::Cr, control_plane::ControlPlane, error::Error, operator::Operator,
    wait::wait_until,
};
use k8s_openapi::{api::apps::v1::Deployment, jiff::Timestamp};
use kube::Api;
use serde_json::{Value, json};

use crate::{SOON, bystander::quiet, running, sample};

/// The operator is done if it writes nothing for this long.
const QUIET: Duration = Duration::from_secs(4);

/// istiod with an autoscaler from one to five replicas, or with a fixed number of them.
fn change(autoscaled: bool, replicas: i32) -> Value {
    let k8s = if autoscaled {
        json!({"replicaCount": null, "hpaSpec": {"minReplicas": 1, "maxReplicas": 5}})
    } else {
        json!({"replicaCount": replicas, "hpaSpec": null})
    };
    json!({"spec": {
        "components": {"pilot": {"k8s": k8s}},
        "values": {"pilot": {"autoscaleEnabled": autoscaled}},
    }})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_autoscaler_takes_replicas_over_and_gives_them_back() {
    let (plane, operator) = running().await;
    let cr = Cr::apply(&plane, &sample("minimal.yaml")).await.unwrap();
    let deployments: Api<Deployment> =
        Api::namespaced(plane.client().await.unwrap(), "istio-system");
    cr.patch(&change(false, 3)).await.unwrap();
    cr.wait_for("HEALTHY", SOON).await.unwrap();
    has(&deployments, 3).await;

    cr.patch(&change(true, 0)).await.unwrap();
    cr.wait_for("HEALTHY", SOON).await.unwrap();
    quiet(&plane, &operator, QUIET).await;
    has(&deployments, 3).await;

    // As an autoscaler does; the real one finds no metrics here and changes nothing. The first time, the operator gives
    // up its ownership of the field, which takes a write; later it does not write.
    let since = Timestamp::now();
    scale(&plane, 4);
    wait_until("the field to change hands", SOON, || async {
        let writes = writes(&plane, &operator, since);
        (writes > 0).then_some(()).ok_or("no write")
    })
    .await
    .unwrap();
    quiet(&plane, &operator, QUIET).await;
    assert_eq!(writes(&plane, &operator, since), 1);
    has(&deployments, 4).await;
    let since = Timestamp::now();
    scale(&plane, 5);
    quiet(&plane, &operator, QUIET).await;
    assert_eq!(writes(&plane, &operator, since), 0);
    has(&deployments, 5).await;

    cr.patch(&change(false, 2)).await.unwrap();
    cr.wait_for("HEALTHY", SOON).await.unwrap();
    has(&deployments, 2).await;
}

fn scale(plane: &ControlPlane, replicas: u8) {
    let replicas = format!("--replicas={replicas}");
    let scale = [
        "scale",
        "deployment",
        "istiod",
        "-n",
        "istio-system",
        &replicas,
    ];
    plane.kubectl(scale).unwrap();
}

/// How often the operator wrote to Deployments.
fn writes(plane: &ControlPlane, operator: &Operator, since: Timestamp) -> usize {
    let user = operator.user();
    let writes = plane
        .audit()
        .writes_about(user, "apps", "deployments", since);
    writes.unwrap().len()
}

async fn has(deployments: &Api<Deployment>, expected: i32) {
    wait_until("istiod's replicas", SOON, || async {
        let spec = deployments.get("istiod").await?.spec.unwrap_or_default();
        match spec.replicas {
            Some(replicas) if replicas == expected => Ok(()),
            other => Err(Error::Unexpected(format!(
                "{other:?} instead of {expected}"
            ))),
        }
    })
    .await
    .unwrap();
}
