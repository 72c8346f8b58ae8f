//! Counts what is asked of the API server.

use http::{Method, Request};
use kube::Client;
use kube::client::Body;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use tower::service_fn;

use super::RequestLabels;

/// A client whose requests are counted.
#[must_use]
pub fn counted(client: Client, requests: Family<RequestLabels, Counter>) -> Client {
    let namespace = client.default_namespace().to_owned();
    let service = service_fn(move |request: Request<Body>| {
        let (client, requests) = (client.clone(), requests.clone());
        async move {
            let verb = verb(request.method(), request.uri());
            let answer = client.send(request).await;
            let code = answer.as_ref().map_or_else(
                |_| "error".to_owned(),
                |answer| answer.status().as_u16().to_string(),
            );
            requests.get_or_create(&RequestLabels { verb, code }).inc();
            answer
        }
    });
    Client::new(service, namespace)
}

/// The verb by which Kubernetes calls a request.
fn verb(method: &Method, uri: &http::Uri) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ if uri
            .query()
            .is_some_and(|query| query.contains("watch=true")) =>
        {
            "watch"
        }
        _ if is_list(uri.path()) => "list",
        _ => "get",
    }
}

/// Whether a path leads to all objects of a kind, of a namespace or of the cluster.
fn is_list(path: &str) -> bool {
    let parts: Vec<_> = path.split('/').filter(|part| !part.is_empty()).collect();
    let (["api", _, below_version @ ..] | ["apis", _, _, below_version @ ..]) = parts.as_slice()
    else {
        return false;
    };
    matches!(below_version, [_] | ["namespaces", _, _])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_are_those_of_kubernetes() {
        for (method, uri, expected) in [
            ("GET", "/version", "get"),
            ("GET", "/api/v1/namespaces", "list"),
            ("GET", "/api/v1/namespaces/a", "get"),
            ("GET", "/api/v1/namespaces/a/services?limit=500", "list"),
            ("GET", "/apis/apps/v1/namespaces/a/deployments/b", "get"),
            ("GET", "/apis/apps/v1/deployments", "list"),
            (
                "GET",
                "/apis/apps/v1/deployments?limit=1&watch=true",
                "watch",
            ),
            ("PATCH", "/apis/apps/v1/namespaces/a/deployments/b", "patch"),
            (
                "PUT",
                "/apis/coordination.k8s.io/v1/namespaces/a/leases/b",
                "update",
            ),
        ] {
            let (method, uri) = (method.parse().unwrap(), uri.parse().unwrap());
            assert_eq!(verb(&method, &uri), expected, "{method} {uri}");
        }
    }
}
