//! The mesh of the tutorials, the world outside of it, and who asks.

use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::ConnectInfo,
    http::{HeaderMap, header::HOST},
};
use e2e::{
    actions::cr::Cr,
    bookinfo::Seen,
    control_plane::{ControlPlane, Options},
    error::Error,
    host::{
        http::{self, Answer},
        server::Server,
        workspace::{entries, root},
    },
    istio::{
        captured,
        node::Node,
        pod_process::{Apps, INBOUND, OUTBOUND},
    },
    operator::Operator,
    wait::{SOON, wait_until},
    yaml,
};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{ensure, say};

/// The namespace of the services.
pub const BOOKINFO: &str = "bookinfo";

/// What the tutorials call outside of the mesh.
pub const OUTSIDE: &str = "http://www.example.com/";

const ISTIO: &str = "istio-system";
const INGRESS: &str = "istio-ingressgateway";

/// Where the pods of gateways take HTTP.
const GATEWAY_PORT: u16 = 8080;

/// An answer that takes longer is none. The longest that a file asks for takes two seconds.
const LIMIT: Duration = Duration::from_secs(15);

/// How long a file may take to do what it says.
const EFFECT: Duration = Duration::from_mins(2);

/// The mesh with all that is around it.
pub struct Stage {
    // Fields are dropped in this order: clients before what they talk to.
    node: Node,
    outside: Server,
    seen: Arc<Mutex<Vec<Seen>>>,
    asked: AtomicUsize,
    applied: Mutex<BTreeSet<String>>,
    _operator: Operator,
    plane: Arc<ControlPlane>,
}

impl Stage {
    /// Installs `samples/demo.yaml`.
    pub async fn set() -> Result<Self, Error> {
        // All pods are on the node of processes.
        let options = Options {
            nodes: 0,
            ..Options::default()
        };
        let plane = Arc::new(ControlPlane::start_with(options).await?);
        let operator = Operator::start(&plane).await?;
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let log = Arc::clone(&seen);
        let log = move |one| log.lock().unwrap_or_else(PoisonError::into_inner).push(one);
        let node = Node::start(&plane, Apps::Bookinfo(Arc::new(log))).await?;
        let mut documents = documents("demo.yaml")?;
        for cr in &mut documents {
            cr["spec"]["meshConfig"] = captured::mesh_config();
        }
        let cr = Cr::apply(&plane, &yaml::stream(&documents)).await?;
        let installed = cr.wait_for("HEALTHY", SOON).await;
        node.check()?;
        installed?;
        Ok(Self {
            node,
            outside: Server::start("outside", Router::new().fallback(told)).await?,
            seen,
            asked: AtomicUsize::new(0),
            applied: Mutex::default(),
            _operator: operator,
            plane,
        })
    }

    /// Applies a file of `samples/bookinfo`. Nothing in it is changed but where www.example.com is: on this machine, which
    /// has no way to the real one.
    pub fn apply(&self, file: &str) -> Result<(), Error> {
        let mut objects = documents(&format!("bookinfo/{file}"))?;
        for object in &mut objects {
            if object["kind"] == "ServiceEntry" {
                let address = self.outside.address();
                let ports = json!({"http": address.port()});
                object["spec"]["endpoints"] = json!([{"address": address.ip(), "ports": ports}]);
            }
        }
        self.plane.apply(&yaml::stream(&objects))?;
        self.applied().insert(file.to_owned());
        Ok(())
    }

    /// Deletes what is in a file, as far as it is there.
    pub fn delete(&self, file: &str) -> Result<(), Error> {
        let path = root().join("samples/bookinfo").join(file);
        let file = format!("--filename={}", path.display());
        let delete = ["delete", "--ignore-not-found", &file];
        self.plane.kubectl(delete).map(drop)
    }

    /// The control plane, for what is no file of the tutorial.
    pub fn plane(&self) -> &ControlPlane {
        &self.plane
    }

    /// How many requests were sent so far.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    /// What somebody outside gets at the ingress gateway.
    pub async fn at_gateway(&self, path: &str, headers: &[(&str, &str)]) -> Result<Answer, Error> {
        let gateway = self.node.open(ISTIO, INGRESS, GATEWAY_PORT)?;
        self.at(gateway, path, headers).await
    }

