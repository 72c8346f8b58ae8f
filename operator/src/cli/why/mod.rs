//! `istio-operator why`: which layer made a value of an object.

mod alternatives;
mod managers;
mod sources;
mod target;

use std::collections::BTreeMap;

use istio_operator::api::{IstioOperator, Leaf, leaves};
use istio_operator::charts::{Charts, TemplateLine};
use istio_operator::cluster::Kind;
use istio_operator::merge::{Cluster, merge};
use istio_operator::render::{Object, ObjectKey, render, template_lines};
use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::Failure;
use super::completion::names_of_crs;
use super::connection::{ClusterArgs, block_on};
use super::fields::short;
use super::input::Input;
use super::observed::Observed;
use super::output::{Format, Paint, Tone, complain};
use super::render::all;
use managers::{Holder, holders};
use sources::{Question, Rendering, Source, Sources};

/// Tell which layer made a value of an object: profile, values, components, k8s, an overlay, or the chart and its template.
///
/// Every setting is changed, one after the other, and the object is rendered again: what the field follows made it. Without a
/// file, the IstioOperator of the cluster is asked about, and who else writes the field.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  istio-operator why Deployment/istiod.spec.strategy -f istio.yaml
  istio-operator why 'Deployment/istiod.spec.template.spec.containers[discovery].image' --set hub=example.com/istio
  istio-operator why ConfigMap/istio
  istio-operator why Service/istio-system/istio-ingressgateway.spec.type istio-system/istio")]
pub(super) struct Args {
    /// The object, and a field of it: KIND/NAME or KIND/NAMESPACE/NAME with .path[name][0] behind it.
    #[arg(value_name = "OBJECT")]
    object: String,
    /// The IstioOperator of the cluster, as NAME or NAMESPACE/NAME, if no file is given; needed where there are several.
    #[arg(value_name = "CR", add = names_of_crs())]
    cr: Option<String>,
    #[command(flatten)]
    input: Input,
    /// The Istio version whose charts are used, instead of the version in the file.
    #[arg(long, value_name = "VERSION")]
    istio_version: Option<String>,
    /// How to print the answer.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// What was found out of one field.
struct Answer {
    path: String,
    value: Value,
    sources: Vec<Source>,
    template: Option<TemplateLine>,
    /// What the cluster has, and who wrote it.
    live: Option<(Option<Value>, Vec<Holder>)>,
}

pub(super) fn why(args: &Args, charts: &Charts) -> Result<(), Failure> {
    let (cr, cluster, live) = if args.input.is_empty() {
        let found = block_on(from_cluster(args, charts))?;
        (found.cr, found.cluster, Some(found.live))
    } else {
        (args.input.read()?, Cluster::default(), None)
    };
    let merged = merge(&cr, args.istio_version.as_deref(), cluster, charts);
    let mut merged = merged.map_err(|errors| all(&errors))?;
    if live.is_some() {
        merged = merged.for_cluster();
    }
    let rendered = render(&merged, charts).map_err(|errors| all(&errors))?;
    let objects =
        rendered
            .components
            .iter()
            .zip(&merged.components)
            .flat_map(|(rendered, component)| {
                let objects = rendered.objects.iter();
                objects.map(move |object| (&object.key, (component, object)))
            });
    let named = target::find(&args.object, objects).map_err(Failure::input)?;
    let (component, object) = named.found;
    let body = object.body.value();
    let (path, _) = target::field(&body, named.field).map_err(Failure::input)?;
    let live = live.and_then(|live| live.into_iter().find(|(key, _)| *key == object.key));
    let rendering = Rendering {
        charts,
        cluster,
        is_for_cluster: live.is_some() || merged.is_for_cluster,
        user: &merged.source.spec,
        merged: &merged,
    };
    let question = Question::new(&rendering, component, &object.key, &body);
    let lines = template_lines(&merged, component, &object.key, charts);
    let lines = lines.map_err(Failure::input)?;
    let answers = answers(
        &body,
        &path.to_string(),
        question.sources(),
        &lines,
        live.as_ref().map(|(_, live)| live),
    );
    let paint = Paint::for_stdout();
    args.output.print(
        || told(&object.key, &answers, paint),
        || {
            json!({
                "object": object.key.to_string(),
                "fields": answers.iter().map(Answer::to_value).collect::<Vec<_>>(),
            })
        },
    )
}

/// What the cluster has of the IstioOperator in question.
struct Found {
    cr: IstioOperator,
    cluster: Cluster,
    live: Vec<(ObjectKey, DynamicObject)>,
}

async fn from_cluster(args: &Args, charts: &Charts) -> Result<Found, Failure> {
    let connection = args.cluster.connect().await?;
    let observed = Observed::read(&connection, charts).await?;
    let cr = IstioOperator::clone(observed.cr(args.cr.as_deref(), &connection)?);
    let cluster = connection.cluster();
    let spec = observed.rendered(&cr, cluster, charts)?;
    let objects = spec
        .rendered
        .components
        .iter()
        .flat_map(|component| &component.objects);
    let objects = objects.map(|object| (&object.key, object));
    let named = target::find(&args.object, objects).map_err(Failure::input)?;
    let Object { key, .. } = named.found;
    let sender = connection.sender();
    let mut live = Vec::new();
    if let Some(kind) = Kind::of(key) {
        match sender.find(kind, key).await {
            Ok(found) => live.extend(found.map(|found| (key.clone(), found))),
            Err(error) => complain(&format_args!("not looked at: {key}: {error}")),
        }
    }
    Ok(Found { cr, cluster, live })
}

/// What was found out of the fields at and below a path.
fn answers(
    body: &Value,
    wanted: &str,
    mut sources: Sources,
    lines: &BTreeMap<String, TemplateLine>,
    live: Option<&DynamicObject>,
) -> Vec<Answer> {
    let whole = live.map(|live| {
        let mut whole = live.data.clone();
        whole["metadata"] = serde_json::to_value(&live.metadata).unwrap_or_default();
        whole
    });
    let in_cluster: BTreeMap<String, Leaf<'_>> = whole
        .iter()
        .flat_map(leaves)
        .map(|leaf| (leaf.path.to_string(), leaf))
        .collect();
    let is_wanted = |path: &str| {
        path.strip_prefix(wanted).is_some_and(|below| {
            wanted.is_empty() || below.is_empty() || below.starts_with(['.', '['])
        })
    };
    let fields = sources::fields_of(body)
        .into_iter()
        .filter(|(path, _)| is_wanted(path));
    let answer = |(path, value): (String, Value)| {
        let live = live.zip(whole.as_ref()).map(|(live, whole)| {
            let leaf = in_cluster.get(&path);
            let holders = leaf.map(|leaf| holders(live, whole, &leaf.pointer));
            (
                leaf.map(|leaf| leaf.value.clone()),
                holders.unwrap_or_default(),
            )
        });
        Answer {
            sources: sources.remove(&path).unwrap_or_default(),
            template: lines.get(&path).cloned(),
            path,
            value,
            live,
        }
    };
    fields.map(answer).collect()
}

impl Answer {
    /// The settings whose text the field has, or those that decide that it is there.
    fn shown(&self) -> Vec<&Source> {
        let direct: Vec<_> = self
            .sources
            .iter()
            .filter(|source| source.is_direct)
            .collect();
        if direct.is_empty() {
            self.sources.iter().collect()
        } else {
            direct
        }
    }

