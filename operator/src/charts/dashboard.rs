//! Dashboards of Grafana, from short descriptions of what they show.
//!
//! A description says what a person has to decide: titles, variables and queries. Sizes, places, identities and all that
//! looks the same in every panel is made here.
//!
//! ```yaml
//! uid: istio-mesh                      # fixed, because links and bookmarks name it
//! title: Istio Mesh Dashboard
//! variables: {namespace: label_values(istio_requests_total, destination_workload_namespace)}
//! rows:
//!   - title: Overview                  # a row without a title has no heading
//!     panels:
//!       - {title: Requests, kind: stat, unit: reqps, query: sum(rate(istio_requests_total[$__rate_interval]))}
//! ```
//!
//! Words such as `@requests` in a query stand for texts of `texts`.

use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Columns of a dashboard; Grafana fixes them.
const COLUMNS: usize = 24;

/// A dashboard as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Dashboard {
    uid: String,
    title: String,
    description: String,
    /// Texts that queries refer to by `@name`.
    #[serde(default)]
    texts: Map<String, Value>,
    /// Variables by name: a query, or a list of `text : value`.
    #[serde(default)]
    variables: Vec<Variable>,
    rows: Vec<Row>,
}

/// What people choose at the top of a dashboard.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Variable {
    name: String,
    label: String,
    /// The query whose results are offered.
    query: Option<String>,
    /// What is offered, as `text : value, ..`.
    custom: Option<String>,
    /// Whether several may be chosen, and all at once.
    #[serde(default)]
    multi: bool,
}

/// Panels that stand beside each other.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    #[serde(default)]
    title: String,
    /// In lines of Grafana's grid.
    #[serde(default = "usual_height")]
    height: usize,
    panels: Vec<Panel>,
}

const fn usual_height() -> usize {
    8
}

/// One panel.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Panel {
    title: String,
    #[serde(default)]
    kind: Kind,
    #[serde(default = "usual_unit")]
    unit: String,
    /// The only query, for panels that have one.
    query: Option<String>,
    /// What the results of the only query are called, such as `{{pod}}`.
    #[serde(default)]
    legend: String,
    /// Queries by what their results are called.
    #[serde(default)]
    queries: Map<String, Value>,
    /// The text of a panel without queries.
    #[serde(default)]
    text: String,
    /// Of a table: the columns that tell rows apart, with their titles.
    #[serde(default)]
    columns: Map<String, Value>,
    /// Where a row of the table leads: the path of a dashboard.
    #[serde(default)]
    link: String,
}

fn usual_unit() -> String {
    "short".to_owned()
}

/// How a panel shows what it found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    #[default]
    Timeseries,
    Stat,
    Table,
    Heatmap,
    Text,
}

/// The dashboard that a description describes, as Grafana reads it. The error says what is wrong with the description.
pub(super) fn expand(description: &str) -> Result<Value, String> {
    let Dashboard {
        uid,
        title,
        description,
        texts,
        variables,
        rows,
    } = super::yaml::parse(description).map_err(|error| error.message)?;
    let mut panels = Vec::new();
    let mut line = 0;
    for row in rows {
        if !row.title.is_empty() {
            let place = json!({"h": 1, "w": COLUMNS, "x": 0, "y": line});
            panels.push(json!({
                "type": "row", "title": row.title, "collapsed": false, "panels": [], "gridPos": place,
            }));
            line += 1;
        }
        let width = COLUMNS / row.panels.len().max(1);
        for (index, panel) in row.panels.iter().enumerate() {
            let mut made = panel.expand(&texts)?;
            made["gridPos"] = json!({"h": row.height, "w": width, "x": index * width, "y": line});
            panels.push(made);
        }
        line += row.height;
    }
    for (index, panel) in panels.iter_mut().enumerate() {
        panel["id"] = (index + 1).into();
    }
    let mut list = vec![json!({
        "type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus",
        "current": {"text": "Prometheus", "value": "prometheus"},
    })];
    for variable in variables {
        list.push(variable.expand(&texts)?);
    }
    Ok(json!({
        "uid": uid,
        "title": title,
        "description": description,
        "tags": ["istio"],
        "schemaVersion": 39,
        "editable": false,
        "graphTooltip": 1,
        "refresh": "15s",
        "time": {"from": "now-30m", "to": "now"},
        "timezone": "",
        "templating": {"list": list},
        "links": [{
            "type": "dashboards", "title": "Istio", "tags": ["istio"], "asDropdown": true, "keepTime": true,
        }],
        "panels": panels,
    }))
}

