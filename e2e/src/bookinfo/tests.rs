use std::sync::{Mutex, PoisonError};

use serde_json::json;

use super::*;
use crate::host::{http, server::Server};

/// A service behind a sidecar, and what it saw.
async fn start(task: Task, sidecar: SocketAddr) -> (Server, Arc<Mutex<Vec<Seen>>>) {
    let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
    let log = Arc::clone(&seen);
    let workload = Workload {
        task,
        pod: "pod-0".into(),
        calls: Calls {
            captured: [(80, sidecar)].into(),
        },
        log: Arc::new(move |one| log.lock().unwrap_or_else(PoisonError::into_inner).push(one)),
    };
    let server = Server::start("bookinfo", workload.routes()).await.unwrap();
    (server, seen)
}

/// What stands for a sidecar: it answers for every host by the name of the host.
async fn sidecar(answer: fn(&str, &HeaderMap) -> Reply) -> Server {
    let answer = move |headers: HeaderMap| async move {
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());
        let (status, kind, body) = answer(host.unwrap_or_default(), &headers);
        (status, [(CONTENT_TYPE, kind)], body)
    };
    Server::start("sidecar", Router::new().fallback(answer))
        .await
        .unwrap()
}

fn healthy(host: &str, headers: &HeaderMap) -> Reply {
    let reader = headers.get(READER).and_then(|it| it.to_str().ok());
    let body = match host {
        "details" => stories::details("0"),
        "ratings" => stories::ratings("0"),
        "reviews" => {
            let stars = Ok(stories::ratings("0"));
            stories::reviews(
                "0",
                Version::V3,
                reader.unwrap_or("-"),
                Some(&("red", stars)),
            )
        }
        other => return (StatusCode::BAD_GATEWAY, TEXT, other.into()),
    };
    json(StatusCode::OK, &body)
}

fn broken(host: &str, _: &HeaderMap) -> Reply {
    (StatusCode::INTERNAL_SERVER_ERROR, TEXT, host.into())
}

async fn body(server: &Server, path: &str, headers: &[(&str, &str)]) -> (StatusCode, Value) {
    let url = format!("http://productpage{path}");
    let answer = http::get_with(server.address(), &url, headers)
        .await
        .unwrap();
    let body = serde_json::from_str(&answer.body).unwrap_or(Value::String(answer.body));
    (answer.status, body)
}

#[tokio::test]
async fn stars_have_the_color_of_the_version_and_v1_has_none() {
    let sidecar = sidecar(healthy).await;
    let rating = async |version: Version| {
        let (server, _) = start(Task::Reviews { version }, sidecar.address()).await;
        let (status, reviews) = body(&server, "/reviews/0", &[]).await;
        assert_eq!(
            (status, &reviews["version"]),
            (StatusCode::OK, &json!(version.name()))
        );
        reviews["reviews"][0]["rating"].clone()
    };
    assert_eq!(rating(Version::V1).await, Value::Null);
    assert_eq!(
        rating(Version::V2).await,
        json!({"stars": 5, "color": "black"})
    );
    assert_eq!(
        rating(Version::V3).await,
        json!({"stars": 5, "color": "red"})
    );
}

#[tokio::test]
async fn reviews_are_readable_without_stars() {
    let sidecar = sidecar(broken).await;
    let task = Task::Reviews {
        version: Version::V2,
    };
    let (server, seen) = start(task, sidecar.address()).await;
    let (status, reviews) = body(&server, "/reviews/0", &[]).await;
    assert_eq!(status, StatusCode::OK);
    let rating = &reviews["reviews"][1]["rating"];
    assert_eq!(
        rating,
        &json!({"error": "ratings: 500 Internal Server Error"})
    );
    let expected = Seen {
        pod: "pod-0".into(),
        host: "productpage".into(),
        path: "/reviews/0".into(),
    };
    assert_eq!(*seen.lock().unwrap(), [expected]);
}

#[tokio::test]
async fn the_page_hands_on_who_reads_and_shows_what_others_tell() {
    let sidecar = sidecar(healthy).await;
    let (server, _) = start(Task::Productpage, sidecar.address()).await;
    let (status, page) = body(&server, "/productpage", &[(READER, "<ada>")]).await;
    let page = page.as_str().unwrap();
    assert_eq!(status, StatusCode::OK);
    for part in [
        "Reader: &lt;ada&gt;",
        "Edwin A. Abbott",
        "color:red\">★★★★★<",
        "Told by &lt;ada&gt;, v3.",
    ] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    let (_, details) = body(&server, "/api/v1/products/0", &[]).await;
    assert_eq!(details["year"], 1884);
    let (_, ratings) = body(&server, "/api/v1/products/0/ratings", &[]).await;
    assert_eq!(ratings["ratings"]["grace"], 4);
    assert_eq!(
        body(&server, "/elsewhere", &[]).await.0,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn the_page_tells_what_is_not_available() {
    let sidecar = sidecar(broken).await;
    let (server, _) = start(Task::Productpage, sidecar.address()).await;
    let (status, page) = body(&server, "/productpage", &[]).await;
    let page = page.as_str().unwrap();
    assert_eq!(status, StatusCode::OK);
    assert!(
        page.contains("Not available (reviews: 500 Internal Server Error)."),
        "{page}"
    );
    let (status, error) = body(&server, "/api/v1/products/0/reviews", &[]).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(
        error,
        json!({"error": "reviews: 500 Internal Server Error"})
    );
}

#[test]
fn the_arguments_of_a_container_say_what_it_is() {
    let task = |args: &[&str]| task_of(&args.iter().map(|&arg| arg.to_owned()).collect::<Vec<_>>());
    let reviews = task(&["reviews", "v3"]).unwrap();
    assert!(matches!(
        reviews,
        Task::Reviews {
            version: Version::V3
        }
    ));
    assert!(matches!(task(&["details"]).unwrap(), Task::Details));
    assert!(task(&["reviews", "v4"]).is_err());
    assert!(task(&[]).is_err());
}
