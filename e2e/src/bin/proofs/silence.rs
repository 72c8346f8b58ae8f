//! Why a query finds no data here.

use std::collections::BTreeMap;

use e2e::error::Error;

use crate::{
    dashboards::{Outcome, Query},
    ensure, say,
};

/// What a query asks for, and why nothing here tells of it. The first that fits counts. All of it stands in the samples.
const ELSEWHERE: [(&str, &str); 5] = [
    (
        "container_",
        "no kubelet runs here, and it counts what containers use",
    ),
    ("envoy_wasm_", "a stock Envoy runs no Wasm extension"),
    ("ztunnel", "ztunnel does not run here"),
    ("workload_manager_", "ztunnel does not run here"),
    (
        "istio_",
        "a stock Envoy lacks the filter of Istio's metrics",
    ),
];

/// Dashboard and panel of what does not happen here and is in no sample, with the reason.
const NEVER: [(&str, &str, &str); 1] = [(
    "Istio Control Plane Dashboard",
    "Errors internal",
    "istiod tells of errors of its own once it had one",
)];

/// Prints which queries found nothing in what runs here, by the reason; one without a reason is an error.
pub fn tell(real: &Outcome, all: &Outcome) -> Result<(), Error> {
    let mut silent: BTreeMap<&str, BTreeMap<&str, Vec<&str>>> = BTreeMap::new();
    for query in real.all.difference(&real.answered) {
        let reason = if all.answered.contains(query) {
            ELSEWHERE
                .iter()
                .find(|(metric, _)| query.text.contains(metric))
        } else {
            None
        };
        let reason = reason.map(|(_, reason)| *reason).or_else(|| never(query));
        let Query {
            dashboard, panel, ..
        } = query;
        let panel = panel.trim_end();
        ensure(reason.is_some(), format!("{dashboard}, {panel}: no data"))?;
        let of_reason = silent.entry(reason.unwrap_or_default()).or_default();
        of_reason.entry(dashboard).or_default().push(panel);
    }
    for (reason, dashboards) in silent {
        let count: usize = dashboards.values().map(Vec::len).sum();
        say(&format!("{count} without data, because {reason}:"))?;
        for (dashboard, panels) in dashboards {
            say(&format!("  {dashboard}: {}", panels.join("; ")))?;
        }
    }
    Ok(())
}

fn never(query: &Query) -> Option<&'static str> {
    let is_it = |(dashboard, panel, _): &&(&str, &str, &str)| {
        query.dashboard == *dashboard && query.panel.trim_end() == *panel
    };
    NEVER.iter().find(is_it).map(|(_, _, reason)| *reason)
}
