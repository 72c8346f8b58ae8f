//! Finds every error of a CR at once.
//!
//! In: the spec as written and the merged spec. Out: errors, which refuse the CR, and warnings.

mod balance;
mod gateway;
mod mesh;
mod schema;
mod support;

use serde_json::{Map, Value};

use crate::api::{FieldError, Path, Warning, strict_schema};
use crate::catalogue::Version;
use crate::charts::Charts;
use schema::{Definitions, check};

pub(super) use schema::unlike;

use super::Component;

/// What a check reads.
pub(super) struct Checked<'a> {
    /// The spec as its author wrote it.
    pub user: &'a Value,
    /// The merged spec, with `unvalidatedValues` in `values`.
    pub spec: &'a Value,
    /// The enabled components.
    pub components: &'a [Component],
    /// The version whose charts are rendered.
    pub version: Version,
    /// The charts.
    pub charts: &'a Charts,
}

/// What the checks found.
#[derive(Default)]
pub(super) struct Findings {
    /// What the author has to change.
    pub errors: Vec<FieldError>,
    /// What the author should know.
    pub warnings: Vec<Warning>,
}

impl Findings {
    /// Adds an error of the field at `path`.
    pub fn error(&mut self, path: Path, problem: impl Into<String>) {
        self.errors.push(FieldError::new(path, problem));
    }

    /// Adds a warning about the field at `path`.
    pub fn warn(&mut self, path: Path, text: impl Into<String>) {
        self.warnings.push(Warning::new(path, text));
    }
}

impl Checked<'_> {
    /// Runs every check.
    pub fn run(&self, findings: &mut Findings) {
        self.fields(findings);
        gateway::check(self, findings);
        mesh::check(self, findings);
        support::check(self, findings);
    }

    /// Names and types of everything that has a schema.
    fn fields(&self, findings: &mut Findings) {
        let strict = strict_schema();
        let types = &strict["$defs"];
        let errors = &mut findings.errors;
        let path = Path::root("spec");
        let definitions = Definitions {
            types,
            shapes: &Map::new(),
        };
        check(definitions, strict, self.user, &path, errors);

        let schema = match self.charts.schema(self.version.minor) {
            Ok(schema) => schema,
            Err(error) => {
                errors.push(FieldError::new(path.key("values"), error.to_string()));
                return;
            }
        };
        let definitions = Definitions {
            types,
            shapes: &schema.shapes,
        };
        let values_path = path.key("values");
        for (value, node, path) in [
            (self.user.get("values"), &schema.values, values_path.clone()),
            (
                self.user.get("meshConfig"),
                &schema.mesh,
                path.key("meshConfig"),
            ),
            (
                self.user
                    .get("values")
                    .and_then(|values| values.get("meshConfig")),
                &schema.mesh,
                values_path.key("meshConfig"),
            ),
        ] {
            // What is no object at all, the schema of the spec has named already.
            if let Some(value @ Value::Object(_)) = value {
                check(definitions, node, value, &path, errors);
            }
        }
    }
}

/// The element paths of a list that may be absent.
fn elements<'v>(
    list: Option<&'v Value>,
    path: &Path,
) -> impl Iterator<Item = (Path, &'v Value)> + use<'v> {
    let path = path.clone();
    let list = list.and_then(Value::as_array).into_iter().flatten();
    list.enumerate()
        .map(move |(index, element)| (path.index(index), element))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::{IstioOperator, RawSpec};
    use crate::merge::Cluster;

    /// The places where a user would set a chart's defaults: at the top, or under `section` what
    /// has no place at the top.
    fn placed(defaults: Value, top: &Value, section: &str) -> Value {
        let Value::Object(mut defaults) = defaults else {
            panic!("defaults are no map")
        };
        // Has a place at the top since 1.25 only; before, the default just keeps templates strict.
        defaults.remove("platform");
        let (above, below): (Map<_, _>, Map<_, _>) = defaults
            .into_iter()
            .partition(|(key, _)| top.get(key).is_some());
        let mut values = Value::Object(above);
        crate::charts::tree::merge_over(&mut values, json!({ section: below }));
        values
    }

    #[test]
    fn users_can_set_whatever_a_chart_has_a_default_for() {
        let charts = Charts::embedded().unwrap();
        let mut refused = std::collections::BTreeSet::new();
        for release in charts.catalogue().releases() {
            let minor = release.version.minor;
            let top = &charts.schema(minor).unwrap().values["properties"];
            for (chart, section) in [("base", "base"), ("pilot", "pilot"), ("cni", "cni")] {
                let Ok(defaults) = charts.defaults(chart, minor) else {
                    continue;
                };
                let spec = json!({"values": placed(defaults, top, section)});
                let cr = IstioOperator::new("cr", RawSpec(spec));
                let merged = super::super::merge(
                    &cr,
                    Some(&release.version.to_string()),
                    Cluster::default(),
                    &charts,
                );
                let errors = merged.err().unwrap_or_default();
                refused.extend(errors.iter().map(|e| format!("{chart} 1.{minor} {e}")));
            }
        }
        assert!(refused.is_empty(), "{refused:#?}");
    }
}
