//! Finds what a field of an object depends on: every setting is changed, one after the other, and the object is rendered again.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZero;
use std::thread;
use std::time::{Duration, Instant};

use istio_operator::api::{
    ComponentKind, IstioOperator, Leaf, Path, RawSpec, ValuesScope, leaves, path_of_pointer,
};
use istio_operator::catalogue::Version;
use istio_operator::charts::Charts;
use istio_operator::charts::tree::{at, merge_over};
use istio_operator::merge::{Cluster, Component, Merged, chart_layers, merge, profile_spec};
use istio_operator::parallel::in_parallel;
use istio_operator::render::{ObjectKey, render_in_time};
use serde_json::Value;

use super::alternatives::{alternatives, as_setting, put, set_at};

/// How long one rendering may take; what takes longer depends on nothing that can be told.
const TIME_LIMIT: Duration = Duration::from_secs(2);

/// Where a setting stands, the highest first: what stands higher wins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Layer {
    /// A patch of `k8s.overlays`.
    Overlay,
    /// Another setting of a `k8s` block.
    Kubernetes,
    /// A field of a component beside its `k8s` block.
    Component,
    /// `spec.values` or `spec.unvalidatedValues`.
    Values,
    /// A field above `values`, from which values are derived.
    Spec,
    /// The profile, or the one that all start from.
    Profile,
    /// The Istio version, which says where images come from.
    Version,
    /// A profile of the charts: for a platform, a compatibility version, or one that `values.profile` names.
    ChartProfile,
    /// A default of a chart.
    ChartDefault,
}

impl Layer {
    /// The layer in words.
    pub(super) const fn words(&self) -> &'static str {
        match self {
            Self::Overlay => "overlay",
            Self::Kubernetes => "k8s",
            Self::Component => "components",
            Self::Values => "values",
            Self::Spec => "derived",
            Self::Profile => "profile",
            Self::Version => "version",
            Self::ChartProfile => "chart profile",
            Self::ChartDefault => "chart default",
        }
    }
}

/// A setting that a field depends on.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Source {
    pub(super) layer: Layer,
    /// The path of the setting.
    pub(super) setting: String,
    /// What it says now.
    pub(super) value: Value,
    /// Whether the field has the text of the setting in it; otherwise the setting decides what is rendered.
    pub(super) is_direct: bool,
}

/// What is told of a setting that is tried; of a list that can only be set as a whole, the whole.
struct Told<'v> {
    layer: Layer,
    setting: String,
    value: &'v Value,
}

/// What is rendered, and for whom.
pub(super) struct Rendering<'a> {
    pub(super) charts: &'a Charts,
    pub(super) cluster: Cluster,
    pub(super) is_for_cluster: bool,
    /// The spec as its author wrote it.
    pub(super) user: &'a Value,
    /// What was merged from it.
    pub(super) merged: &'a Merged,
}

/// The object in question.
pub(super) struct Question<'a> {
    pub(super) rendering: &'a Rendering<'a>,
    pub(super) component: &'a Component,
    pub(super) key: &'a ObjectKey,
    /// Its fields as they are rendered.
    fields: BTreeMap<String, Value>,
}

/// The settings that each field depends on, by the path of the field.
pub(super) type Sources = BTreeMap<String, Vec<Source>>;

impl<'a> Question<'a> {
    pub(super) fn new(
        rendering: &'a Rendering<'a>,
        component: &'a Component,
        key: &'a ObjectKey,
        object: &Value,
    ) -> Self {
        let fields = fields_of(object);
        Self {
            rendering,
            component,
            key,
            fields,
        }
    }

    /// Tries every setting.
    pub(super) fn sources(&self) -> Sources {
        let mut sources = Sources::new();
        for (path, source) in self.try_spec().into_iter().chain(self.try_charts()) {
            sources.entry(path).or_default().push(source);
        }
        for found in sources.values_mut() {
            found.sort_by_key(|source| {
                (
                    !source.is_direct,
                    source.layer.clone(),
                    source.setting.clone(),
                )
            });
            let mut told = BTreeSet::new();
            found.retain(|source| told.insert(source.setting.clone()));
        }
        sources
    }

