//! A node whose pods of Istio are real processes: a kubelet and a kube-proxy, as small as they can be.
//!
//! A pod of istiod, of a gateway or an injected one gets its process, of the release that its image names, and is ready when the
//! process is. A pod that is deleted leaves the Services first and then gets SIGTERM. So a rollout waits for what really runs.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams, ResourceExt},
};
use serde_json::json;
use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::sleep,
};

use crate::{
    control_plane::{ControlPlane, nodes},
    error::Error,
    host::{balancer::Balancer, ports},
    istio::{
        pod_process::{self, Apps, PodProcess, Site},
        release::Release,
    },
};

/// A running node; its processes end when it is dropped.
pub struct Node {
    kubelet: Arc<Kubelet>,
    task: JoinHandle<()>,
}

struct Kubelet {
    client: Client,
    site: Site,
    pods: Mutex<BTreeMap<String, Entry>>,
    services: Mutex<BTreeMap<ServicePort, Balancer>>,
    /// How many addresses were given to pods.
    addresses: AtomicU16,
    /// The first thing that went wrong.
    failed: Mutex<Option<Error>>,
}

/// A port of the pods of a Service, which processes of this machine may reach: namespace, name and port.
type ServicePort = (String, String, u16);

/// A pod of the node.
#[derive(Debug)]
struct Entry {
    pod: Pod,
    state: State,
}

#[derive(Debug)]
enum State {
    Starting,
    /// Its image cannot be had, so it waits for ever.
    Unavailable,
    Ready(PodProcess),
    Ending,
}

const NAME: &str = "node-of-processes";

/// Between two looks at the pods.
const PAUSE: Duration = Duration::from_millis(100);

impl Node {
    /// Adds the node to a control plane. `apps` are the applications in its injected pods.
    pub async fn start(plane: &Arc<ControlPlane>, apps: Apps) -> Result<Self, Error> {
        let client = plane.client().await?;
        nodes::create_own(client.clone(), NAME).await?;
        let kubelet = Arc::new(Kubelet {
            client,
            site: Site {
                plane: Arc::clone(plane),
                apps,
            },
            pods: Mutex::default(),
            services: Mutex::default(),
            addresses: AtomicU16::new(1),
            failed: Mutex::default(),
        });
        let task = tokio::spawn(Arc::clone(&kubelet).run());
        Ok(Self { kubelet, task })
    }

    /// Where this machine reaches the ready pods of a Service at their port `port`, in turn.
    pub fn open(&self, namespace: &str, service: &str, port: u16) -> Result<SocketAddr, Error> {
        self.kubelet.open(namespace, service, port)
    }

    /// What went wrong with a pod, if anything did.
    pub fn check(&self) -> Result<(), Error> {
        lock(&self.kubelet.failed).take().map_or(Ok(()), Err)
    }

    /// The releases of the pods that are ready and have this label `app`.
    #[must_use]
    pub fn releases(&self, app: &str) -> Vec<Release> {
        self.ready("app", app, PodProcess::release)
    }

    /// Where the connections of the pods come from that are ready and have this label.
    #[must_use]
    pub fn addresses(&self, label: &str, value: &str) -> Vec<IpAddr> {
        let address = |process: &PodProcess| process.reached_at(0).map(|address| address.ip());
        self.ready(label, value, address)
    }

