//! The addons with the programs that they are made of: Prometheus with promtool, and Zipkin.

use std::{
    collections::BTreeMap,
    fs,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use e2e::{
    actions::cr::{Cr, manifest},
    addons::{pod_proxy::PodProxy, prometheus::Prometheus, samples::Samples, zipkin::Zipkin},
    control_plane::ControlPlane,
    error::Error,
    host::{envoy, go_programs::Bundle, http},
    istio::{
        app::{App, process_of_service},
        ingress::Ingress,
        mesh::Mesh,
    },
    operator::{self, Operator},
    wait::{SOON, wait_until},
    yaml,
};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    dashboards::{self, Outcome},
    ensure, files, meddling, say, silence,
};

const NAMESPACE: &str = "istio-system";

/// The addon that is switched off, which nothing here needs.
const PRUNED: &str = "loki";

/// How often Prometheus looks, instead of the addon's fifteen seconds.
const INTERVAL: &str = "2s";

/// As long as the window of a dashboard's query, and some looks more.
const ENOUGH: Duration = Duration::from_secs(30);

const SAMPLES: &str = include_str!("samples.prom");

/// Runs the proof, and prints what it counted.
pub fn prove() -> Result<(), Error> {
    // Built before the runtime starts, so that Ctrl-C simply ends a long build.
    for bundle in [
        Bundle::Kubernetes,
        Bundle::Istio,
        Bundle::Prometheus,
        Bundle::Grafana,
    ] {
        bundle.dir()?;
    }
    envoy::path()?;
    operator::binary()?;
    crate::run(async {
        files::prove()?;
        let mut stage = Stage::set().await?;
        stage.is_scraped().await?;
        stage.is_traced().await?;
        stage.keeps_metrics().await?;
        let Stage {
            plane,
            prometheus,
            cr,
            ..
        } = &stage;
        meddling::is_told(plane, prometheus, cr, NAMESPACE, PRUNED).await?;
        stage.dashboards_find_data().await
    })
}

/// A mesh with addons, all of whose programs run.
struct Stage {
    // Fields are dropped in this order: clients before what they talk to.
    prometheus: Prometheus,
    zipkin: Zipkin,
    ingress: Ingress,
    _mesh: Mesh,
    app: App,
    cr: Cr,
    pods: PodProxy,
    _operator: Operator,
    plane: ControlPlane,
}

impl Stage {
    async fn set() -> Result<Self, Error> {
        let plane = ControlPlane::start().await?;
        let operator = Operator::start(&plane).await?;
        // The pod of Zipkin waits for a node that never comes, and a process takes its place.
        let zipkin =
            json!({"sampling": 100, "k8s": {"nodeSelector": {"example.com/process": "zipkin"}}});
        let spec = json!({
            "profile": "default",
            "addonComponents": {"prometheus": {}, "grafana": {}, "zipkin": zipkin, PRUNED: {}},
        });
        let cr = Cr::apply(&plane, &manifest("mesh", &spec).to_string()).await?;
        cr.wait_for("HEALTHY", SOON).await?;
        plane.apply(&operator_pod()?)?;
        let mut mesh = Mesh::start(&plane, NAMESPACE, "istiod").await?;
        let ingress = Ingress::start(&plane, &mesh, NAMESPACE, "istio-ingressgateway", 80).await?;
        let app = App::start("productpage").await?;
        plane.apply(&app.behind(ingress.selector()))?;
        let zipkin = Zipkin::start(&plane, NAMESPACE).await?;
        let entry = process_of_service(NAMESPACE, "zipkin", "http-query", zipkin.address());
        plane.apply(&entry.to_string())?;
        let pods = PodProxy::start().await?;
        let prometheus = Prometheus::start(&plane, &pods, NAMESPACE, INTERVAL).await?;
        let local = |port: u16| (Ipv4Addr::LOCALHOST, port).into();
        let ways = [
            ("app=istiod", 15014, local(mesh.istiod().monitoring_port())),
            (
                "app.kubernetes.io/name=istio-operator",
                8080,
                local(operator.port()),
            ),
            (
                "app.kubernetes.io/name=prometheus",
                9090,
                prometheus.address(),
            ),
        ];
        for (labels, port, process) in ways {
            for ip in addresses(&plane, labels)? {
                pods.route(&ip, port, process);
            }
        }
        for proxy in ingress.proxies() {
            let status = proxy.pod().status.as_ref();
            let ip = status.and_then(|status| status.pod_ip.clone());
            // The agent merges these metrics with its own at port 15020, which it does not open here.
            pods.route(
                &ip.unwrap_or_default(),
                15020,
                (proxy.address(), 15090).into(),
            );
        }
        Ok(Self {
            prometheus,
            zipkin,
            ingress,
            _mesh: mesh,
            app,
            cr,
            pods,
            _operator: operator,
            plane,
        })
    }

