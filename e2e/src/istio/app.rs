//! An application of a mesh: it answers every request with what it saw of it.

use std::{collections::BTreeMap, net::SocketAddr};

use axum::{Router, extract::Request, http::header::CONTENT_TYPE};
use serde_json::{Map, Value, json};

use crate::{error::Error, host::server::Server, yaml};

/// A running application on 127.0.0.1; ends when dropped.
#[derive(Debug)]
pub struct App {
    name: String,
    server: Server,
}

/// The API of Istio's objects for traffic.
const NETWORKING: &str = "networking.istio.io/v1";

impl App {
    /// Starts one that calls itself `name`.
    pub async fn start(name: &str) -> Result<Self, Error> {
        let own_name = name.to_owned();
        let answer = move |request: Request| {
            let answer = seen(&own_name, &request);
            async move { ([(CONTENT_TYPE, "application/json")], answer.to_string()) }
        };
        Ok(Self {
            name: name.into(),
            server: Server::start(name, Router::new().fallback(answer)).await?,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Objects that lead requests for the path of its name, to whatever host, from port 80 of the gateways with these
    /// labels to it, in the namespace `default`.
    #[must_use]
    pub fn behind(&self, gateway: &BTreeMap<String, String>) -> String {
        let name = &self.name;
        let object = |api: &str, kind: &str, spec: Value| {
            let metadata = json!({"name": name, "namespace": "default"});
            json!({"apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec})
        };
        let port = json!({"number": 80, "name": "http", "protocol": "HTTP"});
        let gateway = json!({
            "selector": gateway,
            "servers": [{"port": port, "hosts": ["*"]}],
        });
        let routes = json!({
            "hosts": ["*"],
            "gateways": [name],
            "http": [{
                "match": [{"uri": {"exact": format!("/{name}")}}],
                "route": [{"destination": {"host": name}}],
            }],
        });
        let service = json!({
            "selector": {"app": name},
            "ports": [{"name": "http", "port": 9080}],
        });
        yaml::stream(&[
            object(NETWORKING, "Gateway", gateway),
            object(NETWORKING, "VirtualService", routes),
            object("v1", "Service", service),
            process_of_service("default", name, "http", self.address()),
        ])
    }
}

/// The address of a process, for Services that select pods with this label `app`: a `WorkloadEntry`, which istiod takes for a
/// pod. `port` is the name of the Services' port.
#[must_use]
pub fn process_of_service(namespace: &str, app: &str, port: &str, address: SocketAddr) -> Value {
    json!({
        "apiVersion": NETWORKING,
        "kind": "WorkloadEntry",
        "metadata": {"name": app, "namespace": namespace},
        "spec": {
            "address": address.ip(),
            "labels": {"app": app},
            "ports": {port: address.port()},
        },
    })
}

fn seen(name: &str, request: &Request) -> Value {
    let headers = request.headers().iter();
    let headers = headers.map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.to_string(), Value::from(value))
    });
    let headers: Map<_, _> = headers.collect();
    json!({"app": name, "path": request.uri().path(), "headers": headers})
}
