//! The compiled templates of one chart, and their execution.

use std::sync::Arc;

use handlebars::{Context, Handlebars, RenderError, Template};
use serde_json::Value;

use super::helpers;
use super::{ChartError, Files};

/// The templates of one chart, with the partials and helpers that they call.
pub(super) struct Templates {
    chart: String,
    registry: Handlebars<'static>,
    names: Vec<String>,
}

/// The output of one template.
#[derive(Clone, Debug)]
pub struct Output {
    /// The file of the template inside the charts directory, such as
    /// `pilot/templates/service.yaml.hbs`.
    pub file: String,
    /// The rendered text.
    pub text: String,
}

impl Templates {
    /// Compiles the templates of `chart` and the partials that they call.
    pub(super) fn compile(chart: &str, files: &Arc<Files>) -> Result<Self, ChartError> {
        let mut registry = Handlebars::new();
        registry.set_strict_mode(true);
        // The output is YAML, where an HTML entity is always wrong.
        registry.register_escape_fn(handlebars::no_escape);
        helpers::register(&mut registry, chart, files);
        let own = format!("{chart}/templates/");
        let is_own = |file: &&String| file.starts_with(&own) && stem(file).is_some();
        let names: Vec<String> = files.keys().filter(is_own).cloned().collect();
        let mut wanted = names.clone();
        while let Some(name) = wanted.pop() {
            let file = file_of(&name);
            // A partial that is absent is reported where it is called.
            let Some(text) = files.get(&file).filter(|_| !registry.has_template(&name)) else {
                continue;
            };
            let compiled = Template::compile_with_name(text, name.clone());
            let template = compiled.map_err(|error| compile_error(chart, &file, &error))?;
            registry.register_template(&name, template);
            wanted.extend(called_partials(text).map(str::to_owned));
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

/// The file of a template or partial: partials of a chart are called `chart/name`, shared ones `name`.
pub(super) fn file_of(name: &str) -> String {
    match name.rsplit_once('/') {
        _ if stem(name).is_some() => name.to_owned(),
        Some((chart, name)) => format!("{chart}/partials/{name}.hbs"),
        None => format!("partials/{name}.hbs"),
    }
}

/// The names of the partials that a template calls. A name in a comment or a string is among them too, which compiles more
/// than is needed and does no harm.
pub(super) fn called_partials(text: &str) -> impl Iterator<Item = &str> {
    let tags = text.split("{{").skip(1);
    let calls = tags.filter_map(|tag| tag.strip_prefix('>').or_else(|| tag.strip_prefix("#>")));
    calls.filter_map(|call| call.split([' ', '\n', '}']).find(|word| !word.is_empty()))
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
            "resourceScope": "namespace",
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