    /// Prometheus finds istiod, the gateway, the operator and itself by the rights of its service account.
    async fn is_scraped(&mut self) -> Result<(), Error> {
        let wanted = [
            "istiod-",
            "istio-ingressgateway-",
            "istio-operator",
            "prometheus-",
        ];
        let (up, down) = wait_until("the targets to be up", SOON, || async {
            let targets = self.prometheus.targets().await?;
            let (up, down): (Vec<_>, Vec<_>) =
                targets.iter().partition(|target| target["health"] == "up");
            let name = |target: &&Value| {
                let labels = &target["labels"];
                let name = labels["pod"].as_str().or(labels["instance"].as_str());
                let job = labels["job"].as_str().unwrap_or_default();
                format!("{} ({job})", name.unwrap_or_default())
            };
            let up: Vec<_> = up.iter().map(name).collect();
            let down: Vec<_> = down.iter().map(name).collect();
            match wanted
                .iter()
                .find(|start| !up.iter().any(|name| name.starts_with(**start)))
            {
                None => Ok((up, down)),
                Some(missing) => {
                    let errors: Vec<_> =
                        targets.iter().map(|target| &target["lastError"]).collect();
                    Err(Error::Unexpected(format!(
                        "{missing} is not up: {up:?}, {errors:?}"
                    )))
                }
            }
        })
        .await?;
        say(&format!("targets up: {} ({})", up.len(), up.join(", ")))?;
        say(&format!(
            "targets down, because nothing runs behind them here: {} ({})",
            down.len(),
            down.join(", ")
        ))
    }

    /// Spans of the gateway's Envoy reach Zipkin, by the mesh configuration that the addon brought.
    async fn is_traced(&self) -> Result<(), Error> {
        let service = format!("istio-ingressgateway.{NAMESPACE}");
        let span = wait_until("the trace of a request", SOON, || async {
            let answer = self.request("/productpage").await?;
            let seen: Value = serde_json::from_str(&answer.body).unwrap_or_default();
            let id = seen["headers"]["x-request-id"].clone();
            if id.is_null() {
                return Err(Error::Unexpected(answer.status.to_string()));
            }
            // Envoy sends spans every few seconds. Requests from before it knew Zipkin's address leave none.
            sleep(Duration::from_secs(6)).await;
            let traces = self.zipkin.traces(&service).await?;
            let mut spans = traces.into_iter().flatten();
            let found = spans.find(|span| span["tags"]["guid:x-request-id"] == id);
            found.ok_or_else(|| Error::Unexpected(format!("no span of request {id}")))
        })
        .await?;
        let tags = &span["tags"];
        ensure(tags["http.status_code"] == "200", span.to_string())?;
        let node = tags["node_id"].as_str().unwrap_or_default();
        ensure(node.starts_with("router~"), span.to_string())?;
        let (url, trace) = (&tags["http.url"], &span["traceId"]);
        say(&format!(
            "Zipkin has the trace {trace} of GET {url}, told by {node}"
        ))
    }

