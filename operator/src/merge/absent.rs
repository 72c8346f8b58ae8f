//! Removes the nulls of `values` that no chart can be rendered with.

use serde_json::{Map, Value};

/// Removes a null from `values` if it stands for a map of settings, or for a setting that the schema `node` calls needed:
/// no chart can be rendered with it. Every other null stays, because it removes a default of the chart, such as a limit.
pub(super) fn drop_needed_nulls(values: &mut Value, node: &Value, shapes: &Map<String, Value>) {
    let known = resolved(node, shapes).get("properties");
    let (Value::Object(fields), Some(Value::Object(known))) = (values, known) else {
        return;
    };
    let is_needed = |key: &str| {
        let node = known.get(key).map(|node| resolved(node, shapes));
        node.is_some_and(|node| node.get("x-istio-needed") == Some(&Value::Bool(true)))
    };
    fields.retain(|key, value| !(value.is_null() && is_needed(key)));
    for (key, value) in fields {
        if let Some(node) = known.get(key) {
            drop_needed_nulls(value, node, shapes);
        }
    }
}

/// The shape that a node refers to, or the node itself.
fn resolved<'n>(node: &'n Value, shapes: &'n Map<String, Value>) -> &'n Value {
    let reference = node.get("$ref").and_then(Value::as_str);
    let name = reference.and_then(|reference| reference.strip_prefix("#/$defs/"));
    name.and_then(|name| shapes.get(name)).unwrap_or(node)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::charts::Charts;

    #[test]
    fn only_nulls_of_needed_settings_are_removed() {
        let charts = Charts::embedded().unwrap();
        let schema = charts
            .schema(charts.catalogue().default_version().minor)
            .unwrap();
        let mut values = json!({
            "revision": null,
            "pilot": {"image": null, "cpu": null, "resources": null, "env": {"A": null}},
            "gateways": {"istio-ingressgateway": {"serviceAccount": null, "labels": null}},
            "global": {"sds": {"token": null}, "proxy": {"resources": {"limits": null}}},
            "cni": null,
            "own": null,
        });
        drop_needed_nulls(&mut values, &schema.values, &schema.shapes);
        let left = json!({
            "cni": null,
            "pilot": {"resources": null, "env": {"A": null}},
            "gateways": {"istio-ingressgateway": {"labels": null}},
            "global": {"sds": {}, "proxy": {"resources": {"limits": null}}},
            "own": null,
        });
        assert_eq!(values, left);
    }
}
