//! The real Zipkin: a Java program that Maven fetches on first use.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{
    control_plane::{ControlPlane, container_config::ContainerConfig},
    error::Error,
    host::{
        http, ports,
        process::{Process, Program},
        progress::Progress,
        workspace::{create_dir, lock, state_dir},
    },
};

/// What the image of the addon has in it.
const ARTIFACT: &str = "io.zipkin:zipkin-server:3.4.0:jar:slim";
const FILE: &str = "zipkin-server-3.4.0-slim.jar";
const SHA256: &str = "c1d7e88c13954a9264b4f9e261ce3e341455fb158466833c3dc6e8c45946603f";

/// A running Zipkin; ends when dropped.
#[derive(Debug)]
pub struct Zipkin {
    #[expect(dead_code, reason = "it runs as long as this lives")]
    process: Process,
    address: SocketAddr,
}

impl Zipkin {
    /// Starts Zipkin in place of the addon's Deployment in `namespace` and waits until it is healthy. Fetches it if it is
    /// missing.
    pub async fn start(plane: &ControlPlane, namespace: &str) -> Result<Self, Error> {
        let jar = jar()?;
        let deployments: Api<Deployment> = Api::namespaced(plane.client().await?, namespace);
        let container = ContainerConfig::of(&deployments.get("zipkin").await?, "zipkin", "zipkin")?;
        let port = ports::free()?;
        let dir = plane.dir().join("zipkin");
        create_dir(&dir)?;
        let options = container.env.iter().find(|(name, _)| name == "JAVA_OPTS");
        let options = options.map_or("", |(_, value)| value).split(' ');
        let mut args: Vec<_> = options.map(str::to_owned).collect();
        args.extend(["-jar".into(), jar.display().to_string()]);
        let listen = [
            ("ip", "127.0.0.1"),
            ("port", &port.to_string()),
            ("protocols[0]", "http"),
        ];
        args.extend(listen.map(|(name, value)| format!("--armeria.ports[0].{name}={value}")));
        let mut process = Process::start(Program {
            name: "zipkin".into(),
            path: "java".into(),
            args,
            env: container.env,
            dir,
            log: plane.dir().join("zipkin.log"),
        })?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        http::wait_until_ok(&mut process, address, "/health").await?;
        Ok(Self { process, address })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The traces of a service, each a list of spans.
    pub async fn traces(&self, service: &str) -> Result<Vec<Vec<Value>>, Error> {
        let path = format!("/api/v2/traces?serviceName={service}&limit=1000");
        let answer = http::get(self.address, &format!("http://{}{path}", self.address)).await?;
        serde_json::from_str(&answer.body)
            .map_err(|error| Error::Unexpected(format!("Zipkin: {error}: {}", answer.body)))
    }
}

/// The program; Maven fetches it if it is missing.
fn jar() -> Result<PathBuf, Error> {
    let dir = state_dir().join("bin");
    let jar = dir.join(FILE);
    let _lock = lock("zipkin")?;
    if !jar.exists() {
        let mut progress = Progress::new("fetching Zipkin (once)");
        progress.update("43 MB");
        fetch(&dir.join("zipkin.partial"), &jar)?;
        progress.done();
    }
    Ok(jar)
}

fn fetch(partial: &Path, jar: &Path) -> Result<(), Error> {
    create_dir(partial)?;
    let output = Command::new("mvn")
        .args(["--quiet", "--batch-mode", "dependency:copy"])
        .arg(format!("-Dartifact={ARTIFACT}"))
        .arg(format!("-DoutputDirectory={}", partial.display()))
        .current_dir(partial)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::Unexpected(
                "Zipkin is fetched by Maven, and there is no `mvn` in PATH: install Java 17 and \
                 Maven and run the command again"
                    .into(),
            ),
            _ => Error::io("mvn")(error),
        })?;
    if !output.status.success() {
        let tail = String::from_utf8_lossy(&output.stdout).into_owned();
        let what = "Zipkin".into();
        return Err(Error::Build { what, tail });
    }
    let fetched = partial.join(FILE);
    let bytes = fs::read(&fetched).map_err(Error::io(fetched.display().to_string()))?;
    let digest = Sha256::digest(&bytes)
        .iter()
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    if digest != SHA256 {
        return Err(Error::Unexpected(format!(
            "{ARTIFACT} has the digest {digest}, and {SHA256} was expected"
        )));
    }
    fs::rename(&fetched, jar).map_err(Error::io(jar.display().to_string()))?;
    fs::remove_dir_all(partial).map_err(Error::io(partial.display().to_string()))
}
