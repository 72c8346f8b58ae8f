//! The operator's chart as a chart of Helm.
//!
//! The templates are rendered with a mark in place of each value. Helm's templates have the value of the user where a mark
//! stands, as JSON, which is YAML too.

use std::fmt::Write;
use std::path::Path;

use istio_operator::charts::Charts;
use istio_operator::charts::yaml;
use istio_operator::charts::yaml::Manifest;
use istio_operator::render::{operator_templates, operator_values_schema};
use regex::{Captures, Regex};
use serde_json::{Map, Value, json};

use super::{Failure, write_file};

/// The oldest Kubernetes that an Istio of the catalogue runs on decides what a CR may install. The operator itself needs this.
const KUBERNETES: &str = ">= 1.28.0-0";

/// What Helm prints after an installation.
const NOTES: &str = "\
The operator runs in the namespace {{ .Release.Namespace }} and waits for an IstioOperator:

  kubectl create namespace istio-system
  kubectl apply -f - <<EOF
  apiVersion: install.istio.io/v1alpha1
  kind: IstioOperator
  metadata:
    name: istio
    namespace: istio-system
  spec:
    profile: default
  EOF
  kubectl wait istiooperator/istio -n istio-system --for=condition=Ready --timeout=10m

The pods keep to the strictest pod security standard. To enforce it:

  kubectl label namespace {{ .Release.Namespace }} pod-security.kubernetes.io/enforce=restricted

Delete every IstioOperator before you uninstall this chart: without the operator nobody takes the finalizers off them.
The CRD stays when the chart goes, because every IstioOperator would go with it.
";

/// Writes the chart. `values` are the defaults.
pub(super) fn write(
    dir: &Path,
    values: &Value,
    crd: Value,
    charts: &Charts,
) -> Result<(), Failure> {
    let schema = operator_values_schema(charts).map_err(Failure::input)?;
    let templates = operator_templates(&mark("Release.Namespace"), &marked(values, ""), charts);
    for template in templates.map_err(Failure::input)? {
        // Helm creates the namespace itself.
        let objects = template
            .objects
            .iter()
            .filter(|o| o.key.kind != "Namespace");
        let mut text: String = objects.map(|object| object.body.to_yaml()).collect();
        if text.is_empty() {
            continue;
        }
        text = with_values(&text)?;
        if let Some(condition) = template.condition {
            text = format!("{{{{- if .Values.{condition} }}}}\n{text}{{{{- end }}}}\n");
        }
        write_file(
            &dir.join(format!("templates/{}.yaml", template.name)),
            &text,
        )?;
    }
    write_file(&dir.join("templates/crd.yaml"), &kept(crd)?)?;
    write_file(&dir.join("templates/NOTES.txt"), NOTES)?;
    write_file(&dir.join("Chart.yaml"), &yaml::write(&metadata()))?;
    write_file(&dir.join("values.yaml"), &documented(values, &schema))?;
    let schema_text = format!("{schema:#}\n");
    write_file(&dir.join("values.schema.json"), &schema_text)?;
    write_file(&dir.join("README.md"), &readme(values, &schema))
}

fn metadata() -> Value {
    json!({
        "apiVersion": "v2",
        "type": "application",
        "name": "istio-operator",
        "description": "Reconciles IstioOperator resources",
        "version": env!("CARGO_PKG_VERSION"),
        "appVersion": env!("CARGO_PKG_VERSION"),
        "kubeVersion": KUBERNETES,
    })
}

/// What stands for a value until Helm's expression does.
fn mark(path: &str) -> String {
    format!("⟦{path}⟧")
}

/// The values with a mark in place of each. Those that switch something on keep their structure, so that templates can ask
/// for a part of them.
fn marked(values: &Value, path: &str) -> Value {
    let fields = values.as_object();
    let fields = fields.filter(|map| path.is_empty() || map.contains_key("enabled"));
    let Some(fields) = fields else {
        return mark(path).into();
    };
    let below = |key: &String| match path {
        "" => key.clone(),
        path => format!("{path}.{key}"),
    };
    let fields = fields.iter();
    let marked = fields.map(|(key, value)| (key.clone(), marked(value, &below(key))));
    Value::Object(marked.collect::<Map<_, _>>())
}

