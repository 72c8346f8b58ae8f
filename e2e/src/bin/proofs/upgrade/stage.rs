//! A mesh of the previous minor with traffic on it, and what is counted of it.

use std::{sync::Arc, time::Duration};

use e2e::{
    actions::cr::{Cr, manifest},
    control_plane::{ControlPlane, Options},
    error::Error,
    host::load::{Load, Question},
    istio::{
        app::App,
        node::Node,
        pod_process::{Apps, INBOUND, OUTBOUND, PROCESS},
        release::Release,
    },
    operator::Operator,
    wait::{SOON, wait_until},
    yaml,
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{
    newcomers::Newcomers,
    report::{Counted, Phase},
};
use crate::{ensure, say};

pub const SERVER: &str = "server";
pub const CLIENT: &str = "client";

/// The namespace of the workloads.
pub const APPS: &str = "apps";

const GATEWAY: &str = "istio-ingressgateway";

/// Requests a second, through the gateway and between the sidecars each.
const RATE: u32 = 200;

/// A mesh with its operator, under load.
pub struct Stage {
    // Fields are dropped in this order: clients before what they talk to.
    gateway: Load,
    sidecars: Load,
    newcomers: Newcomers,
    phases: Vec<Phase>,
    pub cr: Cr,
    node: Node,
    _app: App,
    _operator: Operator,
    plane: Arc<ControlPlane>,
}

impl Stage {
    /// Installs the previous minor with this `updateStrategy`, and lets the load begin once requests are answered.
    pub async fn set(strategy: &Value) -> Result<Self, Error> {
        // All pods are on the node of processes.
        let options = Options {
            nodes: 0,
            ..Options::default()
        };
        let plane = Arc::new(ControlPlane::start_with(options).await?);
        let operator = Operator::start(&plane).await?;
        let app = App::start(SERVER).await?;
        let node = Node::start(&plane, Apps::One(app.address())).await?;
        let spec = json!({
            "profile": "default",
            "version": Release::Previous.minor(),
            "updateStrategy": strategy,
        });
        let cr = Cr::apply(&plane, &manifest("mesh", &spec).to_string()).await?;
        let installed = cr.wait_for("HEALTHY", SOON).await;
        node.check()?;
        installed?;
        wait_until("the webhooks to be answered", SOON, || async {
            plane.apply(&app.behind(&[("istio".into(), "ingressgateway".into())].into()))?;
            plane.apply(&workloads())
        })
        .await?;
        let client = node.open(APPS, CLIENT, OUTBOUND)?;
        let through_gateway = Question {
            address: node.open("istio-system", GATEWAY, 8080)?,
            target: format!("/{SERVER}"),
            host: "shop.example.com".into(),
        };
        let between_sidecars = Question {
            address: client,
            target: format!("http://{SERVER}.{APPS}.svc.cluster.local/"),
            host: format!("{SERVER}.{APPS}.svc.cluster.local"),
        };
        for question in [&through_gateway, &between_sidecars] {
            let answered = answered(question).await;
            node.check()?;
            answered?;
        }
        let stage = Self {
            gateway: Load::start(&through_gateway, RATE),
            sidecars: Load::start(&between_sidecars, RATE),
            newcomers: Newcomers::start(plane.client().await?, APPS),
            phases: Vec::new(),
            cr,
            node,
            _app: app,
            _operator: operator,
            plane,
        };
        for app in ["istiod", GATEWAY, SERVER, CLIENT] {
            stage.only_runs(app, Release::Previous).await?;
        }
        Ok(stage)
    }

    /// What is asked from now on counts for this phase.
    pub fn phase(&mut self, name: &str) {
        self.begin(name, false);
    }

    /// From now on requests between sidecars have to fail.
    pub fn control(&mut self, name: &str) {
        self.begin(name, true);
    }

    fn begin(&mut self, name: &str, is_control: bool) {
        self.phases.push(Phase {
            name: name.into(),
            from: Instant::now(),
            is_control,
        });
    }

    /// Waits until all that is ready of an app is of this release, and there is something.
    pub async fn only_runs(&self, app: &str, release: Release) -> Result<(), Error> {
        let what = format!("{app} to be of {} only", release.minor());
        wait_until(&what, SOON, || async {
            let found = self.node.releases(app);
            if !found.is_empty() && found.iter().all(|one| *one == release) {
                return Ok(());
            }
            let status = self.cr.get().await?.data["status"].to_string();
            Err(Error::Unexpected(format!("{found:?}, {status}")))
        })
        .await?;
        self.node.check()
    }

    /// Restarts a workload as its owner would, and waits until its new pod, with a sidecar of this release, has taken over.
    pub async fn roll(&self, app: &str, release: Release) -> Result<(), Error> {
        let deployment = format!("deployment/{app}");
        let namespace = format!("--namespace={APPS}");
        self.plane
            .kubectl(["rollout", "restart", &deployment, &namespace])?;
        let what = format!("{app} to be replaced");
        wait_until(&what, SOON, || async {
            let pods = self.plane.kubectl([
                "get",
                "pods",
                &namespace,
                &format!("--selector=app={app}"),
                "--output=name",
            ])?;
            let status = [
                "rollout",
                "status",
                &deployment,
                &namespace,
                "--watch=false",
            ];
            let status = self.plane.kubectl(status)?;
            if pods.lines().count() == 1 && status.contains("successfully rolled out") {
                Ok(())
            } else {
                Err(Error::Unexpected(format!("{pods} {status}")))
            }
        })
        .await?;
        self.only_runs(app, release).await
    }

    /// Ends the load, and prints and judges what was counted. `done` is how the steps went.
    pub fn end(self, title: &str, done: Result<(), Error>) -> Result<(), Error> {
        let done = self.node.check().and(done);
        let counted = Counted {
            phases: self.phases,
            gateway: self.gateway.samples(),
            sidecars: self.sidecars.samples(),
            pods: self.newcomers.pods(),
        };
        say(&format!("\n{title}\n{counted}"))?;
        let flawless = ensure(
            counted.is_flawless(),
            format!("{title}: something failed, or was not asked for at all"),
        );
        let judged = done.and(flawless);
        if judged.is_err() {
            let kept = self.plane.keep_logs()?;
            say(&format!("logs of the control plane: {}", kept.display()))?;
        }
        judged
    }
}

/// Waits until a question is answered for a second.
async fn answered(question: &Question) -> Result<(), Error> {
    let what = format!("an answer to {}", question.target);
    wait_until(&what, SOON, || async {
        let load = Load::start(question, RATE);
        sleep(Duration::from_secs(1)).await;
        let samples = load.samples();
        let failure = samples.iter().find_map(|sample| sample.failure.clone());
        match failure {
            None if !samples.is_empty() => Ok(()),
            failure => Err(failure.unwrap_or_else(|| "no answer".into())),
        }
    })
    .await
}

/// A client and a server that speak by mutual TLS only, in a namespace that the default tag injects.
fn workloads() -> String {
    let namespace = json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": APPS, "labels": {"istio-injection": "enabled"}},
    });
    let policy = json!({
        "apiVersion": "security.istio.io/v1",
        "kind": "PeerAuthentication",
        "metadata": {"name": "default", "namespace": APPS},
        "spec": {"mtls": {"mode": "STRICT"}},
    });
    let mut objects = vec![namespace, policy];
    objects.extend(workload(SERVER, &json!({PROCESS: SERVER}), (80, INBOUND)));
    objects.extend(workload(
        CLIENT,
        &json!({"app": CLIENT}),
        (OUTBOUND, OUTBOUND),
    ));
    yaml::stream(&objects)
}

/// A Deployment with its account, and a Service for what this selector finds.
fn workload(name: &str, selector: &Value, (port, target): (u16, u16)) -> [Value; 3] {
    let metadata = json!({"name": name, "namespace": APPS});
    let pod = json!({
        "metadata": {
            "labels": {"app": name},
            // Without it, the sidecar would wait for connections that the node captures.
            "annotations": {"sidecar.istio.io/interceptionMode": "NONE"},
        },
        "spec": {
            "serviceAccountName": name,
            "containers": [{"name": "app", "image": "example.com/app"}],
        },
    });
    let service = json!({
        "selector": selector,
        "ports": [{"name": "http", "port": port, "targetPort": target}],
    });
    [
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": service}),
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {"selector": {"matchLabels": {"app": name}}, "template": pod},
        }),
    ]
}
