//! Requests at a steady rate, each of them counted.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{Request, StatusCode, header::HOST};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};

use crate::error::Error;

/// What is asked, again and again. It is a POST, which nobody on the way may send twice.
#[derive(Clone, Debug)]
pub struct Question {
    /// The server, or the HTTP proxy.
    pub address: SocketAddr,
    /// What the request line names: a path, or a URL for a proxy.
    pub target: String,
    /// The host that is meant.
    pub host: String,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Sample {
    /// When it was sent.
    pub at: Instant,
    /// How long its answer took.
    pub took: Duration,
    /// What came instead of an answer with status 200.
    pub failure: Option<String>,
}

/// Requests that go on until this is dropped.
#[derive(Debug)]
pub struct Load {
    workers: Vec<JoinHandle<()>>,
    samples: Arc<Mutex<Vec<Sample>>>,
}

/// How many ask at once, and how many of them take a new connection for each request.
const WORKERS: u32 = 20;
const HASTY: u32 = 5;

/// How many requests a connection is used for, at most: about those of a second.
const KEPT: usize = 10;

/// An answer that takes longer is none.
const LIMIT: Duration = Duration::from_secs(10);

type Connection = (SendRequest<String>, usize);

impl Load {
    /// Asks `rate` times a second.
    #[must_use]
    pub fn start(question: &Question, rate: u32) -> Self {
        let samples: Arc<Mutex<Vec<Sample>>> = Arc::default();
        let every = Duration::from_secs(1) * WORKERS / rate;
        let now = Instant::now();
        let workers = (0..WORKERS).map(|number| {
            let worker = Worker {
                question: question.clone(),
                first: now + every * number / WORKERS,
                every,
                kept: if number < HASTY { 1 } else { KEPT },
                samples: Arc::clone(&samples),
            };
            tokio::spawn(worker.ask())
        });
        Self {
            workers: workers.collect(),
            samples: Arc::clone(&samples),
        }
    }

    /// All requests so far that came to an end.
    #[must_use]
    pub fn samples(&self) -> Vec<Sample> {
        let samples = self.samples.lock();
        samples.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.workers.iter().for_each(JoinHandle::abort);
    }
}

struct Worker {
    question: Question,
    first: Instant,
    every: Duration,
    /// How many requests it sends over one connection.
    kept: usize,
    samples: Arc<Mutex<Vec<Sample>>>,
}

impl Worker {
    async fn ask(self) {
        let mut ticks = interval_at(self.first, self.every);
        // What was missed while an answer was late is asked later.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut connection = None;
        loop {
            ticks.tick().await;
            let at = Instant::now();
            let answer = timeout(LIMIT, self.send(&mut connection)).await;
            let failure = match answer {
                Ok(Ok(StatusCode::OK)) => None,
                Ok(Ok(status)) => Some(status.to_string()),
                Ok(Err(error)) => Some(error.to_string()),
                Err(late) => Some(late.to_string()),
            };
            if failure.is_some() {
                connection = None;
            }
            let sample = Sample {
                at,
                took: at.elapsed(),
                failure,
            };
            let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
            samples.push(sample);
        }
    }

    /// A request that a closed connection did not take at all is sent over another one.
    async fn send(&self, connection: &mut Option<Connection>) -> Result<StatusCode, Error> {
        let failed = |error: hyper::Error| Error::Unexpected(format!("{error:?}"));
        let mut request = Request::post(&self.question.target)
            .header(HOST, &self.question.host)
            .body(String::new())
            .map_err(|error| Error::Unexpected(error.to_string()))?;
        loop {
            let (mut sender, used) = match connection.take() {
                Some((sender, used)) if used < self.kept => (sender, used),
                _ => (self.connect().await?, 0),
            };
            let sent = match sender.ready().await {
                Ok(()) => sender.try_send_request(request).await,
                // It ended since the last request.
                Err(_) if used > 0 => continue,
                Err(error) => return Err(failed(error)),
            };
            match sent {
                Ok(answer) => {
                    let status = answer.status();
                    // The connection takes the next request once this answer is read.
                    let body =
                        axum::body::to_bytes(axum::body::Body::new(answer.into_body()), 1 << 20);
                    body.await
                        .map_err(|error| Error::Unexpected(error.to_string()))?;
                    *connection = Some((sender, used + 1));
                    return Ok(status);
                }
                Err(mut refused) => match refused.take_message() {
                    Some(unsent) if used > 0 => request = unsent,
                    _ => return Err(failed(refused.into_error())),
                },
            }
        }
    }

    async fn connect(&self) -> Result<SendRequest<String>, Error> {
        let stream = TcpStream::connect(self.question.address).await;
        let stream = stream.map_err(Error::io("connection"))?;
        let failed = |error: std::io::Error| Error::io("connection")(error);
        stream.set_nodelay(true).map_err(failed)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| Error::Unexpected(error.to_string()))?;
        // It ends with the sender, or with the error that a request reports.
        tokio::spawn(connection);
        Ok(sender)
    }
}
