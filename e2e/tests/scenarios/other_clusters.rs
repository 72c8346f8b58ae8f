//! The operator adapts to the cluster: GKE gets its own settings, and a Kubernetes that is too old gives a condition.

use e2e::{
    actions::{api_proxy::ApiProxy, cr::Cr},
    control_plane::ControlPlane,
    error::Error,
    observe::health::{ArgoHealth, Kstatus, argo, condition, kstatus},
    operator::Operator,
    wait::wait_until,
};
use serde_json::{Value, json};

use crate::{SOON, manifest};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_taken_as_what_it_says_it_is() {
    let plane = ControlPlane::reuse_or_start().await.unwrap();
    let proxy = ApiProxy::start(&plane.kubeconfig()).await.unwrap();
    proxy.report_version("v1.28.15-gke.2403000");
    let mut operator = Operator::start_behind(&plane, &proxy).await.unwrap();
    let components = json!({"cni": {"enabled": true}});
    let spec = json!({"profile": "minimal", "version": "1.26", "components": components});
    let cr = manifest("minimal", &spec).to_string();
    let cr = Cr::apply(&plane, &cr).await.unwrap();

    is_healthy_and_outdated(&cr).await;
    let agent = plane.kubectl(["get", "daemonsets", "-n=kube-system", "-o=yaml"]);
    let agent = agent.unwrap();
    assert!(agent.contains("istio-cni-node"), "{agent}");
    assert!(agent.contains("path: /home/kubernetes/bin"), "{agent}");
    let quotas = plane.kubectl(["get", "resourcequotas", "-A", "-o=name"]);
    assert_eq!(quotas.unwrap(), "");

    let without = json!({"spec": {"components": {"cni": null}}});
    cr.patch(&without).await.unwrap();
    wait_until("the agent to be gone", SOON, || async {
        match plane.kubectl(["get", "daemonsets", "-A", "-o=name"])? {
            none if none.is_empty() => Ok(()),
            left => Err(Error::Unexpected(left)),
        }
    })
    .await
    .unwrap();
    is_healthy_and_outdated(&cr).await;

    operator.process().restart().unwrap();
    operator.wait_until_ready().await.unwrap();
    let newer = json!({"spec": {"meshConfig": {"accessLogFile": "/dev/stdout"}}});
    cr.patch(&newer).await.unwrap();
    is_healthy_and_outdated(&cr).await;
    let reason = "--field-selector=reason=OutOfSupport";
    let told = plane.kubectl(["get", "events", "-A", "-o=name", reason]);
    let told = told.unwrap();
    assert_eq!(told.lines().count(), 1, "{told}");
}

/// Argo CD and Flux see a healthy CR, and a condition says what is out of support.
async fn is_healthy_and_outdated(cr: &Cr) {
    let healthy = cr.wait_for("HEALTHY", SOON).await.unwrap();
    let healthy = serde_json::to_value(healthy).unwrap();
    assert_eq!(
        (argo(&healthy), kstatus(&healthy)),
        (ArgoHealth::Healthy, Kstatus::Current)
    );
    let outdated = condition(&healthy, "Outdated");
    assert_eq!(outdated["status"], "True");
    assert_eq!(outdated["reason"], "OutOfSupport");
    let message = outdated["message"].as_str().map(str::to_owned);
    let expected = [
        "spec.version: support of Istio 1.26 ended on 2025-12-22",
        "spec.version: Istio 1.26 supports Kubernetes from 1.29 on, and this cluster has 1.28",
    ];
    assert_eq!(message, Some(expected.join("; ")));
    assert_eq!(condition(&healthy, "Warnings"), &Value::Null);
}
