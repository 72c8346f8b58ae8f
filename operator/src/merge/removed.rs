//! Takes settings out of a spec that Istio removed, and tells what replaces them.
//!
//! What is only switched off is a warning, because without the setting the same is installed. Anything else is an error. In
//! mesh settings and in `unvalidatedValues` upstream accepts and ignores such settings, so there they stay and are warnings.

use serde_json::{Map, Value};

use super::check::{Findings, camel_case};
use crate::api::Path;
use crate::charts::RemovedSetting;

/// Takes the settings of `table` out of a spec that have no meaning any more, and warns of those that are deprecated.
pub(super) fn take_out(
    user: &mut Value,
    table: &[RemovedSetting],
    minor: u16,
    findings: &mut Findings,
) {
    let spec = Path::root("spec");
    for setting in table.iter().filter(|setting| setting.concerns(minor)) {
        let mut keys = setting.path.split('.');
        let root = keys.next().unwrap_or_default();
        for place in places(root) {
            let above = place.split('.').filter(|key| !key.is_empty());
            let keys: Vec<&str> = above.chain(keys.clone()).collect();
            let mut search = Search {
                setting,
                stays: root == "meshConfig" || keys[0] == "unvalidatedValues",
                is_component: root.ends_with("omponents") && setting.path.split('.').count() == 2,
                findings: &mut *findings,
            };
            search.below(user, &keys, &spec);
        }
    }
}

/// Where the settings may stand that the table has below `root`.
fn places(root: &str) -> Vec<&str> {
    match root {
        "values" => vec!["values", "unvalidatedValues"],
        "meshConfig" => vec![
            "meshConfig",
            "values.meshConfig",
            "unvalidatedValues.meshConfig",
        ],
        // Before 1.5, components stood at the top of the spec.
        "components" => vec!["components", ""],
        // The name of a profile is looked up where profiles are.
        "profile" => vec![],
        other => vec![other],
    }
}

/// Looks for one setting.
struct Search<'a> {
    setting: &'a RemovedSetting,
    /// Whether it stays where it is, because upstream accepts it there.
    stays: bool,
    /// Whether it is a component, which is on unless it says otherwise.
    is_component: bool,
    findings: &'a mut Findings,
}

impl Search<'_> {
    /// Looks at `keys` below `node`, which is at `path`.
    fn below(&mut self, node: &mut Value, keys: &[&str], path: &Path) {
        let (Value::Object(fields), [key, rest @ ..]) = (node, keys) else {
            return;
        };
        if *key == "*" {
            for (key, node) in fields {
                self.below(node, rest, &path.key(key));
            }
            return;
        }
        let (key, is_list) = match key.strip_suffix("[]") {
            Some(key) => (key, true),
            None => (*key, false),
        };
        let Some(written) = spelling(key, fields) else {
            return;
        };
        let path = path.key(&written);
        match fields.get_mut(&written) {
            Some(_) if rest.is_empty() => self.found(fields, &written, path),
            Some(Value::Array(list)) if is_list => {
                for (index, element) in list.iter_mut().enumerate() {
                    self.below(element, rest, &path.index(index));
                }
            }
            Some(node) => self.below(node, rest, &path),
            None => {}
        }
    }

    fn found(&mut self, fields: &mut Map<String, Value>, key: &str, path: Path) {
        let value = &fields[key];
        let is_set = !value.is_null() && *value != "";
        let last = self.setting.last.as_ref().filter(|_| !self.stays);
        let Some(last) = last else {
            if is_set {
                self.findings.warn(path, self.setting.story());
            }
            return;
        };
        if !is_set || is_off(value, self.is_component) {
            let text = format!("was removed after Istio {last}, and is off here; remove it");
            self.findings.warn(path, text);
        } else {
            self.findings.error(path, self.setting.story());
        }
        fields.remove(key);
    }
}

/// How the author wrote a key: mesh settings may be written in snake case too.
fn spelling(key: &str, fields: &Map<String, Value>) -> Option<String> {
    if fields.contains_key(key) {
        return Some(key.to_owned());
    }
    let mut written = fields.keys().filter(|written| written.contains('_'));
    written.find(|written| camel_case(written) == key).cloned()
}

