//! The templates of one chart, compiled, and their execution.

use std::collections::BTreeMap;
use std::sync::Arc;

use handlebars::{
    Context, Handlebars, Helper, HelperDef, PathAndJson, RenderContext, RenderError,
    RenderErrorReason, ScopedJson,
};
use serde_json::Value;

use super::functions::{FUNCTIONS, Function};
use super::tree::at;
use super::{ChartError, Files, gates, syntax};
use crate::catalogue::parse_minor;

/// One chart's templates with everything they can call.
pub(super) struct Templates {
    chart: String,
    registry: Handlebars<'static>,
    names: Vec<String>,
}

/// What one template gave.
#[derive(Clone, Debug)]
pub struct Output {
    /// The file of the template inside the charts directory, such as
    /// `pilot/templates/service.yaml.hbs`.
    pub file: String,
    /// The rendered text.
    pub text: String,
}

/// What the function `fail` raises: the user's mistake, not the template's.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Failed(String);

impl Templates {
    /// Compiles the templates of `chart`, its partials and the shared ones.
    pub(super) fn compile(chart: &str, files: &Arc<Files>) -> Result<Self, ChartError> {
        let mut registry = Handlebars::new();
        registry.set_strict_mode(true);
        // The output is YAML, so HTML entities would be wrong everywhere; this is the one place
        // that decides it.
        registry.register_escape_fn(handlebars::no_escape);
        register_functions(&mut registry, chart, files);
        let mut names = Vec::new();
        let own_partials = format!("{chart}/partials/");
        let own_templates = format!("{chart}/templates/");
        for (file, text) in files.iter() {
            let name = if let Some(partial) = file.strip_prefix("partials/") {
                stem(partial).map(str::to_owned)
            } else if let Some(partial) = file.strip_prefix(&own_partials) {
                stem(partial).map(|stem| format!("{chart}/{stem}"))
            } else if file.starts_with(&own_templates) && stem(file).is_some() {
                names.push(file.clone());
                Some(file.clone())
            } else {
                None
            };
            if let Some(name) = name {
                let compiled = syntax::compile(&name, text);
                let template = compiled.map_err(|error| compile_error(chart, file, &error))?;
                registry.register_template(&name, template);
            }
        }
        Ok(Self {
            chart: chart.to_owned(),
            registry,
            names,
        })
    }

    /// Executes every template over one root context, in the order of their paths.
    pub(super) fn execute(&self, context: Value) -> Result<Vec<Output>, ChartError> {
        let context = Context::from(context);
        let execute = |name: &String| match self.registry.render_with_context(name, &context) {
            Ok(text) => Ok(Output {
                file: name.clone(),
                text,
            }),
            Err(error) => Err(self.execution_error(name, &error)),
        };
        self.names.iter().map(execute).collect()
    }

    fn execution_error(&self, name: &str, error: &RenderError) -> ChartError {
        if let RenderErrorReason::NestedError(nested) = error.reason()
            && let Some(Failed(message)) = nested.downcast_ref()
        {
            return ChartError::Refused {
                chart: self.chart.clone(),
                message: message.clone(),
            };
        }
        ChartError::Template {
            chart: self.chart.clone(),
            file: error
                .template_name
                .clone()
                .unwrap_or_else(|| name.to_owned()),
            line: error.line_no.unwrap_or(0),
            column: error.column_no.unwrap_or(0),
            message: error.reason().to_string(),
        }
    }
}

fn stem(file: &str) -> Option<&str> {
    file.strip_suffix(".hbs")
}

fn compile_error(chart: &str, file: &str, error: &handlebars::TemplateError) -> ChartError {
    let (line, column) = error.pos().unwrap_or((0, 0));
    ChartError::Template {
        chart: chart.to_owned(),
        file: file.to_owned(),
        line,
        column,
        message: error.reason().to_string(),
    }
}

