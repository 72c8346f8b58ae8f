//! A request through the gateway that was installed, to the page that Istio's tutorials begin with.

use std::{
    fmt::Write,
    time::{Duration, Instant},
};

use e2e::{
    control_plane::ControlPlane,
    error::Error,
    host::{envoy, go_programs::Bundle, http},
    istio::{app::App, ingress::Ingress, mesh::Mesh},
    wait::wait_until,
};
use serde_json::Value;
use tokio::time::sleep;

use crate::say;

/// The minor of the istiod that is built.
const MINOR: &str = "1.31.";

const PAGE: &str = "/productpage";

/// How many requests are timed.
const REQUESTS: usize = 200;

/// How often is looked for new pods of the gateway.
const PAUSE: Duration = Duration::from_secs(1);

/// Builds and fetches what traffic needs; says what is missing, if it cannot be had.
pub fn prepare() -> Result<Option<String>, Error> {
    match envoy::path() {
        Ok(_) => Bundle::Istio.dir().map(|_| None),
        Err(missing @ Error::NoEnvoy(_)) => Ok(Some(missing.to_string())),
        Err(error) => Err(error),
    }
}

/// A gateway that answers, with all that is behind it.
pub struct Traffic {
    mesh: Mesh,
    ingress: Ingress,
    _app: App,
}

/// Where a request can go: istiod's Deployment and the gateway's Service, with their namespaces.
struct Way {
    istiod: (String, String),
    gateway: (String, String),
}

impl Traffic {
    /// Sends a request through the gateway and prints what came back. Where there is no way for one, it says why and
    /// gives nothing.
    pub async fn start(plane: &ControlPlane, limit: Duration) -> Result<Option<Self>, Error> {
        let way = match Way::find(plane)? {
            Ok(way) => way,
            Err(why) => {
                say(&format!("No request is sent: {why}.\n"))?;
                return Ok(None);
            }
        };
        let (namespace, name) = &way.istiod;
        let mesh = Mesh::start(plane, namespace, name).await?;
        let (namespace, name) = &way.gateway;
        let ingress = match Ingress::start(plane, &mesh, namespace, name, 80).await {
            Err(taken @ Error::PortTaken(_)) => {
                say(&format!("No request is sent: {taken}.\n"))?;
                return Ok(None);
            }
            started => started?,
        };
        let app = App::start("productpage").await?;
        plane.apply(&app.behind(ingress.selector()))?;
        let url = format!("http://{}{PAGE}", ingress.address());
        let answer = wait_until("an answer of the gateway", limit, || async {
            let answer = http::get(ingress.address(), &url).await?;
            if answer.status.is_success() {
                Ok(answer)
            } else {
                Err(Error::Unexpected(answer.status.to_string()))
            }
        })
        .await?;
        let mut text = format!("$ curl --include {url}\n{}\n", answer.status);
        for (name, value) in &answer.headers {
            // Writing to a string never fails.
            let _ = writeln!(text, "{name}: {}", value.to_str().unwrap_or("?"));
        }
        say(&format!("{text}\n{}\n", answer.body))?;
        if let Some(proxy) = ingress.last() {
            let (version, name) = proxy.identity().await?;
            say(&format!("It came through Envoy {version}, {name}"))?;
        }
        say(&format!("{}\n", figures(&ingress, &url).await?))?;
        Ok(Some(Self {
            mesh,
            ingress,
            _app: app,
        }))
    }

    /// Keeps the gateway reachable, whatever becomes of its pods.
    pub async fn keep(&mut self, plane: &ControlPlane) -> Result<(), Error> {
        loop {
            self.mesh.istiod().process().check()?;
            self.ingress.follow(plane, &self.mesh).await?;
            sleep(PAUSE).await;
        }
    }

    /// The command that sends the request again.
    pub fn command(&self) -> String {
        format!("curl http://{}{PAGE}", self.ingress.address())
    }
}

/// How fast requests are, one after the other, each over a connection of its own.
async fn figures(ingress: &Ingress, url: &str) -> Result<String, Error> {
    let mut times = Vec::new();
    for _ in 0..REQUESTS {
        let started = Instant::now();
        http::get(ingress.address(), url).await?;
        times.push(started.elapsed());
    }
    let all: Duration = times.iter().sum();
    times.sort_unstable();
    let at = |part: usize| times[(REQUESTS - 1) * part / 100].as_secs_f64() * 1000.0;
    Ok(format!(
        "{REQUESTS} more took {:.1} s; half of them took at most {:.1} ms, 99 of 100 at most {:.1} ms",
        all.as_secs_f64(),
        at(50),
        at(99)
    ))
}

impl Way {
    /// The way of a request through what was installed, or why there is none.
    fn find(plane: &ControlPlane) -> Result<Result<Self, String>, Error> {
        let istiods = of_component(plane, "deployments", "Pilot")?;
        let Some(istiod) = istiods.first() else {
            return Ok(Err("there is no istiod".into()));
        };
        let image = &istiod["spec"]["template"]["spec"]["containers"][0]["image"];
        let tag = image.as_str().unwrap_or_default().rsplit(':').next();
        if !tag.unwrap_or_default().starts_with(MINOR) {
            return Ok(Err(format!(
                "the istiod that is built here is {MINOR}x, and this is {image}"
            )));
        }
        let gateways = of_component(plane, "services", "IngressGateways")?;
        let is_open = |service: &&Value| {
            let ports = service["spec"]["ports"].as_array();
            let mut ports = ports.into_iter().flatten();
            ports.any(|port| port["port"] == 80 && port["nodePort"].is_number())
        };
        let Some(gateway) = gateways.iter().find(is_open) else {
            return Ok(Err("no gateway has port 80 on the nodes".into()));
        };
        Ok(Ok(Self {
            istiod: identity(istiod),
            gateway: identity(gateway),
        }))
    }
}

/// What of a component the operator installed.
fn of_component(
    plane: &ControlPlane,
    resource: &str,
    component: &str,
) -> Result<Vec<Value>, Error> {
    let label = format!("--selector=operator.istio.io/component={component}");
    let text = plane.kubectl(["get", resource, "--all-namespaces", &label, "--output=json"])?;
    let list: Value = serde_json::from_str(&text).unwrap_or_default();
    Ok(list["items"].as_array().cloned().unwrap_or_default())
}

/// Namespace and name.
fn identity(object: &Value) -> (String, String) {
    let text = |name: &str| {
        object["metadata"][name]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    (text("namespace"), text("name"))
}