    fn ready<T>(
        &self,
        label: &str,
        value: &str,
        of_process: impl Fn(&PodProcess) -> Option<T>,
    ) -> Vec<T> {
        let pods = lock(&self.kubelet.pods);
        let ready = pods.values().filter_map(|entry| match &entry.state {
            State::Ready(process) => Some((&entry.pod, process)),
            State::Starting | State::Unavailable | State::Ending => None,
        });
        let chosen = ready.filter(|(pod, _)| pod.labels().get(label).is_some_and(|it| it == value));
        chosen
            .filter_map(|(_, process)| of_process(process))
            .collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Kubelet {
    async fn run(self: Arc<Self>) {
        loop {
            if let Err(error) = self.look().await {
                self.fail(error);
            }
            sleep(PAUSE).await;
        }
    }

    async fn look(self: &Arc<Self>) -> Result<(), Error> {
        let all: Api<Pod> = Api::all(self.client.clone());
        let own = ListParams::default().fields(&format!("spec.nodeName={NAME}"));
        for pod in all.list(&own).await?.items {
            let uid = pod.uid().unwrap_or_default();
            let is_known = lock(&self.pods).contains_key(&uid);
            if pod.metadata.deletion_timestamp.is_none() {
                if !is_known {
                    let state = State::Starting;
                    lock(&self.pods).insert(
                        uid,
                        Entry {
                            pod: pod.clone(),
                            state,
                        },
                    );
                    tokio::spawn(Arc::clone(self).start(pod));
                }
            } else if let Some(process) = self.ending(&uid) {
                // New connections go elsewhere before the process is told to end.
                self.lead().await?;
                tokio::spawn(Arc::clone(self).end(pod, process));
            } else if !is_known || self.is_unavailable(&uid) {
                self.forget(&pod).await?;
            }
        }
        self.check_processes()?;
        self.lead().await
    }

    fn check_processes(&self) -> Result<(), Error> {
        let mut pods = lock(&self.pods);
        pods.values_mut()
            .try_for_each(|entry| match &mut entry.state {
                State::Ready(process) => process.check(),
                State::Starting | State::Unavailable | State::Ending => Ok(()),
            })
    }

    /// Takes the process of a ready pod; from now on the pod is not ready.
    fn ending(&self, uid: &str) -> Option<PodProcess> {
        let mut pods = lock(&self.pods);
        let entry = pods.get_mut(uid)?;
        match std::mem::replace(&mut entry.state, State::Ending) {
            State::Ready(process) => Some(process),
            before => {
                entry.state = before;
                None
            }
        }
    }

    fn is_unavailable(&self, uid: &str) -> bool {
        let pods = lock(&self.pods);
        let entry = pods.get(uid);
        entry.is_some_and(|entry| matches!(entry.state, State::Unavailable))
    }

    /// Leads the open ports of Services to the pods that are ready now.
    async fn lead(&self) -> Result<(), Error> {
        let all: Api<Service> = Api::all(self.client.clone());
        let services = all.list(&ListParams::default()).await?.items;
        let pods = lock(&self.pods);
        for ((namespace, name, port), balancer) in &*lock(&self.services) {
            let is_it = |service: &&Service| {
                service.namespace().as_ref() == Some(namespace) && service.name_any() == *name
            };
            // A Service that is gone leads nowhere.
            let selector = services.iter().find(is_it);
            let selector = selector.and_then(|service| service.spec.as_ref()?.selector.clone());
            let servers = pods.values().filter_map(|entry| {
                let State::Ready(process) = &entry.state else {
                    return None;
                };
                let mut labels = selector.as_ref()?.iter();
                let has = |(key, value)| entry.pod.labels().get(key) == Some(value);
                let is_selected =
                    entry.pod.namespace().as_ref() == Some(namespace) && labels.all(has);
                is_selected.then(|| process.reached_at(*port)).flatten()
            });
            balancer.lead_to(servers.collect());
        }
        Ok(())
    }

    async fn start(self: Arc<Self>, pod: Pod) {
        if let Err(error) = self.bring_up(pod).await {
            self.fail(error);
        }
    }

    async fn bring_up(&self, pod: Pod) -> Result<(), Error> {
        if pod_process::is_unavailable(&pod) {
            let uid = pod.uid().unwrap_or_default();
            if let Some(entry) = lock(&self.pods).get_mut(&uid) {
                entry.state = State::Unavailable;
            }
            return Ok(());
        }
        let [high, low] = self.addresses.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        // Nobody is there: processes are reached where they listen, and the API server's connections are led to them.
        let ip = Ipv4Addr::new(10, 251, high, low);
        let proxied = PodProcess::istiod_of(&pod)?;
        // Where a Service chooses pods by their own labels, the cluster's address of one would be an endpoint beside the
        // one where its proxy is reached.
        let is_hidden = proxied.is_some() && matches!(self.site.apps, Apps::Bookinfo(_));
        let told = (!is_hidden).then_some(ip);
        let pod = self.tell(&pod, told, false).await?;
        let discovery = match &proxied {
            Some(host) => Some(host.at(self.open(&host.namespace, &host.service, 15012)?)),
            None => None,
        };
        // Connections lead to istiod only after the next look.
        self.lead().await?;
        let address = ports::address()?;
        let process = PodProcess::start(
            &self.site,
            &pod,
            IpAddr::V4(ip),
            discovery.as_ref(),
            address,
        )
        .await?;
        let uid = pod.uid().unwrap_or_default();
        if let Some(entry) = lock(&self.pods).get_mut(&uid) {
            entry.pod = pod.clone();
            entry.state = State::Ready(process);
        }
        self.tell(&pod, told, true).await?;
        Ok(())
    }

    async fn end(self: Arc<Self>, pod: Pod, process: PodProcess) {
        let ended = spawn_blocking(move || process.stop());
        let ended = match ended.await {
            Ok(ended) => ended,
            Err(error) => Err(Error::Unexpected(error.to_string())),
        };
        let forgotten = self.forget(&pod).await;
        if let Err(error) = ended.and(forgotten) {
            self.fail(error);
        }
    }

    /// Lets go of a pod whose process has ended.
    async fn forget(&self, pod: &Pod) -> Result<(), Error> {
        let namespace = pod.namespace().unwrap_or_default();
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &namespace);
        let at_once = DeleteParams::default().grace_period(0);
        match pods.delete(&pod.name_any(), &at_once).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            deleted => drop(deleted?),
        }
        lock(&self.pods).remove(&pod.uid().unwrap_or_default());
        Ok(())
    }

    /// Writes what a kubelet writes into a pod's status; gives the pod as it is then.
    async fn tell(&self, pod: &Pod, ip: Option<Ipv4Addr>, is_ready: bool) -> Result<Pod, Error> {
        let ready = if is_ready { "True" } else { "False" };
        let condition = |kind: &str, status: &str| json!({"type": kind, "status": status});
        let status = json!({"status": {
            "phase": "Running",
            "podIP": ip,
            "podIPs": ip.map(|ip| [json!({"ip": ip})]),
            "hostIP": "10.251.0.0",
            "conditions": [
                condition("Initialized", "True"),
                condition("ContainersReady", ready),
                condition("Ready", ready),
            ],
        }});
        let namespace = pod.namespace().unwrap_or_default();
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &namespace);
        let params = PatchParams::default();
        let patch = Patch::Strategic(status);
        match pods.patch_status(&pod.name_any(), &params, &patch).await {
            // It went before it was up.
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(pod.clone()),
            told => Ok(told?),
        }
    }

    fn open(&self, namespace: &str, service: &str, port: u16) -> Result<SocketAddr, Error> {
        let mut services = lock(&self.services);
        let key = (namespace.to_owned(), service.to_owned(), port);
        if let Some(balancer) = services.get(&key) {
            return Ok(balancer.address());
        }
        let balancer = Balancer::start(ports::free()?)?;
        let address = balancer.address();
        services.insert(key, balancer);
        Ok(address)
    }

    /// Keeps what went wrong first.
    fn fail(&self, error: Error) {
        lock(&self.failed).get_or_insert(error);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
