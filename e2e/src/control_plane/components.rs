//! The programs of a control plane: the files they need and how each is started.

use std::path::{Path, PathBuf};

use crate::{
    control_plane::credentials,
    error::Error,
    host::{
        ports,
        process::Program,
        workspace::{create_dir, write},
    },
    observe::audit,
};

/// One program of a control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Component {
    /// The store.
    Etcd,
    /// kube-apiserver.
    ApiServer,
    /// kube-controller-manager with all its controllers.
    ControllerManager,
    /// kube-scheduler.
    Scheduler,
    /// kwok: nodes and pods become ready because it says so.
    Kwok,
}

/// Where one control plane lives: its directory, ports and credentials.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) dir: PathBuf,
    bin: PathBuf,
    pub(crate) port: u16,
    etcd_port: u16,
    etcd_peer_port: u16,
}

/// Users that the API server knows by token: name, and group of full access or none.
const USERS: [(&str, &str); 4] = [
    ("admin", "system:masters"),
    ("system:kube-controller-manager", ""),
    ("system:kube-scheduler", ""),
    ("kwok", "system:masters"),
];

impl Site {
    /// Chooses ports and writes tokens, keys and policies into `dir`.
    pub(crate) fn prepare(dir: PathBuf, bin: PathBuf, port: Option<u16>) -> Result<Self, Error> {
        create_dir(&dir)?;
        let port = port.map_or_else(ports::free, ports::exactly)?;
        let (etcd_port, etcd_peer_port) = (ports::free()?, ports::free()?);
        let site = Self {
            dir,
            bin,
            port,
            etcd_port,
            etcd_peer_port,
        };
        let mut tokens = Vec::new();
        for (user, group) in USERS {
            let token = credentials::token()?;
            tokens.push(format!("{token},{user},{user},{group}\n"));
            site.write_kubeconfig(&site.kubeconfig(user), &token, "default")?;
        }
        write(&site.dir.join("tokens.csv"), tokens.concat())?;
        write(
            &site.dir.join("service-accounts.pem"),
            credentials::signing_key()?,
        )?;
        write(&site.dir.join("audit-policy.json"), audit::POLICY)?;
        Ok(site)
    }

    /// Where the kubeconfig of one of the users is.
    pub(crate) fn kubeconfig(&self, user: &str) -> PathBuf {
        self.dir
            .join(format!("{}.kubeconfig", user.trim_start_matches("system:")))
    }

    /// Writes a kubeconfig for this API server.
    pub(crate) fn write_kubeconfig(
        &self,
        path: &Path,
        token: &str,
        namespace: &str,
    ) -> Result<(), Error> {
        write(
            path,
            credentials::kubeconfig(self.port, &self.certificate(), token, namespace),
        )
    }

    /// The certificate that the API server makes for itself when it starts, with its issuer.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.dir.join("certificates/apiserver.crt")
    }

    pub(crate) fn audit_log(&self) -> PathBuf {
        self.dir.join("audit.log")
    }

    pub(crate) fn egress_configuration(&self) -> PathBuf {
        self.dir.join("egress.json")
    }

    pub(crate) fn egress_socket(&self) -> PathBuf {
        self.dir.join("egress.sock")
    }

    /// The built programs.
    pub(crate) fn bin(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// How to start a component.
    pub(crate) fn program(&self, component: Component) -> Program {
        let (name, args) = match component {
            Component::Etcd => ("etcd", self.etcd()),
            Component::ApiServer => ("kube-apiserver", self.api_server()),
            Component::ControllerManager => ("kube-controller-manager", self.controller_manager()),
            Component::Scheduler => ("kube-scheduler", self.scheduler()),
            Component::Kwok => ("kwok", self.kwok()),
        };
        Program {
            name: name.into(),
            path: self.bin(name),
            args,
            env: Vec::new(),
            dir: self.dir.clone(),
            log: self.dir.join(format!("{name}.log")),
        }
    }

    pub(crate) fn etcd_port(&self) -> u16 {
        self.etcd_port
    }

    fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    fn etcd(&self) -> Vec<String> {
        let client = format!("http://127.0.0.1:{}", self.etcd_port);
        let peer = format!("http://127.0.0.1:{}", self.etcd_peer_port);
        vec![
            format!("--data-dir={}", self.path("etcd")),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=default={peer}"),
            // A killed etcd loses nothing by this; only a crash of the whole machine would.
            "--unsafe-no-fsync=true".into(),
            "--log-level=warn".into(),
        ]
    }

    fn api_server(&self) -> Vec<String> {
        let key = self.path("service-accounts.pem");
        vec![
            "--bind-address=127.0.0.1".into(),
            format!("--secure-port={}", self.port),
            // Nothing reaches the API server through a Service here, and the Endpoints of the
            // Service `kubernetes` may not hold a loopback address.
            "--advertise-address=127.0.0.1".into(),
            "--endpoint-reconciler-type=none".into(),
            format!("--etcd-servers=http://127.0.0.1:{}", self.etcd_port),
            format!("--cert-dir={}", self.path("certificates")),
            format!("--token-auth-file={}", self.path("tokens.csv")),
            "--authorization-mode=RBAC".into(),
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local".into(),
            format!("--service-account-key-file={key}"),
            format!("--service-account-signing-key-file={key}"),
            // Of both families, so that Services may be dual-stack; those that ask for nothing are IPv4.
            "--service-cluster-ip-range=10.96.0.0/16,fd00:10:96::/112".into(),
            "--allow-privileged=true".into(),
            format!("--audit-policy-file={}", self.path("audit-policy.json")),
            format!("--audit-log-path={}", self.audit_log().display()),
            // In megabytes; the log must never rotate away under its reader.
            "--audit-log-maxsize=100000".into(),
            format!(
                "--egress-selector-config-file={}",
                self.egress_configuration().display()
            ),
            // Webhooks are reached at a pod's address, which the egress proxy understands.
            "--enable-aggregator-routing=true".into(),
            "--profiling=false".into(),
        ]
    }

    fn controller_manager(&self) -> Vec<String> {
        vec![
            format!(
                "--kubeconfig={}",
                self.kubeconfig("system:kube-controller-manager").display()
            ),
            // One identity per controller, so that the audit log tells the HPA from the others.
            "--use-service-account-credentials=true".into(),
            format!(
                "--service-account-private-key-file={}",
                self.path("service-accounts.pem")
            ),
            format!("--root-ca-file={}", self.certificate().display()),
            // Simulated nodes do not fail; one whose lease is late only shows how busy the machine is.
            "--node-monitor-grace-period=1h".into(),
            // Instead of 15 s: an HPA brings its target to the minimum as soon as it exists.
            "--horizontal-pod-autoscaler-sync-period=1s".into(),
            "--leader-elect=false".into(),
            "--secure-port=0".into(),
            "--profiling=false".into(),
        ]
    }

    fn scheduler(&self) -> Vec<String> {
        vec![
            format!(
                "--kubeconfig={}",
                self.kubeconfig("system:kube-scheduler").display()
            ),
            "--leader-elect=false".into(),
            "--secure-port=0".into(),
            "--profiling=false".into(),
        ]
    }

    fn kwok(&self) -> Vec<String> {
        vec![
            format!("--kubeconfig={}", self.kubeconfig("kwok").display()),
            format!("--config={}", self.bin("stages.yaml").display()),
            "--manage-all-nodes=false".into(),
            "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake".into(),
            // Without a lease every node is NotReady after 40 s.
            "--node-lease-duration-seconds=40".into(),
            "--cidr=10.244.0.0/16".into(),
            "--node-ip=10.250.0.1".into(),
        ]
    }
}
