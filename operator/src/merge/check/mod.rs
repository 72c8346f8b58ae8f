//! Finds every error of a CR at once.
//!
//! In: the spec as written and the merged spec. Out: errors, which refuse the CR, and warnings.

mod addons;
mod balance;
mod data_plane;
mod gateway;
mod images;
pub(super) mod limits;
mod lists;
mod mesh;
mod replicas;
mod schema;
mod support;
mod wording;

use serde_json::{Map, Value};

use super::Component;
use crate::api::{ComponentKind, FieldError, Path, Warning, strict_schema};
use crate::catalogue::{Behavior, Version};
use crate::charts::Charts;
use crate::charts::tree::at;
use schema::{Checker, Mesh};

pub(super) use schema::{Definitions, camel_case};
pub(super) use wording::unlike;
pub(crate) use wording::{named, nearest};

/// What the checks read.
pub(super) struct Checked<'a> {
    /// The spec as its author wrote it, without nulls that count as absent.
    pub user: &'a Value,
    /// The merged spec, with `unvalidatedValues` in `values`.
    pub spec: &'a Value,
    /// The namespace of components that name none.
    pub namespace: &'a str,
    /// The enabled components.
    pub components: &'a [Component],
    /// The version whose charts are rendered.
    pub version: Version,
    /// The charts.
    pub charts: &'a Charts,
    /// What lies between the charts' defaults and the values of the spec.
    pub layers: Value,
}

impl Checked<'_> {
    /// Whether the version behaves so.
    fn has(&self, behavior: Behavior) -> bool {
        self.charts.catalogue().has(behavior, self.version.minor)
    }
}

/// What the checks found.
#[derive(Default)]
pub(super) struct Findings {
    /// What the author has to change.
    pub errors: Vec<FieldError>,
    /// What the author should know.
    pub warnings: Vec<Warning>,
    /// The old forms that are read as another field, and that field.
    pub moves: Vec<(Path, Path)>,
}

impl Findings {
    /// Adds an error of the field at `path`.
    pub fn error(&mut self, path: Path, problem: impl Into<String>) {
        self.errors.push(FieldError::new(path, problem));
    }

    /// Adds what another look at the spec found.
    pub fn add(&mut self, other: Self) {
        self.errors.extend(other.errors);
        self.warnings.extend(other.warnings);
        self.moves.extend(other.moves);
    }

    /// Adds a warning about the field at `path`, which is read as the one at `home`.
    pub fn moved(&mut self, path: Path, home: Path) {
        self.warn(path.clone(), format!("is read as {home}; write it there"));
        self.moves.push((path, home));
    }

    /// Adds a warning about the field at `path`.
    pub fn warn(&mut self, path: Path, text: impl Into<String>) {
        self.warnings.push(Warning::new(path, text));
    }
}

