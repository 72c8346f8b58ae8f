//! `istio-operator values`: prints what `spec.values` may hold.

use std::collections::{BTreeMap, BTreeSet};

use istio_operator::api::ComponentKind;
use istio_operator::charts::tree::at;
use istio_operator::charts::{ChartError, ChartSchema, Charts, Comments};
use istio_operator::merge::profile_spec;
use serde_json::{Map, Value, json};

use super::Failure;
use super::fields::short;
use super::output::{Format, table};

/// Print the fields of spec.values: type, default, the minors that know them, and what they do.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  istio-operator values --search tracing
  istio-operator values --component pilot --istio-version 1.28
  istio-operator values -o json | jq '.[] | select(.since == \"1.31\")'")]
pub(super) struct Args {
    /// Print only what this component reads, such as pilot or ingressGateways.
    #[arg(long, value_name = "NAME")]
    component: Option<String>,
    /// Print only what has this word in its path, its type or its description.
    #[arg(long, value_name = "WORD")]
    search: Option<String>,
    /// Print only what this Istio version knows.
    #[arg(long, value_name = "VERSION")]
    istio_version: Option<String>,
    /// How to print them.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// One field that `spec.values` may hold.
#[derive(Default)]
struct Setting {
    r#type: String,
    /// Its default in each minor that knows it; none where no chart has one.
    defaults: BTreeMap<u16, Option<Value>>,
    /// What the comments of charts say of it.
    description: String,
    /// The components whose charts have it among their defaults.
    components: BTreeSet<ComponentKind>,
}

/// The keys of `values` that lead to a setting.
type Keys = Vec<String>;

pub(super) fn values(args: &Args, charts: &Charts) -> Result<(), Failure> {
    let minors = minors(args, charts)?;
    let component = args.component.as_deref().map(component).transpose()?;
    let mut settings = settings(charts, &minors).map_err(Failure::input)?;
    settings.retain(|keys, setting| {
        let is_of_component = component.is_none_or(|kind| setting.is_read_by(kind, keys));
        is_of_component
            && args
                .search
                .as_ref()
                .is_none_or(|word| setting.mentions(word, keys))
    });
    let all: Vec<u16> = charts
        .catalogue()
        .releases()
        .iter()
        .map(|release| release.version.minor)
        .collect();
    args.output.print(
        || {
            let rows = settings
                .iter()
                .map(|(keys, setting)| setting.row(keys, &all));
            table(
                ["FIELD", "TYPE", "DEFAULT", "MINORS", "WHAT IT DOES"],
                rows.collect(),
            )
        },
        || {
            settings
                .iter()
                .map(|(keys, setting)| setting.value(keys, &all))
                .collect()
        },
    )
}

fn minors(args: &Args, charts: &Charts) -> Result<Vec<u16>, Failure> {
    let catalogue = charts.catalogue();
    let Some(wanted) = &args.istio_version else {
        let releases = catalogue.releases().iter();
        return Ok(releases.map(|release| release.version.minor).collect());
    };
    let version = catalogue.version(wanted).ok_or_else(|| {
        let known = catalogue.known();
        Failure::input(format_args!(
            "--istio-version: Istio {wanted} is not known; the known minors are {known}"
        ))
    })?;
    Ok(vec![version.minor])
}

fn component(name: &str) -> Result<ComponentKind, Failure> {
    let is_it = |kind: &ComponentKind| {
        [kind.as_str(), kind.spec_key()]
            .iter()
            .any(|known| known.eq_ignore_ascii_case(name))
    };
    let mut all = ComponentKind::ALL.into_iter();
    all.clone().find(is_it).ok_or_else(|| {
        let known: Vec<_> = all.by_ref().map(ComponentKind::spec_key).collect();
        Failure::input(format_args!(
            "--component {name}: is no component; the components are {}",
            known.join(", ")
        ))
    })
}

/// Every field that one of the minors knows.
fn settings(charts: &Charts, minors: &[u16]) -> Result<BTreeMap<Keys, Setting>, ChartError> {
    let mut settings = BTreeMap::new();
    for minor in minors {
        let schema = charts.schema(*minor)?;
        let defaults = Defaults::of(charts, *minor)?;
        let mut walk = Walk {
            schema,
            minor: *minor,
            defaults: &defaults,
            settings: &mut settings,
        };
        walk.node(Vec::new(), &schema.values);
        walk.node(vec!["meshConfig".to_owned()], &schema.mesh);
    }
    let comments = chart_comments(charts);
    for (keys, setting) in &mut settings {
        setting.description = description(keys, setting, &comments);
    }
    Ok(settings)
}

/// The components that `values` sets up as upstream has them, istiod first, whose chart has most of what all share. Addons
/// have fields of their own.
fn mesh_components() -> impl Iterator<Item = ComponentKind> {
    let others = ComponentKind::ALL.into_iter();
    let others = others.filter(|kind| *kind != ComponentKind::Pilot && !kind.is_addon());
    [ComponentKind::Pilot].into_iter().chain(others)
}

/// The keys under which the chart of a component may know a setting: those of the user, and those below its own root.
fn places(kind: ComponentKind, keys: &[String]) -> [Option<&[String]>; 2] {
    let root = kind.info().values_root;
    let is_below =
        keys.len() > root.len() && keys.iter().zip(root).all(|(key, of_root)| key == of_root);
    [Some(keys), is_below.then(|| &keys[root.len()..])]
}

/// The defaults of one minor.
struct Defaults {
    profile: Value,
    charts: Vec<(ComponentKind, Value)>,
}

impl Defaults {
    fn of(charts: &Charts, minor: u16) -> Result<Self, ChartError> {
        let defaults =
            mesh_components().map(|kind| Ok((kind, charts.defaults(kind.info().chart, minor)?)));
        let release = charts.catalogue().release(minor);
        let profile =
            release.and_then(|release| profile_spec("default", release.version, charts).ok());
        Ok(Self {
            profile: profile.unwrap_or_default()["values"].take(),
            charts: defaults.collect::<Result<_, ChartError>>()?,
        })
    }

