//! A Kubernetes control plane on loopback: etcd, kube-apiserver, kube-controller-manager,
//! kube-scheduler, and kwok, which plays nodes and the pods on them.

pub mod client;
pub mod components;

pub(crate) mod container_config;
pub(crate) mod credentials;
pub(crate) mod egress_proxy;
pub(crate) mod nodes;
pub(crate) mod volumes;

mod etcd;
mod initial_state;
mod kubectl;

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    io::Write,
    mem,
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
};
use kube::{Api, Client, api::PostParams};
use serde_json::{Value, json};

use crate::{
    control_plane::{
        components::{Component, Site},
        egress_proxy::{EgressProxy, Route},
        initial_state::InitialState,
    },
    error::Error,
    host::{
        go_programs::Bundle,
        ports,
        process::Process,
        watchdog,
        workspace::{create_dir, entries, state_dir, write},
    },
    observe::{audit::AuditLog, inventory::Inventory},
    wait::{SOON, wait_until},
};

/// What may differ from one control plane to another.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Port of the API server on 127.0.0.1; a free one if absent.
    pub port: Option<u16>,
    /// Number of simulated nodes, each with 32 CPUs, 256 GiB and room for 1,000 pods.
    pub nodes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            port: None,
            nodes: 1,
        }
    }
}

/// A running control plane. It is gone when this value is dropped, and when the process ends in
/// whatever way; after a panic its logs are kept, and their place is printed.
///
/// One of [`ControlPlane::reuse_or_start`] waits for its next user instead.
#[derive(Debug)]
pub struct ControlPlane {
    // Fields are dropped in this order: the API server's clients before the API server.
    processes: BTreeMap<Component, Process>,
    egress: Arc<EgressProxy>,
    site: Arc<Site>,
    /// Where the audit log of this use begins, in bytes.
    audit_start: u64,
    /// What it becomes again before its next use; absent if there is none.
    initial: Option<Arc<InitialState>>,
}

/// How often a start is tried again because a process ended: somebody took its port in between, or the disk was so slow
/// that the API server gave up on etcd.
const RETRIES: usize = 3;

/// Numbers the control planes of this process.
static COUNT: AtomicUsize = AtomicUsize::new(0);

impl ControlPlane {
    /// Starts a control plane with one node on free ports; builds its programs if they are missing.
    pub async fn start() -> Result<Self, Error> {
        Self::start_with(Options::default()).await
    }

    /// Starts a control plane and waits until pods can be created and scheduled on it.
    pub async fn start_with(options: Options) -> Result<Self, Error> {
        // A taken port is reported before a build of minutes, not after it.
        options.port.map(ports::exactly).transpose()?;
        let bin = Bundle::Kubernetes.dir()?;
        let mut retries = 0;
        loop {
            match Self::boot(options, bin.clone()).await {
                Err(Error::Died { .. }) if retries < RETRIES => retries += 1,
                booted => return booted,
            }
        }
    }

    /// A control plane that another test of this process has done with, made again as it was after its start, or a new one.
    /// Most of what a short test costs is the start of its control plane.
    pub async fn reuse_or_start() -> Result<Self, Error> {
        while let Some(mut plane) = initial_state::take_idle() {
            match plane.restore().await {
                Ok(()) => return Ok(plane),
                Err(error) => {
                    plane.initial = None;
                    let said = format!("a control plane is not used again: {error}\n");
                    // A closed standard error loses only this hint.
                    let _ = std::io::stderr().write_all(said.as_bytes());
                }
            }
        }
        let mut plane = Self::start().await?;
        plane.initial = Some(Arc::new(InitialState::of(&plane).await?));
        Ok(plane)
    }

    async fn restore(&mut self) -> Result<(), Error> {
        if let Some(initial) = self.initial.clone() {
            initial.restore(self).await?;
        }
        self.audit_start = self.audit().len()?;
        self.check()
    }

    async fn boot(options: Options, bin: PathBuf) -> Result<Self, Error> {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = watchdog::run_dir()?.join(number.to_string());
        let site = Site::prepare(dir, bin, options.port)?;
        let egress = EgressProxy::start(site.egress_socket(), site.kubeconfig("admin"))?;
        write(&site.egress_configuration(), egress.configuration())?;
        let mut plane = Self {
            processes: BTreeMap::new(),
            egress: Arc::new(egress),
            site: Arc::new(site),
            audit_start: 0,
            initial: None,
        };
        plane.launch(Component::Etcd)?;
        plane.wait_for_etcd().await?;
        plane.launch(Component::ApiServer)?;
        plane.wait_for_api_server().await?;
        plane.launch(Component::ControllerManager)?;
        plane.launch(Component::Scheduler)?;
        plane.launch(Component::Kwok)?;
        nodes::create(plane.client().await?, options.nodes).await?;
        plane.wait_for_service_account("default", "default").await?;
        Ok(plane)
    }

