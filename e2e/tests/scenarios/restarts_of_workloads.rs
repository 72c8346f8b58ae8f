//! Workloads whose proxy is older than the injected one are restarted where a CR asks for it: few at once, only where it may
//! be, and no further once one does not come back.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use e2e::{
    actions::cr::Cr,
    control_plane::{ControlPlane, Options},
    istio::istiod::Istiod,
    observe::history::History,
    operator::{self, Operator},
    wait::wait_until,
};
use istio_operator::dataplane::{HOLD, PROXY_VERSION, RESTARTED_FOR};
use k8s_openapi::{api::apps::v1::Deployment, jiff::Timestamp};
use kube::api::ApiResource;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{SOON, healthy, manifest};

/// A mesh that restarts workloads in namespaces with the label `restarts`.
fn mesh(max_parallel: u32) -> Value {
    let data_plane = json!({
        "restart": "Rolling",
        "namespaceSelector": {"matchLabels": {"restarts": "yes"}},
        "maxParallel": max_parallel,
    });
    json!({"profile": "minimal", "updateStrategy": {"dataPlane": data_plane}})
}

/// A mesh whose real istiod injects pods, in a cluster where the operator may restart `StatefulSets`.
async fn injecting(max_parallel: u32, nodes: usize) -> (ControlPlane, Operator, Cr, Istiod) {
    let options = Options {
        nodes,
        ..Options::default()
    };
    let plane = ControlPlane::start_with(options).await.unwrap();
    let operator = Operator::start(&plane).await.unwrap();
    plane.apply(&operator::restart_rights().unwrap()).unwrap();
    let cr = healthy(&plane, &manifest("mesh", &mesh(max_parallel)).to_string()).await;
    let istiod = Istiod::start(&plane, "istio-system", "istiod").await;
    (plane, operator, cr, istiod.unwrap())
}

fn namespace(plane: &ControlPlane, name: &str, is_selected: bool) {
    let mut labels = json!({"istio-injection": "enabled"});
    if is_selected {
        labels["restarts"] = "yes".into();
    }
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
    plane.apply(&namespace.to_string()).unwrap();
}

fn workload(kind: &str, namespace: &str, name: &str, replicas: u32) -> Value {
    let mut workload = json!({
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "web", "image": "example.com/web"}]},
            },
        },
    });
    if kind == "StatefulSet" {
        workload["spec"]["serviceName"] = name.into();
    }
    workload
}

/// Waits until a namespace has this many pods with a proxy, then has them look as if it were older.
async fn age(plane: &ControlPlane, namespace: &str, pods: usize) {
    let scope = format!("-n={namespace}");
    let versions = r"-o=jsonpath={range .items[*]}{.metadata.annotations.istio-operator\.io/proxy-version}{'\n'}{end}";
    wait_until(
        &format!("{pods} injected pods in {namespace}"),
        SOON,
        || async {
            let told = plane.kubectl(["get", "pods", &scope, versions])?;
            let injected = told.lines().filter(|line| !line.is_empty()).count();
            if injected == pods {
                Ok(())
            } else {
                Err(e2e::error::Error::Unexpected(told))
            }
        },
    )
    .await
    .unwrap();
    let older = format!("{PROXY_VERSION}=1.30.5");
    plane
        .kubectl(["annotate", "pods", "--all", "--overwrite", &scope, &older])
        .unwrap();
}

async fn restarts(cr: &Cr, state: &str, is_met: impl Fn(&Value) -> bool) -> Value {
    wait_until(&format!("restarts to be {state}"), 2 * SOON, || async {
        let cr = cr.get().await.map_err(|error| error.to_string())?;
        let told = cr.data["status"]["restarts"].clone();
        if told["state"] == state && is_met(&told) {
            Ok(told)
        } else {
            Err(told.to_string())
        }
    })
    .await
    .unwrap()
}

