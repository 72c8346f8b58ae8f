//! [`Merged`](crate::merge::Merged) → [`Rendered`]: executes the charts, then applies `k8s` settings and overlays to the
//! objects.
//!
//! Pure: takes no client and reads no clock, environment or file; the caller provides the charts.

mod canary;
mod cause;
mod document;
mod entries;
mod kubernetes;
mod object;
mod operator;
mod overlay;
mod privileges;
mod settings;
mod strategic;
mod trace;
mod values;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

pub use object::{Object, ObjectKey};
pub use operator::{
    OperatorTemplate, operator, operator_templates, operator_values, operator_values_schema,
};
pub(crate) use privileges::CONTAINERS;
pub use trace::template_lines;

use crate::api::{ComponentKind, FieldError, Path, ValuesScope, Warning};
use crate::charts::tree::at;
use crate::charts::{ChartError, Charts};
use crate::merge::{Component, ControlPlane, Merged};
use crate::parallel::in_parallel;
use values::ChartValues;

/// The objects of one CR, component by component in render order. Only [`render`] makes one, which `tests/invariants.rs`
/// checks.
///
/// No two objects of all components have the same key. No object has owner labels yet: `plan` adds them.
#[derive(Clone, Debug)]
pub struct Rendered {
    /// The components that were rendered.
    pub components: Vec<RenderedComponent>,
    /// Whether `values.revisionTags` name the default tag.
    pub names_default_tag: bool,
    /// Settings that had no effect, such as an overlay that matches no object.
    pub warnings: Vec<Warning>,
    /// What settings reach that the charts by themselves do not, such as an overlay that makes a pod privileged.
    pub privileges: Vec<FieldError>,
}

/// The objects of one component.
#[derive(Clone, Debug)]
pub struct RenderedComponent {
    /// Which component this is.
    pub kind: ComponentKind,
    /// The name of its workload; empty for base.
    pub name: String,
    /// The control plane that it belongs to.
    pub plane: ControlPlane,
    /// Its objects, in the order of the chart's files.
    pub objects: Vec<Object>,
}

impl RenderedComponent {
    /// The image of its workload, if it is an addon.
    #[must_use]
    pub fn image(&self) -> Option<String> {
        let workload = self.kind.info().workload.filter(|_| self.kind.is_addon())?;
        let mut objects = self.objects.iter();
        let object = objects.find(|object| object.key.kind == workload.kind)?;
        let spec = object.body.field("spec");
        let mut containers = spec
            .pointer("/template/spec/containers")?
            .as_array()?
            .iter();
        let container = containers.find(|container| container["name"] == workload.container)?;
        container["image"].as_str().map(str::to_owned)
    }
}

/// Why a CR could not be rendered: the CR or the charts are wrong.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RenderError {
    /// The charts are broken, or refuse the settings.
    #[error(transparent)]
    Chart(#[from] ChartError),
    /// The charts cannot be rendered with a setting.
    #[error("{0}")]
    Setting(FieldError),
    /// The output of a template is not YAML.
    #[error("{file}:{line}: {message}")]
    Yaml {
        /// The template.
        file: String,
        /// The line of its output, counted from 1.
        line: usize,
        /// What is wrong with it.
        message: String,
    },
    /// The output of a template is not an object.
    #[error("{file}: {message}")]
    Output {
        /// The template.
        file: String,
        /// What is wrong with it.
        message: String,
    },
    /// The API server would refuse an object, and no single setting is why.
    #[error("{key}: {error}")]
    Refused {
        /// The object.
        key: Box<ObjectKey>,
        /// The field of the object, and what is wrong with it.
        error: FieldError,
    },
    /// Two objects have the same key.
    #[error("{key} is rendered twice, by {first} and by {second}")]
    Duplicate {
        /// Their key.
        key: Box<ObjectKey>,
        /// The component of the first one.
        first: String,
        /// The component of the second one.
        second: String,
    },
    /// An object is too large for the API server to store.
    #[error("{key} has about {bytes} bytes, and a cluster stores at most {LARGEST_OBJECT}")]
    TooLarge {
        /// The object.
        key: ObjectKey,
        /// About its size as JSON.
        bytes: usize,
    },
    /// There was no time left.
    #[error("{0}: rendering takes too long; it stopped here")]
    OutOfTime(Path),
}

