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

mod panel;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use panel::Panel;

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
    query: String,
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

/// The dashboard that a description describes, as Grafana reads it. The error says what is wrong with the description.
pub(super) fn expand(description: &str) -> Result<Value, String> {
    let Dashboard {
        uid,
        title,
        description,
        texts,
        variables,
        rows,
    } = crate::charts::yaml::parse(description).map_err(|error| error.message)?;
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
            "icon": "external link", "tooltip": "", "targetBlank": false, "includeVars": false,
        }],
        "annotations": {"list": []},
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
        let query = spelled_out(&self.query, texts)?;
        let mut made = json!({
            "name": self.name,
            "label": self.label,
            "type": "query",
            "datasource": source(),
            "definition": query,
            "query": {"query": query, "refId": self.name},
            "refresh": 2,
            "sort": 1,
        });
        if self.multi {
            made["multi"] = true.into();
            made["includeAll"] = true.into();
            made["allValue"] = ".*".into();
            made["current"] = json!({"text": ["All"], "value": ["$__all"]});
        }
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A dashboard with these panels.
    fn dashboard(panels: &str) -> Result<Value, String> {
        let head = "{uid: a, title: A, description: d, texts: {up: 'up{job=\"x\"}', all: sum(@up)}, rows: [{panels: ";
        expand(&format!("{head}{panels}}}]}}"))
    }

    #[test]
    fn panels_stand_beside_each_other_and_texts_are_spelled_out() {
        let made =
            dashboard("[{title: One, query: '@all'}, {title: Two, kind: stat, query: '1 + @up'}]");
        let made = made.unwrap();
        let panel = |index: usize| made["panels"][index].clone();
        assert_eq!(panel(0)["targets"][0]["expr"], "sum(up{job=\"x\"})");
        assert_eq!(panel(1)["targets"][0]["expr"], "1 + up{job=\"x\"}");
        assert_eq!(
            panel(1)["gridPos"],
            json!({"h": 8, "w": 12, "x": 12, "y": 0})
        );
        assert_eq!(
            (panel(0)["id"].clone(), panel(1)["id"].clone()),
            (json!(1), json!(2))
        );
    }

    #[test]
    fn a_wrong_description_says_what_is_wrong() {
        let error = |panels: &str| dashboard(panels).unwrap_err();
        assert!(error("[{title: One}]").contains("\"One\" has no query"));
        assert!(error("[{title: One, query: '@nonesuch'}]").contains("@nonesuch"));
        assert!(error("[{title: One, qwery: up}]").contains("qwery"));
    }
}
