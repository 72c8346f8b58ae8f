//! The helpers of handlebars that templates call. Those of [`FUNCTIONS`] read their arguments only; the ones here also read
//! the minor, the resource scope, or files of the chart.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use handlebars::{
    Context, Handlebars, Helper, HelperDef, PathAndJson, RenderContext, RenderError,
    RenderErrorReason, ScopedJson,
};
use serde_json::Value;

use super::functions::{FUNCTIONS, Function};
use super::{Files, dashboard, version_gates};
use crate::catalogue::parse_minor;

/// A helper that computes a value from its arguments and the root context.
struct ValueHelper<F>(F);

impl<F> HelperDef for ValueHelper<F>
where
    F: Fn(&Helper<'_>, &Context) -> Result<Value, RenderError> + Send + Sync,
{
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        context: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        let Self(compute) = self;
        compute(helper, context).map(ScopedJson::from)
    }
}

/// The names of the helpers that need more than their arguments.
pub(super) const CONTEXT_HELPERS: [&str; 5] = ["since", "until", "scope", "file", "dashboard"];

/// Registers every helper for the templates of `chart`.
pub(super) fn register(registry: &mut Handlebars<'static>, chart: &str, files: &Arc<Files>) {
    for function in &FUNCTIONS {
        let compute = |helper: &Helper<'_>, _: &Context| call(function, helper);
        registry.register_helper(function.name, Box::new(ValueHelper(compute)));
    }
    let since = |helper: &Helper<'_>, context: &Context| {
        Ok((minor_of(context)? >= bound("since", helper)?).into())
    };
    let until = |helper: &Helper<'_>, context: &Context| {
        Ok((minor_of(context)? <= bound("until", helper)?).into())
    };
    let texts = Texts {
        chart: chart.to_owned(),
        files: Arc::clone(files),
    };
    let of_dashboards = texts.clone();
    let files = Made::default();
    let file = move |helper: &Helper<'_>, context: &Context| {
        made_once(&files, helper, context, || file(&texts, helper, context))
    };
    let dashboards = Made::default();
    let dashboard = move |helper: &Helper<'_>, context: &Context| {
        made_once(&dashboards, helper, context, || {
            dashboard_text(&of_dashboards, helper, context)
        })
    };
    let [
        since_name,
        until_name,
        scope_name,
        file_name,
        dashboard_name,
    ] = CONTEXT_HELPERS;
    registry.register_helper(since_name, Box::new(ValueHelper(since)));
    registry.register_helper(until_name, Box::new(ValueHelper(until)));
    registry.register_helper(scope_name, Box::new(ValueHelper(scope)));
    registry.register_helper(file_name, Box::new(ValueHelper(file)));
    registry.register_helper(dashboard_name, Box::new(ValueHelper(dashboard)));
}

fn wrong(name: &str, message: impl std::fmt::Display) -> RenderError {
    RenderErrorReason::Other(format!("{name}: {message}")).into()
}

/// The only argument of a helper, which has to be a string.
fn only_string<'a>(name: &str, helper: &'a Helper<'_>) -> Result<&'a str, RenderError> {
    match helper.params().as_slice() {
        [text] => text
            .value()
            .as_str()
            .ok_or_else(|| wrong(name, "expects a string")),
        _ => Err(wrong(name, "expects one argument")),
    }
}

/// The minor that is rendered: the 28 of the text `1.28` in the root context.
fn minor_of(context: &Context) -> Result<u16, RenderError> {
    let minor = context.data().get("minor").and_then(Value::as_str);
    minor
        .and_then(parse_minor)
        .ok_or_else(|| wrong("since", "the context has no minor"))
}

/// The argument of `since "1.28"` and `until "1.27"`. They tell whether the rendered minor lies in that range, with the
/// argument included.
fn bound(name: &str, helper: &Helper<'_>) -> Result<u16, RenderError> {
    parse_minor(only_string(name, helper)?)
        .ok_or_else(|| wrong(name, "expects a minor such as \"1.28\""))
}