    /// Tries what the user wrote and what the profile says.
    fn try_spec(&self) -> Vec<(String, Source)> {
        let Rendering {
            charts,
            user,
            merged,
            ..
        } = self.rendering;
        let name = user.get("profile").and_then(Value::as_str);
        let name = name.filter(|name| !name.is_empty()).unwrap_or("default");
        // A name that is unknown was refused before.
        let mut spec = profile_spec(name, merged.version, charts).unwrap_or_default();
        merge_over(&mut spec, merged.source.spec.clone());
        in_turn(&leaves(&spec), |leaf| {
            let is_users = user.pointer(&leaf.pointer).is_some();
            let (layer, setting) = named(&spec, &leaf.pointer, is_users, name);
            let render = |value: Option<Value>| {
                let mut other = spec.clone();
                put(&mut other, &leaf.pointer, value);
                self.render_spec(other)
            };
            let told = Told {
                layer,
                setting,
                value: leaf.value,
            };
            self.judge(&told, leaf.value, &render)
        })
    }

    /// Tries the defaults of the component's chart and what lies over them.
    fn try_charts(&self) -> Vec<(String, Source)> {
        let Rendering { charts, merged, .. } = self.rendering;
        let info = self.component.kind.info();
        let minor = merged.version.minor;
        let user = &self.component.values;
        let defaults = charts.defaults(info.chart, minor);
        let layers = chart_layers(charts, minor, user);
        // Charts that cannot be read were told of before.
        let (Ok(mut defaults), Ok((layers, _)), Ok(schema)) =
            (defaults, layers, charts.schema(minor))
        else {
            return Vec::new();
        };
        merge_over(&mut defaults, layers.clone());
        in_turn(&leaves(&defaults), |leaf| {
            let (keys, whole) = as_setting(&defaults, &leaf.pointer);
            let place = place_of(self.component.kind, &keys, &schema.values);
            let place_keys: Vec<_> = place.iter().map(String::as_str).collect();
            if at(user, &place_keys).is_some() {
                return Vec::new();
            }
            let layer = if layers.pointer(&leaf.pointer).is_some() {
                Layer::ChartProfile
            } else {
                Layer::ChartDefault
            };
            let told = Told {
                layer,
                setting: self.chart_setting(&keys, &place),
                value: whole,
            };
            let render = |value: Option<Value>| {
                let mut other = defaults.clone();
                // Nobody can take a default away: a null says something else.
                put(&mut other, &leaf.pointer, Some(value?));
                let (_, whole) = as_setting(&other, &leaf.pointer);
                let mut component = self.component.clone();
                set_at(&mut component.values, &place, whole.clone());
                self.render_component(component)
            };
            self.judge(&told, leaf.value, &render)
        })
    }

    /// Where a user sets a default of the chart. The labels of a gateway are its own: `values` do not reach them.
    fn chart_setting(&self, keys: &[String], place: &[String]) -> String {
        let Component { kind, path, .. } = self.component;
        match keys {
            [.., labels, label] if labels == "labels" && kind.gateway_key().is_some() => {
                path.key("label").key(label).to_string()
            }
            _ => format!("values.{}", place.join(".")),
        }
    }

    /// The fields that depend on a setting.
    fn judge(
        &self,
        told: &Told<'_>,
        value: &Value,
        render: &dyn Fn(Option<Value>) -> Option<BTreeMap<String, Value>>,
    ) -> Vec<(String, Source)> {
        let tries = alternatives(value).into_iter().map(Some).chain([None]);
        for other in tries {
            let Some(after) = render(other.clone()) else {
                continue;
            };
            let changed = self.changed(&after);
            if changed.is_empty() {
                continue;
            }
            let source = |path: &String| Source {
                layer: told.layer.clone(),
                setting: told.setting.clone(),
                value: told.value.clone(),
                is_direct: is_direct(&self.fields[path], after.get(path), value, other.as_ref()),
            };
            let changed = changed.into_iter();
            return changed.map(|path| (path.clone(), source(path))).collect();
        }
        Vec::new()
    }

    /// The fields that are not there any more as they were. An element of a list of scalars that moved is.
    fn changed(&self, after: &BTreeMap<String, Value>) -> Vec<&String> {
        let is_elsewhere = |path: &str, value: &Value| {
            let list = path
                .strip_suffix(']')
                .and_then(|path| path.rsplit_once('['));
            let Some((list, _)) = list.filter(|(_, index)| index.parse::<usize>().is_ok()) else {
                return false;
            };
            let start = format!("{list}[");
            let mut elements = after
                .range(start.clone()..)
                .take_while(|(path, _)| path.starts_with(&start));
            elements.any(|(_, other)| other == value)
        };
        let is_changed = |(path, value): &(&String, &Value)| {
            after.get(*path) != Some(value) && !is_elsewhere(path, value)
        };
        self.fields
            .iter()
            .filter(is_changed)
            .map(|(path, _)| path)
            .collect()
    }

