//! The local control plane itself: it works as a cluster does, and it leaves nothing behind.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on may stop anywhere, and says what it measured"
)]

use std::{
    env,
    io::{self, BufRead, BufReader, Read},
    path::PathBuf,
    process::{ChildStdout, Command, Stdio},
    time::Instant,
};

use e2e::{
    control_plane::{ControlPlane, Options, components::Component},
    error::Error,
    host::process::is_alive,
    observe::audit::Event,
    wait::{SOON, wait_until},
};
use k8s_openapi::{api::apps::v1::Deployment, jiff::Timestamp};
use kube::Api;

const WORKLOAD: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: default}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: example.com/web, resources: {requests: {cpu: 10m}}}]
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web, namespace: default}
spec:
  minReplicas: 2
  maxReplicas: 5
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 80}}}]
";

#[tokio::test]
async fn works_as_a_cluster_does_beside_another_one() {
    let (one, two) = tokio::join!(ControlPlane::start(), ControlPlane::start());
    let (one, two) = (one.unwrap(), two.unwrap());
    let version = one.kubectl(["version", "-o", "json"]).unwrap();
    assert_eq!(
        version.matches(r#""gitVersion": "v1.36.3""#).count(),
        2,
        "{version}"
    );

    let since = Timestamp::now();
    one.apply(WORKLOAD).unwrap();
    let deployments: Api<Deployment> = Api::default_namespaced(one.client().await.unwrap());
    let ready = wait_until(
        "the HPA to raise the Deployment to 2 ready pods",
        SOON,
        || async {
            let status = deployments.get("web").await?.status.unwrap_or_default();
            match status.ready_replicas {
                Some(2) => Ok(()),
                other => Err(Error::Unexpected(format!("ready replicas: {other:?}"))),
            }
        },
    );
    ready.await.unwrap();
    let elsewhere = two.kubectl(["get", "deployments", "-o", "name"]).unwrap();
    assert_eq!(elsewhere, "", "the other control plane is another cluster");

    let scaled = |event: &Event| {
        event.is_about("apps", "deployments") && event.object_ref.subresource == "scale"
    };
    let recorded = wait_until("the HPA's write in the audit log", SOON, || async {
        let events = one.audit().by(":horizontal-pod-autoscaler", since)?;
        let write = events
            .into_iter()
            .find(|event| event.is_write() && scaled(event));
        write.ok_or_else(|| Error::Unexpected("there is none".into()))
    });
    let write = recorded.await.unwrap();
    assert!(write.succeeded());
    assert_eq!(write.request_object["spec"]["replicas"], 2);
    let created = one.audit().by("admin", since).unwrap();
    assert!(
        created
            .iter()
            .any(|event| event.verb == "patch" && event.object_ref.name == "web")
    );
}

#[tokio::test]
async fn survives_the_death_of_its_api_server() {
    let mut plane = ControlPlane::start().await.unwrap();
    plane.kubectl(["create", "configmap", "before"]).unwrap();
    let api_server = plane.process(Component::ApiServer).unwrap();
    assert!(api_server.usage().unwrap().resident > 100 << 20);
    let (old, dir) = (api_server.pid(), plane.dir().to_path_buf());
    plane
        .process(Component::ApiServer)
        .unwrap()
        .restart()
        .unwrap();
    plane.wait_for_api_server().await.unwrap();
    plane.kubectl(["get", "configmap", "before"]).unwrap();
    assert!(!is_alive(old));

    let pids = [Component::Etcd, Component::ApiServer, Component::Kwok]
        .map(|component| plane.process(component).unwrap().pid());
    drop(plane);
    assert!(
        !pids.into_iter().any(is_alive),
        "dropped, but still alive: {pids:?}"
    );
    assert!(!dir.exists());
}

#[tokio::test]
async fn a_taken_port_gives_one_clear_sentence() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let options = Options {
        port: Some(port),
        ..Options::default()
    };
    let error = ControlPlane::start_with(options)
        .await
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        format!("port {port} on 127.0.0.1 is taken: choose another one, or 0 for any free port")
    );
}

/// Set for the child of the next test.
const OWNER: &str = "CONTROL_PLANE_OWNER";

/// The test binary runs this very test again as a child, which starts a control plane and waits to
/// be killed.
#[tokio::test]
async fn nothing_outlives_a_killed_owner() {
    if env::var_os(OWNER).is_some() {
        return own_until_killed().await;
    }
    let mut owner = Command::new(env::current_exe().unwrap())
        .args(["--exact", "nothing_outlives_a_killed_owner", "--nocapture"])
        .env(OWNER, "yes")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (dir, pids) = what_it_started(owner.stdout.take().unwrap());
    assert!(pids.iter().copied().all(is_alive));

    owner.kill().unwrap();
    owner.wait().unwrap();
    let died = Instant::now();
    wait_until("all to be gone", SOON, || async {
        let alive: Vec<_> = pids.iter().filter(|pid| is_alive(**pid)).collect();
        if alive.is_empty() && !dir.exists() {
            return Ok(());
        }
        Err(format!("alive: {alive:?}, directory: {}", dir.exists()))
    })
    .await
    .unwrap();
    println!("all gone {} ms after SIGKILL", died.elapsed().as_millis());
}

/// Begins the line in which the owner prints what it started.
const STARTED: &str = "started: ";

/// Ends when its parent does, which closes the pipe.
async fn own_until_killed() {
    let mut plane = ControlPlane::start().await.unwrap();
    let components = [
        Component::Etcd,
        Component::ApiServer,
        Component::ControllerManager,
        Component::Scheduler,
        Component::Kwok,
    ];
    let pids = components.map(|component| plane.process(component).unwrap().pid().to_string());
    println!("{STARTED}{} {}", pids.join(" "), plane.dir().display());
    io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

/// The directory and the processes of an owner.
fn what_it_started(said: ChildStdout) -> (PathBuf, Vec<u32>) {
    let lines = BufReader::new(said).lines().map(Result::unwrap);
    let mut started = lines.filter_map(|line| Some(line.split_once(STARTED)?.1.to_owned()));
    let started = started.next().expect("the owner ended");
    let mut words = started.splitn(6, ' ');
    let pids = words.by_ref().take(5).map(|pid| pid.parse().unwrap());
    let pids = pids.collect();
    (words.next().unwrap().into(), pids)
}
