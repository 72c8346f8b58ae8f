//! The profile that a CR starts from.

use serde_json::Value;

use crate::api::{Mistake, Path};
use crate::catalogue::Version;
use crate::charts::Charts;
use crate::charts::tree::merge_over;

/// The spec of the profile `default` with the named profile of `spec` laid over it.
pub(super) fn read(spec: &Value, version: Version, charts: &Charts) -> Result<Value, Mistake> {
    let name = match spec.get("profile") {
        Some(Value::String(name)) if !name.is_empty() => name.as_str(),
        _ => "default",
    };
    let names = charts.profile_names();
    let mistake = |problem| Mistake {
        path: Path::root("spec").key("profile"),
        problem,
    };
    if !names.contains(&name) {
        let known = names.join(", ");
        return Err(mistake(format!(
            "profile {name:?} is not known; the known are {known}"
        )));
    }
    let read = |name| {
        let profile = charts.profile(name, version.minor);
        let profile = profile.map_err(|error| mistake(error.to_string()))?;
        Ok(profile.unwrap_or_default())
    };
    let mut base = read("default")?;
    if name != "default" {
        merge_over(&mut base, read(name)?);
    }
    Ok(base)
}
