//! What lies between a chart's defaults and the user's values: chart profile, compatibility file and platform file.
//!
//! Upstream's charts choose them in `zzz_profile.yaml`, since 1.24. The check of a CR and the rendering of each component
//! ask here, so that they cannot disagree.

use serde_json::{Map, Value};

use crate::api::{FieldError, Path};
use crate::charts::tree::{at, merge_over};
use crate::charts::{ChartError, Charts};

/// One of the layers: a file under `profiles/values/` that a value names.
struct Layer {
    /// What it is called in errors.
    name: &'static str,
    /// What the names of its files begin with.
    prefix: &'static str,
    /// The keys under `values` that name the file, of which the first that is set decides. A minor whose schema has no such
    /// key does not look there.
    places: &'static [&'static [&'static str]],
}

const PLATFORM: &str = "platform-";
const COMPATIBILITY: &str = "compatibility-";

/// The layers, the lowest first.
const LAYERS: [Layer; 3] = [
    Layer {
        name: "chart profile",
        prefix: "",
        places: &[&["profile"], &["global", "profile"]],
    },
    Layer {
        name: "compatibility version",
        prefix: COMPATIBILITY,
        places: &[&["compatibilityVersion"]],
    },
    Layer {
        name: "platform",
        prefix: PLATFORM,
        places: &[&["platform"], &["global", "platform"]],
    },
];

/// The layers that `values` name, laid over each other, and an error for each name that `minor` does not have. It fails if
/// the charts are broken.
pub fn chart_layers(
    charts: &Charts,
    minor: u16,
    values: &Value,
) -> Result<(Value, Vec<FieldError>), ChartError> {
    let mut layered = Value::Object(Map::new());
    let mut errors = Vec::new();
    for layer in &LAYERS {
        let Some((place, chosen)) = layer.chosen(charts, minor, values)? else {
            continue;
        };
        let known = layer.names(charts, minor)?;
        if let Some(name) = chosen.as_str().filter(|name| known.contains(name)) {
            let file = format!("{}{name}", layer.prefix);
            let values = charts.chart_profile(&file, minor)?;
            merge_over(&mut layered, values.unwrap_or(Value::Object(Map::new())));
        } else {
            let (name, known) = (layer.name, known.join(", "));
            let problem =
                format!("{name} {chosen} is not known in Istio 1.{minor}; the known are {known}");
            let path = Path::root("spec").key("values").keys(place);
            errors.push(FieldError::new(path, problem));
        }
    }
    Ok((layered, errors))
}

impl Layer {
    /// The place that decides in this minor, and what it holds; none if no place is set.
    fn chosen<'v>(
        &self,
        charts: &Charts,
        minor: u16,
        values: &'v Value,
    ) -> Result<Option<(&'static [&'static str], &'v Value)>, ChartError> {
        let schema = &charts.schema(minor)?.values;
        let is_known = |place: &&&[&str]| {
            let mut fields = place.iter();
            fields
                .try_fold(schema, |node, key| node.get("properties")?.get(key))
                .is_some()
        };
        let is_set = |value: &&Value| !value.is_null() && **value != "";
        let mut places = self.places.iter().filter(is_known);
        Ok(places.find_map(|place| Some((*place, at(values, place).filter(is_set)?))))
    }

    /// The names that a minor has, sorted.
    fn names<'c>(&self, charts: &'c Charts, minor: u16) -> Result<Vec<&'c str>, ChartError> {
        if self.prefix == COMPATIBILITY {
            // The catalogue says it, because a compatibility version may change nothing in a minor.
            let release = charts.catalogue().release(minor);
            let known = release.map_or(&[][..], |release| &release.compatibility);
            return Ok(known.iter().map(String::as_str).collect());
        }
        let mut names = Vec::new();
        for file in charts.chart_profile_names() {
            let is_other = |prefix: &str| self.prefix.is_empty() && file.starts_with(prefix);
            let Some(name) = file.strip_prefix(self.prefix) else {
                continue;
            };
            if [PLATFORM, COMPATIBILITY].into_iter().any(is_other) {
                continue;
            }
            if charts.chart_profile(file, minor)?.is_some() {
                names.push(name);
            }
        }
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn errors(minor: u16, values: &Value) -> Vec<String> {
        let charts = Charts::embedded().unwrap();
        let (_, errors) = chart_layers(&charts, minor, values).unwrap();
        errors.iter().map(ToString::to_string).collect()
    }

    fn newest() -> u16 {
        let charts = Charts::embedded().unwrap();
        charts.catalogue().default_version().minor
    }

    #[test]
    fn a_later_layer_lies_over_an_earlier_one() {
        let charts = Charts::embedded().unwrap();
        let values = json!({"profile": "ambient", "platform": "gke"});
        let (layers, errors) = chart_layers(&charts, newest(), &values).unwrap();
        assert_eq!(errors, []);
        for name in ["ambient", "platform-gke"] {
            let mut with_file = layers.clone();
            let file = charts.chart_profile(name, newest()).unwrap().unwrap();
            merge_over(&mut with_file, file);
            assert_eq!(with_file, layers, "{name}");
        }
    }

    #[test]
    fn unknown_names_are_refused_with_what_is_known() {
        assert_eq!(
            errors(
                26,
                &json!({"profile": "nope", "compatibilityVersion": "1.20"})
            ),
            [
                "spec.values.profile: chart profile \"nope\" is not known in Istio 1.26; \
                 the known are ambient, demo, preview, remote, stable",
                "spec.values.compatibilityVersion: compatibility version \"1.20\" is not known in Istio 1.26; \
                 the known are 1.23, 1.24, 1.25"
            ]
        );
        let error = &errors(newest(), &json!({"global": {"platform": "moon"}}))[0];
        assert!(
            error.starts_with("spec.values.global.platform: platform \"moon\" is not known"),
            "{error}"
        );
        assert!(
            error.ends_with("gke, k3d, k3s, microk8s, minikube, openshift"),
            "{error}"
        );
        assert!(
            errors(newest(), &json!({"profile": 5}))[0].contains("chart profile 5 is not known")
        );
    }

    #[test]
    fn places_and_platforms_that_a_minor_lacks_are_not_looked_at() {
        let values = json!({"global": {"profile": "nope"}, "platform": "nope"});
        assert_eq!(errors(24, &values), [""; 0]);
        assert!(errors(25, &values)[0].starts_with("spec.values.global.profile: "));
        assert_eq!(errors(24, &json!({"global": {"platform": "gke"}})).len(), 1);
        assert_eq!(errors(25, &json!({"platform": "gke"})), [""; 0]);
    }

    #[test]
    fn an_empty_name_is_none() {
        let values = json!({"profile": "", "compatibilityVersion": null});
        assert_eq!(errors(newest(), &values), [""; 0]);
    }
}
