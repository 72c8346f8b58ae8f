//! HTTP requests to addresses of this machine, whatever host they name.

use std::net::SocketAddr;

use axum::body::{Body, to_bytes};
use http::{
    HeaderMap, Request, StatusCode, Uri,
    header::{CONNECTION, CONTENT_TYPE, HOST},
};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use crate::{
    error::Error,
    host::process::Process,
    wait::{SOON, wait_until},
};

/// The largest body of an answer, in bytes.
const LARGEST: usize = 64 << 20;

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: String,
}

impl Answer {
    /// The text of a header, or nothing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}

/// `GET url`, asked of the server at `address` over a connection of its own.
pub async fn get(address: SocketAddr, url: &str) -> Result<Answer, Error> {
    get_with(address, url, &[]).await
}

/// The same with more headers.
pub async fn get_with(
    address: SocketAddr,
    url: &str,
    headers: &[(&str, &str)],
) -> Result<Answer, Error> {
    let uri = parsed(url)?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = headers.iter().fold(
        Request::get(path).header(HOST, host(&uri)),
        |request, (name, value)| request.header(*name, *value),
    );
    send(address, url, request, String::new()).await
}

/// `POST url` with a body of JSON, sent to the server at `address`.
pub async fn post(address: SocketAddr, url: &str, body: String) -> Result<Answer, Error> {
    let uri = parsed(url)?;
    let request = Request::post(uri.path())
        .header(HOST, host(&uri))
        .header(CONTENT_TYPE, "application/json");
    send(address, url, request, body).await
}

/// `GET url`, asked of the HTTP proxy at `address`.
pub async fn get_through(address: SocketAddr, url: &str) -> Result<Answer, Error> {
    let uri = parsed(url)?;
    let host = host(&uri).to_owned();
    let request = Request::get(uri).header(HOST, host);
    send(address, url, request, String::new()).await
}

/// Waits until a process answers `GET path` at `address` with success.
pub(crate) async fn wait_until_ok(
    process: &mut Process,
    address: SocketAddr,
    path: &str,
) -> Result<(), Error> {
    let what = format!("{} to be ready", process.name());
    let url = format!("http://{address}{path}");
    let ready = wait_until(&what, SOON, || {
        let alive = process.check();
        let url = &url;
        async move {
            if alive.is_err() {
                return Ok(alive);
            }
            let answer = get(address, url).await?;
            if answer.status.is_success() {
                Ok(Ok(()))
            } else {
                Err(Error::Unexpected(answer.body))
            }
        }
    });
    ready.await?
}

async fn send(
    address: SocketAddr,
    url: &str,
    request: http::request::Builder,
    body: String,
) -> Result<Answer, Error> {
    let failed =
        |error: &dyn std::error::Error| Error::Unexpected(format!("{url} at {address}: {error}"));
    let request = request
        .header(CONNECTION, "close")
        .body(body)
        .map_err(|error| failed(&error))?;
    let answer = async {
        let stream = TcpStream::connect(address)
            .await
            .map_err(|error| failed(&error))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| failed(&error))?;
        // It ends with the answer, or with the error that the request reports.
        let connection = tokio::spawn(connection);
        let answer = sender.send_request(request).await;
        let (head, body) = answer.map_err(|error| failed(&error))?.into_parts();
        let body = to_bytes(Body::new(body), LARGEST).await;
        connection.abort();
        let body = body.map_err(|error| failed(&error))?;
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    };
    timeout(SOON, answer)
        .await
        .map_err(|error| failed(&error))?
}

fn parsed(url: &str) -> Result<Uri, Error> {
    url.parse()
        .map_err(|error| Error::Unexpected(format!("{url}: {error}")))
}

fn host(uri: &Uri) -> &str {
    uri.authority().map_or("", |authority| authority.as_str())
}