    /// The default of a setting and the components whose charts have it.
    fn find(&self, keys: &[String]) -> (Option<Value>, BTreeSet<ComponentKind>) {
        let mut found = lookup(&self.profile, keys);
        let mut components = BTreeSet::new();
        for (kind, defaults) in &self.charts {
            let mut places = places(*kind, keys).into_iter().flatten();
            if let Some(default) = places.find_map(|place| lookup(defaults, place)) {
                components.insert(*kind);
                found.get_or_insert(default);
            }
        }
        (found.cloned(), components)
    }
}

fn lookup<'v>(values: &'v Value, keys: &[String]) -> Option<&'v Value> {
    let keys: Vec<_> = keys.iter().map(String::as_str).collect();
    at(values, &keys)
}

/// One walk through the schema of a minor.
struct Walk<'a> {
    schema: &'a ChartSchema,
    minor: u16,
    defaults: &'a Defaults,
    settings: &'a mut BTreeMap<Keys, Setting>,
}

impl Walk<'_> {
    /// Takes in the setting at `keys`, or those below it.
    fn node(&mut self, keys: Keys, node: &Value) {
        let node = resolve(self.schema, node);
        if let Some(Value::Object(fields)) = node.get("properties") {
            for (key, field) in fields {
                // Both spellings of a mesh setting have a schema of their own.
                if keys.is_empty() && key == "meshConfig" {
                    continue;
                }
                self.node([&keys[..], std::slice::from_ref(key)].concat(), field);
            }
            if !fields.is_empty() {
                return;
            }
        }
        let (default, components) = self.defaults.find(&keys);
        let setting = self.settings.entry(keys).or_default();
        setting.r#type = type_text(self.schema, node);
        setting.defaults.insert(self.minor, default);
        setting.components.extend(components);
    }
}

/// What a reference to a shape leads to.
fn resolve<'s>(schema: &'s ChartSchema, node: &'s Value) -> &'s Value {
    let name = node.get("$ref").and_then(Value::as_str);
    let shape = name.and_then(|name| schema.shapes.get(name.strip_prefix("#/$defs/")?));
    shape.unwrap_or(node)
}

/// A type in words.
fn type_text(schema: &ChartSchema, node: &Value) -> String {
    let node = resolve(schema, node);
    let text = |key: &str| node.get(key).and_then(Value::as_str);
    if let Some(name) = text("$ref") {
        return name.rsplit('.').next().unwrap_or(name).to_owned();
    }
    if let Some(Value::Array(words)) = node.get("enum") {
        let words: Vec<_> = words.iter().filter_map(Value::as_str).collect();
        return format!("one of {}", words.join(", "));
    }
    if let Some(format) = text("x-istio-format") {
        return format.replace('-', " ");
    }
    match text("type") {
        Some("array") => format!("list of {}", type_text(schema, &node["items"])),
        Some("object") => match node.get("additionalProperties") {
            Some(value @ Value::Object(_)) => format!("map of {}", type_text(schema, value)),
            _ => match node.get("properties") {
                Some(Value::Object(fields)) if !fields.is_empty() => {
                    let fields: Vec<_> = fields.keys().map(String::as_str).collect();
                    format!("{{{}}}", fields.join(", "))
                }
                _ => "map".to_owned(),
            },
        },
        Some("boolean") => "bool".to_owned(),
        Some(other) => other.to_owned(),
        None if node.get("x-istio-scalar").is_some() => "string, number or bool".to_owned(),
        None if node.get("x-kubernetes-int-or-string").is_some() => "integer or string".to_owned(),
        None => "any".to_owned(),
    }
}

