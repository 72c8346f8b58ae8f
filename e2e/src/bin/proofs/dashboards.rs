//! The queries of dashboards, with values for their variables.

use std::collections::{BTreeMap, BTreeSet};

use e2e::{addons::prometheus::Prometheus, error::Error};
use serde_json::Value;

/// What stands for Grafana's own choice of a window.
const WINDOW: &str = "20s";

/// One query of a panel.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Query {
    pub dashboard: String,
    pub panel: String,
    pub text: String,
}

/// The queries of all dashboards, and those that gave data.
#[derive(Debug, Default)]
pub struct Outcome {
    pub all: BTreeSet<Query>,
    pub answered: BTreeSet<Query>,
}

impl Outcome {
    /// How many queries each dashboard has, and how many of them gave data.
    pub fn by_dashboard(&self) -> BTreeMap<&str, (usize, usize)> {
        let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for query in &self.all {
            let (all, answered) = counts.entry(&query.dashboard).or_default();
            *all += 1;
            *answered += usize::from(self.answered.contains(query));
        }
        counts
    }
}

/// Runs every query of these dashboards. One that Prometheus refuses is an error.
pub async fn run(prometheus: &Prometheus, dashboards: &[Value]) -> Result<Outcome, Error> {
    let mut outcome = Outcome::default();
    for dashboard in dashboards {
        let variables = variables(prometheus, dashboard).await?;
        for query in queries(dashboard) {
            let series = prometheus.query(&filled(&query.text, &variables)).await;
            let series = series.map_err(|error| {
                Error::Unexpected(format!("{}, {}: {error}", query.dashboard, query.panel))
            })?;
            if series.iter().any(is_number) {
                outcome.answered.insert(query.clone());
            }
            outcome.all.insert(query);
        }
    }
    Ok(outcome)
}

fn queries(dashboard: &Value) -> Vec<Query> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let panels = dashboard["panels"].as_array().into_iter().flatten();
    let of_panel = |panel: &Value| -> Vec<Query> {
        let targets = panel["targets"].as_array().into_iter().flatten();
        let query = |target: &Value| Query {
            dashboard: text(&dashboard["title"]),
            panel: format!(
                "{} {}",
                text(&panel["title"]),
                text(&target["legendFormat"])
            ),
            text: text(&target["expr"]),
        };
        targets.map(query).collect()
    };
    panels.flat_map(of_panel).collect()
}

/// Whether a series has a value that is a number.
fn is_number(series: &Value) -> bool {
    let value = series["value"][1].as_str();
    value.is_some_and(|value| value != "NaN")
}

/// A value for each variable: everything where several may be chosen, otherwise the first that there is.
async fn variables(
    prometheus: &Prometheus,
    dashboard: &Value,
) -> Result<BTreeMap<String, String>, Error> {
    let mut values = BTreeMap::from([("__rate_interval".to_owned(), WINDOW.to_owned())]);
    let list = dashboard["templating"]["list"].as_array();
    for variable in list.into_iter().flatten() {
        let (Some(name), Some(query)) = (
            variable["name"].as_str(),
            variable["query"]["query"].as_str(),
        ) else {
            continue;
        };
        let value = match variable["allValue"].as_str() {
            Some(all) => all.to_owned(),
            None => first(prometheus, &filled(query, &values)).await?,
        };
        values.insert(name.to_owned(), value);
    }
    Ok(values)
}

/// The first value that `label_values(SELECTOR, LABEL)` gives.
async fn first(prometheus: &Prometheus, query: &str) -> Result<String, Error> {
    let inner = query
        .trim_start_matches("label_values(")
        .trim_end_matches(')');
    let (selector, label) = inner
        .rsplit_once(',')
        .ok_or_else(|| Error::Unexpected(format!("{query} names no label")))?;
    let values = prometheus
        .label_values(selector.trim(), label.trim())
        .await?;
    Ok(values.into_iter().next().unwrap_or_default())
}

fn filled(query: &str, values: &BTreeMap<String, String>) -> String {
    // The longest names first, so that none is taken for another one's beginning.
    let mut names: Vec<_> = values.iter().collect();
    names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    names
        .into_iter()
        .fold(query.to_owned(), |query, (name, value)| {
            query.replace(&format!("${name}"), value)
        })
}
