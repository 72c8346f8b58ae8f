//! Logs and metrics: what the operator tells about itself.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tracing::Dispatch;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::settings::LogFormat;

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

/// How a pass ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PassLabels {
    /// `wrote`, `done`, `waiting`, `refused` or `failed`.
    pub result: &'static str,
}

/// Why a write was refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RefusalLabels {
    /// The reason of an `ApplyError`.
    pub reason: &'static str,
}

/// The metrics of the operator. None carries the name of an object, so their number is bounded.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Passes by how they ended.
    pub passes: Family<PassLabels, Counter>,
    /// How long passes took.
    pub pass_seconds: Histogram,
    /// Objects that were sent or deleted.
    pub writes: Counter,
    /// Writes that the API server did not take.
    pub refusals: Family<RefusalLabels, Counter>,
    /// CRs that exist.
    pub crs: Gauge,
    /// CRs that are healthy.
    pub healthy: Gauge,
    /// Whether this operator leads.
    pub leads: Gauge<i64, std::sync::atomic::AtomicI64>,
    /// Watches that ended with an error.
    pub watch_errors: Counter<u64, AtomicU64>,
    /// Watches that have not worked for two minutes.
    pub broken_watches: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("istio_operator");
        // From one render without a write up to a call that runs into its limit.
        let buckets = [0.001, 0.005, 0.025, 0.1, 0.25, 1.0, 5.0, 45.0];
        let metrics = Self {
            registry: Registry::default(),
            passes: Family::default(),
            pass_seconds: Histogram::new(buckets),
            writes: Counter::default(),
            refusals: Family::default(),
            crs: Gauge::default(),
            healthy: Gauge::default(),
            leads: Gauge::default(),
            watch_errors: Counter::default(),
            broken_watches: Gauge::default(),
        };
        registry.register("passes", "Passes by how they ended", metrics.passes.clone());
        registry.register(
            "pass_seconds",
            "How long passes took",
            metrics.pass_seconds.clone(),
        );
        registry.register("writes", "Objects sent or deleted", metrics.writes.clone());
        registry.register(
            "refusals",
            "Writes that were not taken",
            metrics.refusals.clone(),
        );
        registry.register("crs", "IstioOperators that exist", metrics.crs.clone());
        registry.register(
            "healthy_crs",
            "IstioOperators that are healthy",
            metrics.healthy.clone(),
        );
        registry.register(
            "leads",
            "Whether this operator leads",
            metrics.leads.clone(),
        );
        registry.register(
            "watch_errors",
            "Watches that broke",
            metrics.watch_errors.clone(),
        );
        registry.register(
            "broken_watches",
            "Watches that have not worked for two minutes",
            metrics.broken_watches.clone(),
        );
        Self {
            registry,
            ..metrics
        }
    }
}

impl Metrics {
    /// All metrics in Prometheus' text format.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn metrics_are_written_as_text() {
        let metrics = Metrics::default();
        metrics
            .passes
            .get_or_create(&PassLabels { result: "done" })
            .inc();
        metrics.crs.set(2);
        let text = metrics.text();
        assert!(
            text.contains("istio_operator_passes_total{result=\"done\"} 1"),
            "{text}"
        );
        assert!(text.contains("istio_operator_crs 2"), "{text}");
    }

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
