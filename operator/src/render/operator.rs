//! Renders the objects that install the operator itself.

use serde_json::{Value, json};

use super::{Object, RenderError, document};
use crate::charts::tree::at;
use crate::charts::{ChartError, Charts};

const CHART: &str = "operator";

/// The objects of one template, and the value that says whether they are wanted.
#[derive(Clone, Debug)]
pub struct OperatorTemplate {
    /// The name of the template, such as `50-deployment`.
    pub name: String,
    /// The value that has to be true, as keys joined by dots; none if the objects are always there.
    pub condition: Option<String>,
    /// Its objects.
    pub objects: Vec<Object>,
}

/// The default values of the operator's chart; its image is empty.
pub fn operator_values(charts: &Charts) -> Result<Value, ChartError> {
    charts.defaults(CHART, charts.catalogue().default_version().minor)
}

/// The schema of [`operator_values`], with a description of each.
pub fn operator_values_schema(charts: &Charts) -> Result<Value, ChartError> {
    charts.values_schema(CHART)
}

/// Renders every template of the operator's chart, in the order in which objects are applied: the namespace, the account with
/// its rights, the Deployment and what belongs to it. The CRD is not among them; [`crate::api::CRD`] is it.
pub fn operator_templates(
    namespace: &str,
    values: &Value,
    charts: &Charts,
) -> Result<Vec<OperatorTemplate>, RenderError> {
    let minor = charts.catalogue().default_version().minor_text();
    let context = json!({ "values": values, "namespace": namespace, "minor": minor });
    let mut templates = Vec::new();
    for template in charts.manifests(CHART, CHART, context, document::manifests)? {
        let file = template.file.rsplit('/').next().unwrap_or_default();
        let name = file.split('.').next().unwrap_or(file).to_owned();
        templates.push(OperatorTemplate {
            condition: charts.condition(CHART, &name)?.map(str::to_owned),
            name,
            objects: document::objects(template)?,
        });
    }
    Ok(templates)
}

/// Renders the objects that run the operator in `namespace`, as [`operator_templates`] has them, but for those that the values
/// do not ask for.
pub fn operator(
    namespace: &str,
    values: &Value,
    charts: &Charts,
) -> Result<Vec<Object>, RenderError> {
    let templates = operator_templates(namespace, values, charts)?.into_iter();
    let is_wanted = |template: &OperatorTemplate| {
        template.condition.as_ref().is_none_or(|condition| {
            let keys: Vec<&str> = condition.split('.').collect();
            at(values, &keys) == Some(&Value::Bool(true))
        })
    };
    Ok(templates
        .filter(is_wanted)
        .flat_map(|template| template.objects)
        .collect())
}
