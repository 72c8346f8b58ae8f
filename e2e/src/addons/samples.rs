//! Samples that stand for programs which cannot run here, served as their metrics are.

use std::{net::SocketAddr, time::Instant};

use axum::Router;

use crate::{error::Error, host::server::Server};

/// A running server of samples on 127.0.0.1; ends when dropped.
#[derive(Debug)]
pub struct Samples(Server);

impl Samples {
    /// Serves lines of Prometheus' text format, in which a value is what is added each second.
    pub async fn start(lines: String) -> Result<Self, Error> {
        let started = Instant::now();
        let answer = move || {
            let answer = after(&lines, started.elapsed().as_secs_f64());
            async { answer }
        };
        let routes = Router::new().fallback(answer);
        Server::start("samples", routes).await.map(Self)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }
}

fn after(lines: &str, seconds: f64) -> String {
    let lines = lines.lines().filter(|line| !line.starts_with('#'));
    let samples = lines.filter_map(|line| {
        let (series, each_second) = line.rsplit_once(' ')?;
        let each_second: f64 = each_second.parse().ok()?;
        Some(format!("{series} {}\n", each_second * seconds))
    });
    samples.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_grow_with_time() {
        assert_eq!(after("# a\na{b=\"c d\"} 2\n", 3.0), "a{b=\"c d\"} 6\n");
    }
}
