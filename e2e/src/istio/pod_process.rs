//! The process that a pod of Istio is on this machine, and the objects that lead to it.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use k8s_openapi::api::core::v1::Pod;
use kube::api::ResourceExt;
use serde_json::{Value, json};

use crate::{
    bookinfo::Log,
    control_plane::{
        ControlPlane,
        container_config::{self, ContainerConfig},
    },
    error::Error,
    host::server::Server,
    istio::{
        captured,
        istiod::{self, Istiod},
        mesh::{STOCK_ENVOY, gateway_on_loopback, without_metrics},
        proxy::{self, Discovery, Proxy},
        release::Release,
    },
    wait::{SOON, wait_until},
    yaml,
};

/// What all pods have around them.
pub(crate) struct Site {
    pub(crate) plane: Arc<ControlPlane>,
    pub(crate) apps: Apps,
}

/// What answers for the applications in injected pods, and how proxies are found.
pub enum Apps {
    /// This one for all of them. A `Sidecar` for each pod says where its proxy listens, and Services choose pods by
    /// [`PROCESS`].
    One(SocketAddr),
    /// The services of the tutorials, which the arguments of the containers name. Services choose pods by any labels, and
    /// a `Sidecar` of the user means what it means in a cluster. Needs [`captured::mesh_config`].
    Bookinfo(Log),
}

/// What of a pod runs.
#[derive(Debug)]
pub(crate) enum PodProcess {
    Istiod(Box<Istiod>, Release),
    Proxy(Box<Proxy>, Release, Objects),
    /// Nothing of Istio is in the pod.
    Nothing,
}

/// The objects that lead to the proxy of one pod.
#[derive(Debug)]
pub(crate) struct Objects {
    plane: Arc<ControlPlane>,
    /// Where its proxy listens.
    listeners: Value,
    /// That it is there, for Services that choose it.
    entry: Option<Value>,
    /// Its application, if it has one of its own.
    _app: Option<Server>,
}

/// The istiod that a proxy asks for.
pub(crate) struct IstiodOf {
    pub(crate) namespace: String,
    pub(crate) service: String,
}

/// The port of injected pods at which their applications are reached, and the one that leads applications to others.
pub const INBOUND: u16 = 9080;
/// The port of injected pods that leads to other pods, as an HTTP proxy.
pub const OUTBOUND: u16 = 15002;

/// A registry from which no image can be had.
pub const UNREACHABLE_HUB: &str = "registry.invalid/istio";

/// The label of a pod's address here, which Services choose by the pod's label `app`. Its address in the cluster is nobody's,
/// so no Service may choose the pod.
pub const PROCESS: &str = "process";

impl PodProcess {
    /// Which istiod the proxy in a pod asks for; nothing if there is no proxy in it.
    pub(crate) fn istiod_of(pod: &Pod) -> Result<Option<IstiodOf>, Error> {
        if image(pod, proxy::CONTAINER).is_none() {
            return Ok(None);
        }
        let config = ContainerConfig::of_pod(pod, proxy::CONTAINER)?;
        let address = config.env.iter().find(|(name, _)| name == "CA_ADDR");
        let found = address.and_then(|(_, address)| {
            let (service, rest) = address.split_once('.')?;
            let (namespace, _) = rest.split_once('.')?;
            Some(IstiodOf {
                namespace: namespace.into(),
                service: service.into(),
            })
        });
        let missing = || {
            let name = pod.name_any();
            Error::Unexpected(format!("the proxy of {name} names no istiod"))
        };
        found.ok_or_else(missing).map(Some)
    }

    /// Starts what stands for a pod with this address in the cluster, and waits until it is ready. A proxy gets an address
    /// of this machine.
    pub(crate) async fn start(
        site: &Site,
        pod: &Pod,
        ip: IpAddr,
        discovery: Option<&Discovery>,
        address: Ipv4Addr,
    ) -> Result<Self, Error> {
        let plane = &site.plane;
        if let Some(image) = image(pod, istiod::CONTAINER) {
            let release = Release::of_image(&image)?;
            let istiod = Istiod::start_for_pod(plane, release, pod, ip, &STOCK_ENVOY).await?;
            return Ok(Self::Istiod(Box::new(istiod), release));
        }
        let (Some(image), Some(discovery)) = (image(pod, proxy::CONTAINER), discovery) else {
            return Ok(Self::Nothing);
        };
        let release = Release::of_image(&image)?;
        let objects = match &site.apps {
            Apps::One(app) => Objects::of(plane, *app, pod, address)?,
            Apps::Bookinfo(log) => Objects::of_captured(plane, log, pod, address).await?,
        };
        objects.apply(&objects.listeners).await?;
        let proxy = Box::pin(Proxy::start(
            plane,
            release,
            discovery,
            pod.clone(),
            address,
        ))
        .await?;
        if let Some(entry) = &objects.entry {
            objects.apply(entry).await?;
        }
        Ok(Self::Proxy(Box::new(proxy), release, objects))
    }

    /// Where this machine reaches a port of the pod.
    pub(crate) fn reached_at(&self, port: u16) -> Option<SocketAddr> {
        match self {
            Self::Istiod(istiod, _) => Some(istiod.discovery().address),
            Self::Proxy(proxy, ..) => Some((proxy.address(), port).into()),
            Self::Nothing => None,
        }
    }

