//! Everything that is read from the charts directory: catalogue, profiles, values, schema and templates.
//!
//! `merge` reads the catalogue, the profiles and the schema; `render` reads the values and executes the templates. The files
//! are embedded in the binary or read from a directory. `charts/README.md` describes them.

mod comments;
mod dashboard;
mod files;
mod functions;
mod helpers;
mod marks;
mod memory;
mod removed;
mod schema;
mod template;
pub mod tree;
mod version_gates;
mod versioned_values;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use serde::Deserialize;
use serde_json::Value;

use crate::catalogue::Catalogue;
pub use comments::Comments;
use files::{Files, has_suffix};
pub use marks::TemplateLine;
pub use memory::TemplateManifests;
use memory::{LastOutput, LastRender, Memory};
pub use removed::RemovedSetting;
pub use schema::ChartSchema;
pub use template::Output;
use template::Templates;
use versioned_values::VersionedValues;
pub use yaml;
use yaml::Manifest;

/// Why charts cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ChartError {
    /// The directory cannot be read, or a file of it is absent or not text.
    #[error("{file}: {message}")]
    File {
        /// The file or directory.
        file: String,
        /// What is wrong with it.
        message: String,
    },
    /// A template does not compile, or asks for something that is not there.
    #[error("chart {chart}: {file}:{line}:{column}: {message}")]
    Template {
        /// The chart.
        chart: String,
        /// The template's file, or the name of the partial.
        file: String,
        /// The line in it, counted from 1.
        line: usize,
        /// The column in it, counted from 1.
        column: usize,
        /// What is wrong.
        message: String,
    },
}

/// A charts directory. Files are parsed and templates compiled on first use, once.
pub struct Charts {
    files: Arc<Files>,
    catalogue: Catalogue,
    values: BTreeMap<String, OnceLock<Result<VersionedValues, ChartError>>>,
    by_name: BTreeMap<String, Chart>,
    schemas: BTreeMap<u16, OnceLock<Result<ChartSchema, ChartError>>>,
    removed: OnceLock<Result<Vec<RemovedSetting>, ChartError>>,
    memory: Memory,
}

/// One chart.
struct Chart {
    metadata: ChartMetadata,
    templates: OnceLock<Result<Templates, ChartError>>,
}

/// The content of `chart.yaml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChartMetadata {
    name: String,
    release: Release,
    /// The value, as keys joined by dots, that says whether a template is rendered; by the template's name.
    #[serde(default)]
    when: BTreeMap<String, String>,
}

/// Upstream's name of the chart, for the label `helm.sh/chart`; by component where several share a
/// chart.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Release {
    One(String),
    ByComponent(BTreeMap<String, String>),
}

impl Charts {
    /// The charts in the binary.
    pub fn embedded() -> Result<Self, ChartError> {
        Self::of(files::embedded()?)
    }

    /// The charts in a directory. Everything is parsed and compiled at once, so that an error is found at start.
    pub fn from_dir(dir: &Path) -> Result<Self, ChartError> {
        let charts = Self::of(files::read(dir)?)?;
        charts.check()?;
        Ok(charts)
    }

    fn of(files: Files) -> Result<Self, ChartError> {
        let text = files
            .get("versions.yaml")
            .ok_or_else(|| bad("versions.yaml", "is absent"))?;
        let catalogue = Catalogue::parse(text).map_err(|e| bad("versions.yaml", e))?;
        let has_values = |file: &&String| {
            (file.starts_with("profiles/") && has_suffix(file, "yaml"))
                || file.ends_with("/values.yaml")
        };
        let values = files
            .keys()
            .filter(has_values)
            .map(|f| (f.clone(), OnceLock::new()))
            .collect();
        let mut by_name = BTreeMap::new();
        for (file, text) in &files {
            if let Some(name) = file.strip_suffix("/chart.yaml") {
                let metadata: ChartMetadata =
                    yaml::parse(text).map_err(|e| bad(file, e.message))?;
                if metadata.name != name {
                    return Err(bad(
                        file,
                        format!("name {:?} is not that of its directory", metadata.name),
                    ));
                }
                by_name.insert(
                    name.to_owned(),
                    Chart {
                        metadata,
                        templates: OnceLock::new(),
                    },
                );
            }
        }
        let minors = catalogue.releases().iter().map(|r| r.version.minor);
        let schemas = minors.map(|minor| (minor, OnceLock::new())).collect();
        Ok(Self {
            files: Arc::new(files),
            catalogue,
            values,
            by_name,
            schemas,
            removed: OnceLock::new(),
            memory: Memory::default(),
        })
    }