impl RenderError {
    /// Its text without the object that it names behind the problem of a setting.
    fn without_object(&self) -> String {
        let text = self.to_string();
        match self {
            Self::Setting(_) => text.split(" (").next().unwrap_or_default().to_owned(),
            _ => text,
        }
    }
}

/// etcd refuses requests above 1.5 MiB by default, and the object is almost all of the request.
const LARGEST_OBJECT: usize = 1536 * 1024;

/// Renders every component of a CR. On failure, gives the errors of all components.
pub fn render(merged: &Merged, charts: &Charts) -> Result<Rendered, Vec<RenderError>> {
    render_in_time(merged, charts, &|| true)
}

/// More components than this are rendered by [`THREADS`] threads. For fewer, the memory that an allocator keeps for every thread
/// would cost more than the time is worth.
const MANY: usize = 16;
/// How many threads render the components of a large CR.
const THREADS: usize = 2;

/// Does what [`render`] does while `has_time` says so. Without time, the errors are those found so far, or else
/// [`RenderError::OutOfTime`] alone.
pub fn render_in_time(
    merged: &Merged,
    charts: &Charts,
    has_time: HasTime,
) -> Result<Rendered, Vec<RenderError>> {
    let is_large = merged.components.len() > MANY;
    let threads = if is_large { THREADS } else { 1 };
    render_on(threads, merged, charts, has_time)
}

/// Does what [`render`] does with a thread for each component, for a process that renders once and ends.
pub fn render_in_parallel(merged: &Merged, charts: &Charts) -> Result<Rendered, Vec<RenderError>> {
    render_on(merged.components.len(), merged, charts, &|| true)
}

fn render_on(
    threads: usize,
    merged: &Merged,
    charts: &Charts,
    has_time: HasTime,
) -> Result<Rendered, Vec<RenderError>> {
    let render = |component: &_| render_component(merged, component, charts, has_time);
    collect(in_parallel(&merged.components, threads, render))
}

/// Tells whether there is time left.
pub(crate) type HasTime<'a> = &'a (dyn Fn() -> bool + Sync);

/// One rendered component, with what it adds to the whole.
struct Part {
    component: RenderedComponent,
    names_default_tag: bool,
    warnings: Vec<Warning>,
    privileges: Vec<FieldError>,
}

/// Joins rendered components, or the errors of those that failed.
fn collect(parts: Vec<Result<Part, Vec<RenderError>>>) -> Result<Rendered, Vec<RenderError>> {
    let mut errors = Vec::new();
    let mut rendered = Rendered {
        components: Vec::new(),
        names_default_tag: false,
        warnings: Vec::new(),
        privileges: Vec::new(),
    };
    for part in parts {
        match part {
            Ok(part) => {
                rendered.components.push(part.component);
                rendered.names_default_tag |= part.names_default_tag;
                rendered.warnings.extend(part.warnings);
                rendered.privileges.extend(part.privileges);
            }
            Err(all) => errors.extend(all),
        }
    }
    let (late, found): (Vec<_>, Vec<_>) = errors
        .into_iter()
        .partition(|error| matches!(error, RenderError::OutOfTime(_)));
    if let Some(first) = late.into_iter().next() {
        return Err(if found.is_empty() { vec![first] } else { found });
    }
    let mut errors = found;
    errors.extend(broken_invariants(&rendered.components));
    let mut told = BTreeSet::new();
    // A setting may be wrong in many objects, of which one is named.
    errors.retain(|error| told.insert(error.without_object()));
    if errors.is_empty() {
        Ok(rendered)
    } else {
        Err(errors)
    }
}