    /// A client with full access; see [`client::from_kubeconfig`].
    pub async fn client(&self) -> Result<Client, Error> {
        client::from_kubeconfig(&self.kubeconfig()).await
    }

    /// All kinds that it serves now, to find what the operator made.
    pub async fn inventory(&self) -> Result<Inventory, Error> {
        Inventory::discover(self.client().await?).await
    }

    /// A kubeconfig file with full access.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.site.kubeconfig("admin")
    }

    /// The kubectl that belongs to this control plane.
    #[must_use]
    pub fn kubectl_path(&self) -> PathBuf {
        self.site.bin("kubectl")
    }

    /// The directory with logs, kubeconfigs and data.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.site.dir
    }

    /// Runs kubectl with full access and returns what it prints.
    pub fn kubectl<A: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = A>,
    ) -> Result<String, Error> {
        self.kubectl_with_input(args, "")
    }

    /// Runs kubectl with `input` as its standard input.
    pub fn kubectl_with_input<A: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = A>,
        input: &str,
    ) -> Result<String, Error> {
        kubectl::run(&self.kubectl_path(), &self.kubeconfig(), args, input)
    }

    /// Runs the program `name` at `path` with full access and returns what it prints.
    pub(crate) fn run<A: AsRef<OsStr>>(
        &self,
        name: &str,
        path: &Path,
        args: impl IntoIterator<Item = A>,
    ) -> Result<String, Error> {
        let mut command = Command::new(path);
        command
            .args(args)
            .current_dir(self.dir())
            .env("HOME", self.dir())
            .env("KUBECONFIG", self.kubeconfig());
        let output = command.output().map_err(Error::io(name))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let args: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
        Err(Error::Command {
            command: format!("{name} {}", args.join(" ")),
            message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        })
    }

    /// Applies YAML documents server-side with full access, taking over fields of other managers.
    pub fn apply(&self, yaml: &str) -> Result<String, Error> {
        self.apply_as("kubectl", yaml)
    }

    /// The same as this field manager, such as `istio-operator`, whose name `istioctl install` uses too.
    pub fn apply_as(&self, field_manager: &str, yaml: &str) -> Result<String, Error> {
        let manager = format!("--field-manager={field_manager}");
        let apply = [
            "apply",
            "--server-side",
            "--force-conflicts",
            "--filename=-",
        ];
        self.kubectl_with_input(apply.into_iter().chain([&*manager]), yaml)
    }

    /// Creates a namespace; one that exists is left as it is.
    pub fn create_namespace(&self, name: &str) -> Result<(), Error> {
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        self.apply(&namespace.to_string()).map(drop)
    }

    /// Creates a namespace whose pods the default tag injects.
    pub fn create_injected_namespace(&self, name: &str) -> Result<(), Error> {
        let labels = json!({"istio-injection": "enabled"});
        let namespace = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "labels": labels},
        });
        self.apply(&namespace.to_string()).map(drop)
    }

    /// A pod as it would be created, once the API server takes it and `is_expected` holds: service accounts, webhooks,
    /// their certificates and their endpoints become known to the API server a moment after they are there.
    pub async fn admitted(
        &self,
        pod: &Value,
        is_expected: impl Fn(&Value) -> bool,
    ) -> Result<Value, Error> {
        let trial = ["create", "--dry-run=server", "-o=json", "-f=-"];
        wait_until("the pod to be admitted", SOON, || async {
            let created = self.kubectl_with_input(trial, &pod.to_string())?;
            let created: Value = serde_json::from_str(&created).unwrap_or_default();
            if is_expected(&created) {
                Ok(created)
            } else {
                Err(Error::Unexpected(created.to_string()))
            }
        })
        .await
    }

    /// The API server's record of all requests.
    #[must_use]
    pub fn audit(&self) -> AuditLog {
        AuditLog::new(self.site.audit_log(), self.audit_start)
    }

    /// One of the processes, to measure it, kill it, or start it again.
    ///
    /// Waiting until others have noticed is up to the caller; for the API server,
    /// [`ControlPlane::wait_for_api_server`] does. Afterwards no other test uses this control plane.
    pub fn process(&mut self, component: Component) -> Option<&mut Process> {
        self.initial = None;
        self.processes.get_mut(&component)
    }

    /// A kubeconfig with a token of a service account, valid for a month: this control plane's only
    /// way to act as anybody but the administrator. Waits until the service account exists.
    pub async fn kubeconfig_of(&self, namespace: &str, name: &str) -> Result<PathBuf, Error> {
        self.wait_for_service_account(namespace, name).await?;
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client().await?, namespace);
        let spec = TokenRequestSpec {
            expiration_seconds: Some(30 * 24 * 3600),
            ..TokenRequestSpec::default()
        };
        let request = TokenRequest {
            spec: Some(spec),
            ..TokenRequest::default()
        };
        let answer = accounts
            .create_token_request(name, &PostParams::default(), &request)
            .await?;
        let token = answer
            .status
            .and_then(|status| status.token)
            .unwrap_or_default();
        let path = self.dir().join(format!("{namespace}-{name}.kubeconfig"));
        self.site.write_kubeconfig(&path, &token, namespace)?;
        Ok(path)
    }

    /// Waits until the API server answers that it is ready.
    pub async fn wait_for_api_server(&mut self) -> Result<(), Error> {
        let kubeconfig = self.kubeconfig();
        let certificate = self.site.certificate();
        let ready = wait_until("the API server to be ready", SOON, || {
            let alive = self.check();
            let (kubeconfig, certificate) = (&kubeconfig, &certificate);
            async move {
                if alive.is_err() {
                    return Ok(alive);
                }
                if !certificate.exists() {
                    return Err(Error::Unexpected("it has no certificate yet".into()));
                }
                let request = http::Request::get("/readyz").body(Vec::new());
                let request = request.map_err(|error| Error::Unexpected(error.to_string()))?;
                client::from_kubeconfig(kubeconfig)
                    .await?
                    .request_text(request)
                    .await?;
                Ok(Ok(()))
            }
        });
        ready.await?
    }

    /// Waits until kubectl finds a kind (its plural name) and the API server answers for it, which is some time after its
    /// CRD was applied.
    pub async fn wait_until_served(&self, plural: &str) -> Result<(), Error> {
        let what = format!("{plural} to be served");
        wait_until(&what, SOON, || async {
            self.kubectl(["get", plural, "--all-namespaces"]).map(drop)
        })
        .await
    }

    /// Connections of the API server to these pods and port go to a process.
    pub(crate) fn route(&self, route: Route) {
        self.egress.route(route);
    }

    fn launch(&mut self, component: Component) -> Result<(), Error> {
        let process = Process::start(self.site.program(component))?;
        self.processes.insert(component, process);
        Ok(())
    }

    /// The first process that ended by itself, as an error.
    fn check(&mut self) -> Result<(), Error> {
        self.processes.values_mut().try_for_each(Process::check)
    }

    async fn wait_for_etcd(&mut self) -> Result<(), Error> {
        let port = self.site.etcd_port();
        let listening = wait_until("etcd to listen", SOON, || {
            let alive = self.check();
            let connected = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
            async move {
                match alive {
                    Err(died) => Ok(Err(died)),
                    Ok(()) => connected.map(|_| Ok(())),
                }
            }
        });
        listening.await?
    }

    /// Pods are refused until their service account exists.
    async fn wait_for_service_account(&self, namespace: &str, name: &str) -> Result<(), Error> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client().await?, namespace);
        let what = format!("the service account {namespace}/{name}");
        wait_until(&what, SOON, || async { accounts.get(name).await.map(drop) }).await
    }

    /// Copies the logs to where they outlive this process; gives the directory.
    pub fn keep_logs(&self) -> Result<PathBuf, Error> {
        let name = thread::current()
            .name()
            .unwrap_or("unnamed")
            .replace("::", "-");
        let kept = state_dir().join("failed").join(name);
        create_dir(&kept)?;
        for path in entries(self.dir())? {
            if let (Some("log"), Some(name)) =
                (path.extension().and_then(OsStr::to_str), path.file_name())
            {
                fs::copy(&path, kept.join(name)).map_err(Error::io("logs"))?;
            }
        }
        Ok(kept)
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        if thread::panicking()
            && let Ok(kept) = self.keep_logs()
        {
            let said = format!("logs of the control plane: {}\n", kept.display());
            // A closed standard error loses only this hint.
            let _ = std::io::stderr().write_all(said.as_bytes());
        }
        if !thread::panicking() && self.initial.is_some() && self.check().is_ok() {
            let idle = Self {
                processes: mem::take(&mut self.processes),
                egress: Arc::clone(&self.egress),
                site: Arc::clone(&self.site),
                audit_start: self.audit_start,
                initial: self.initial.take(),
            };
            return initial_state::keep_idle(idle);
        }
        self.processes.clear();
        // What cannot be removed now is removed when the process ends.
        let _ = fs::remove_dir_all(self.dir());
    }
}