    /// Parses every file and compiles the templates of every chart.
    pub fn check(&self) -> Result<(), ChartError> {
        for minor in self.schemas.keys() {
            self.schema(*minor)?;
        }
        self.removed()?;
        for file in self.values.keys() {
            self.versioned_values(file)?;
        }
        self.by_name.keys().try_for_each(|name| self.compile(name))
    }

    /// Compiles the templates of a chart.
    pub fn compile(&self, chart: &str) -> Result<(), ChartError> {
        self.templates(chart).map(drop)
    }

    /// The Istio minors that the charts know.
    #[must_use]
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// The names of the `IstioOperator` profiles, sorted.
    #[must_use]
    pub fn profile_names(&self) -> Vec<&str> {
        self.names_in("profiles/")
    }

    /// The `spec` of an `IstioOperator` profile, as it is in one minor; none if there is no such
    /// profile.
    pub fn profile(&self, name: &str, minor: u16) -> Result<Option<Value>, ChartError> {
        self.values_of(&format!("profiles/{name}.yaml"), minor)
    }

    /// The names of the chart profiles, sorted; `platform-<p>` and `compatibility-<v>` are among
    /// them.
    #[must_use]
    pub fn chart_profile_names(&self) -> Vec<&str> {
        self.names_in("profiles/values/")
    }

    /// A chart profile as it is in one minor; none if there is no such profile, or nothing in it
    /// for this minor.
    pub fn chart_profile(&self, name: &str, minor: u16) -> Result<Option<Value>, ChartError> {
        let values = self.values_of(&format!("profiles/values/{name}.yaml"), minor)?;
        Ok(values.filter(|values| values.as_object().is_some_and(|map| !map.is_empty())))
    }

    /// What users may write into `values` and `meshConfig` in one minor that the catalogue knows.
    pub fn schema(&self, minor: u16) -> Result<&ChartSchema, ChartError> {
        let slot = self.schemas.get(&minor);
        let slot = slot.ok_or_else(|| bad("schema", format!("knows no Istio 1.{minor}")))?;
        // The files are read again for each minor, because hardly any process needs a second one.
        let read = |stem: &str| {
            let file = format!("schema/{stem}.yaml");
            let text = self.files.get(&file);
            let text = text.ok_or_else(|| bad(&file, "is absent"))?;
            yaml::parse(text).map_err(|e| bad(&file, e.message))
        };
        let compile = || {
            let [shapes, values, mesh] = schema::FILES.map(read);
            let files = [shapes?, values?, mesh?];
            schema::compile(&files, minor).map_err(|e| bad("schema", e))
        };
        slot.get_or_init(compile).as_ref().map_err(Clone::clone)
    }

    /// The settings that Istio removed or calls deprecated.
    pub fn removed(&self) -> Result<&[RemovedSetting], ChartError> {
        let file = "schema/removed.yaml";
        let read = || {
            let text = self.files.get(file);
            let text = text.ok_or_else(|| bad(file, "is absent"))?;
            yaml::parse(text).map_err(|e| bad(file, e.message))
        };
        let parsed = self.removed.get_or_init(read);
        parsed.as_ref().map(Vec::as_slice).map_err(Clone::clone)
    }

    /// The default values of a chart, as they are in one minor.
    pub fn defaults(&self, chart: &str, minor: u16) -> Result<Value, ChartError> {
        let file = format!("{chart}/values.yaml");
        self.values_of(&file, minor)?
            .ok_or_else(|| bad(&file, "is absent"))
    }

    /// What the comments of a chart's values say of them.
    #[must_use]
    pub fn comments(&self, chart: &str) -> Comments {
        let text = self.files.get(&format!("{chart}/values.yaml"));
        text.map(|text| comments::read(text)).unwrap_or_default()
    }

    /// Upstream's name of the chart that a component is rendered with, for the label
    /// `helm.sh/chart`.
    pub fn release(&self, chart: &str, component: &str) -> Result<&str, ChartError> {
        let unnamed = || {
            bad(
                &format!("{chart}/chart.yaml"),
                format!("no release of {component}"),
            )
        };
        match &self.chart(chart)?.metadata.release {
            Release::One(release) => Ok(release),
            Release::ByComponent(releases) => releases
                .get(component)
                .map(String::as_str)
                .ok_or_else(unnamed),
        }
    }

