//! The operator under test: the release binary, with the rights that its own manifests give it.

use std::{
    env,
    fs::File,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Command, Stdio},
    thread,
};

use k8s_openapi::api::apps::v1::Deployment;
use serde_json::Value;

use crate::{
    actions::api_proxy::ApiProxy,
    control_plane::{ControlPlane, container_config::ContainerConfig, credentials},
    error::Error,
    host::{
        ports, probe,
        process::{Process, Program},
        progress::Progress,
        watchdog,
        workspace::{create_dir, lock, read, root, state_dir},
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

/// What its pod is called where there is only one.
const POD: &str = "istio-operator-0";

/// How much of its log a failed test shows.
const TAIL_LINES: usize = 20;

impl Operator {
    /// Installs what `istio-operator manifests` prints and runs the operator with the service
    /// account in there; never as administrator. Builds the operator if its sources changed.
    ///
    /// The Deployment alone is left out: its pod would be a simulated one, which would look like a
    /// second operator that does nothing. Its arguments and environment are used for the process;
    /// `RUST_LOG` of the caller is passed on.
    pub async fn start(plane: &ControlPlane) -> Result<Self, Error> {
        let mut operator = Self::start_as(plane, POD).await?;
        operator.wait_until_ready().await?;
        Ok(operator)
    }

    /// The same, under another pod name, so that several can compete for the lease; does not wait.
    pub async fn start_as(plane: &ControlPlane, pod_name: &str) -> Result<Self, Error> {
        Self::launch(plane, pod_name, None).await
    }

    /// The same, with a gate between it and the API server.
    pub async fn start_behind(plane: &ControlPlane, proxy: &ApiProxy) -> Result<Self, Error> {
        let mut operator = Self::launch(plane, POD, Some(proxy.url())).await?;
        operator.wait_until_ready().await?;
        Ok(operator)
    }

    async fn launch(
        plane: &ControlPlane,
        pod_name: &str,
        server: Option<&str>,
    ) -> Result<Self, Error> {
        let path = binary()?;
        let (objects, deployment) = split(&manifests()?)?;
        plane.apply(&objects)?;
        plane.wait_until_served("istiooperators").await?;
        let ContainerConfig {
            namespace,
            service_account,
            mut args,
            mut env,
            ..
        } = ContainerConfig::for_container(&deployment, "operator", pod_name)?;
        let mut kubeconfig = plane.kubeconfig_of(&namespace, &service_account).await?;
        if let Some(server) = server {
            kubeconfig = credentials::by_way_of(server, &kubeconfig)?;
        }
        let port = ports::free()?;
        args.push(format!("--listen=127.0.0.1:{port}"));
        env.push(("KUBECONFIG".into(), kubeconfig.display().to_string()));
        env.extend(env::var("RUST_LOG").map(|filter| ("RUST_LOG".into(), filter)));
        let dir = plane.dir().join(pod_name);
        create_dir(&dir)?;
        let log = plane.dir().join(format!("{pod_name}.log"));
        let process = Process::start(Program {
            name: pod_name.into(),
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

    /// The process: to measure it, kill it, start it again, read its log.
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

/// The release binary, built if its sources changed since the last time. `OPERATOR_BINARY` names another one to use
/// instead, such as a debug build while a scenario is being written.
pub fn binary() -> Result<PathBuf, Error> {
    if let Some(path) = env::var_os("OPERATOR_BINARY") {
        return Ok(path.into());
    }
    let _lock = lock("operator")?;
    let mut progress = Progress::new("building the operator (release)");
    let log = state_dir().join("operator-build.log");
    let errors = File::create(&log).map_err(Error::io(log.display().to_string()))?;
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // Cargo tells us about our own package; told on, that would look to build scripts like a change
    // of theirs, and compile half of the dependencies again.
    let ours = [
        "CARGO_PKG_",
        "CARGO_MANIFEST_",
        "CARGO_BIN_",
        "CARGO_CRATE_",
        "CARGO_PRIMARY_",
    ];
    for (name, _) in env::vars_os() {
        if ours
            .iter()
            .any(|prefix| name.to_string_lossy().starts_with(prefix))
        {
            command.env_remove(name);
        }
    }
    let mut child = command
        .args([
            "build",
            "--quiet",
            "--release",
            "--package",
            "istio-operator",
        ])
        .arg("--message-format=json-render-diagnostics")
        .current_dir(root())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(errors)
        .spawn()
        .map_err(Error::io("cargo"))?;
    let _watched = watchdog::watch(&child)?;
    let output = child
        .stdout
        .take()
        .ok_or_else(|| Error::Unexpected("no output".into()))?;
    let mut executable = None;
    for line in BufReader::new(output).lines() {
        let line = line.map_err(Error::io("cargo"))?;
        let message: Value = serde_json::from_str(&line).unwrap_or_default();
        if message["fresh"] == false {
            let name = message["target"]["name"].as_str().unwrap_or_default();
            progress.update(&format!("compiled {name}"));
        }
        executable = message["executable"]
            .as_str()
            .map(PathBuf::from)
            .or(executable);
    }
    let status = child.wait().map_err(Error::io("cargo"))?;
    progress.done();
    executable
        .filter(|_| status.success())
        .ok_or_else(|| Error::Build {
            what: "the operator".into(),
            tail: read(&log).unwrap_or_default(),
        })
}

/// What `istio-operator manifests` prints.
pub fn manifests() -> Result<String, Error> {
    printed(&["manifests"], "")
}

/// The objects that `istio-operator render` prints for an IstioOperator.
pub fn render(cr: &str) -> Result<Vec<Value>, Error> {
    yaml::documents(
        "istio-operator render",
        &printed(&["render", "-f", "-"], cr)?,
    )
}

/// What the operator prints for `arguments`, with `input` as its standard input.
fn printed(arguments: &[&str], input: &str) -> Result<String, Error> {
    let command = format!("istio-operator {}", arguments.join(" "));
    let mut child = Command::new(binary()?)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(Error::io(&command))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin
            .write_all(input.as_bytes())
            .map_err(Error::io(&command))?;
    }
    let output = child.wait_with_output().map_err(Error::io(&command))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(Error::Command { command, message })
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