    /// The same by another method.
    pub async fn posted_at_gateway(&self, path: &str) -> Result<Answer, Error> {
        let gateway = self.node.open(ISTIO, INGRESS, GATEWAY_PORT)?;
        let url = shop(path);
        self.answer(&url, http::post(gateway, &url, String::new()))
            .await
    }

    /// What somebody outside gets at the gateway that Istio made for Gateway API.
    pub async fn at_made_gateway(
        &self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Answer, Error> {
        let gateway = self.node.open(BOOKINFO, "bookinfo-istio", GATEWAY_PORT)?;
        self.at(gateway, path, headers).await
    }

    /// What the pod of a service gets, as `kubectl exec` would show it.
    pub async fn in_pod(&self, service: &str, url: &str) -> Result<Answer, Error> {
        let sidecar = self.node.open(BOOKINFO, service, OUTBOUND)?;
        self.answer(url, http::get(sidecar, url)).await
    }

    /// What somebody without a sidecar gets from a service.
    pub async fn without_sidecar(&self, service: &str) -> Result<Answer, Error> {
        let pods = self.node.open(BOOKINFO, service, INBOUND)?;
        let url = format!("http://{service}/{service}/0");
        self.answer(&url, http::get(pods, &url)).await
    }

    /// Asks until the answer is as expected; gives what was made of it.
    pub async fn until<T>(
        &self,
        what: &str,
        probe: impl AsyncFn() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let became = wait_until(what, EFFECT, || probe()).await;
        self.node.check()?;
        became
    }

    /// How many requests a pod got whose name begins so.
    pub fn seen_by(&self, pod: &str) -> usize {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().filter(|one| one.pod.starts_with(pod)).count()
    }

    /// Whether a request that the world outside answered came from a pod with this label.
    pub fn came_from(&self, answer: &Answer, label: &str, value: &str) -> bool {
        let told: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        let pods = self.node.addresses(label, value);
        pods.iter()
            .any(|address| told["from"] == address.to_string())
    }

    /// Each file of the tutorial is a part of the proof.
    pub fn all_files_were_applied(&self) -> Result<(), Error> {
        let paths = entries(&root().join("samples/bookinfo"))?;
        let files = paths
            .iter()
            .filter(|path| path.extension().is_some_and(|it| it == "yaml"));
        let names = files.filter_map(|path| path.file_name()?.to_str());
        let files: BTreeSet<_> = names.map(str::to_owned).collect();
        let applied = self.applied().clone();
        ensure(
            files == applied,
            format!("{files:?} are there, {applied:?} were applied"),
        )
    }

    /// Keeps the logs if something did not hold.
    pub fn end(self, done: Result<(), Error>) -> Result<(), Error> {
        let done = self.node.check().and(done);
        if done.is_err() {
            let kept = self.plane.keep_logs()?;
            say(&format!("logs of the control plane: {}", kept.display()))?;
        }
        done
    }

    async fn at(
        &self,
        gateway: SocketAddr,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Answer, Error> {
        let url = shop(path);
        self.answer(&url, http::get_with(gateway, &url, headers))
            .await
    }

    async fn answer(
        &self,
        url: &str,
        request: impl Future<Output = Result<Answer, Error>>,
    ) -> Result<Answer, Error> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let answer = timeout(LIMIT, request).await;
        answer.unwrap_or_else(|_| Err(Error::Unexpected(format!("{url}: no answer"))))
    }

    fn applied(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.applied.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The tutorials' name of the page from outside.
fn shop(path: &str) -> String {
    format!("http://shop.example.com{path}")
}

/// What the world outside answers: which host was meant, and where the connection came from.
async fn told(ConnectInfo(from): ConnectInfo<SocketAddr>, headers: HeaderMap) -> String {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    json!({"host": host, "from": from.ip()}).to_string()
}

fn documents(sample: &str) -> Result<Vec<Value>, Error> {
    let path = root().join("samples").join(sample);
    let text = fs::read_to_string(&path).map_err(Error::io(path.display().to_string()))?;
    yaml::documents(sample, &text)
}