    /// The value of a chart that says whether one of its templates is rendered, as keys joined by dots; none if it always is.
    /// `template` is the name of its file, without what follows the first dot.
    pub fn condition(&self, chart: &str, template: &str) -> Result<Option<&str>, ChartError> {
        let condition = self.chart(chart)?.metadata.when.get(template);
        Ok(condition.map(String::as_str))
    }

    /// The schema of a chart's values, for charts that have one.
    pub fn values_schema(&self, chart: &str) -> Result<Value, ChartError> {
        let file = format!("{chart}/values.schema.yaml");
        let text = self.files.get(&file);
        let text = text.ok_or_else(|| bad(&file, "is absent"))?;
        yaml::parse(text).map_err(|e| bad(&file, e.message))
    }

    /// Executes the templates of a chart over a root context.
    pub fn execute(&self, chart: &str, context: Value) -> Result<Vec<Output>, ChartError> {
        self.templates(chart)?.execute(context)
    }

    /// The same with a mark behind every line that says where it comes from; see [`Charts::mark_of`].
    pub fn execute_marked(&self, chart: &str, context: Value) -> Result<Vec<Output>, ChartError> {
        let files = Arc::new(marks::marked(&self.files));
        Templates::compile(chart, &files)?.execute(context)
    }

    /// The line of a template that a line of a marked output comes from.
    #[must_use]
    pub fn mark_of(output: &str, line: usize) -> Option<TemplateLine> {
        marks::mark_of(output, line)
    }

    /// What the templates of a chart give over a root context; `read` finds the manifests in an output.
    ///
    /// The last result of each component is remembered under the name `component`. It is used again where the context is the same,
    /// and its manifests where an output is.
    pub fn manifests<E: From<ChartError>>(
        &self,
        chart: &str,
        component: &str,
        context: Value,
        read: impl Fn(&Output) -> Result<Vec<Manifest>, E>,
    ) -> Result<Vec<TemplateManifests>, E> {
        let hash = self.memory.hash(&context);
        let last = self.memory.last(component);
        if let Some(last) = last.as_ref().filter(|last| last.context == hash) {
            return Ok(last.templates());
        }
        let take = |output: Output| {
            let text = self.memory.hash(&output.text);
            let known = last.as_ref();
            let known = known.and_then(|last| last.manifests(&output.file, text));
            let template = TemplateManifests {
                manifests: known.map_or_else(|| read(&output), Ok)?,
                file: output.file,
            };
            Ok(LastOutput { text, template })
        };
        let outputs = self.execute(chart, context)?.into_iter().map(take);
        let render = LastRender {
            context: hash,
            outputs: outputs.collect::<Result<_, E>>()?,
        };
        let templates = render.templates();
        self.memory.remember(component, render);
        Ok(templates)
    }

    fn chart(&self, name: &str) -> Result<&Chart, ChartError> {
        self.by_name
            .get(name)
            .ok_or_else(|| bad(&format!("{name}/chart.yaml"), "is absent"))
    }

    fn templates(&self, name: &str) -> Result<&Templates, ChartError> {
        let compile = || Templates::compile(name, &self.files);
        self.chart(name)?
            .templates
            .get_or_init(compile)
            .as_ref()
            .map_err(Clone::clone)
    }

    fn values_of(&self, file: &str, minor: u16) -> Result<Option<Value>, ChartError> {
        if !self.values.contains_key(file) {
            return Ok(None);
        }
        self.versioned_values(file)
            .map(|values| Some(values.for_minor(minor)))
    }

    fn versioned_values(&self, file: &str) -> Result<&VersionedValues, ChartError> {
        let (Some(slot), Some(text)) = (self.values.get(file), self.files.get(file)) else {
            return Err(bad(file, "is absent"));
        };
        let parse = || VersionedValues::parse(text).map_err(|message| bad(file, message));
        slot.get_or_init(parse).as_ref().map_err(Clone::clone)
    }

    fn names_in(&self, dir: &str) -> Vec<&str> {
        let stem = |file: &'_ String| -> Option<usize> {
            let name = file.strip_prefix(dir)?.strip_suffix(".yaml")?;
            (!name.contains('/')).then_some(dir.len() + name.len())
        };
        self.values
            .keys()
            .filter_map(|f| stem(f).map(|end| &f[dir.len()..end]))
            .collect()
    }
}

fn bad(file: &str, message: impl Into<String>) -> ChartError {
    ChartError::File {
        file: file.to_owned(),
        message: message.into(),
    }
}

#[cfg(test)]
mod tests;