/// The proxy that the pods of a workload were restarted for, by its template.
fn mark(plane: &ControlPlane, kind: &str, namespace: &str, name: &str) -> String {
    let scope = format!("-n={namespace}");
    let path = format!(
        "-o=jsonpath={{.spec.template.metadata.annotations.{}}}",
        RESTARTED_FOR.replace('.', "\\.")
    );
    plane.kubectl(["get", kind, name, &scope, &path]).unwrap()
}

/// Upgrade row 9: what runs an older proxy is restarted, in namespaces that the selector names, unless it is held. The first
/// workload that does not come back ends it, also for an operator that starts anew, until a person says to go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn older_proxies_are_replaced_and_the_first_failure_ends_it() {
    let (plane, mut operator, cr, _istiod) = injecting(1, 1).await;
    for (name, is_selected) in [("a", true), ("b", true), ("c", false)] {
        namespace(&plane, name, is_selected);
    }
    let mut held = workload("Deployment", "a", "held", 1);
    held["metadata"]["labels"][HOLD] = "true".into();
    for object in [
        workload("Deployment", "a", "web", 2),
        held,
        workload("StatefulSet", "b", "db", 2),
        workload("Deployment", "c", "other", 1),
    ] {
        plane.apply(&object.to_string()).unwrap();
    }
    for (name, pods) in [("a", 3), ("b", 2), ("c", 1)] {
        age(&plane, name, pods).await;
    }
    let told = restarts(&cr, "Done", |told| told["restarted"] == 2).await;
    assert_eq!(told["target"], "default/1.31.1");
    assert_eq!(told["skipped"], json!(["a Deployment/held: it is held"]));
    assert_eq!(mark(&plane, "deployment", "a", "web"), "default/1.31.1");
    assert_eq!(mark(&plane, "statefulset", "b", "db"), "default/1.31.1");
    assert_eq!(mark(&plane, "deployment", "a", "held"), "");
    assert_eq!(mark(&plane, "deployment", "c", "other"), "");

    // One that cannot come back: no node has room for its new pods.
    let node = plane
        .kubectl(["get", "nodes", "-o=jsonpath={.items[0].metadata.name}"])
        .unwrap();
    let mut broken = workload("Deployment", "a", "broken", 1);
    broken["spec"]["progressDeadlineSeconds"] = 5.into();
    broken["spec"]["template"]["spec"]["nodeSelector"] = json!({"kubernetes.io/hostname": node});
    plane.apply(&broken.to_string()).unwrap();
    plane
        .apply(&workload("Deployment", "b", "later", 1).to_string())
        .unwrap();
    wait_until("the workload to run", SOON, || async {
        let path = "-o=jsonpath={.status.availableReplicas}";
        match plane.kubectl(["get", "deployment", "broken", "-n=a", path])? {
            available if available == "1" => Ok(()),
            other => Err(e2e::error::Error::Unexpected(other)),
        }
    })
    .await
    .unwrap();
    plane.kubectl(["cordon", &node]).unwrap();
    let older = format!("{PROXY_VERSION}=1.30.5");
    for app in [["-n=a", "-l=app=broken"], ["-n=b", "-l=app=later"]] {
        let annotate = ["annotate", "pods", "--overwrite", &older];
        plane.kubectl(annotate.iter().chain(&app)).unwrap();
    }
    let told = restarts(&cr, "Stopped", |_| true).await;
    let message = told["message"].as_str().unwrap();
    for part in ["Deployment/broken in namespace a", "resume-restarts"] {
        assert!(message.contains(part), "{message}");
    }
    operator.process().kill().unwrap();
    operator.process().restart().unwrap();
    operator.wait_until_ready().await.unwrap();
    sleep(Duration::from_secs(15)).await;
    let stops = cr.events_with_reason("RestartsStopped").await.unwrap();
    assert_eq!(stops.len(), 1, "{stops:?}");
    restarts(&cr, "Stopped", |_| true).await;
    assert_eq!(mark(&plane, "deployment", "b", "later"), "");

    plane.kubectl(["uncordon", &node]).unwrap();
    let go_on = json!({"install.istio.io/resume-restarts": "1"});
    cr.patch(&json!({"metadata": {"annotations": go_on}}))
        .await
        .unwrap();
    restarts(&cr, "Done", |_| true).await;
    assert_eq!(mark(&plane, "deployment", "b", "later"), "default/1.31.1");
}