/// Calls a function of [`FUNCTIONS`]. An absent argument is an error unless the function takes it.
fn call(function: &Function, helper: &Helper<'_>) -> Result<Value, RenderError> {
    let absent = helper.params().iter().find(|p| p.is_value_missing());
    if let Some(absent) = absent.filter(|_| !function.takes_absent) {
        return Err(RenderError::strict_error(absent.relative_path()));
    }
    let args: Vec<&Value> = helper.params().iter().map(PathAndJson::value).collect();
    (function.call)(&args).map_err(|message| wrong(function.name, message))
}

/// `scope "namespace"` and `scope "cluster"`: whether objects of this scope are rendered.
fn scope(helper: &Helper<'_>, context: &Context) -> Result<Value, RenderError> {
    let scope = only_string("scope", helper)?;
    let wanted = context.data().get("resourceScope");
    Ok(wanted
        .is_none_or(|wanted| wanted == "all" || wanted == scope)
        .into())
}

/// The texts of files, as the templates of one chart name them.
#[derive(Clone)]
struct Texts {
    chart: String,
    files: Arc<Files>,
}

impl Texts {
    /// The text of a file of the chart, or of the charts directory if the path begins with a slash.
    fn get(&self, path: &str) -> Option<&str> {
        let text = match path.strip_prefix('/') {
            Some(path) => self.files.get(path),
            None => self.files.get(&format!("{}/{path}", self.chart)),
        };
        text.map(AsRef::as_ref)
    }
}

/// `file "injection/proxy.tmpl" ..`: the texts of these files of the chart one after another, with their gates resolved.
fn file(texts: &Texts, helper: &Helper<'_>, context: &Context) -> Result<Value, RenderError> {
    let minor = minor_of(context)?;
    let resolved = |param: &PathAndJson<'_>| {
        let path = param.value().as_str();
        let path = path.ok_or_else(|| wrong("file", "expects strings"))?;
        let text = texts.get(path);
        let text = text.ok_or_else(|| wrong("file", format!("no file {path:?}")))?;
        version_gates::resolve(text, minor)
            .map_err(|e| wrong("file", format!("{path}:{}: {}", e.line, e.message)))
    };
    let texts = helper.params().iter().map(resolved);
    Ok(texts.collect::<Result<String, _>>()?.into())
}

/// Texts that were made before, by the paths of their files and the minor.
type Made = Mutex<BTreeMap<(String, u16), Value>>;

/// The text that a helper makes from the files that its arguments name. It depends on nothing else but the minor, so each is
/// made once: a dashboard takes longer than the rest of a chart, and the injection templates are most of istiod's.
fn made_once(
    made: &Made,
    helper: &Helper<'_>,
    context: &Context,
    compute: impl FnOnce() -> Result<Value, RenderError>,
) -> Result<Value, RenderError> {
    let paths = helper.params().iter().map(|param| param.value().as_str());
    let paths: Vec<_> = paths.map(Option::unwrap_or_default).collect();
    let key = (paths.join(" "), minor_of(context)?);
    let known = made
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get(&key)
        .cloned();
    if let Some(known) = known {
        return Ok(known);
    }
    let text = compute()?;
    let mut made = made.lock().unwrap_or_else(PoisonError::into_inner);
    made.insert(key, text.clone());
    Ok(text)
}

/// `dashboard "dashboards/mesh.yaml"`: the dashboard that this file of the chart describes, as the text that Grafana reads.
fn dashboard_text(
    texts: &Texts,
    helper: &Helper<'_>,
    context: &Context,
) -> Result<Value, RenderError> {
    let path = only_string("dashboard", helper)?;
    let description = file(texts, helper, context)?;
    let dashboard = dashboard::expand(description.as_str().unwrap_or_default());
    let dashboard = dashboard.map_err(|e| wrong("dashboard", format!("{path}: {e}")))?;
    Ok(Value::from(dashboard.to_string()))
}
