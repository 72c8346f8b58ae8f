//! The services of the tutorials in `samples/bookinfo`: a page about a book, made of what three other services tell of it.
//!
//! In a cluster each is a container of the program `bookinfo`; in the proof each is a server of this process, which a real
//! Envoy stands before.

mod calls;
mod page;
mod stories;

use std::{
    fmt::{self, Debug, Formatter},
    net::SocketAddr,
    sync::Arc,
};

use axum::{
    Router,
    http::{
        HeaderMap, StatusCode, Uri,
        header::{CONTENT_TYPE, HOST},
    },
    response::{IntoResponse, Response},
};
use clap::{Parser, Subcommand, ValueEnum};
use serde_json::Value;

pub use calls::Calls;

/// The port of every pod; the Services have port 80.
pub const PORT: u16 = 9080;

/// The header with the name of the reader, by which the tutorials route.
pub const READER: &str = "end-user";

/// What is run, as the arguments of a container say it.
#[derive(Clone, Debug, Parser)]
#[command(name = "bookinfo", about = "The services of the Bookinfo tutorials")]
pub struct Program {
    /// What it does.
    #[command(subcommand)]
    pub task: Task,
}

/// A service, or a question to one.
#[derive(Clone, Debug, Subcommand)]
pub enum Task {
    /// The page about the book, made of what `details` and `reviews` answer
    Productpage,
    /// Author, year and pages of the book
    Details,
    /// How many stars readers give
    Ratings,
    /// What readers say
    Reviews {
        /// v1 has no stars, v2 asks `ratings` for black ones, v3 for red ones
        version: Version,
    },
    /// Asks for a URL and prints the answer, as curl does, which no image of these services has
    Get {
        /// What is asked for
        url: String,
        /// A header, as NAME:VALUE
        #[arg(short = 'H', long = "header")]
        headers: Vec<String>,
    },
}

/// A version of `reviews`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Version {
    /// Without stars.
    V1,
    /// With black stars.
    V2,
    /// With red stars.
    V3,
}

/// A request that a service got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The pod of the service.
    pub pod: String,
    /// The host that was meant.
    pub host: String,
    /// Its path.
    pub path: String,
}

/// What is told of every request.
pub type Log = Arc<dyn Fn(Seen) + Send + Sync>;

/// A service in its pod.
#[derive(Clone)]
pub struct Workload {
    /// Which one.
    pub task: Task,
    /// The name of its pod.
    pub pod: String,
    /// How it reaches the others.
    pub calls: Calls,
    /// Who is told of its requests.
    pub log: Log,
}

/// An answer: status, content type and body.
type Reply = (StatusCode, &'static str, String);

impl Workload {
    /// What it answers.
    pub fn routes(self) -> Router {
        let workload = Arc::new(self);
        Router::new().fallback(move |uri: Uri, headers: HeaderMap| {
            let workload = Arc::clone(&workload);
            async move { workload.answer(&uri, &headers).await }
        })
    }

    async fn answer(&self, uri: &Uri, headers: &HeaderMap) -> Response {
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());
        (self.log)(Seen {
            pod: self.pod.clone(),
            host: host.unwrap_or_default().to_owned(),
            path: uri.path().to_owned(),
        });
        let path: Vec<_> = uri.path().trim_matches('/').split('/').collect();
        let (status, kind, body) = self.reply(&path, headers).await;
        (status, [(CONTENT_TYPE, kind)], body).into_response()
    }

    async fn reply(&self, path: &[&str], headers: &HeaderMap) -> Reply {
        match (&self.task, path) {
            (Task::Productpage, ["productpage"]) => page::html(&self.calls, headers).await,
            (Task::Productpage, ["api", "v1", "products", id]) => {
                self.calls.hand_on(headers, "details", id).await
            }
            (
                Task::Productpage,
                [
                    "api",
                    "v1",
                    "products",
                    id,
                    service @ ("reviews" | "ratings"),
                ],
            ) => self.calls.hand_on(headers, service, id).await,
            (Task::Details, ["details", id]) => json(StatusCode::OK, &stories::details(id)),
            (Task::Ratings, ["ratings", id]) => json(StatusCode::OK, &stories::ratings(id)),
            (Task::Reviews { version }, ["reviews", id]) => {
                let ratings = match version.color() {
                    Some(color) => Some((color, self.calls.ratings(headers, id).await)),
                    None => None,
                };
                let reviews = stories::reviews(id, *version, &self.pod, ratings.as_ref());
                json(StatusCode::OK, &reviews)
            }
            _ => (
                StatusCode::NOT_FOUND,
                TEXT,
                "There is no such page.\n".into(),
            ),
        }
    }
}

impl Debug for Workload {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} in {}", self.task, self.pod)
    }
}

impl Version {
    /// How it calls itself.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
            Self::V3 => "v3",
        }
    }

    /// The color of its stars.
    fn color(self) -> Option<&'static str> {
        match self {
            Self::V1 => None,
            Self::V2 => Some("black"),
            Self::V3 => Some("red"),
        }
    }
}

/// What the arguments of a container say.
pub fn task_of(args: &[String]) -> Result<Task, clap::Error> {
    let program = std::iter::once("bookinfo").chain(args.iter().map(String::as_str));
    Program::try_parse_from(program).map(|program| program.task)
}

/// Where a service listens, in a pod of its own.
#[must_use]
pub fn everywhere() -> SocketAddr {
    ([0, 0, 0, 0], PORT).into()
}

const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";

fn json(status: StatusCode, body: &Value) -> Reply {
    (status, "application/json", format!("{body}\n"))
}

#[cfg(test)]
mod tests;
