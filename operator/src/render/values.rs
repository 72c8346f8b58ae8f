//! From the user-level values of a component to the values that its chart is rendered with.
//!
//! Upstream's charts do this in `zzz_profile.yaml` and `zzy_descope_legacy.yaml` since 1.24: chart
//! defaults, under chart profile, compatibility file and platform file, under the user's values.

use serde_json::{Map, Value};

use super::RenderError;
use crate::api::{ComponentKind, FieldError, Path};
use crate::charts::Charts;
use crate::charts::tree::{at, merge_over};

/// The values of one component in the forms in which templates read them.
#[derive(Debug)]
pub(super) struct ChartValues {
    /// Everything.
    pub(super) values: Value,
    /// The component's own settings: what its chart reads without a prefix.
    pub(super) own: Value,
    /// The user's values before defaults and profiles.
    pub(super) user: Value,
}

/// The name of the chart of a component, also that of its directory.
pub(super) const fn chart_of(kind: ComponentKind) -> &'static str {
    match kind {
        ComponentKind::Base => "base",
        ComponentKind::Pilot => "pilot",
        ComponentKind::IngressGateways | ComponentKind::EgressGateways => "gateway",
        ComponentKind::Cni => "cni",
        ComponentKind::Ztunnel => "ztunnel",
    }
}

/// Computes the values of a component; a chart profile, compatibility version or platform that the
/// minor does not know is an error of the CR.
pub(super) fn chart_values(
    charts: &Charts,
    kind: ComponentKind,
    minor: u16,
    user: &Value,
) -> Result<ChartValues, RenderError> {
    let user = if kind == ComponentKind::Ztunnel {
        flattened(user)
    } else {
        user.clone()
    };
    for prefix in ["defaults", "_internal_defaults_do_not_set"] {
        if at(&user, &[prefix]).is_some_and(|v| !v.is_null()) {
            let problem = "is not a setting; write its content without this prefix";
            return Err(refusal(&[prefix], problem));
        }
    }
    let profile = layered_profile(charts, minor, &user)?;
    let mut values = charts.defaults(chart_of(kind), minor)?;
    merge_over(&mut values, profile.clone());
    if kind == ComponentKind::Ztunnel {
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
    let own = own_settings(kind, &values);
    Ok(ChartValues { values, own, user })
}

/// The component's section laid over everything, or for gateways the section alone.
fn own_settings(kind: ComponentKind, values: &Value) -> Value {
    let section = match kind {
        ComponentKind::Base | ComponentKind::Ztunnel => return values.clone(),
        ComponentKind::Pilot => "pilot",
        ComponentKind::Cni => "cni",
        ComponentKind::IngressGateways | ComponentKind::EgressGateways => {
            let key = kind.gateway_key().unwrap_or_default();
            return at(values, &["gateways", key]).cloned().unwrap_or_default();
        }
    };
    let mut own = values.clone();
    if let Some(section) = values.get(section).filter(|s| s.is_object()) {
        merge_over(&mut own, section.clone());
    }
    own
}

/// What ztunnel's chart gets instead of all values: `global`, every top-level value that is no map,
/// and the content of `ztunnel`. Without a `ztunnel` section the values stay as they are.
fn flattened(user: &Value) -> Value {
    let (Some(all), Some(own)) = (
        user.as_object(),
        at(user, &["ztunnel"]).and_then(Value::as_object),
    ) else {
        return user.clone();
    };
    let stays = |(key, value): &(&String, &Value)| *key == "global" || !value.is_object();
    let entries = all.iter().filter(stays).chain(own);
    Value::Object(
        entries
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
    )
}

/// Chart profile, compatibility file and platform file, each laid over the one before.
fn layered_profile(charts: &Charts, minor: u16, user: &Value) -> Result<Value, RenderError> {
    let mut layered = Value::Object(Map::new());
    let profile_places: &[&[&str]] = if minor >= 25 {
        &[&["profile"], &["global", "profile"]]
    } else {
        &[&["profile"]]
    };
    if let Some((place, name)) = first_set(user, profile_places) {
        let known = names(charts, minor, |name| {
            !name.starts_with("platform-") && !name.starts_with("compatibility-")
        })?;
        merge_over(
            &mut layered,
            lookup(charts, minor, place, name, &known, "")?,
        );
    }
    let compatibility = first_set(user, &[&["compatibilityVersion"]]);
    if let Some((place, name)) = compatibility {
        let known = charts
            .catalogue()
            .release(minor)
            .map(|r| r.compatibility.as_slice());
        merge_over(
            &mut layered,
            lookup(
                charts,
                minor,
                place,
                name,
                known.unwrap_or_default(),
                "compatibility-",
            )?,
        );
    }
    let platform_places: &[&[&str]] = if minor >= 25 {
        &[&["platform"], &["global", "platform"]]
    } else {
        &[&["global", "platform"]]
    };
    if let Some((place, name)) = first_set(user, platform_places) {
        let known = names(charts, minor, |name| name.starts_with("platform-"))?;
        let known: Vec<String> = known
            .iter()
            .filter_map(|n| n.strip_prefix("platform-"))
            .map(str::to_owned)
            .collect();
        merge_over(
            &mut layered,
            lookup(charts, minor, place, name, &known, "platform-")?,
        );
    }
    Ok(layered)
}

/// The first of these places whose value is not empty.
fn first_set<'a>(
    user: &'a Value,
    places: &'a [&'a [&'a str]],
) -> Option<(&'a [&'a str], &'a Value)> {
    let is_set = |value: &&Value| !matches!(value, Value::Null) && value.as_str() != Some("");
    places
        .iter()
        .find_map(|place| at(user, place).filter(is_set).map(|value| (*place, value)))
}