    fn render_spec(&self, spec: Value) -> Option<BTreeMap<String, Value>> {
        let Rendering {
            charts,
            cluster,
            merged,
            ..
        } = self.rendering;
        let version: Version = merged.version;
        let cr = IstioOperator::new("", RawSpec(spec));
        let other = merge(&cr, Some(&version.to_string()), *cluster, charts).ok()?;
        self.render(other)
    }

    fn render_component(&self, component: Component) -> Option<BTreeMap<String, Value>> {
        let mut other = self.rendering.merged.clone();
        other.components = vec![component];
        self.render(other)
    }

    /// The fields of the object as another CR renders it; none if it does not.
    fn render(&self, mut merged: Merged) -> Option<BTreeMap<String, Value>> {
        let Component {
            kind,
            name,
            namespace,
            ..
        } = self.component;
        merged.components.retain(|other| {
            other.kind == *kind && other.name == *name && other.namespace == *namespace
        });
        if self.rendering.is_for_cluster {
            merged = merged.for_cluster();
        }
        let deadline = Instant::now() + TIME_LIMIT;
        let rendered = render_in_time(&merged, self.rendering.charts, &|| {
            Instant::now() < deadline
        })
        .ok()?;
        let mut objects = rendered
            .components
            .iter()
            .flat_map(|component| &component.objects);
        let object = objects.find(|object| object.key == *self.key)?;
        Some(fields_of(&object.body.value()))
    }
}

/// What comes of all settings, several at once.
fn in_turn<'v>(
    settings: &[Leaf<'v>],
    judge: impl Fn(&Leaf<'v>) -> Vec<(String, Source)> + Sync,
) -> Vec<(String, Source)> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    in_parallel(settings, threads, judge)
        .into_iter()
        .flatten()
        .collect()
}

/// The fields of an object by their paths.
pub(super) fn fields_of(object: &Value) -> BTreeMap<String, Value> {
    let field = |leaf: Leaf<'_>| (leaf.path.to_string(), leaf.value.clone());
    leaves(object).into_iter().map(field).collect()
}

/// The layer of a leaf of the spec, and what it is called there.
fn named(spec: &Value, pointer: &str, is_users: bool, profile: &str) -> (Layer, String) {
    let steps: Vec<_> = pointer.split('/').skip(1).collect();
    if !is_users {
        return match steps.as_slice() {
            ["hub" | "tag"] => (Layer::Version, path_of(spec, &steps)),
            _ => (
                Layer::Profile,
                format!("{} (profile {profile})", path_of(spec, &steps)),
            ),
        };
    }
    let overlay = steps.iter().position(|step| *step == "overlays");
    let layer = match steps.as_slice() {
        ["values" | "unvalidatedValues", ..] => Layer::Values,
        ["components" | "addonComponents", ..] if overlay.is_some() => Layer::Overlay,
        ["components" | "addonComponents", rest @ ..] if rest.contains(&"k8s") => Layer::Kubernetes,
        ["components" | "addonComponents", ..] => Layer::Component,
        _ => Layer::Spec,
    };
    // A patch is one setting, with path and value.
    let end = overlay.map_or(steps.len(), |overlay| steps.len().min(overlay + 4));
    (layer, path_of(spec, &steps[..end]))
}

/// The path of a field of the spec, with the indexes of lists.
fn path_of(spec: &Value, steps: &[&str]) -> String {
    let pointer = format!("/{}", steps.join("/"));
    path_of_pointer(Path::root("spec"), spec, &pointer).to_string()
}

/// The keys under `values` by which users set a default of a chart: below the chart's own root if the schema has it there.
fn place_of(kind: ComponentKind, keys: &[String], schema: &Value) -> Vec<String> {
    let info = kind.info();
    let root = info.values_root.iter().map(|key| (*key).to_owned());
    let below: Vec<_> = root.chain(keys.iter().cloned()).collect();
    let is_known = below
        .iter()
        .try_fold(schema, |node, key| node.get("properties")?.get(key))
        .is_some();
    match info.scope {
        ValuesScope::Flattened => below,
        ValuesScope::RootOverAll if is_known => below,
        _ => keys.to_vec(),
    }
}

/// Whether a field has the text of a setting, before and after the setting changed.
fn is_direct(
    before: &Value,
    after: Option<&Value>,
    setting: &Value,
    other: Option<&Value>,
) -> bool {
    let text = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    // Every text has an empty one in it.
    let has = |field: &Value, setting: &Value| {
        field == setting || !text(setting).is_empty() && text(field).contains(&text(setting))
    };
    match (after, other) {
        (Some(after), Some(other)) => has(before, setting) && has(after, other),
        _ => before == setting,
    }
}
