//! Questions of a service to others.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use axum::http::{HeaderMap, StatusCode, Uri};
use serde_json::{Value, json};
use tokio::{net::lookup_host, time::timeout};

use super::{READER, Reply};
use crate::{
    error::Error,
    host::http::{self, Answer},
};

/// How a service reaches the others.
#[derive(Clone, Debug, Default)]
pub struct Calls {
    /// Where connections to a port end instead of at their hosts: at the sidecar, as if a node captured them. In a pod of a
    /// cluster there is nothing, because nodes do it without the services' knowledge.
    pub captured: BTreeMap<u16, SocketAddr>,
}

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(5);

/// What a service hands on from the request that it answers, so that the mesh can tell who reads, and that a question
/// belongs to the request.
const HANDED_ON: [&str; 8] = [
    READER,
    "x-request-id",
    "traceparent",
    "tracestate",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
];

impl Calls {
    /// `GET url` with these headers.
    pub async fn get(&self, url: &str, headers: &[(&str, &str)]) -> Result<Answer, Error> {
        let uri: Uri = url.parse().map_err(|error| failed(url, &error))?;
        let port = uri.port_u16().unwrap_or(80);
        if let Some(sidecar) = self.captured.get(&port) {
            return http::get_with(*sidecar, url, headers).await;
        }
        let host = uri.host().unwrap_or_default();
        let addresses = lookup_host((host, port)).await;
        let address = addresses.map_err(|error| failed(url, &error))?.next();
        let address = address.ok_or_else(|| failed(url, &"it has no address"))?;
        http::get_with(address, url, headers).await
    }

    /// What a service tells of a book, as it is.
    pub(super) async fn hand_on(&self, headers: &HeaderMap, service: &str, id: &str) -> Reply {
        match self.ask(headers, service, id).await {
            Ok(body) => super::json(StatusCode::OK, &body),
            Err((status, why)) => super::json(status, &json!({"error": why})),
        }
    }

    /// The stars that readers give, or why there are none.
    pub(super) async fn ratings(&self, headers: &HeaderMap, id: &str) -> Result<Value, String> {
        let ratings = self.ask(headers, "ratings", id).await;
        ratings.map_err(|(_, why)| why)
    }

    /// What a service tells of a book, or with which status it does not.
    pub(super) async fn ask(
        &self,
        headers: &HeaderMap,
        service: &str,
        id: &str,
    ) -> Result<Value, (StatusCode, String)> {
        let url = format!("http://{service}/{service}/{id}");
        let handed_on = HANDED_ON.iter().filter_map(|name| {
            let value = headers.get(*name)?.to_str().ok()?;
            Some((*name, value))
        });
        let handed_on: Vec<_> = handed_on.collect();
        let answer = timeout(LIMIT, self.get(&url, &handed_on)).await;
        let status = match answer {
            Ok(Ok(answer)) if answer.status.is_success() => {
                return serde_json::from_str(&answer.body)
                    .map_err(|error| (StatusCode::BAD_GATEWAY, error.to_string()));
            }
            Ok(Ok(answer)) => answer.status,
            Ok(Err(_)) => StatusCode::BAD_GATEWAY,
            Err(_) => StatusCode::GATEWAY_TIMEOUT,
        };
        let why = format!("{service}: {status}");
        Err((status, why))
    }
}

fn failed(url: &str, why: &dyn ToString) -> Error {
    Error::Unexpected(format!("{url}: {}", why.to_string()))
}
