//! What Argo CD and Flux make of an IstioOperator at every moment of its life, judged by their own code.

use e2e::{
    actions::cr::{Cr, resource},
    control_plane::ControlPlane,
    error::Error,
    observe::{
        gitops::{Judgement, judge},
        health::{ArgoHealth, Kstatus, argo, kstatus},
        history::{Entry, History},
    },
    wait::wait_until,
};
use kube::api::{ApiResource, DynamicObject, ResourceExt};
use serde_json::{Value, json};

use crate::{SOON, manifest, running};

const DONE: Judgement = (ArgoHealth::Healthy, Kstatus::Current);
const UNDER_WAY: Judgement = (ArgoHealth::Progressing, Kstatus::InProgress);
const FAILED: Judgement = (ArgoHealth::Degraded, Kstatus::Failed);
const LEAVING: Judgement = (ArgoHealth::Progressing, Kstatus::Terminating);

/// The recorded life of one IstioOperator, and of the Deployments that it installs.
struct Life {
    crs: History,
    deployments: History,
    told: usize,
}

impl Life {
    async fn record(plane: &ControlPlane) -> Self {
        let client = plane.client().await.unwrap();
        let deployment = kube::api::GroupVersionKind::gvk("apps", "v1", "Deployment");
        let deployment = ApiResource::from_gvk(&deployment);
        Self {
            crs: History::record(&client, &[resource()]).await.unwrap(),
            deployments: History::record(&client, &[deployment]).await.unwrap(),
            told: 0,
        }
    }

    /// The states since the last stage, up to the one in which `cr` was seen, and what both judges say of each.
    async fn stage(&mut self, cr: &DynamicObject) -> Vec<(Entry, Judgement)> {
        let version: u64 = cr.resource_version().unwrap().parse().unwrap();
        self.stage_until(|entry| entry.version >= version).await
    }

    async fn stage_until(&mut self, is_last: impl Fn(&Entry) -> bool) -> Vec<(Entry, Judgement)> {
        let entries = wait_until("the watch to tell of it", SOON, || async {
            let entries = self.crs.entries()?;
            match entries.iter().skip(self.told).position(&is_last) {
                Some(last) => Ok(entries[self.told..=self.told + last].to_vec()),
                None => Err(Error::Unexpected(format!("{} entries", entries.len()))),
            }
        });
        let entries = entries.await.unwrap();
        self.told += entries.len();
        let states: Vec<_> = entries.iter().map(|entry| entry.object.clone()).collect();
        let judged = judge(&states).unwrap();
        for (state, judgement) in states.iter().zip(&judged) {
            // What other tests judge by is right.
            assert_eq!((argo(state), kstatus(state)), *judgement, "{state}");
        }
        entries.into_iter().zip(judged).collect()
    }

    /// Whether every one of these Deployments was available in a version of Istio at the moment of an entry.
    async fn runs(&self, names: &[&str], istio: &str, at: u64) -> bool {
        let label = "operator.istio.io/version";
        let runs = |name: &str| {
            let entries = self.deployments.entries().unwrap_or_default();
            let mut of_name = entries
                .iter()
                .filter(|entry| entry.version < at && entry.object["metadata"]["name"] == name);
            of_name.next_back().is_some_and(|entry| {
                let (metadata, status) = (&entry.object["metadata"], &entry.object["status"]);
                metadata["labels"][label] == istio
                    && status["observedGeneration"] == metadata["generation"]
                    && status["unavailableReplicas"].is_null()
                    && status["availableReplicas"].as_i64() > Some(0)
            })
        };
        // The watch may be late.
        let told = wait_until("the Deployments to be told of", SOON, || async {
            if names.iter().all(|name| runs(name)) {
                Ok(())
            } else {
                Err("not all of them ran before it was said")
            }
        });
        told.await.is_ok()
    }
}

/// Everything before the last state is on its way, and the last one is `end`. A state that the operator has not seen yet is the
/// author's: Argo CD's script does not know that there is a newer spec, and kstatus does.
fn ends(stage: &[(Entry, Judgement)], end: Judgement) {
    let ((last, judgement), before) = stage.split_last().unwrap();
    assert_eq!(*judgement, end, "{}", last.object);
    for (entry, judgement) in before {
        if is_seen(&entry.object) {
            let is_kept = *judgement == end && entry.object["status"] == last.object["status"];
            assert!(
                *judgement == UNDER_WAY || is_kept,
                "{judgement:?} {}",
                entry.object
            );
        } else {
            assert_eq!(judgement.1, Kstatus::InProgress, "{}", entry.object);
        }
    }
}

fn is_seen(cr: &Value) -> bool {
    cr["status"]["observedGeneration"] == cr["metadata"]["generation"]
}

