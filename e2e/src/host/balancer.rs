//! A port of this machine whose connections go to one of several servers in turn, as those of a Service do.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use crate::{error::Error, host::tunnel::tunnel};

/// A port on 127.0.0.1 that takes connections; it takes no more when dropped.
#[derive(Debug)]
pub(crate) struct Balancer {
    address: SocketAddr,
    backends: Arc<Mutex<Backends>>,
}

/// Where connections go, in turn.
#[derive(Debug, Default)]
struct Backends {
    addresses: Vec<SocketAddr>,
    next: usize,
    /// Who took the last connection.
    last: Option<SocketAddr>,
    /// Whether no more connections are wanted.
    closing: bool,
}

impl Balancer {
    /// Takes connections at `port`, and leads them nowhere yet. A port that is taken is [`Error::PortTaken`].
    pub(crate) fn start(port: u16) -> Result<Self, Error> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|error| match error.kind() {
                io::ErrorKind::AddrInUse => Error::PortTaken(port),
                _ => Error::io(format!("port {port}"))(error),
            })?;
        let backends: Arc<Mutex<Backends>> = Arc::default();
        let shared = Arc::clone(&backends);
        thread::Builder::new()
            .name("balancer".into())
            .spawn(move || serve(&listener, &shared))
            .map_err(Error::io("balancer"))?;
        Ok(Self {
            address: (Ipv4Addr::LOCALHOST, port).into(),
            backends,
        })
    }

    /// Where it takes connections.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on new connections go to these servers; those that were made stay where they are.
    pub(crate) fn lead_to(&self, addresses: Vec<SocketAddr>) {
        lock(&self.backends).addresses = addresses;
    }

    /// The server that took the last connection.
    pub(crate) fn last(&self) -> Option<SocketAddr> {
        lock(&self.backends).last
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        lock(&self.backends).closing = true;
        // Wakes the thread that waits for connections; if it cannot be reached it is gone already.
        let _ = TcpStream::connect(self.address);
    }
}

/// Accepts connections and hands each to the next backend that takes it.
fn serve(listener: &TcpListener, backends: &Arc<Mutex<Backends>>) {
    for from in listener.incoming().flatten() {
        if lock(backends).closing {
            break;
        }
        let backends = Arc::clone(backends);
        thread::spawn(move || {
            if let Some(to) = connect(&backends) {
                tunnel(from, to);
            }
        });
    }
}

fn connect(backends: &Mutex<Backends>) -> Option<TcpStream> {
    let addresses = {
        let mut backends = lock(backends);
        backends.next = backends.next.wrapping_add(1);
        let mut addresses = backends.addresses.clone();
        let first = backends.next % addresses.len().max(1);
        addresses.rotate_left(first);
        addresses
    };
    for address in addresses {
        if let Ok(stream) = TcpStream::connect(address) {
            lock(backends).last = Some(address);
            return Some(stream);
        }
    }
    None
}

fn lock(backends: &Mutex<Backends>) -> MutexGuard<'_, Backends> {
    backends.lock().unwrap_or_else(PoisonError::into_inner)
}
