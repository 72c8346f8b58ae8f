//! One panel of a dashboard.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{source, spelled_out};

/// One panel.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Panel {
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
}

impl Panel {
    /// The panel as Grafana reads it, but for its place.
    pub(super) fn expand(&self, texts: &Map<String, Value>) -> Result<Value, String> {
        let mut panel = json!({"title": self.title, "type": self.kind.name()});
        panel["datasource"] = source();
        panel["targets"] = self.targets(texts)?;
        panel["fieldConfig"] = json!({"defaults": {"unit": self.unit}, "overrides": []});
        match self.kind {
            Kind::Timeseries => {
                panel["fieldConfig"]["defaults"]["min"] = 0.into();
                panel["options"] = json!({
                    "legend": {
                        "showLegend": true, "displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"],
                    },
                    "tooltip": {"mode": "multi", "sort": "desc"},
                });
            }
            Kind::Stat => {
                panel["options"] = json!({
                    "graphMode": "area", "colorMode": "none", "justifyMode": "auto", "textMode": "auto",
                    "wideLayout": true, "orientation": "auto",
                    "showPercentChange": false, "percentChangeColorMode": "standard",
                    "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": false},
                });
            }
            Kind::Heatmap => {
                panel["options"] = json!({
                    "calculate": false,
                    "yAxis": {"unit": self.unit},
                    "color": {"mode": "scheme", "scheme": "Oranges", "fill": "dark-orange", "exponent": 0.5, "steps": 64, "reverse": false},
                    "showValue": "auto",
                    "legend": {"show": true},
                    "tooltip": {"mode": "single", "yHistogram": false},
                    "exemplars": {"color": "rgba(255,0,255,0.7)"},
                });
            }
            Kind::Table => self.arrange_table(&mut panel),
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
        }
    }
}