    /// Tracing is on, and istiod still tells proxies to count requests: a stock Envoy refuses the filter that does.
    async fn keeps_metrics(&mut self) -> Result<(), Error> {
        let telemetry = ["telemetry", "stock-envoy", "-n", NAMESPACE];
        let before = self
            .plane
            .kubectl(["get", "-o=json"].iter().chain(&telemetry))?;
        self.plane.kubectl(["delete"].iter().chain(&telemetry))?;
        let proxy = self.ingress.proxies().first();
        let proxy = proxy.ok_or_else(|| Error::Unexpected("no gateway".into()))?;
        wait_until("the filter of Istio's metrics", SOON, || async {
            let stats = proxy
                .admin("/stats?filter=listener_manager.lds.update_rejected")
                .await?;
            let is_refused = !stats.trim_end().ends_with(": 0");
            is_refused
                .then_some(())
                .ok_or_else(|| Error::Unexpected(stats))
        })
        .await?;
        let log = fs::read_to_string(proxy.log()).map_err(Error::io("log of the gateway"))?;
        ensure(
            log.contains("'istio.stats'"),
            "another filter than istio.stats was refused",
        )?;
        let mut telemetry: Value = serde_json::from_str(&before).unwrap_or_default();
        telemetry["metadata"] = json!({"name": "stock-envoy", "namespace": NAMESPACE});
        self.plane.apply(&telemetry.to_string())?;
        say("metrics still flow: with tracing on, istiod sends proxies the filter istio.stats")
    }

    /// Every query of every dashboard runs; those that find data are counted, also with samples of what cannot run here.
    async fn dashboards_find_data(&mut self) -> Result<(), Error> {
        let dashboards = self.dashboards()?;
        self.be_busy().await?;
        let real = dashboards::run(&self.prometheus, &dashboards).await?;
        let seeded = Samples::start(samples()).await?;
        self.plane
            .apply(&pod("samples", "default", 8000).to_string())?;
        let ip = wait_until("the pod of the samples", SOON, || async {
            let found = addresses(&self.plane, "app=samples")?.into_iter().next();
            found.ok_or_else(|| Error::Unexpected("it has no address".into()))
        })
        .await?;
        self.pods.route(&ip, 8000, seeded.address());
        self.be_busy().await?;
        let all = dashboards::run(&self.prometheus, &dashboards).await?;
        tell(&real, &all)
    }

    fn dashboards(&self) -> Result<Vec<Value>, Error> {
        let get = ["get", "configmaps", "-n", NAMESPACE, "-o=json"];
        let list: Value = serde_json::from_str(&self.plane.kubectl(get)?).unwrap_or_default();
        let maps = list["items"].as_array().into_iter().flatten();
        let is_one = |map: &&Value| {
            let name = map["metadata"]["name"].as_str().unwrap_or_default();
            name.ends_with("grafana-dashboards")
        };
        let maps = maps.filter(is_one);
        let texts = maps.flat_map(|map| map["data"].as_object().into_iter().flatten());
        let parse = |(name, text): (&String, &Value)| {
            serde_json::from_str(text.as_str().unwrap_or_default())
                .map_err(|error| Error::Unexpected(format!("{name}: {error}")))
        };
        texts.map(parse).collect()
    }

    /// Things happen that dashboards show: requests, and good and bad objects and pods at istiod's webhooks.
    async fn be_busy(&mut self) -> Result<(), Error> {
        let started = Instant::now();
        let mut requests: usize = 0;
        while started.elapsed() < ENOUGH {
            for path in ["/productpage", "/elsewhere"] {
                self.request(path).await?;
                requests += 1;
            }
            // A change without a meaning is a pass of the operator.
            let policy = ["Delete", "Orphan"][requests / 2 % 2];
            self.cr
                .patch(&json!({"spec": {"deletionPolicy": policy}}))
                .await?;
            // Both are refused, which is what they are for.
            let _ = self.plane.apply(&broken_object().to_string());
            let _ = self.plane.apply(&broken_pod().to_string());
            self.plane
                .apply(&self.app.behind(self.ingress.selector()))?;
            sleep(Duration::from_millis(500)).await;
        }
        say(&format!("{requests} requests in {} s", ENOUGH.as_secs()))
    }