    /// The release that it is of.
    pub(crate) fn release(&self) -> Option<Release> {
        match self {
            Self::Istiod(_, release) | Self::Proxy(_, release, _) => Some(*release),
            Self::Nothing => None,
        }
    }

    /// An error if the process has ended by itself.
    pub(crate) fn check(&mut self) -> Result<(), Error> {
        match self {
            Self::Istiod(istiod, _) => istiod.process().check(),
            Self::Proxy(proxy, ..) => proxy.process().check(),
            Self::Nothing => Ok(()),
        }
    }

    /// Ends it as a kubelet does, while others learn that its application goes.
    pub(crate) fn stop(self) -> Result<(), Error> {
        match self {
            Self::Istiod(istiod, _) => istiod.stop(),
            Self::Proxy(proxy, _, objects) => {
                if let Some(entry) = &objects.entry {
                    objects.delete(entry)?;
                }
                proxy.stop()?;
                objects.delete(&objects.listeners)
            }
            Self::Nothing => Ok(()),
        }
    }
}

impl IstiodOf {
    /// It is reached at this address.
    pub(crate) fn at(&self, address: SocketAddr) -> Discovery {
        Discovery {
            address,
            server_name: format!("{}.{}.svc", self.service, self.namespace),
        }
    }
}

impl Objects {
    async fn of_captured(
        plane: &Arc<ControlPlane>,
        log: &Log,
        pod: &Pod,
        address: Ipv4Addr,
    ) -> Result<Self, Error> {
        let namespace = pod.namespace().unwrap_or_default();
        let (listeners, app) = if is_gateway(pod)? {
            (gateway_on_loopback(&namespace, address), None)
        } else {
            let app = captured::service(pod, address, log).await?;
            let listeners = captured::sidecar_on_loopback(&namespace, address, app.address());
            (listeners, Some(app))
        };
        Ok(Self {
            plane: Arc::clone(plane),
            listeners,
            entry: Some(captured::entry(pod, address)),
            _app: app,
        })
    }

    fn of(
        plane: &Arc<ControlPlane>,
        answers: SocketAddr,
        pod: &Pod,
        address: Ipv4Addr,
    ) -> Result<Self, Error> {
        let namespace = pod.namespace().unwrap_or_default();
        let plane = Arc::clone(plane);
        if is_gateway(pod)? {
            return Ok(Self {
                plane,
                listeners: gateway_on_loopback(&namespace, address),
                entry: None,
                _app: None,
            });
        }
        let object = |kind: &str, spec: Value| {
            json!({
                "apiVersion": "networking.istio.io/v1",
                "kind": kind,
                "metadata": {"name": pod.name_any(), "namespace": namespace},
                "spec": spec,
            })
        };
        let app = pod.labels().get("app").cloned().unwrap_or_default();
        let spec = pod.spec.as_ref();
        let account = spec.and_then(|spec| spec.service_account_name.clone());
        let port = |number: u16, name: &str, protocol: &str| json!({"number": number, "name": name, "protocol": protocol});
        // Nothing is captured here, so this says where the proxy listens.
        let listeners = json!({
            "workloadSelector": {"labels": {
                "app": app,
                "pod-template-hash": pod.labels().get("pod-template-hash"),
            }},
            "ingress": [{
                "port": port(INBOUND, "http", "HTTP"),
                "bind": address,
                "captureMode": "NONE",
                "defaultEndpoint": answers,
            }],
            "egress": [{
                "port": port(OUTBOUND, "proxy", "HTTP_PROXY"),
                "bind": address,
                "captureMode": "NONE",
                "hosts": ["./*"],
            }],
        });
        let entry = json!({
            "address": address,
            "labels": {PROCESS: app},
            "serviceAccount": account,
            "ports": {"http": INBOUND},
        });
        Ok(Self {
            plane,
            listeners: object("Sidecar", listeners),
            entry: Some(object("WorkloadEntry", entry)),
            _app: None,
        })
    }

    /// Istiod's webhook may be busy with its own start.
    async fn apply(&self, object: &Value) -> Result<(), Error> {
        let metrics = without_metrics("istio-system");
        let text = yaml::stream(&[metrics, object.clone()]);
        wait_until("istiod to take an object", SOON, || async {
            self.plane.apply(&text).map(drop)
        })
        .await
    }

    fn delete(&self, object: &Value) -> Result<(), Error> {
        let delete = ["delete", "--ignore-not-found", "--wait=false", "-f=-"];
        self.plane
            .kubectl_with_input(delete, &object.to_string())
            .map(drop)
    }
}

fn is_gateway(pod: &Pod) -> Result<bool, Error> {
    let config = ContainerConfig::of_pod(pod, proxy::CONTAINER)?;
    Ok(config.args.iter().any(|arg| arg == "router"))
}

/// Whether an image of Istio in a pod cannot be had.
pub(crate) fn is_unavailable(pod: &Pod) -> bool {
    let containers = [istiod::CONTAINER, proxy::CONTAINER];
    let mut images = containers.iter().filter_map(|name| image(pod, name));
    images.any(|image| image.starts_with(UNREACHABLE_HUB))
}

fn image(pod: &Pod, container: &str) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    container_config::container(spec, container)?.image.clone()
}
