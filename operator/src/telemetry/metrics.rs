//! The metrics of the operator.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use super::Crs;

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

/// The kind of an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct KindLabels {
    /// Such as `Deployment`.
    pub kind: String,
}

/// A request to the API server, and its answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// The verb of Kubernetes, such as `patch`.
    pub verb: &'static str,
    /// The status code; `error` if there was no answer.
    pub code: String,
}

/// The metrics of the operator. Only those of [`Crs`] carry names, those of CRs, so their number is bounded.
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
    /// Objects that were repaired because somebody changed or deleted them.
    pub repairs: Family<KindLabels, Counter>,
    /// Objects that were deleted because no CR renders them any more.
    pub prunes: Family<KindLabels, Counter>,
    /// Requests to the API server.
    pub requests: Family<RequestLabels, Counter>,
    /// What is told of each CR.
    pub crs: Arc<Crs>,
    /// Whether this operator leads.
    pub leader: Gauge,
    /// Watches that ended with an error.
    pub watch_errors: Counter,
    /// Watches that have not worked for two minutes.
    pub broken_watches: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("istio_operator");
        let all = &mut registry;
        let build: Family<[(&str, &str); 1], Gauge> =
            added(all, "build_info", "The version of the operator");
        build
            .get_or_create(&[("version", env!("CARGO_PKG_VERSION"))])
            .set(1);
        // From one render without a write up to a call that runs into its limit.
        let buckets = [0.001, 0.005, 0.025, 0.1, 0.25, 1.0, 5.0, 45.0];
        let pass_seconds = Histogram::new(buckets);
        let help = "How long passes took";
        all.register("pass_duration_seconds", help, pass_seconds.clone());
        let crs = Arc::<Crs>::default();
        all.register_collector(Box::new(Arc::clone(&crs)));
        Self {
            passes: added(all, "passes", "Passes by how they ended"),
            pass_seconds,
            writes: added(all, "writes", "Objects sent or deleted"),
            refusals: added(all, "refusals", "Writes that were not taken"),
            repairs: added(
                all,
                "repairs",
                "Objects repaired after somebody changed or deleted them",
            ),
            prunes: added(
                all,
                "prunes",
                "Objects deleted that no IstioOperator renders",
            ),
            requests: added(all, "api_requests", "Requests to the API server"),
            crs,
            leader: added(all, "leader", "Whether this operator leads"),
            watch_errors: added(all, "watch_errors", "Watches that broke"),
            broken_watches: added(
                all,
                "broken_watches",
                "Watches that have not worked for two minutes",
            ),
            registry,
        }
    }
}

/// A metric of `registry`.
fn added<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
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
    use super::*;

    #[test]
    fn metrics_are_written_as_text() {
        let metrics = Metrics::default();
        let done = PassLabels { result: "done" };
        metrics.passes.get_or_create(&done).inc();
        let text = metrics.text();
        for line in [
            "istio_operator_passes_total{result=\"done\"} 1",
            "istio_operator_leader 0",
            "istio_operator_crs 0",
            concat!(
                "istio_operator_build_info{version=\"",
                env!("CARGO_PKG_VERSION"),
                "\"} 1"
            ),
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }

    /// The conventions of Prometheus: counters end in `_total`, and nothing else does.
    #[test]
    fn names_follow_the_conventions() {
        let text = Metrics::default().text();
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        for described in types {
            let (name, kind) = described.split_once(' ').unwrap();
            assert!(name.starts_with("istio_operator_"), "{name}");
            assert!(!name.ends_with("_total"), "{name} would end in it twice");
            assert!(
                ["counter", "gauge", "histogram"].contains(&kind),
                "{described}"
            );
        }
    }
}