/// What the charts of the components say, by component.
fn chart_comments(charts: &Charts) -> Vec<(ComponentKind, Comments)> {
    let comments = |kind: ComponentKind| (kind, charts.comments(kind.info().chart));
    mesh_components().map(comments).collect()
}

/// What the comments say of a setting, or else of the nearest section that it stands in.
fn description(
    keys: &[String],
    setting: &Setting,
    comments: &[(ComponentKind, Comments)],
) -> String {
    let said_by = |kind: ComponentKind, comments: &Comments| {
        let mut places = places(kind, keys).into_iter().flatten();
        places.find_map(|place| {
            let mut sections = (1..=place.len()).rev().map(|length| &place[..length]);
            sections.find_map(|section| comments.get(section).cloned())
        })
    };
    let mut charts = comments
        .iter()
        .filter(|(kind, _)| setting.components.contains(kind));
    charts
        .find_map(|(kind, comments)| said_by(*kind, comments))
        .unwrap_or_default()
}

impl Setting {
    /// Whether the chart of a component knows the setting.
    fn is_read_by(&self, kind: ComponentKind, keys: &[String]) -> bool {
        self.components.contains(&kind) || matches!(places(kind, keys), [_, Some(_)])
    }

    fn mentions(&self, word: &str, keys: &[String]) -> bool {
        let word = word.to_lowercase();
        let texts = [&keys.join("."), &self.r#type, &self.description];
        texts.iter().any(|text| text.to_lowercase().contains(&word))
    }

    /// The minor that knows it first, unless that is the oldest one.
    fn since(&self, all: &[u16]) -> Option<u16> {
        let first = self.defaults.keys().next();
        first.copied().filter(|first| Some(first) != all.first())
    }

    /// The minor that knows it last, unless that is the newest one.
    fn until(&self, all: &[u16]) -> Option<u16> {
        let last = self.defaults.keys().next_back();
        last.copied().filter(|last| Some(last) != all.last())
    }

    /// The default, with the minor that begins with it where minors differ.
    fn default_text(&self) -> String {
        let mut runs: Vec<(u16, &Option<Value>)> = Vec::new();
        for (minor, default) in &self.defaults {
            if runs.last().is_none_or(|(_, last)| *last != default) {
                runs.push((*minor, default));
            }
        }
        let text =
            |default: &Option<Value>| default.as_ref().map_or_else(|| "-".to_owned(), written);
        match runs.as_slice() {
            [(_, only)] => text(only),
            runs => {
                let runs = runs
                    .iter()
                    .map(|(minor, default)| format!("1.{minor}: {}", text(default)));
                runs.collect::<Vec<_>>().join("; ")
            }
        }
    }

    fn row(&self, keys: &[String], all: &[u16]) -> [String; 5] {
        let side = |word: &str, minor: Option<u16>| minor.map(|minor| format!("{word} 1.{minor}"));
        let minors = [
            side("since", self.since(all)),
            side("until", self.until(all)),
        ];
        let minors: Vec<_> = minors.into_iter().flatten().collect();
        [
            keys.join("."),
            self.r#type.clone(),
            short(&self.default_text().into()),
            minors.join(" "),
            self.description.clone(),
        ]
    }

    fn value(&self, keys: &[String], all: &[u16]) -> Value {
        let defaults = self
            .defaults
            .iter()
            .map(|(minor, default)| (format!("1.{minor}"), default.clone().unwrap_or_default()));
        let mut value = json!({
            "path": keys.join("."),
            "type": self.r#type,
            "defaults": defaults.collect::<Map<_, _>>(),
        });
        for (key, minor) in [("since", self.since(all)), ("until", self.until(all))] {
            if let Some(minor) = minor {
                value[key] = format!("1.{minor}").into();
            }
        }
        if !self.description.is_empty() {
            value["description"] = self.description.as_str().into();
        }
        value
    }
}

/// A default on one line; a text stands in quotes where it would look like something else.
fn written(default: &Value) -> String {
    match default {
        Value::String(text) if text.is_empty() => "\"\"".to_owned(),
        other => short(other),
    }
}