/// Renders a component and checks that the API server would take its objects.
fn render_component(
    merged: &Merged,
    component: &Component,
    charts: &Charts,
    has_time: HasTime,
) -> Result<Part, Vec<RenderError>> {
    let part = objects_of(merged, component, charts, has_time).map_err(|error| vec![error])?;
    let objects = &part.component.objects;
    let refusals = cause::refusals(merged, component, objects, charts, has_time);
    if refusals.is_empty() {
        Ok(part)
    } else {
        Err(refusals)
    }
}

/// The objects of a component, with its `k8s` settings and overlays.
fn objects_of(
    merged: &Merged,
    component: &Component,
    charts: &Charts,
    has_time: HasTime,
) -> Result<Part, RenderError> {
    check_time(has_time, &component.path)?;
    let minor = merged.version.minor;
    let values = values::chart_values(charts, component.kind, minor, &component.values)?;
    let names_default_tag = named_tags(&values.own).iter().any(|tag| tag == DEFAULT_TAG);
    let variables = entries::Variables::of(&values);
    let privileges = privileges::of_settings(component, &values.own);
    let context = context(merged, component, values, charts)?;
    let mut objects = Vec::new();
    let chart = component.kind.info().chart;
    // Components of two CRs may have one identity. Then they take turns in what is remembered.
    let identity = format!(
        "{} {}/{}",
        component.kind, component.namespace, component.name
    );
    for template in charts.manifests(chart, &identity, context, document::manifests)? {
        objects.extend(document::objects(template)?);
    }
    entries::merge(&mut objects, &variables);
    let mut warnings = Vec::new();
    settings::apply(merged, component, &mut objects, &mut warnings)?;
    let injects = merged.revision.is_empty() && objects.iter().any(injects_for_default_tag);
    let plane = &merged.control_plane();
    let mut findings = overlay::Findings {
        warnings,
        privileges,
    };
    overlay::apply(component, plane, &mut objects, &mut findings, has_time)?;
    if injects && !objects.iter().any(injects_for_default_tag) {
        let path = component.path.key("k8s").key("overlays");
        let problem = "delete the webhooks of the default tag; no pod would be injected, because the \
                       injector of the default revision is deactivated";
        return Err(RenderError::Setting(FieldError::new(path, problem)));
    }
    let component = RenderedComponent {
        kind: component.kind,
        name: component.name.clone(),
        plane: plane.clone(),
        objects,
    };
    Ok(Part {
        component,
        names_default_tag,
        warnings: findings.warnings,
        privileges: findings.privileges,
    })
}

/// Fails once there is no time left; `path` is where rendering stopped.
fn check_time(has_time: HasTime, path: &Path) -> Result<(), RenderError> {
    if has_time() {
        Ok(())
    } else {
        Err(RenderError::OutOfTime(path.clone()))
    }
}

