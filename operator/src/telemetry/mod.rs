//! Logs and metrics: what the operator tells about itself.

mod crs;
mod metrics;
mod requests;

use tracing::Dispatch;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::settings::LogFormat;

pub use crs::Crs;
pub use metrics::{KindLabels, Metrics, PassLabels, RefusalLabels, RequestLabels};
pub use requests::counted;

/// The target of the client's messages that quote whole answers, such as a list of CRs that cannot be decoded.
const QUOTES_BODIES: &str = "kube_client::client";

/// Starts logging to standard error. A filter that cannot be read is replaced by `info`.
pub fn log(filter: &str, format: LogFormat) {
    // A second start in one process (in tests) keeps the first logger, which is as good.
    let _ = logger(filter, format, std::io::stderr).try_init();
}

/// What writes logs. No filter lets a message pass that quotes the body of an answer.
fn logger<W>(filter: &str, format: LogFormat, writer: W) -> Dispatch
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let quotes_no_body = filter_fn(|metadata| metadata.target() != QUOTES_BODIES);
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer);
    match format {
        LogFormat::Text => logs.with_ansi(false).finish().with(quotes_no_body).into(),
        LogFormat::Json => logs.json().finish().with(quotes_no_body).into(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Keeps what is logged.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn no_filter_brings_bodies_into_the_log() {
        for filter in [
            "trace",
            "kube_client::client=trace,info",
            "kube_client=debug",
        ] {
            for format in [LogFormat::Text, LogFormat::Json] {
                let lines = Lines::default();
                let writer = lines.clone();
                tracing::dispatcher::with_default(
                    &logger(filter, format, move || writer.clone()),
                    || {
                        tracing::warn!(target: "kube_client::client", "a body");
                        tracing::warn!(target: "kube_client::client::builder", "failed");
                    },
                );
                let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
                assert!(
                    !text.contains("a body") && text.contains("failed"),
                    "{text}"
                );
            }
        }
    }
}