/// The chart profiles that this minor has, by a condition on their names.
fn names(
    charts: &Charts,
    minor: u16,
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<String>, RenderError> {
    let mut found = Vec::new();
    for name in charts.chart_profile_names() {
        if wanted(name) && charts.chart_profile(name, minor)?.is_some() {
            found.push(name.to_owned());
        }
    }
    Ok(found)
}

/// The values behind a name that the user chose, if it is one of `known`.
fn lookup(
    charts: &Charts,
    minor: u16,
    place: &[&str],
    chosen: &Value,
    known: &[String],
    prefix: &str,
) -> Result<Value, RenderError> {
    let name = chosen
        .as_str()
        .filter(|name| known.iter().any(|k| k == name));
    let Some(name) = name else {
        let expected = known.join(", ");
        return Err(refusal(
            place,
            &format!("{chosen} is unknown; expected one of {expected}"),
        ));
    };
    let values = charts.chart_profile(&format!("{prefix}{name}"), minor)?;
    Ok(values.unwrap_or_else(|| Value::Object(Map::new())))
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
        let sampling = |user: &Value| pilot(31, user).own["traceSampling"].clone();
        assert_eq!(sampling(&json!({})), json!(1));
        assert_eq!(sampling(&json!({"profile": "demo"})), json!(100));
        let user = json!({"profile": "demo", "pilot": {"traceSampling": null}});
        assert_eq!(sampling(&user), json!(null));
    }

    #[test]
    fn istiods_own_settings_blend_the_section_with_everything() {
        let user = json!({"cni": {"chained": false}, "pilot": {"cni": {"enabled": true}}});
        let own = pilot(31, &user).own;
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
        let found = of(ComponentKind::Ztunnel, 31, &user).unwrap();
        assert_eq!(found.own["network"], "n");
        assert_eq!(found.own["logAsJson"], false);
        assert_eq!(found.own["revision"], "r");
        assert_eq!(found.own["meshConfig"].get("trustDomain"), None);
        assert_eq!(found.user.get("ztunnel"), None);
    }

    #[test]
    fn unknown_names_are_refused_with_what_is_known() {
        assert_eq!(
            refused(31, &json!({"profile": "nope"})),
            "spec.values.profile: \"nope\" is unknown; \
             expected one of ambient, demo, preview, remote, stable"
        );
        assert_eq!(
            refused(26, &json!({"compatibilityVersion": "1.20"})),
            "spec.values.compatibilityVersion: \"1.20\" is unknown; \
             expected one of 1.23, 1.24, 1.25"
        );
        let error = refused(31, &json!({"global": {"platform": "moon"}}));
        assert!(
            error.starts_with("spec.values.global.platform: \"moon\" is unknown"),
            "{error}"
        );
        assert!(
            error.ends_with("gke, k3d, k3s, microk8s, minikube, openshift"),
            "{error}"
        );
        assert!(refused(31, &json!({"profile": 5})).contains("5 is unknown"));
    }

    #[test]
    fn places_and_platforms_that_came_with_1_25_are_not_in_1_24() {
        let user = json!({"global": {"profile": "nope"}, "platform": "nope"});
        assert!(of(ComponentKind::Pilot, 24, &user).is_ok());
        assert!(refused(25, &user).starts_with("spec.values.global.profile: "));
        assert!(refused(24, &json!({"global": {"platform": "gke"}})).contains("unknown"));
        assert!(of(ComponentKind::Pilot, 25, &json!({"platform": "gke"})).is_ok());
    }

    #[test]
    fn the_prefix_of_defaults_is_refused() {
        assert!(
            refused(31, &json!({"defaults": {"hub": "x"}})).starts_with("spec.values.defaults")
        );
    }
}