fn register_functions(registry: &mut Handlebars<'static>, chart: &str, files: &Arc<Files>) {
    for function in FUNCTIONS {
        registry.register_helper(function.name, Box::new(Pure(function)));
    }
    registry.register_helper(
        "since",
        Box::new(Gate {
            name: "since",
            holds: |m, bound| m >= bound,
        }),
    );
    registry.register_helper(
        "until",
        Box::new(Gate {
            name: "until",
            holds: |m, bound| m <= bound,
        }),
    );
    registry.register_helper("scope", Box::new(Scope));
    registry.register_helper("fail", Box::new(Fail));
    registry.register_helper("file", Box::new(File::of(chart, files)));
}

fn wrong(name: &str, message: impl std::fmt::Display) -> RenderError {
    RenderErrorReason::Other(format!("{name}: {message}")).into()
}

/// The string that a helper was given as its only argument.
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

/// A function of [`FUNCTIONS`].
struct Pure(Function);

impl HelperDef for Pure {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        let Self(function) = self;
        let absent = helper.params().iter().find(|p| p.is_value_missing());
        if let Some(absent) = absent.filter(|_| !function.takes_absent) {
            return Err(RenderError::strict_error(absent.relative_path()));
        }
        let args: Vec<&Value> = helper.params().iter().map(PathAndJson::value).collect();
        (function.call)(&args)
            .map(ScopedJson::from)
            .map_err(|e| wrong(function.name, e))
    }
}

/// `since "1.28"` and `until "1.27"`: whether the rendered minor lies in that range, its bound
/// included.
struct Gate {
    name: &'static str,
    holds: fn(u16, u16) -> bool,
}

impl HelperDef for Gate {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        context: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        let bound = parse_minor(only_string(self.name, helper)?)
            .ok_or_else(|| wrong(self.name, "expects a minor such as \"1.28\""))?;
        Ok(Value::from((self.holds)(minor_of(context)?, bound)).into())
    }
}

/// `scope "namespace"` and `scope "cluster"`: whether objects of this scope are wanted.
///
/// Since 1.28 `global.resourceScope` tells it (`all`, `namespace` or `cluster`), because the
/// objects of one scope may be the business of somebody else. In ztunnel's chart the content of
/// `global` stands at the top.
struct Scope;

impl HelperDef for Scope {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        context: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        let scope = only_string("scope", helper)?;
        let place: &[&str] = match context.data().get("component") {
            Some(component) if component == "Ztunnel" => &["values", "resourceScope"],
            _ => &["values", "global", "resourceScope"],
        };
        let wanted = at(context.data(), place);
        let is_wanted = |wanted: &Value| wanted == "all" || wanted == scope;
        let holds = minor_of(context)? < 28 || wanted.is_none_or(is_wanted);
        Ok(Value::from(holds).into())
    }
}

/// `fail "message"`: refuses the user's settings.
struct Fail;

impl HelperDef for Fail {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        let message = only_string("fail", helper)?.to_owned();
        Err(RenderErrorReason::NestedError(Box::new(Failed(message))).into())
    }
}

/// `file "injection/proxy.tmpl" ..`: the texts of files of the chart one after another, their gates
/// resolved.
struct File {
    texts: BTreeMap<String, std::borrow::Cow<'static, str>>,
}

impl File {
    fn of(chart: &str, files: &Files) -> Self {
        let prefix = format!("{chart}/");
        let own = |(path, text): (&String, &std::borrow::Cow<'static, str>)| {
            let path = path.strip_prefix(&prefix)?;
            let opaque = !path.starts_with("templates/") && !path.starts_with("partials/");
            opaque.then(|| (path.to_owned(), text.clone()))
        };
        Self {
            texts: files.iter().filter_map(own).collect(),
        }
    }
}

