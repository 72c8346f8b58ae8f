//! Reads the profile that a CR starts from.

use serde_json::{Value, json};

use super::check::Findings;
use crate::api::{FieldError, Path};
use crate::catalogue::Version;
use crate::charts::Charts;
use crate::charts::tree::merge_over;

/// The spec of the profile `default`, with the profile that `spec` names laid over it. An unknown name is an error; the rest
/// of the spec is then checked over `default` alone.
pub(super) fn read(
    spec: &Value,
    version: Version,
    charts: &Charts,
    findings: &mut Findings,
) -> Value {
    let mut refuse = |problem: String| findings.error(Path::root("spec").key("profile"), problem);
    let mut profile = Value::Object(<_>::default());
    let chosen = spec
        .get("profile")
        .and_then(Value::as_str)
        .filter(|name| !name.is_empty());
    for name in ["default"]
        .into_iter()
        .chain(chosen.filter(|name| *name != "default"))
    {
        let mut known = charts.profile_names();
        if !known.contains(&name) {
            known.sort_unstable();
            refuse(unknown(name, &known, charts));
            continue;
        }
        match charts.profile(name, version.minor) {
            Ok(layer) => merge_over(&mut profile, layer.unwrap_or_default()),
            Err(error) => refuse(error.to_string()),
        }
    }
    profile
}

/// The spec that a CR starts from which names this profile and nothing else, with the release's hub and tag.
pub fn profile_spec(name: &str, version: Version, charts: &Charts) -> Result<Value, FieldError> {
    let mut findings = Findings::default();
    let user = json!({"profile": name});
    let mut spec = read(&user, version, charts, &mut findings);
    if let Some(error) = findings.errors.into_iter().next() {
        return Err(error);
    }
    if let Some(release) = charts.catalogue().release(version.minor) {
        spec["hub"] = release.hub.as_str().into();
    }
    spec["tag"] = version.to_string().into();
    merge_over(&mut spec, user);
    Ok(spec)
}

/// The problem of a name that no profile has.
fn unknown(name: &str, known: &[&str], charts: &Charts) -> String {
    // A table that cannot be read is reported where the spec is searched for its settings.
    let removed = charts.removed().unwrap_or_default();
    let path = format!("profile.{name}");
    match removed.iter().find(|setting| setting.path == path) {
        Some(setting) => format!("profile {name:?} {}", setting.story()),
        None => format!(
            "profile {name:?} is not known; the known are {}",
            known.join(", ")
        ),
    }
}