impl Checked<'_> {
    /// Runs every check and adds what it finds.
    pub fn run(mut self, findings: &mut Findings) {
        self.fields(findings);
        support::layers(&mut self, findings);
        self.rules(findings);
    }

    /// Checks what no schema can express.
    fn rules(&self, findings: &mut Findings) {
        gateway::check(self, findings);
        lists::check(self, findings);
        images::check(self, findings);
        mesh::check(self, findings);
        replicas::check(self, findings);
        data_plane::check(self, findings);
        support::check(self, findings);
        addons::check(self, findings);
    }

    /// A value that a chart is rendered with, as far as it is no default of the chart.
    fn value(&self, keys: &[&str]) -> Option<&Value> {
        let layers = [&self.spec["values"], &self.layers].into_iter();
        let mut found = layers.filter_map(|values| at(values, keys));
        found.find(|value| !value.is_null())
    }

    /// Checks names and types of everything that has a schema.
    fn fields(&self, findings: &mut Findings) {
        let strict = strict_schema();
        let types = &strict["$defs"];
        let spec = Path::root("spec");
        let no_shapes = Map::new();
        let mut check = |node: &Value, value, path: &Path, shapes, mesh: Option<&Mesh>| {
            let mut checker = Checker {
                definitions: Definitions { types, shapes },
                mesh,
                findings,
            };
            checker.check(node, value, path);
        };
        check(strict, self.user, &spec, &no_shapes, None);

        let schema = match self.charts.schema(self.version.minor) {
            Ok(schema) => schema,
            Err(error) => return findings.error(spec.key("values"), error.to_string()),
        };
        let proxy = &schema.values["properties"]["global"]["properties"]["proxy"];
        let mesh = Mesh {
            version: self.version,
            homes: [
                ("meshConfig", &schema.mesh),
                (
                    "meshConfig.defaultConfig",
                    &schema.mesh["properties"]["defaultConfig"],
                ),
                ("values.global.proxy", proxy),
            ],
        };
        for (keys, node, mesh) in [
            (&["values"][..], &schema.values, None),
            (&["meshConfig"], &schema.mesh, Some(&mesh)),
            (&["values", "meshConfig"], &schema.mesh, Some(&mesh)),
        ] {
            // If the value is not an object, the schema of the spec has refused it already.
            if let Some(value @ Value::Object(_)) = at(self.user, keys) {
                check(node, value, &spec.keys(keys), &schema.shapes, mesh);
            }
        }
    }
}

/// The elements of a list that may be absent, each with its path.
fn elements<'v>(
    list: Option<&'v Value>,
    path: &Path,
) -> impl Iterator<Item = (Path, &'v Value)> + use<'v> {
    let path = path.clone();
    let list = list.and_then(Value::as_array).into_iter().flatten();
    list.enumerate()
        .map(move |(index, element)| (path.index(index), element))
}

/// The components that a spec writes, addons among them, each with its path.
fn written_components(spec: &Value) -> Vec<(Path, &Value)> {
    let mut found = Vec::new();
    let tracing = ["addonComponents", "tracing"];
    let kinds = ComponentKind::ALL.into_iter();
    for keys in kinds.map(ComponentKind::spec_keys).chain([tracing]) {
        let path = Path::root("spec").keys(&keys);
        let written = at(spec, &keys);
        found.extend(elements(written, &path));
        found.extend(
            written
                .filter(|written| written.is_object())
                .map(|one| (path, one)),
        );
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::{IstioOperator, RawSpec};
    use crate::merge::Cluster;

    /// A chart's defaults as a user would write them: at the top of `values` if the schema has the field there, otherwise
    /// under `section`.
    fn placed(defaults: Value, top: &Value, section: &str) -> Value {
        let Value::Object(mut defaults) = defaults else {
            panic!("defaults are no map")
        };
        // Older minors do not have it at the top; their default only makes strict templates find a value.
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
        let mut complaints = std::collections::BTreeSet::new();
        for release in charts.catalogue().releases() {
            let minor = release.version.minor;
            let top = &charts.schema(minor).unwrap().values["properties"];
            for (chart, section) in [("base", "base"), ("pilot", "pilot"), ("cni", "cni")] {
                let Ok(defaults) = charts.defaults(chart, minor) else {
                    continue;
                };
                let spec = json!({"values": placed(defaults, top, section)});
                let cr = IstioOperator::new("cr", RawSpec(spec));
                let version = release.version.to_string();
                let merged = super::super::merge(&cr, Some(&version), Cluster::default(), &charts);
                let texts: Vec<String> = match merged {
                    Ok(merged) => merged.warnings.iter().map(ToString::to_string).collect(),
                    Err(errors) => errors.iter().map(ToString::to_string).collect(),
                };
                // Who writes the default of one pod is told what the chart's disruption budget does to it.
                let texts = texts
                    .iter()
                    .filter(|text| !text.contains("PodDisruptionBudget"));
                complaints.extend(texts.map(|text| format!("{chart} 1.{minor} {text}")));
            }
        }
        assert!(complaints.is_empty(), "{complaints:#?}");
    }
}