const NAMESPACES: usize = 20;
const WORKLOADS: usize = 10;
const REPLICAS: u32 = 5;
const AT_ONCE: u32 = 8;

/// Upgrade row 9: 200 workloads with 1,000 pods are restarted, never more at once than the CR allows and never two of one
/// namespace, and each of them once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_workloads_are_restarted_a_few_at_once() {
    let (plane, mut operator, cr, _istiod) = injecting(AT_ONCE, 5).await;
    let names: Vec<_> = (0..NAMESPACES)
        .map(|number| format!("team-{number}"))
        .collect();
    let mut objects = Vec::new();
    for name in &names {
        namespace(&plane, name, true);
        let all = (0..WORKLOADS)
            .map(|number| workload("Deployment", name, &format!("web-{number}"), REPLICAS));
        objects.extend(all.map(|object| object.to_string()));
    }
    plane.apply(&objects.join("\n---\n")).unwrap();
    let pods = WORKLOADS * usize::try_from(REPLICAS).unwrap();
    // Nothing begins before all of them are there.
    let pause = json!({"install.istio.io/ignoreReconcile": "true"});
    cr.patch(&json!({"metadata": {"annotations": pause}}))
        .await
        .unwrap();
    for name in &names {
        age(&plane, name, pods).await;
    }
    let client = plane.client().await.unwrap();
    let history = History::record(&client, &[ApiResource::erase::<Deployment>(&())])
        .await
        .unwrap();
    let (since, start) = (Timestamp::now(), Instant::now());
    cr.patch(&json!({"metadata": {"annotations": {"install.istio.io/ignoreReconcile": null}}}))
        .await
        .unwrap();
    let total = NAMESPACES * WORKLOADS;
    let told = restarts(&cr, "Done", |told| told["restarted"] == total).await;
    let took = start.elapsed().as_secs();
    assert!(told["skipped"].is_null(), "{told}");
    let requests = plane.audit().by(operator.user(), since).unwrap().len();
    let memory = operator.process().usage().unwrap().resident >> 20;
    println!("{total} workloads: {took} s, {requests} requests, {memory} MiB");

    // Between its restart and the moment at which all its pods are new, a workload is away.
    let (mut away, mut most, mut restarted) = (BTreeSet::new(), 0, 0);
    for entry in history.entries().unwrap() {
        let object = &entry.object;
        let metadata = &object["metadata"];
        let namespace = metadata["namespace"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        if !namespace.starts_with("team-") {
            continue;
        }
        let key = (namespace, metadata["name"].to_string());
        let generation = metadata["generation"].as_i64().unwrap_or_default();
        let status = &object["status"];
        let is_back = generation == 1
            || status["observedGeneration"] == generation
                && status["updatedReplicas"] == REPLICAS
                && status["replicas"] == REPLICAS
                && status["availableReplicas"] == REPLICAS;
        assert!(generation <= 2, "{key:?} was restarted twice");
        if is_back {
            restarted += usize::from(away.remove(&key));
        } else {
            away.insert(key.clone());
        }
        let of_namespace = away.iter().filter(|(namespace, _)| *namespace == key.0);
        assert!(of_namespace.count() <= 1, "{away:?}");
        most = most.max(away.len());
    }
    println!("at most {most} at once");
    assert!(most <= usize::try_from(AT_ONCE).unwrap(), "{most} at once");
    assert_eq!(restarted, total);
}
