//! The API server's way to its webhooks.
//!
//! A webhook names a Service, and simulated pods have addresses where nobody listens. The API server
//! can send such calls through an HTTP CONNECT proxy (its egress selector); this is that proxy. It
//! looks up the pod that the API server chose and connects to the process that stands in for it, so
//! that Service, endpoints, port, CA bundle and certificate are all used as in a real cluster. A process that serves
//! another cluster is reached at an address that no pod has.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{ListParams, ResourceExt},
};

use crate::{control_plane::client, error::Error, host::tunnel::tunnel};

/// Connections to `port` of these go to `local_port` on 127.0.0.1.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) to: Target,
    pub(crate) port: u16,
    pub(crate) local_port: u16,
}

/// Where the API server connects to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Pods of a namespace with these labels.
    Pods {
        namespace: String,
        labels: BTreeMap<String, String>,
    },
    /// A server outside the cluster.
    Address(IpAddr),
}

/// The running proxy; ends when dropped.
#[derive(Debug)]
pub(crate) struct EgressProxy {
    socket: PathBuf,
    routes: Arc<Mutex<Vec<Route>>>,
    closing: Arc<AtomicBool>,
}

impl EgressProxy {
    /// Listens at `socket` for the API server that `kubeconfig` leads to.
    pub(crate) fn start(socket: PathBuf, kubeconfig: PathBuf) -> Result<Self, Error> {
        let name = socket.display().to_string();
        let listener = UnixListener::bind(&socket).map_err(Error::io(&name))?;
        let routes = Arc::new(Mutex::new(Vec::new()));
        let closing = Arc::new(AtomicBool::new(false));
        let (shared, closed) = (Arc::clone(&routes), Arc::clone(&closing));
        let accept = move || {
            for stream in listener.incoming().flatten() {
                if closed.load(Ordering::Relaxed) {
                    break;
                }
                let (routes, kubeconfig) = (Arc::clone(&shared), kubeconfig.clone());
                thread::spawn(move || serve(stream, &routes, &kubeconfig));
            }
        };
        thread::Builder::new()
            .name("egress".into())
            .spawn(accept)
            .map_err(Error::io(&name))?;
        Ok(Self {
            socket,
            routes,
            closing,
        })
    }

    /// Adds a route; it replaces an earlier one for the same target and port.
    pub(crate) fn route(&self, route: Route) {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        routes.retain(|old| (&old.to, old.port) != (&route.to, route.port));
        routes.push(route);
    }

    /// Removes all routes.
    pub(crate) fn remove_routes(&self) {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        routes.clear();
    }

    /// The file that tells the API server about the proxy.
    pub(crate) fn configuration(&self) -> String {
        serde_json::json!({
            "apiVersion": "apiserver.k8s.io/v1beta1",
            "kind": "EgressSelectorConfiguration",
            "egressSelections": [{
                "name": "cluster",
                "connection": {
                    "proxyProtocol": "HTTPConnect",
                    "transport": {"uds": {"udsName": self.socket}},
                },
            }],
        })
        .to_string()
    }
}

impl Drop for EgressProxy {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for connections; if it cannot be reached it is gone already.
        let _ = UnixStream::connect(&self.socket);
    }
}

/// Serves one CONNECT request; what goes wrong becomes the HTTP answer, which the API server quotes.
fn serve(mut from: UnixStream, routes: &Mutex<Vec<Route>>, kubeconfig: &Path) {
    let answer = match read_target(&mut from).and_then(|to| connect(to, routes, kubeconfig)) {
        Ok(to) => match from.write_all(b"HTTP/1.1 200 OK\r\n\r\n") {
            Ok(()) => return tunnel(from, to),
            Err(_) => return,
        },
        Err(reason) => format!("HTTP/1.1 502 {}\r\n\r\n", reason.replace(['\r', '\n'], " ")),
    };
    // The API server may have given up; then the answer is not needed.
    let _ = from.write_all(answer.as_bytes());
}

/// The address in `CONNECT 10.0.0.1:443 HTTP/1.1`; reads exactly up to the empty line.
fn read_target(from: &mut impl Read) -> Result<SocketAddr, String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        from.read_exact(&mut byte)
            .map_err(|error| error.to_string())?;
        head.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&head);
    let target = text
        .strip_prefix("CONNECT ")
        .and_then(|rest| rest.split(' ').next());
    let target = target.ok_or("not a CONNECT request")?;
    target.parse().map_err(|error| format!("{target}: {error}"))
}

fn connect(
    to: SocketAddr,
    routes: &Mutex<Vec<Route>>,
    kubeconfig: &Path,
) -> Result<TcpStream, String> {
    let routes = routes
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let outside = Target::Address(to.ip());
    let route = routes
        .iter()
        .find(|route| route.to == outside && route.port == to.port());
    if let Some(route) = route {
        return TcpStream::connect((Ipv4Addr::LOCALHOST, route.local_port))
            .map_err(|error| format!("the process at {to}: {error}"));
    }
    let pod = pod_at(to.ip(), kubeconfig).map_err(|error| error.to_string())?;
    let pod = pod.ok_or_else(|| format!("no pod has the address {}", to.ip()))?;
    let name = format!(
        "pod {}/{}",
        pod.namespace().unwrap_or_default(),
        pod.name_any()
    );
    let route = routes.iter().find(|route| route.matches(&pod, to.port()));
    let route = route.ok_or_else(|| format!("{name} is simulated: no process stands for it"))?;
    TcpStream::connect((Ipv4Addr::LOCALHOST, route.local_port))
        .map_err(|error| format!("the process that stands for {name}: {error}"))
}

/// The pod with this address. Connections are few and kept open, so each may have its own client.
fn pod_at(address: IpAddr, kubeconfig: &Path) -> Result<Option<Pod>, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.map_err(Error::io("egress"))?.block_on(async {
        let pods: Api<Pod> = Api::all(client::from_kubeconfig(kubeconfig).await?);
        let chosen = ListParams::default().fields(&format!("status.podIP={address}"));
        Ok(pods.list(&chosen).await?.items.into_iter().next())
    })
}

impl Route {
    fn matches(&self, pod: &Pod, port: u16) -> bool {
        let Target::Pods { namespace, labels } = &self.to else {
            return false;
        };
        let mut labels = labels.iter();
        self.port == port
            && pod.namespace().as_ref() == Some(namespace)
            && labels.all(|(key, value)| pod.labels().get(key) == Some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_target_and_not_one_byte_more() {
        let mut request = &b"CONNECT 10.244.0.5:15017 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nTLS"[..];
        assert_eq!(
            read_target(&mut request).unwrap(),
            "10.244.0.5:15017".parse().unwrap()
        );
        assert_eq!(request, b"TLS");
    }

    #[test]
    fn refuses_what_is_not_a_connect_request() {
        let error = read_target(&mut &b"GET / HTTP/1.1\r\n\r\n"[..]).unwrap_err();
        assert_eq!(error, "not a CONNECT request");
    }
}
