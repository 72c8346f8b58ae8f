//! Finding every mistake of a CR.
//!
//! In: the spec as written and the merged spec. Out: mistakes, which refuse the CR, and warnings.

mod compact;
mod format;
mod gateway;
mod mesh;
mod schema;
mod support;

use serde_json::{Map, Value};

use crate::api::{Mistake, Path, strict_schema};
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
    pub mistakes: Vec<Mistake>,
    /// What the author should know.
    pub warnings: Vec<Mistake>,
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
        let mistakes = &mut findings.mistakes;
        let path = Path::root("spec");
        let definitions = Definitions {
            types,
            shapes: &Map::new(),
        };
        check(definitions, strict, self.user, &path, mistakes);

        let compact = self
            .charts
            .values_schema()
            .map_err(|error| error.to_string());
        let compact = compact.and_then(|file| compact::compile(file, self.version.minor));
        let schema = match compact {
            Ok(schema) => schema,
            Err(problem) => {
                mistakes.push(Mistake {
                    path: path.key("values"),
                    problem,
                });
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
                check(definitions, node, value, &path, mistakes);
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