/// A text with Helm's expressions where marks are.
fn with_values(text: &str) -> Result<String, Failure> {
    let marks = Regex::new("(value: )?[\"']?⟦([^⟧]+)⟧[\"']?").map_err(Failure::input)?;
    let text = escaped(text);
    let expression = |found: &Captures| match (found.get(1), &found[2]) {
        (_, release) if release.starts_with("Release.") => format!("{{{{ .{release} }}}}"),
        // The value of a variable is a text, also where the chart's value is none.
        (Some(key), value) => {
            let key = key.as_str();
            format!("{key}{{{{ toJson (toString .Values.{value}) }}}}")
        }
        (None, value) => format!("{{{{ toJson .Values.{value} }}}}"),
    };
    Ok(marks.replace_all(&text, expression).into_owned())
}

/// A text that Helm prints as it is.
fn escaped(text: &str) -> String {
    text.replace("{{", "{{ \"{{\" }}")
}

/// The CRD as a template, so that an upgrade of the chart upgrades it, and Helm never deletes it.
fn kept(mut crd: Value) -> Result<String, Failure> {
    let metadata = crd["metadata"].as_object_mut();
    let metadata = metadata.ok_or_else(|| Failure::input("the CRD has no metadata"))?;
    let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
    annotations["helm.sh/resource-policy"] = "keep".into();
    Ok(escaped(&Manifest::from(&crd).to_yaml()))
}

fn description<'s>(schema: &'s Value, key: &str) -> &'s str {
    let description = &schema["properties"][key]["description"];
    description.as_str().unwrap_or_default()
}

/// The values with a comment before each.
fn documented(values: &Value, schema: &Value) -> String {
    let mut text = String::new();
    for (key, value) in values.as_object().into_iter().flatten() {
        let one = Value::Object(Map::from_iter([(key.clone(), value.clone())]));
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "# {}\n{}",
            description(schema, key),
            yaml::write(&one)
        );
    }
    text
}

fn readme(values: &Value, schema: &Value) -> String {
    let mut text = "\
# istio-operator

Installs the operator that reconciles `IstioOperator` resources. `istio-operator manifests --helm DIR` writes this chart.

```sh
helm install istio-operator . --namespace istio-operator --create-namespace --set image=registry.example.com/istio-operator:0.1.0
```

The CRD is a template of the chart, so an upgrade of the chart upgrades it. `helm uninstall` keeps it, with every IstioOperator.
Delete these first, if Istio shall go too: without the operator nobody takes the finalizers off them.

| Value | Default | Meaning |
|---|---|---|
"
    .to_owned();
    for (key, value) in values.as_object().into_iter().flatten() {
        let _ = writeln!(
            text,
            "| `{key}` | `{value}` | {} |",
            description(schema, key)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_become_expressions() {
        let text = "a: '⟦image⟧'\nb: ⟦serviceMonitor.labels⟧\nn: \"⟦Release.Namespace⟧\"\nvalue: '⟦log⟧'\nc: {{x}}\n";
        let expected = "a: {{ toJson .Values.image }}\nb: {{ toJson .Values.serviceMonitor.labels }}\n\
                        n: {{ .Release.Namespace }}\nvalue: {{ toJson (toString .Values.log) }}\nc: {{ \"{{\" }}x}}\n";
        assert_eq!(with_values(text).ok().as_deref(), Some(expected));
    }

    #[test]
    fn every_value_is_described() {
        let charts = Charts::embedded().unwrap();
        let schema = operator_values_schema(&charts).unwrap();
        let values = istio_operator::render::operator_values(&charts).unwrap();
        for key in values.as_object().unwrap().keys() {
            assert!(description(&schema, key).ends_with('.'), "{key}");
        }
        let described = schema["properties"].as_object().unwrap().keys();
        let unknown: Vec<_> = described.filter(|key| values.get(key).is_none()).collect();
        assert_eq!(unknown, ["global"]);
    }
}
