//! What templates can call: the functions that need nothing but their arguments, and those that look at the minor, at the
//! values, or into the chart's files.

use std::borrow::Cow;
use std::collections::BTreeMap;

use handlebars::{
    Context, Handlebars, Helper, HelperDef, PathAndJson, RenderContext, RenderError,
    RenderErrorReason, ScopedJson,
};
use serde_json::Value;

use super::functions::{FUNCTIONS, Function};
use super::tree::at;
use super::{Files, gates};
use crate::catalogue::parse_minor;

/// A call as handlebars wants it: from the arguments and the root context to a value.
struct Call<F>(F);

impl<F> HelperDef for Call<F>
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
        let Self(call) = self;
        call(helper, context).map(ScopedJson::from)
    }
}

/// Lets the templates of `chart` call everything.
pub(super) fn register(registry: &mut Handlebars<'static>, chart: &str, files: &Files) {
    for function in &FUNCTIONS {
        let call = |helper: &Helper<'_>, _: &Context| pure(function, helper);
        registry.register_helper(function.name, Box::new(Call(call)));
    }
    let since = |helper: &Helper<'_>, context: &Context| {
        Ok((minor_of(context)? >= bound("since", helper)?).into())
    };
    let until = |helper: &Helper<'_>, context: &Context| {
        Ok((minor_of(context)? <= bound("until", helper)?).into())
    };
    registry.register_helper("since", Box::new(Call(since)));
    registry.register_helper("until", Box::new(Call(until)));
    registry.register_helper("scope", Box::new(Call(scope)));
    let texts = opaque(chart, files);
    let file = move |helper: &Helper<'_>, context: &Context| file(&texts, helper, context);
    registry.register_helper("file", Box::new(Call(file)));
}

fn wrong(name: &str, message: impl std::fmt::Display) -> RenderError {
    RenderErrorReason::Other(format!("{name}: {message}")).into()
}

/// The string that a call was given as its only argument.
fn only_string<'a>(name: &str, helper: &'a Helper<'_>) -> Result<&'a str, RenderError> {
    match helper.params().as_slice() {
        [text] => text
            .value()
            .as_str()
            .ok_or_else(|| wrong(name, "expects a string")),
        _ => Err(wrong(name, "expects one argument")),
    }
}

/// The minor that is rendered: the 28 of `minor` in the root context.
fn minor_of(context: &Context) -> Result<u16, RenderError> {
    let minor = context.data().get("minor").and_then(Value::as_str);
    minor
        .and_then(parse_minor)
        .ok_or_else(|| wrong("since", "the context has no minor"))
}

/// The bound of `since "1.28"` and `until "1.27"`, which ask whether the rendered minor lies in that range, the bound
/// included.
fn bound(name: &str, helper: &Helper<'_>) -> Result<u16, RenderError> {
    parse_minor(only_string(name, helper)?)
        .ok_or_else(|| wrong(name, "expects a minor such as \"1.28\""))
}

/// A function of [`FUNCTIONS`].
fn pure(function: &Function, helper: &Helper<'_>) -> Result<Value, RenderError> {
    let absent = helper.params().iter().find(|p| p.is_value_missing());
    if let Some(absent) = absent.filter(|_| !function.takes_absent) {
        return Err(RenderError::strict_error(absent.relative_path()));
    }
    let args: Vec<&Value> = helper.params().iter().map(PathAndJson::value).collect();
    (function.call)(&args).map_err(|message| wrong(function.name, message))
}

/// `scope "namespace"` and `scope "cluster"`: whether objects of this scope are wanted.
///
/// Since 1.28 `global.resourceScope` tells it (`all`, `namespace` or `cluster`), because the
/// objects of one scope may be the business of somebody else. In ztunnel's chart the content of
/// `global` stands at the top.
fn scope(helper: &Helper<'_>, context: &Context) -> Result<Value, RenderError> {
    let scope = only_string("scope", helper)?;
    let place: &[&str] = match context.data().get("component") {
        Some(component) if component == "Ztunnel" => &["values", "resourceScope"],
        _ => &["values", "global", "resourceScope"],
    };
    let wanted = at(context.data(), place);
    let is_wanted = |wanted: &Value| wanted == "all" || wanted == scope;
    Ok((minor_of(context)? < 28 || wanted.is_none_or(is_wanted)).into())
}

/// The texts of a chart's files that are no templates, by their path in the chart.
fn opaque(chart: &str, files: &Files) -> BTreeMap<String, Cow<'static, str>> {
    let prefix = format!("{chart}/");
    let own = |(path, text): (&String, &Cow<'static, str>)| {
        let path = path.strip_prefix(&prefix)?;
        let opaque = !path.starts_with("templates/") && !path.starts_with("partials/");
        opaque.then(|| (path.to_owned(), text.clone()))
    };
    files.iter().filter_map(own).collect()
}

/// `file "injection/proxy.tmpl" ..`: the texts of files of the chart one after another, their gates
/// resolved.
fn file(
    texts: &BTreeMap<String, Cow<'static, str>>,
    helper: &Helper<'_>,
    context: &Context,
) -> Result<Value, RenderError> {
    let minor = minor_of(context)?;
    let resolved = |param: &PathAndJson<'_>| {
        let path = param.value().as_str();
        let path = path.ok_or_else(|| wrong("file", "expects strings"))?;
        let text = texts.get(path);
        let text = text.ok_or_else(|| wrong("file", format!("no file {path:?}")))?;
        gates::resolve(text, minor)
            .map_err(|e| wrong("file", format!("{path}:{}: {}", e.line, e.message)))
    };
    let texts = helper.params().iter().map(resolved);
    Ok(texts.collect::<Result<String, _>>()?.into())
}