/// The query with its texts in place; they may refer to each other in turn.
fn spelled_out(query: &str, texts: &Map<String, Value>) -> Result<String, String> {
    let mut query = query.to_owned();
    // The longest names first, so that none is taken for another one's beginning.
    let mut names: Vec<&String> = texts.keys().collect();
    names.sort_by_key(|name| std::cmp::Reverse(name.len()));
    for _ in 0..3 {
        for name in &names {
            let text = texts[*name].as_str().unwrap_or_default().trim();
            query = query.replace(&format!("@{name}"), text);
        }
    }
    if query.contains('@') {
        return Err(format!("{query:?} refers to a text that is not there"));
    }
    Ok(query.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn source() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

impl Variable {
    fn expand(&self, texts: &Map<String, Value>) -> Result<Value, String> {
        let mut made = json!({"name": self.name, "label": self.label});
        match (&self.query, &self.custom) {
            (Some(query), None) => {
                let query = spelled_out(query, texts)?;
                made["type"] = "query".into();
                made["datasource"] = source();
                made["definition"] = query.as_str().into();
                made["query"] = json!({"query": query, "refId": self.name});
                made["refresh"] = 2.into();
                made["sort"] = 1.into();
            }
            (None, Some(custom)) => {
                made["type"] = "custom".into();
                made["query"] = custom.as_str().into();
            }
            _ => return Err(format!("variable {} needs query or custom", self.name)),
        }
        if self.multi {
            made["multi"] = true.into();
            made["includeAll"] = true.into();
            made["allValue"] = ".*".into();
            made["current"] = json!({"text": ["All"], "value": ["$__all"]});
        }
        Ok(made)
    }
}

impl Panel {
    fn expand(&self, texts: &Map<String, Value>) -> Result<Value, String> {
        let mut panel = json!({"title": self.title, "type": self.kind.name()});
        if self.kind == Kind::Text {
            panel["options"] = json!({"mode": "markdown", "content": self.text});
            return Ok(panel);
        }
        panel["datasource"] = source();
        panel["targets"] = self.targets(texts)?;
        panel["fieldConfig"] = json!({"defaults": {"unit": self.unit}, "overrides": []});
        match self.kind {
            Kind::Timeseries => {
                panel["fieldConfig"]["defaults"]["min"] = 0.into();
                panel["options"] = json!({
                    "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]},
                    "tooltip": {"mode": "multi", "sort": "desc"},
                });
            }
            Kind::Stat => {
                panel["options"] = json!({
                    "graphMode": "area", "colorMode": "none",
                    "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": false},
                });
            }
            Kind::Heatmap => {
                panel["options"] = json!({"calculate": false, "yAxis": {"unit": self.unit}});
            }
            Kind::Table => self.arrange_table(&mut panel),
            Kind::Text => {}
        }
        Ok(panel)
    }

    fn targets(&self, texts: &Map<String, Value>) -> Result<Value, String> {
        let only = self
            .query
            .iter()
            .map(|query| (self.legend.as_str(), query.as_str()));
        let named = self.queries.iter();
        let named = named.map(|(name, query)| (name.as_str(), query.as_str().unwrap_or_default()));
        let all: Vec<_> = only.chain(named).collect();
        if all.is_empty() {
            return Err(format!("panel {:?} has no query", self.title));
        }
        let is_table = self.kind == Kind::Table;
        let target = |(index, (legend, query)): (usize, &(&str, &str))| {
            let mut target = json!({
                "refId": reference(index),
                "datasource": source(),
                "expr": spelled_out(query, texts)?,
                "legendFormat": legend,
            });
            if is_table {
                target["instant"] = true.into();
                target["range"] = false.into();
            }
            if is_table || self.kind == Kind::Heatmap {
                let format = if is_table { "table" } else { "heatmap" };
                target["format"] = format.into();
            }
            Ok(target)
        };
        all.iter().enumerate().map(target).collect()
    }

    /// A table of several queries: one row for each combination of labels, one column for each query.
    fn arrange_table(&self, panel: &mut Value) {
        let mut names = self.columns.clone();
        for (index, title) in self.queries.keys().enumerate() {
            names.insert(
                format!("Value #{}", reference(index)),
                title.as_str().into(),
            );
        }
        panel["transformations"] = json!([
            {"id": "merge", "options": {}},
            {"id": "organize", "options": {"excludeByName": {"Time": true}, "renameByName": names}},
        ]);
        let columns = self.columns.values().filter_map(Value::as_str);
        let text = columns.map(|title| {
            let mut properties = vec![json!({"id": "unit", "value": "string"})];
            if !self.link.is_empty() {
                let link = json!({"title": "Details", "url": self.link});
                properties.push(json!({"id": "links", "value": [link]}));
            }
            json!({"matcher": {"id": "byName", "options": title}, "properties": properties})
        });
        let units = self.queries.keys().filter_map(|title| {
            let unit = unit_of_column(title)?;
            let properties = [json!({"id": "unit", "value": unit})];
            Some(json!({"matcher": {"id": "byName", "options": title}, "properties": properties}))
        });
        panel["fieldConfig"]["overrides"] = text.chain(units).collect();
    }
}

/// The name of a query in its panel: A, B and so on.
fn reference(index: usize) -> String {
    let letter = u8::try_from(index).map_or(b'Z', |index| b'A' + index.min(25));
    char::from(letter).to_string()
}

/// The unit of a column of a table, from its title.
fn unit_of_column(title: &str) -> Option<&'static str> {
    [
        ("Requests", "reqps"),
        ("P", "ms"),
        ("Success", "percentunit"),
        ("Bytes", "Bps"),
    ]
    .into_iter()
    .find(|(start, _)| title.starts_with(start))
    .map(|(_, unit)| unit)
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Timeseries => "timeseries",
            Self::Stat => "stat",
            Self::Table => "table",
            Self::Heatmap => "heatmap",
            Self::Text => "text",
        }
    }
}
