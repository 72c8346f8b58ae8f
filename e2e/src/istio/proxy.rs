//! The proxy of one pod: the real pilot-agent, and a real Envoy that it starts.
//!
//! kwok plays the pod; this takes the place of its container `istio-proxy`, with the arguments, the environment and the mounts
//! that the pod has in the cluster. What a pod has for itself, and processes on one machine share, is told apart by address:
//! every proxy listens on an address of 127.0.0.0/8 of its own, which needs no privilege.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use k8s_openapi::api::core::v1::Pod;
use kube::api::ResourceExt;
use serde_json::{Map, Value, json};

use crate::{
    control_plane::{
        ControlPlane,
        container_config::{self, ContainerConfig},
        volumes,
    },
    error::Error,
    host::{
        http, ports,
        process::{Process, Program},
        workspace::{create_dir, read, write},
    },
    istio::release::Release,
};

/// A running proxy; ends when dropped.
#[derive(Debug)]
pub struct Proxy {
    process: Process,
    pod: Pod,
    address: Ipv4Addr,
    admin: SocketAddr,
}

/// Where a proxy gets its configuration and its certificate.
#[derive(Clone, Debug)]
pub struct Discovery {
    /// On 127.0.0.1.
    pub address: SocketAddr,
    /// The name in the certificate of the istiod there.
    pub server_name: String,
}

/// The container of it, in gateways and in injected pods.
pub(crate) const CONTAINER: &str = "istio-proxy";

/// The field of Envoy's first configuration that says where its connections come from, and the field before which it goes.
const BOUND: &str = "upstream_bind_config";
const LAST_FIELD: &str = "\"deferred_stat_options\": {";

/// How long a proxy may take to drain its connections; it takes five seconds by default.
const DRAINING: Duration = Duration::from_secs(30);

impl Proxy {
    /// Starts the proxy of a pod, on an address of 127.0.0.0/8, and waits until it serves. Builds and fetches the programs
    /// if they are missing.
    pub async fn start(
        plane: &ControlPlane,
        release: Release,
        discovery: &Discovery,
        pod: Pod,
        address: Ipv4Addr,
    ) -> Result<Self, Error> {
        let name = format!("{}-{}", pod.namespace().unwrap_or_default(), pod.name_any());
        let programs = release.programs()?;
        let config = ContainerConfig::of_pod(&pod, CONTAINER)?;
        let dir = plane.dir().join(&name);
        create_dir(&dir)?;
        let mut seen = pod.clone();
        // The agent would serve this port on all addresses of the machine.
        let status_port = ("status.sidecar.istio.io/port".into(), "0".into());
        seen.annotations_mut().extend([status_port]);
        let spec = seen.spec.clone().unwrap_or_default();
        if let Some(container) = container_config::container(&spec, CONTAINER) {
            volumes::mount(&plane.client().await?, &seen, container, &dir).await?;
        }
        // The only file of the image that counts.
        let templates = dir.join("var/lib/istio/envoy");
        create_dir(&templates)?;
        let template = read(&programs.join("envoy_bootstrap.json"))?;
        write(
            &templates.join("envoy_bootstrap_tmpl.json"),
            kept_on_loopback(&template, address),
        )?;
        let first = dir.join("etc/istio/proxy/envoy-rev.json");
        let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free()?));
        let program = Program {
            path: programs.join("pilot-agent"),
            args: config.args,
            env: environment(
                config.env,
                &release.envoy()?,
                discovery,
                (address, admin.port()),
            ),
            log: plane.dir().join(format!("{name}.log")),
            name,
            dir,
        };
        let mut process = Process::start(program)?;
        http::wait_until_ok(&mut process, admin, "/ready").await?;
        if !read(&first)?.contains(BOUND) {
            let why = "Envoy's connections would not be bound to an address of this machine";
            return Err(Error::Unexpected(why.into()));
        }
        Ok(Self {
            process,
            pod,
            address,
            admin,
        })
    }

    /// The pod that it stands for, as it was at the start.
    #[must_use]
    pub fn pod(&self) -> &Pod {
        &self.pod
    }

    /// Where it listens, on the ports that the pod has.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// What Envoy's administration interface answers, such as `/server_info` and `/config_dump`.
    pub async fn admin(&self, path: &str) -> Result<String, Error> {
        let answer = http::get(self.admin, &format!("http://{}{path}", self.admin)).await?;
        if answer.status.is_success() {
            Ok(answer.body)
        } else {
            let status = answer.status;
            Err(Error::Unexpected(format!("Envoy's {path}: {status}")))
        }
    }

    /// The process, to look whether it still runs.
    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The version of Envoy, and the name by which istiod knows this one, as it says itself.
    pub async fn identity(&self) -> Result<(String, String), Error> {
        let info: Value =
            serde_json::from_str(&self.admin("/server_info").await?).unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let version = text(&info["version"]);
        // Commit, version, state of the sources, kind of build, TLS library.
        let version = version.split('/').nth(1).unwrap_or_default().to_owned();
        Ok((version, text(&info["node"]["id"])))
    }

    /// The file with what the agent and Envoy write, access logs included.
    #[must_use]
    pub fn log(&self) -> &Path {
        self.process.log()
    }

    /// Ends it as a kubelet does: it finishes what it began and takes nothing new.
    pub fn stop(mut self) -> Result<(), Error> {
        self.process.stop(DRAINING).map(drop)
    }
}

/// Istio's template of Envoy's first configuration, with all listeners on `address`. All connections come from there too, so
/// that none can leave this machine: the pods that kwok plays have addresses that belong to somebody else.
fn kept_on_loopback(template: &str, address: Ipv4Addr) -> String {
    let source = json!({"source_address": {"address": address, "port_value": 0}});
    let bound = format!("\"cluster_manager\": {{\"{BOUND}\": {source}}}, {LAST_FIELD}");
    template
        .replace(LAST_FIELD, &bound)
        .replace("{{ .wildcard }}", &address.to_string())
}

/// The environment of the container, but for where things are on this machine: Envoy's program, and the proxy's own address
/// with the port of its administration.
fn environment(
    mut env: Vec<(String, String)>,
    envoy: &Path,
    discovery: &Discovery,
    (address, admin_port): (Ipv4Addr, u16),
) -> Vec<(String, String)> {
    let given = env.iter().find(|(name, _)| name == "PROXY_CONFIG");
    let given = given.and_then(|(_, text)| serde_json::from_str(text).ok());
    let mut config: Map<String, Value> = given.unwrap_or_default();
    let own = [
        ("discoveryAddress", json!(discovery.address)),
        ("binaryPath", json!(envoy)),
        ("proxyAdminPort", admin_port.into()),
        ("concurrency", 1.into()),
    ];
    config.extend(own.map(|(name, value)| (name.into(), value)));
    // With the address of the CA given, the name in ISTIOD_SAN would not be used for it; by default it is istiod's.
    env.retain(|(name, _)| name != "CA_ADDR" && name != "PROXY_CONFIG");
    let own = [
        ("PROXY_CONFIG", Value::from(config).to_string()),
        ("ISTIOD_SAN", discovery.server_name.clone()),
        // It would ask the metadata servers of clouds.
        ("CLOUD_PLATFORM", "none".into()),
        // By this, an EnvoyFilter finds it.
        ("ISTIO_META_LOOPBACK", address.to_string()),
    ];
    env.extend(own.map(|(name, value)| (name.into(), value)));
    if !env.iter().any(|(name, _)| name == "INSTANCE_IP") {
        // The pod has no address in the cluster.
        env.push(("INSTANCE_IP".into(), address.to_string()));
    }
    env
}