impl HelperDef for File {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        context: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        let minor = minor_of(context)?;
        let resolved = |param: &PathAndJson<'_>| {
            let path = param.value().as_str();
            let path = path.ok_or_else(|| wrong("file", "expects strings"))?;
            let text = self.texts.get(path);
            let text = text.ok_or_else(|| wrong("file", format!("no file {path:?}")))?;
            gates::resolve(text, minor)
                .map_err(|e| wrong("file", format!("{path}:{}: {}", e.line, e.message)))
        };
        let texts = helper.params().iter().map(resolved);
        let text = texts.collect::<Result<String, _>>()?;
        Ok(Value::from(text).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn chart(files: &[(&str, &str)]) -> Result<Templates, ChartError> {
        let own = |(path, text): &(&str, &str)| ((*path).to_owned(), (*text).to_owned().into());
        Templates::compile("c", &Arc::new(files.iter().map(own).collect()))
    }

    fn render(files: &[(&str, &str)]) -> Result<Vec<Output>, ChartError> {
        chart(files)?.execute(json!({
            "minor": "1.28",
            "own": {"a": "x<y", "m": {"k": [1]}},
            "values": {"global": {"resourceScope": "namespace"}},
        }))
    }

    fn one(template: &str) -> String {
        let files = [
            ("c/templates/t.yaml.hbs", template),
            ("partials/shared.hbs", "shared {{x}}"),
            ("c/partials/mine.hbs", "mine {{own.a}}"),
            ("c/files/f.tmpl", "{{ .Go }}\n%% since 1.29\nnew\n%% end\n"),
        ];
        render(&files).unwrap().remove(0).text
    }

    #[test]
    fn templates_call_functions_partials_and_files() {
        assert_eq!(one("{{json own.a}} {{own.a}}"), "\"x<y\" x<y");
        assert_eq!(
            one("{{> shared x=\"1\"}} {{> c/mine}}"),
            "shared 1 mine x<y"
        );
        assert_eq!(one("{{json (file \"files/f.tmpl\")}}"), "\"{{ .Go }}\\n\"");
        let twice = one("{{json (file \"files/f.tmpl\" \"files/f.tmpl\")}}");
        assert_eq!(twice, "\"{{ .Go }}\\n{{ .Go }}\\n\"");
        assert_eq!(
            one("{{#if (since \"1.28\")}}a{{/if}}{{#if (until \"1.27\")}}b{{/if}}"),
            "a"
        );
        assert_eq!(
            one("{{#if (scope \"cluster\")}}a{{/if}}{{#if (scope \"namespace\")}}b{{/if}}"),
            "b"
        );
        assert_eq!(one("{{json (default own.none.deeper \"d\")}}"), "\"d\"");
        assert_eq!(one("{{json (lookup own \"m\" \"k\" 0)}}"), "1");
        assert_eq!(one("{{#if own.none}}a{{else}}b{{/if}}"), "b");
    }

    #[test]
    fn blocks_on_their_own_line_leave_no_blank_line() {
        assert_eq!(
            one("a: 1\n  {{#if own.a}}\nb: 2\n  {{/if}}\nc: 3\n"),
            "a: 1\nb: 2\nc: 3\n"
        );
    }

    #[test]
    fn an_absent_value_names_file_line_and_column() {
        let error =
            render(&[("c/templates/t.yaml.hbs", "a: 1\nb: {{json own.typo}}\n")]).unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with("chart c: c/templates/t.yaml.hbs:2:"),
            "{text}"
        );
        assert!(text.contains("own.typo"), "{text}");
    }

    #[test]
    fn a_template_that_does_not_compile_names_its_place() {
        let error = chart(&[("c/templates/t.yaml.hbs", "a: 1\n{{#if x}}\n")])
            .err()
            .unwrap();
        assert!(
            error
                .to_string()
                .starts_with("chart c: c/templates/t.yaml.hbs:"),
            "{error}"
        );
    }

    #[test]
    fn fail_refuses_the_settings() {
        let error =
            render(&[("c/templates/t.yaml.hbs", "{{fail \"spec.values.x: no\"}}")]).unwrap_err();
        assert!(
            matches!(&error, ChartError::Refused { message, .. } if message == "spec.values.x: no")
        );
    }

    #[test]
    fn templates_run_in_the_order_of_their_paths() {
        let files = [
            ("c/templates/b.yaml.hbs", "2"),
            ("c/templates/a/z.yaml.hbs", "1"),
        ];
        let texts: Vec<String> = render(&files)
            .unwrap()
            .into_iter()
            .map(|o| o.text)
            .collect();
        assert_eq!(texts, ["1", "2"]);
    }
}