/// Demands 11, 12 and 33, accepted row 6: install, upgrade, failure, recovery, pause and deletion, before the judges of Argo CD
/// and Flux.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn argo_cd_and_flux_are_told_the_truth_at_every_moment() {
    let (plane, _operator) = running().await;
    let mut life = Life::record(&plane).await;
    let gateway = json!({"name": "edge", "enabled": true, "k8s": {"service": {"type": "NodePort",
        "ports": [{"name": "http2", "port": 80, "targetPort": 8080, "nodePort": 30080}]}}});
    let spec = json!({"profile": "minimal", "version": "1.30.5",
        "components": {"ingressGateways": [gateway]}});
    let workloads = ["istiod", "edge"];

    let mut mesh = manifest("mesh", &spec);
    // No istiod answers behind the simulated pods.
    mesh["metadata"]["annotations"] = json!({"install.istio.io/skip-checks": "injection"});
    let cr = Cr::apply(&plane, &mesh.to_string()).await.unwrap();
    let healthy = cr.wait_for("HEALTHY", SOON).await.unwrap();
    let stage = life.stage(&healthy).await;
    ends(&stage, DONE);
    let at = stage.last().unwrap().0.version;
    assert!(life.runs(&workloads, "1.30.5", at).await);
    assert_eq!(stage[0].1, UNDER_WAY, "before the operator has seen it");
    shows_the_gateway(&plane, &cr).await;

    cr.patch(&json!({"spec": {"version": "1.31.1"}}))
        .await
        .unwrap();
    let healthy = cr.wait_for("HEALTHY", SOON).await.unwrap();
    let stage = life.stage(&healthy).await;
    ends(&stage, DONE);
    let at = stage.last().unwrap().0.version;
    assert!(life.runs(&workloads, "1.31.1", at).await);

    cr.patch(&json!({"spec": {"hub": "not a hub"}}))
        .await
        .unwrap();
    let failed = cr.wait_for("ERROR", SOON).await.unwrap();
    ends(&life.stage(&failed).await, FAILED);
    cr.patch(&json!({"spec": {"hub": null}})).await.unwrap();
    let healthy = cr.wait_for("HEALTHY", SOON).await.unwrap();
    ends(&life.stage(&healthy).await, DONE);

    pause(&mut life, &cr).await;

    cr.start_deletion().await.unwrap();
    cr.wait_until_gone(SOON).await.unwrap();
    let stage = life.stage_until(|entry| entry.is_deletion).await;
    let leaving = stage
        .iter()
        .filter(|(entry, _)| !entry.object["metadata"]["deletionTimestamp"].is_null());
    assert!(leaving.clone().count() > 0);
    for (entry, judgement) in leaving {
        assert_eq!(*judgement, LEAVING, "{}", entry.object);
    }
}

/// A CR that is paused keeps what was said of it, and a change of its spec is on its way until somebody ends the pause. The pass
/// that a request asks for answers it.
async fn pause(life: &mut Life, cr: &Cr) {
    let annotate = |value: Value| json!({"metadata": {"annotations": {"install.istio.io/ignoreReconcile": value}}});
    cr.patch(&annotate("true".into())).await.unwrap();
    let paused = cr
        .wait_for_condition("Suspended", "True", None, SOON)
        .await
        .unwrap();
    for (entry, judgement) in life.stage(&paused).await {
        assert_eq!(judgement, DONE, "{}", entry.object);
    }
    cr.patch(&json!({"spec": {"values": {"pilot": {"traceSampling": 50}}}}))
        .await
        .unwrap();
    cr.wait_for_message("the change waits", SOON).await.unwrap();
    let waiting = cr.get().await.unwrap();
    let stage = life.stage(&waiting).await;
    assert_eq!(stage.last().unwrap().1, UNDER_WAY);
    let flux = stage.iter().map(|(_, judgement)| judgement.1);
    assert!(flux.into_iter().all(|flux| flux == Kstatus::InProgress));

    cr.patch(&annotate(Value::Null)).await.unwrap();
    let healthy = cr.wait_for("HEALTHY", SOON).await.unwrap();
    ends(&life.stage(&healthy).await, DONE);

    let request =
        json!({"metadata": {"annotations": {"reconcile.istio-operator.io/requestedAt": "now"}}});
    cr.patch(&request).await.unwrap();
    let answered = wait_until("the request to be answered", SOON, || async {
        let cr = cr.get().await?;
        let answer = &cr.data["status"]["lastHandledReconcileAt"];
        if answer == "now" {
            Ok(cr)
        } else {
            Err(Error::Unexpected(format!("the answer is {answer}")))
        }
    });
    for (entry, judgement) in life.stage(&answered.await.unwrap()).await {
        assert_eq!(judgement, DONE, "{}", entry.object);
    }
}

/// The status and kubectl show where the gateway is reached, and what its pods run.
async fn shows_the_gateway(plane: &ControlPlane, cr: &Cr) {
    let gateway = wait_until("the version of the gateway's pods", SOON, || async {
        let cr = cr.get().await?;
        let gateway = cr.data["status"]["gateways"][0].clone();
        if gateway["version"].is_null() {
            Err(Error::Unexpected(gateway.to_string()))
        } else {
            Ok(gateway)
        }
    });
    let expected = json!({"name": "edge", "namespace": "istio-system", "ready": true,
        "addresses": ["NodePort 80:30080"], "version": "1.30.5"});
    assert_eq!(gateway.await.unwrap(), expected);
    let get = ["get", "istiooperators", "-n=istio-system", "-o=wide"];
    let table = plane.kubectl(get).unwrap();
    let mut lines = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let columns = [
        "NAME", "VERSION", "REVISION", "PROFILE", "STATUS", "READY", "MESSAGE", "AGE",
    ];
    assert_eq!(lines.next().unwrap(), columns, "{table}");
    let row = ["mesh", "1.30.5", "default", "minimal", "HEALTHY", "True"];
    assert_eq!(lines.next().unwrap()[..6], row, "{table}");
}