/// Whether a setting asks for nothing: it is off, or empty, or holds only such settings.
fn is_off(value: &Value, is_component: bool) -> bool {
    match value {
        Value::Object(fields) if fields.get("enabled") == Some(&Value::Bool(false)) => true,
        Value::Object(fields) if !is_component => {
            fields.values().all(|field| is_off(field, is_component))
        }
        Value::Array(list) => list.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Null | Value::Bool(false) => true,
        Value::Object(_) | Value::Bool(true) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::charts::Charts;

    /// What is left of a spec, and what is said about it.
    fn taken_out(mut spec: Value, minor: u16) -> (Value, Vec<String>, Vec<String>) {
        let charts = Charts::embedded().unwrap();
        let mut findings = Findings::default();
        take_out(&mut spec, charts.removed().unwrap(), minor, &mut findings);
        let errors = findings.errors.iter().map(ToString::to_string);
        let warnings = findings.warnings.iter().map(ToString::to_string);
        (spec, errors.collect(), warnings.collect())
    }

    #[test]
    fn what_is_off_is_a_warning_and_what_is_on_is_an_error() {
        let spec = json!({
            "components": {"policy": {"enabled": false}, "telemetry": {}, "citadel": null, "pilot": {}},
            "values": {"mixer": {"enabled": true}, "global": {"mtls": {"enabled": false}, "hub": "h"}},
        });
        let (left, errors, warnings) = taken_out(spec, 31);
        assert_eq!(
            left,
            json!({"components": {"pilot": {}}, "values": {"global": {"hub": "h"}}})
        );
        assert_eq!(
            errors,
            [
                "spec.components.telemetry: was removed after Istio 1.7; use Telemetry objects, because proxies report by themselves",
                "spec.values.mixer: was removed after Istio 1.7; use Telemetry and AuthorizationPolicy objects",
            ]
        );
        assert_eq!(
            warnings,
            [
                "spec.components.citadel: was removed after Istio 1.5, and is off here; remove it",
                "spec.components.policy: was removed after Istio 1.7, and is off here; remove it",
                "spec.values.global.mtls: was removed after Istio 1.6, and is off here; remove it",
            ]
        );
    }

    #[test]
    fn what_upstream_ignores_stays() {
        let spec = json!({
            "meshConfig": {
                "disable_policy_checks": true,
                "extensionProviders": [{"name": "a"}, {"name": "b", "opencensus": {"port": 1}}],
            },
            "unvalidatedValues": {"mixer": {"policy": {"enabled": true}}},
        });
        let (left, errors, warnings) = taken_out(spec.clone(), 31);
        assert_eq!((left, errors), (spec, vec![]));
        assert_eq!(
            warnings,
            [
                "spec.unvalidatedValues.mixer: was removed after Istio 1.7; use Telemetry and AuthorizationPolicy objects",
                "spec.meshConfig.disable_policy_checks: was removed after Istio 1.7; use AuthorizationPolicy objects",
                "spec.meshConfig.extensionProviders[1].opencensus: is deprecated; use opentelemetry",
            ]
        );
    }

    #[test]
    fn a_star_stands_for_every_name() {
        let addons =
            json!({"kiali": {"chartPath": "c", "schema": {}}, "tracing": {"chartPath": ""}});
        let (left, errors, warnings) = taken_out(json!({"addonComponents": addons}), 31);
        assert_eq!(
            left,
            json!({"addonComponents": {"kiali": {}, "tracing": {}}})
        );
        assert!(
            errors[0].starts_with("spec.addonComponents.kiali.chartPath: was removed"),
            "{errors:?}"
        );
        assert_eq!(
            warnings,
            [
                "spec.addonComponents.tracing.chartPath: was removed after Istio 1.7, and is off here; remove it",
                "spec.addonComponents.kiali.schema: was removed after Istio 1.7, and is off here; remove it",
            ]
        );
    }

    #[test]
    fn a_setting_is_deprecated_from_a_minor_on() {
        let metadata = json!({"ISTIO_META_DNS_AUTO_ALLOCATE": "true"});
        let spec = json!({"meshConfig": {"defaultConfig": {"proxyMetadata": metadata}}});
        assert_eq!(taken_out(spec.clone(), 24).2, [""; 0]);
        assert_eq!(taken_out(spec, 25).2.len(), 1);
    }

    #[test]
    fn no_row_of_the_table_contradicts_the_schema() {
        let charts = Charts::embedded().unwrap();
        let newest = charts.catalogue().default_version().minor;
        let schema = charts.schema(newest).unwrap();
        for setting in charts.removed().unwrap() {
            let mut keys = setting.path.split('.');
            let root = match keys.next().unwrap() {
                "values" => &schema.values,
                "meshConfig" => &schema.mesh,
                _ => continue,
            };
            let mut node = Some(root);
            for key in keys {
                let reference = node.and_then(|node| node["$ref"].as_str());
                let shape = reference.and_then(|r| schema.shapes.get(r.strip_prefix("#/$defs/")?));
                let properties = shape.or(node).and_then(|node| node.get("properties"));
                node = properties.and_then(|properties| properties.get(key));
            }
            let is_known = node.is_some() || setting.path.contains(['[', '_']);
            let is_removed = setting.last.is_some();
            assert!(
                is_known != is_removed || setting.path.contains('_'),
                "{}",
                setting.path
            );
        }
    }
}