    async fn request(&self, path: &str) -> Result<http::Answer, Error> {
        let url = format!("http://shop.example.com{path}");
        http::get(self.ingress.address(), &url).await
    }
}

/// Prints how many queries of each dashboard found data, and which did not.
fn tell(real: &Outcome, all: &Outcome) -> Result<(), Error> {
    say(&format!(
        "\n{:<32} {:>7} {:>10} {:>13}",
        "DASHBOARD", "QUERIES", "WITH DATA", "WITH SAMPLES"
    ))?;
    let sampled: BTreeMap<_, _> = all.by_dashboard();
    for (name, (queries, answered)) in real.by_dashboard() {
        let (_, with_samples) = sampled.get(name).copied().unwrap_or_default();
        say(&format!(
            "{name:<32} {queries:>7} {answered:>10} {with_samples:>13}"
        ))?;
    }
    say(&format!(
        "{:<32} {:>7} {:>10} {:>13}\n",
        "all",
        real.all.len(),
        real.answered.len(),
        all.answered.len()
    ))?;
    silence::tell(real, all)
}

/// The samples with the labels of a hop through sidecars, and of one through a waypoint.
fn samples() -> String {
    let hop = |from: &str, to: &str| {
        format!(
            "source_workload=\"{from}\",source_workload_namespace=\"shop\",\
             destination_workload=\"{to}\",destination_workload_namespace=\"shop\",\
             destination_service=\"{to}.shop.svc.cluster.local\""
        )
    };
    let samples = SAMPLES.replace("@hop", &hop("client", "server"));
    samples.replace("@back", &hop("server", "store"))
}

/// The addresses of the pods with these labels.
fn addresses(plane: &ControlPlane, labels: &str) -> Result<Vec<String>, Error> {
    let path = "-o=jsonpath={.items[*].status.podIP}";
    let text = plane.kubectl(["get", "pods", "--all-namespaces", "-l", labels, path])?;
    Ok(text.split_whitespace().map(str::to_owned).collect())
}

/// A pod like that of the operator's Deployment, which Prometheus finds in a cluster.
fn operator_pod() -> Result<String, Error> {
    let documents = yaml::documents("istio-operator manifests", &operator::manifests()?)?;
    let deployment = documents
        .iter()
        .find(|object| object["kind"] == "Deployment");
    let deployment = deployment.ok_or_else(|| Error::Unexpected("no Deployment".into()))?;
    let mut metadata = deployment["spec"]["template"]["metadata"].clone();
    metadata["name"] = "istio-operator-0".into();
    metadata["namespace"] = deployment["metadata"]["namespace"].clone();
    let spec = &deployment["spec"]["template"]["spec"];
    Ok(json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}).to_string())
}

/// A pod that asks to be scraped.
fn pod(name: &str, namespace: &str, port: u16) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"app": name},
            "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": port.to_string()},
        },
        "spec": {"containers": [{"name": name, "image": "example.com/samples"}]},
    })
}

/// Istiod's validation refuses it.
fn broken_object() -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "broken", "namespace": "default"},
        "spec": {"hosts": ["broken.example.com"], "http": [{"route": [{"destination": {"host": "a"}, "weight": -1}]}]},
    })
}

/// Istiod's injection refuses it.
fn broken_pod() -> Value {
    let mut pod = pod("broken", "default", 1);
    pod["metadata"]["labels"]["sidecar.istio.io/inject"] = "true".into();
    pod["metadata"]["annotations"]["sidecar.istio.io/proxyCPU"] = "many".into();
    pod
}