    /// Whether the field is what a template says.
    fn is_literal(&self) -> bool {
        !self.sources.iter().any(|source| source.is_direct)
    }

    fn lines(&self, paint: Paint) -> String {
        let mut lines = format!("{}: {}\n", self.path, short(&self.value));
        let mut add = |layer: &str, text: String| {
            lines.extend([&format!("    {layer:<14} "), &text, "\n"]);
        };
        if self.is_literal()
            && let Some(TemplateLine { file, line }) = &self.template
        {
            add("chart template", format!("{file}:{line}"));
        }
        for source in self.shown() {
            let text = format!("{} = {}", source.setting, short(&source.value));
            let text = if source.is_direct {
                text
            } else {
                format!("depends on {text}")
            };
            add(source.layer.words(), text);
        }
        if !self.is_literal()
            && let Some(TemplateLine { file, line }) = &self.template
        {
            add(
                "written by",
                paint.text(Tone::Quiet, format_args!("{file}:{line}")),
            );
        }
        if let Some((live, holders)) = &self.live {
            let names: Vec<_> = holders.iter().map(Holder::words).collect();
            let names = if names.is_empty() {
                "nobody".to_owned()
            } else {
                names.join(", ")
            };
            let is_same = live.as_ref() == Some(&self.value);
            let text = match live {
                Some(_) if is_same => format!("held by {names}"),
                Some(live) => format!("{}, held by {names}", short(live)),
                None => "absent".to_owned(),
            };
            let tone = if is_same { Tone::Quiet } else { Tone::Warning };
            add("in the cluster", paint.text(tone, text));
        }
        lines
    }

    fn to_value(&self) -> Value {
        let source = |source: &Source| {
            json!({
                "layer": source.layer.words(),
                "setting": source.setting,
                "value": source.value,
                "direct": source.is_direct,
            })
        };
        let mut value = json!({
            "path": self.path,
            "value": self.value,
            "sources": self.sources.iter().map(source).collect::<Vec<_>>(),
        });
        if let Some(TemplateLine { file, line }) = &self.template {
            value["template"] = json!({"file": file, "line": line, "literal": self.is_literal()});
        }
        if let Some((live, holders)) = &self.live {
            let is_ours = holders.iter().any(Holder::is_operator);
            value["cluster"] = json!({
                "value": live,
                "isOperators": is_ours,
                "holders": holders.iter().map(Holder::value).collect::<Vec<_>>(),
            });
        }
        value
    }
}

fn told(key: &ObjectKey, answers: &[Answer], paint: Paint) -> String {
    let answers: String = answers.iter().map(|answer| answer.lines(paint)).collect();
    format!("{key}\n{answers}")
}
