//! The operator under test: the release binary, with the rights that its own manifests give it.

mod build;
mod commands;
pub mod helm;

use std::{env, io::Write, thread};

use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use serde_json::Value;

pub use self::{
    build::binary,
    commands::{Said, manifests, manifests_with, plan, render, restart_rights, run},
};
use crate::{
    actions::api_proxy::ApiProxy,
    control_plane::{ControlPlane, container_config::ContainerConfig, credentials},
    error::Error,
    host::{
        ports, probe,
        process::{Process, Program},
        workspace::{create_dir, read},
    },
    wait::{SOON, wait_until},
    yaml,
};

/// A running operator; ends when dropped.
#[derive(Debug)]
pub struct Operator {
    process: Process,
    user: String,
    port: u16,
}

/// How an operator is run, if not just as its Deployment says.
#[derive(Clone, Debug)]
pub struct Options {
    /// The name of its pod, by which several operators are told apart.
    pub pod_name: String,
    /// Flags after those of the Deployment, such as `--concurrency=1`.
    pub args: Vec<String>,
    /// Variables instead of those of the Deployment, such as `WATCH_NAMESPACE`.
    pub env: Vec<(String, String)>,
    /// Whether it waits for the lease. Without, it works at once, also beside another operator.
    pub leader_election: bool,
    /// Address to use instead of the API server's, such as [`ApiProxy::url`].
    pub server: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            pod_name: "istio-operator-0".into(),
            args: Vec::new(),
            env: Vec::new(),
            leader_election: true,
            server: None,
        }
    }
}

/// How much of its log a failed test shows.
const TAIL_LINES: usize = 20;

impl Operator {
    /// Installs what `istio-operator manifests` prints, runs the operator with the service account in there, never as
    /// administrator, and waits until it is ready. Builds the operator if its sources changed.
    ///
    /// The Deployment is not applied: its simulated pod would look like a second operator that does nothing. The process
    /// gets the arguments and the environment of its container, and `RUST_LOG` of the caller.
    pub async fn start(plane: &ControlPlane) -> Result<Self, Error> {
        Self::start_with(plane, Options::default()).await
    }

    /// The same, with a proxy between it and the API server.
    pub async fn start_behind(plane: &ControlPlane, proxy: &ApiProxy) -> Result<Self, Error> {
        let options = Options {
            server: Some(proxy.url().into()),
            ..Options::default()
        };
        Self::start_with(plane, options).await
    }

    /// The same, with other options.
    pub async fn start_with(plane: &ControlPlane, options: Options) -> Result<Self, Error> {
        let (objects, deployment) = split(&manifests()?)?;
        plane.apply(&objects)?;
        let mut operator = Self::launch(plane, options, &deployment).await?;
        operator.wait_until_ready().await?;
        Ok(operator)
    }

    /// Runs the operator that somebody else installs, in place of the pods of its Deployment, as soon as it is there. These
    /// pods are simulated and take no part in anything.
    pub async fn start_installed(plane: &ControlPlane, namespace: &str) -> Result<Self, Error> {
        let deployments: Api<Deployment> = Api::namespaced(plane.client().await?, namespace);
        let installed = wait_until("the Deployment of the operator", SOON, || {
            deployments.get("istio-operator")
        });
        let deployment = installed.await?;
        let mut operator = Self::launch(plane, Options::default(), &deployment).await?;
        operator.wait_until_ready().await?;
        Ok(operator)
    }

    async fn launch(
        plane: &ControlPlane,
        options: Options,
        deployment: &Deployment,
    ) -> Result<Self, Error> {
        let name = options.pod_name;
        let path = binary()?;
        plane.wait_until_served("istiooperators").await?;
        let ContainerConfig {
            namespace,
            service_account,
            mut args,
            mut env,
            ..
        } = ContainerConfig::of(deployment, "operator", &name)?;
        let dir = plane.dir().join(&name);
        create_dir(&dir)?;
        let mut kubeconfig = plane.kubeconfig_of(&namespace, &service_account).await?;
        if let Some(server) = options.server {
            let proxied = dir.join("proxied.kubeconfig");
            credentials::by_way_of(&server, &kubeconfig, &proxied)?;
            kubeconfig = proxied;
        }
        let port = ports::free()?;
        args.push(format!("--listen=127.0.0.1:{port}"));
        args.extend(options.args);
        if !options.leader_election {
            env.retain(|(name, _)| name != "POD_NAMESPACE");
        }
        env.push(("KUBECONFIG".into(), kubeconfig.display().to_string()));
        env.extend(env::var("RUST_LOG").map(|filter| ("RUST_LOG".into(), filter)));
        // The last value of a variable counts.
        env.extend(options.env);
        let log = plane.dir().join(format!("{name}.log"));
        let process = Process::start(Program {
            name,
            path,
            args,
            env,
            dir,
            log,
        })?;
        let user = format!("system:serviceaccount:{namespace}:{service_account}");
        Ok(Self {
            process,
            user,
            port,
        })
    }

    /// The process: to measure it, freeze it, kill it, start it again, read its log.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Its name in the audit log.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Port on 127.0.0.1 of `/healthz`, `/readyz` and `/metrics`.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Waits until it says that it is ready, which it is again some time after a restart.
    pub async fn wait_until_ready(&mut self) -> Result<(), Error> {
        let port = self.port;
        let ready = wait_until("the operator to be ready", SOON, || {
            let alive = self.process.check();
            async move {
                match alive {
                    Err(died) => Ok(Err(died)),
                    Ok(()) => probe::get(port, "/readyz").map(|_| Ok(())),
                }
            }
        });
        ready.await?
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        if thread::panicking() {
            let log = read(self.process.log()).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
            let said = format!("the end of the operator's log:\n{tail}\n");
            // A closed standard error loses only this hint.
            let _ = std::io::stderr().write_all(said.as_bytes());
        }
    }
}

/// The Deployment of the operator, and everything else as one stream.
fn split(manifests: &str) -> Result<(String, Deployment), Error> {
    let documents = yaml::documents("istio-operator manifests", manifests)?;
    let is_deployment = |document: &Value| document["kind"] == "Deployment";
    let (deployments, others): (Vec<_>, Vec<_>) = documents.into_iter().partition(is_deployment);
    let deployment = deployments.into_iter().next().unwrap_or_default();
    let deployment = serde_json::from_value(deployment)
        .map_err(|error| Error::Unexpected(format!("Deployment of the operator: {error}")))?;
    Ok((yaml::stream(&others), deployment))
}