/// The data that the templates of a component read.
fn context(
    merged: &Merged,
    component: &Component,
    values: ChartValues,
    charts: &Charts,
) -> Result<Value, RenderError> {
    let kind = component.kind.as_str();
    let operator_manages = at(&values.own, &["global", "operatorManageWebhooks"]);
    let default_tag = merged.is_for_cluster && operator_manages != Some(&Value::Bool(true));
    let default = default_tag.then(|| DEFAULT_TAG.into());
    let mut tags: Vec<Value> = Vec::new();
    for tag in named_tags(&values.own).iter().cloned().chain(default) {
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    let mut context = json!({
        "tags": tags,
        "defaultTag": default_tag,
        "proxyVersion": merged.proxy_version().filter(|_| merged.is_for_cluster).map(|it| it.to_string()),
        "resourceScope": resource_scope(merged, component, &values.values, charts)?,
        "name": component.name,
        "namespace": component.namespace,
        "revision": merged.revision,
        "version": merged.version.to_string(),
        "minor": merged.version.minor_text(),
        "component": kind,
        "gke": merged.cluster.is_gke,
        "release": charts.release(component.kind.info().chart, kind)?,
    });
    // These are large, and `json!` would copy them.
    context["values"] = values.values;
    context["own"] = values.own;
    context["userValues"] = values.user;
    Ok(context)
}

/// Whether objects of clusters, of namespaces or all are wanted, as `global.resourceScope` says. Minors whose schema lacks it
/// render all. In ztunnel's chart the content of `global` stands at the top.
fn resource_scope(
    merged: &Merged,
    component: &Component,
    values: &Value,
    charts: &Charts,
) -> Result<Value, ChartError> {
    const GLOBAL: &str = "global";
    const KEY: &str = "resourceScope";
    let schema = &charts.schema(merged.version.minor)?.values["properties"][GLOBAL];
    let is_known = schema["properties"].get(KEY).is_some();
    let place: &[&str] = match component.kind.info().scope {
        ValuesScope::Flattened => &[KEY],
        _ => &[GLOBAL, KEY],
    };
    let wanted = at(values, place).filter(|_| is_known);
    Ok(wanted.cloned().unwrap_or_else(|| "all".into()))
}

/// The label with the revision tag that an object belongs to.
pub const TAG: &str = "istio.io/tag";

/// The tag of namespaces that are labeled `istio-injection=enabled`.
const DEFAULT_TAG: &str = "default";

/// The revision tags that the values of istiod's chart name.
fn named_tags(own: &Value) -> &[Value] {
    let named = own.get("revisionTags").and_then(Value::as_array);
    named.map_or(&[], Vec::as_slice)
}

/// Whether an object is the default tag's injector and has webhooks.
fn injects_for_default_tag(object: &Object) -> bool {
    let is_there = |webhooks: &Value| webhooks.as_array().is_some_and(|list| !list.is_empty());
    object.key.kind == "MutatingWebhookConfiguration"
        && object.body.field("metadata")["labels"][TAG] == DEFAULT_TAG
        && is_there(&object.body.field("webhooks"))
}

/// An error for each promise of [`Rendered`] that these components break.
fn broken_invariants(components: &[RenderedComponent]) -> Vec<RenderError> {
    let mut owners: BTreeMap<&ObjectKey, String> = BTreeMap::new();
    let mut errors = Vec::new();
    for component in components {
        let owner = format!("{} {}", component.kind, component.name)
            .trim_end()
            .to_owned();
        for object in &component.objects {
            if let Some(first) = owners.insert(&object.key, owner.clone()) {
                let (key, second) = (Box::new(object.key.clone()), owner.clone());
                errors.push(RenderError::Duplicate { key, first, second });
            }
            let bytes = object.body.size();
            if bytes > LARGEST_OBJECT {
                errors.push(RenderError::TooLarge {
                    key: object.key.clone(),
                    bytes,
                });
            }
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Version;
    use crate::charts::yaml::Manifest;

    fn component(name: &str, objects: &[&Object]) -> RenderedComponent {
        let objects = objects.iter().map(|o| (*o).clone()).collect();
        RenderedComponent {
            kind: ComponentKind::IngressGateways,
            name: name.to_owned(),
            plane: ControlPlane {
                version: Version {
                    minor: 31,
                    patch: 1,
                },
                revision: String::new(),
            },
            objects,
        }
    }

    fn service(note: &str) -> Object {
        let metadata = json!({"name": "a", "namespace": "n", "annotations": {"note": note}});
        let body = json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata});
        Object::of(Manifest::from(&body)).unwrap()
    }

    fn broken(components: &[RenderedComponent]) -> Vec<String> {
        broken_invariants(components)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_key_that_is_rendered_twice_names_both_components() {
        let components = [
            component("a", &[&service("1")]),
            component("b", &[&service("2")]),
        ];
        assert_eq!(
            broken(&components),
            ["Service n/a is rendered twice, by IngressGateways a and by IngressGateways b"]
        );
    }

    #[test]
    fn an_object_too_large_for_a_cluster_is_refused() {
        let errors = broken(&[component("a", &[&service(&"x".repeat(LARGEST_OBJECT))])]);
        assert_eq!(errors.len(), 1);
        assert!(
            errors[0].starts_with("Service n/a has about 1572"),
            "{}",
            errors[0]
        );
    }
}
