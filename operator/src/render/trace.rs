//! Which line of which template gives a field of an object.

use std::collections::BTreeMap;

use super::{Object, ObjectKey, RenderError, context, document, values};
use crate::api::leaves;
use crate::charts::yaml::{self, Manifest};
use crate::charts::{Charts, TemplateLine};
use crate::merge::{Component, Merged};

/// The lines of templates that give the fields of an object of a component, by the paths of the fields. Settings of the `k8s`
/// block and overlays are no part of it.
pub fn template_lines(
    merged: &Merged,
    component: &Component,
    key: &ObjectKey,
    charts: &Charts,
) -> Result<BTreeMap<String, TemplateLine>, RenderError> {
    let minor = merged.version.minor;
    let values = values::chart_values(charts, component.kind, minor, &component.values)?;
    let context = context(merged, component, values, charts)?;
    for output in charts.execute_marked(component.kind.info().chart, context)? {
        for (_, text) in document::documents(&output.text) {
            let is_it = Manifest::read(text)
                .ok()
                .filter(|body| body.field("kind").is_string())
                .and_then(|body| Object::of(body).ok())
                .is_some_and(|object| object.key == *key);
            if is_it {
                return Ok(lines_of(text));
            }
        }
    }
    Ok(BTreeMap::new())
}

fn lines_of(text: &str) -> BTreeMap<String, TemplateLine> {
    let (Ok(tree), Ok(places)) = (yaml::read(text), yaml::places(text)) else {
        return BTreeMap::new();
    };
    let line = |leaf: crate::api::Leaf<'_>| {
        let place = places.get(&leaf.pointer)?;
        Some((leaf.path.to_string(), Charts::mark_of(text, *place)?))
    };
    leaves(&tree).into_iter().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::{IstioOperator, RawSpec};
    use crate::merge::{Cluster, merge};
    use crate::render::render;

    /// A mark that ended up inside of a text, or hid what stands behind it, would make another object.
    #[test]
    fn marks_change_nothing_and_stand_behind_most_fields() {
        let charts = Charts::embedded().unwrap();
        let spec = json!({"profile": "ambient", "components": {
            "egressGateways": [{"name": "exit", "enabled": true}]}});
        let cr = IstioOperator::new("cr", RawSpec(spec));
        let merged = merge(&cr, None, Cluster::default(), &charts).unwrap();
        let rendered = render(&merged, &charts).unwrap();
        for (component, rendered) in merged.components.iter().zip(&rendered.components) {
            for object in &rendered.objects {
                // Upstream's CRDs are long, and nobody asks which line they come from.
                if object.key.kind == "CustomResourceDefinition" {
                    continue;
                }
                let lines = template_lines(&merged, component, &object.key, &charts).unwrap();
                let body = object.body.value();
                let fields = leaves(&body);
                let known = fields
                    .iter()
                    .filter(|leaf| lines.contains_key(&leaf.path.to_string()));
                let (known, all) = (known.count(), fields.len());
                assert!(known * 10 >= all * 9, "{}: {known} of {all}", object.key);
            }
        }
    }
}
