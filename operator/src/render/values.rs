//! Computes the values that the chart of a component is rendered with: the chart's defaults, then the layers that the user
//! chose, then the user's values.
//!
//! Upstream's charts do this in `zzz_profile.yaml` and `zzy_descope_legacy.yaml` since 1.24.

use serde_json::Value;

use super::RenderError;
use crate::api::{ComponentInfo, ComponentKind, FieldError, Path, ValuesScope};
use crate::charts::Charts;
use crate::charts::tree::{at, merge_over};
use crate::merge::chart_layers;

/// The values of one component in the three forms that templates read.
#[derive(Debug)]
pub(super) struct ChartValues {
    /// All values.
    pub(super) values: Value,
    /// The values that the chart reads without a prefix.
    pub(super) own: Value,
    /// The user's values before defaults and profiles.
    pub(super) user: Value,
}

/// Computes the values of a component. It fails if `user` names a layer that the minor does not have.
pub(super) fn chart_values(
    charts: &Charts,
    kind: ComponentKind,
    minor: u16,
    user: &Value,
) -> Result<ChartValues, RenderError> {
    let ComponentInfo {
        chart,
        values_root,
        scope,
        ..
    } = kind.info();
    let user = match scope {
        ValuesScope::Flattened => flattened(user, values_root),
        _ => user.clone(),
    };
    for prefix in ["defaults", "_internal_defaults_do_not_set"] {
        if at(&user, &[prefix]).is_some_and(|v| !v.is_null()) {
            let problem = "is not a setting; write its content without this prefix";
            return Err(refusal(&[prefix], problem));
        }
    }
    let (profile, errors) = chart_layers(charts, minor, &user)?;
    if let Some(error) = errors.into_iter().next() {
        return Err(RenderError::Setting(error));
    }
    let mut values = charts.defaults(chart, minor)?;
    merge_over(&mut values, profile.clone());
    if *scope == ValuesScope::Flattened {
        for global in [profile.get("global"), user.get("global")]
            .into_iter()
            .flatten()
        {
            if global.is_object() {
                merge_over(&mut values, global.clone());
            }
        }
    }
    merge_over(&mut values, user.clone());
    let own = own_settings(*scope, values_root, &values);
    Ok(ChartValues { values, own, user })
}

/// The values that a chart reads without a prefix.
fn own_settings(scope: ValuesScope, root: &[&str], values: &Value) -> Value {
    let section = at(values, root);
    match scope {
        ValuesScope::All | ValuesScope::Flattened => values.clone(),
        ValuesScope::RootOnly => section.cloned().unwrap_or_default(),
        ValuesScope::RootOverAll => {
            let mut own = values.clone();
            if let Some(section @ Value::Object(_)) = section {
                merge_over(&mut own, section.clone());
            }
            own
        }
    }
}

/// The values that ztunnel's chart gets: `global`, every top-level value that is not a map, and the content of its section
/// at `root`. Without that section it gets all values.
fn flattened(user: &Value, root: &[&str]) -> Value {
    let own = at(user, root).and_then(Value::as_object);
    let (Some(all), Some(own)) = (user.as_object(), own) else {
        return user.clone();
    };
    let stays = |(key, value): &(&String, &Value)| *key == "global" || !value.is_object();
    let entries = all.iter().filter(stays).chain(own);
    let entries = entries.map(|(key, value)| (key.clone(), value.clone()));
    Value::Object(entries.collect())
}

fn refusal(place: &[&str], problem: &str) -> RenderError {
    let path = Path::root("spec").key("values").keys(place);
    RenderError::Setting(FieldError::new(path, problem))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::sync::LazyLock;

    static CHARTS: LazyLock<Charts> = LazyLock::new(|| Charts::embedded().unwrap());

    fn newest() -> u16 {
        CHARTS.catalogue().default_version().minor
    }

    fn of(kind: ComponentKind, minor: u16, user: &Value) -> Result<ChartValues, RenderError> {
        chart_values(&CHARTS, kind, minor, user)
    }

    fn pilot(minor: u16, user: &Value) -> ChartValues {
        of(ComponentKind::Pilot, minor, user).unwrap()
    }

    fn refused(minor: u16, user: &Value) -> String {
        of(ComponentKind::Pilot, minor, user)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn the_users_values_lie_over_profiles_and_these_over_defaults() {
        let sampling = |user: &Value| pilot(newest(), user).own["traceSampling"].clone();
        assert_eq!(sampling(&json!({})), json!(1));
        assert_eq!(sampling(&json!({"profile": "demo"})), json!(100));
        let user = json!({"profile": "demo", "pilot": {"traceSampling": null}});
        assert_eq!(sampling(&user), json!(null));
    }

    #[test]
    fn istiods_own_settings_blend_the_section_with_everything() {
        let user = json!({"cni": {"chained": false}, "pilot": {"cni": {"enabled": true}}});
        let own = pilot(newest(), &user).own;
        assert_eq!(own["cni"]["enabled"], true);
        assert_eq!(own["cni"]["chained"], false);
    }

    #[test]
    fn ztunnel_sees_its_section_and_global_at_the_top() {
        let user = json!({
            "global": {"network": "n", "logAsJson": true},
            "meshConfig": {"trustDomain": "x"},
            "revision": "r",
            "ztunnel": {"logAsJson": false},
        });
        let found = of(ComponentKind::Ztunnel, newest(), &user).unwrap();
        assert_eq!(found.own["network"], "n");
        assert_eq!(found.own["logAsJson"], false);
        assert_eq!(found.own["revision"], "r");
        assert_eq!(found.own["meshConfig"].get("trustDomain"), None);
        assert_eq!(found.user.get("ztunnel"), None);
    }

    #[test]
    fn a_profile_that_only_ztunnel_names_is_looked_up_too() {
        let user = json!({"ztunnel": {"profile": "nope"}});
        assert!(of(ComponentKind::Pilot, newest(), &user).is_ok());
        let error = of(ComponentKind::Ztunnel, newest(), &user).unwrap_err();
        assert!(
            error.to_string().contains("\"nope\" is not known"),
            "{error}"
        );
    }

    #[test]
    fn the_prefix_of_defaults_is_refused() {
        assert!(
            refused(newest(), &json!({"defaults": {"hub": "x"}}))
                .starts_with("spec.values.defaults")
        );
    }
}
