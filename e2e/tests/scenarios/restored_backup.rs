//! The cluster is restored from a backup of etcd: resource versions go back, and what the operator knows comes from a future
//! that never was.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use e2e::{
    control_plane::{ControlPlane, components::Component},
    error::Error,
    operator::Operator,
    wait::wait_until,
};
use serde_json::{Value, json};

use crate::{SOON, healthy, manifest, running};

/// All parts of the control plane, in the order in which they start.
const COMPONENTS: [Component; 5] = [
    Component::Etcd,
    Component::ApiServer,
    Component::ControllerManager,
    Component::Scheduler,
    Component::Kwok,
];

fn mesh(has_gateway: bool) -> Value {
    json!({
        "profile": "minimal",
        "components": {"ingressGateways": [{"name": "edge", "enabled": has_gateway}]},
    })
}

/// Foundation row 19: the process ends, because nothing that it knows holds any more, and the next one works on what was
/// restored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_backup_ends_the_process_and_the_next_one_goes_on() {
    let (mut plane, mut operator) = running().await;
    let cr = healthy(&plane, &manifest("mesh", &mesh(false)).to_string()).await;
    let etcd = plane.dir().join("etcd");
    let backup = plane.dir().join("backup");
    while_down(&mut plane, || copy(&etcd, &backup)).await;
    restart(&mut operator).await;

    cr.patch(&json!({"spec": mesh(true)})).await.unwrap();
    let gateway = ["get", "deployment", "edge", "-n=istio-system"];
    wait_until("the gateway to be there", SOON, || async {
        plane.kubectl(gateway)
    })
    .await
    .unwrap();
    cr.wait_for("HEALTHY", SOON).await.unwrap();

    while_down(&mut plane, || {
        fs::remove_dir_all(&etcd).unwrap();
        copy(&backup, &etcd);
    })
    .await;
    let start = Instant::now();
    wait_until("the operator to end", SOON, || {
        let exited = operator.process().exited();
        async move { exited?.ok_or_else(|| Error::Unexpected("it runs".into())) }
    })
    .await
    .unwrap();
    println!("ended {:?} after the store was back", start.elapsed());
    restart(&mut operator).await;
    plane.kubectl(gateway).unwrap_err();
    cr.patch(&json!({"spec": mesh(true)})).await.unwrap();
    wait_until("the gateway to be there again", SOON, || async {
        plane.kubectl(gateway)
    })
    .await
    .unwrap();
    cr.wait_for("HEALTHY", SOON).await.unwrap();
}

/// Stops the control plane, does something to its store, and starts it again.
async fn while_down(plane: &mut ControlPlane, change: impl FnOnce()) {
    for component in COMPONENTS.into_iter().rev() {
        plane.process(component).unwrap().kill().unwrap();
    }
    change();
    for component in COMPONENTS {
        plane.process(component).unwrap().restart().unwrap();
        if component == Component::ApiServer {
            plane
                .process(Component::ApiServer)
                .unwrap()
                .check()
                .unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
    plane.wait_for_api_server().await.unwrap();
}

/// What the kubelet does with a process that ended; one that runs is ended first.
async fn restart(operator: &mut Operator) {
    if operator.process().exited().unwrap().is_none() {
        operator.process().kill().unwrap();
    }
    operator.process().restart().unwrap();
    operator.wait_until_ready().await.unwrap();
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(copied.unwrap().success());
}
