//! The dashboards of Grafana, as they are rendered.

use std::collections::BTreeSet;

use istio_operator::charts::Charts;
use promql_parser::parser;
use regex::Regex;
use serde_json::{Value, json};

use super::{addon_objects, minors};

/// The most that a `ConfigMap` can hold.
const LARGEST_MAP: usize = 1024 * 1024;

/// Kiali finds dashboards by these titles.
const TITLES: [&str; 8] = [
    "Istio Control Plane Dashboard",
    "Istio Mesh Dashboard",
    "Istio Operator Dashboard",
    "Istio Performance Dashboard",
    "Istio Service Dashboard",
    "Istio Wasm Extension Dashboard",
    "Istio Workload Dashboard",
    "Istio Ztunnel Dashboard",
];

fn dashboards(minor: &str, charts: &Charts) -> Vec<Value> {
    let spec = json!({"profile": "empty", "addonComponents": {"grafana": {}}});
    let objects = addon_objects(&spec, minor, charts).into_iter();
    let maps = objects.filter(|object| object.key.name.ends_with("-grafana-dashboards"));
    let mut dashboards = Vec::new();
    for map in maps {
        let data = map.body.field("data");
        assert!(data.to_string().len() < LARGEST_MAP / 4, "{}", map.key);
        for text in data.as_object().unwrap().values() {
            dashboards.push(serde_json::from_str(text.as_str().unwrap()).unwrap());
        }
    }
    dashboards
}

/// Every text in a dashboard.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(list) => list.iter().flat_map(texts).collect(),
        Value::Object(map) => map.values().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

fn queries(dashboard: &Value) -> Vec<&str> {
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    targets
        .map(|target| target["expr"].as_str().unwrap())
        .collect()
}

#[test]
fn titles_and_identities_are_fixed_and_unique() {
    let charts = Charts::embedded().unwrap();
    for minor in minors(&charts) {
        let all = dashboards(&minor, &charts);
        let of = |key: &str| -> BTreeSet<String> {
            all.iter()
                .map(|d| d[key].as_str().unwrap().to_owned())
                .collect()
        };
        assert_eq!(of("title"), TITLES.map(str::to_owned).into());
        assert_eq!(of("uid").len(), TITLES.len());
        for dashboard in &all {
            let panels = dashboard["panels"].as_array().unwrap();
            let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64()).collect();
            assert_eq!(ids.len(), panels.len(), "{}", dashboard["title"]);
        }
    }
}

#[test]
fn links_lead_to_dashboards_that_are_there_and_to_their_variables() {
    let charts = Charts::embedded().unwrap();
    let minor = minors(&charts).pop().unwrap();
    let all = dashboards(&minor, &charts);
    let link = Regex::new(r"^d/([a-z-]+)\?(.*)$").unwrap();
    let variable = Regex::new(r"var-([a-z_]+)=").unwrap();
    let mut found = 0;
    let links = all
        .iter()
        .flat_map(texts)
        .filter(|text| text.contains("var-"));
    for text in links {
        let parts = link
            .captures(text)
            .unwrap_or_else(|| panic!("{text} does not work under a path"));
        let target = all.iter().find(|dashboard| dashboard["uid"] == parts[1]);
        let variables =
            &target.unwrap_or_else(|| panic!("{text} leads nowhere"))["templating"]["list"];
        for name in variable.captures_iter(&parts[2]) {
            let is_it = |variable: &Value| variable["name"] == name[1];
            assert!(variables.as_array().unwrap().iter().any(is_it), "{text}");
        }
        found += 1;
    }
    assert!(found > 0);
}

#[test]
fn queries_fit_their_range_and_their_variables() {
    let charts = Charts::embedded().unwrap();
    let window = Regex::new(r"\[([^\]]*)\]").unwrap();
    let variable = Regex::new(r"\$([a-z_]+)").unwrap();
    for minor in minors(&charts) {
        for dashboard in dashboards(&minor, &charts) {
            let variables = dashboard["templating"]["list"].as_array().unwrap();
            let queries = queries(&dashboard);
            assert!(!queries.is_empty());
            for query in queries {
                let title = &dashboard["title"];
                for window in window.captures_iter(query) {
                    assert_eq!(&window[1], "$__rate_interval", "{title}: {query}");
                }
                let spelled_out = query.replace("$__rate_interval", "1m");
                parser::parse(&spelled_out).unwrap_or_else(|why| panic!("{title}: {query}: {why}"));
                for name in variable
                    .captures_iter(query)
                    .filter(|name| &name[1] != "__rate_interval")
                {
                    let is_it = |variable: &Value| variable["name"] == name[1];
                    assert!(variables.iter().any(is_it), "{title}: {query}");
                }
                // What containers use is counted once for each of them, and once for the whole pod.
                let counts_pods = query.contains("container_") && !query.contains("container=\"");
                assert!(!counts_pods, "{title}: {query}");
            }
        }
    }
}

/// A hop through a waypoint is reported by the waypoint and by the client.
#[test]
fn no_request_counts_twice() {
    let charts = Charts::embedded().unwrap();
    let minor = minors(&charts).pop().unwrap();
    let mut found = 0;
    for dashboard in dashboards(&minor, &charts) {
        for query in queries(&dashboard) {
            let reads = |reporter: &str| {
                query.contains(&format!("istio_requests_total{{reporter=\"{reporter}\""))
            };
            if reads("waypoint") && (reads("source") || reads("destination")) {
                assert!(query.contains("unless on"), "{query}");
                found += 1;
            }
        }
    }
    assert!(found > 10);
}

#[test]
fn descriptions_are_short_enough_to_be_read() {
    let dir = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../charts/addons/grafana/dashboards"
    );
    for file in std::fs::read_dir(dir).unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.lines().count() < 150, "{}", path.display());
        let longest = text.lines().map(str::len).max().unwrap();
        assert!(longest <= 140, "{}: {longest}", path.display());
    }
}
