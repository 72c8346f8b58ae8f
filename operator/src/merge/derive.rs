//! The spec with its profile beneath it, and what its upper fields mean for `values`.

use serde_json::Value;

use super::tree::{is_true, scalar_text, set};
use crate::catalogue::{Catalogue, Version};
use crate::charts::tree::{at, merge_over};

/// Lays `user` (a spec without top-level nulls) over `profile` and derives `values` from it.
///
/// Upstream sets the derived values, lays the user's `values` over them once more, and by sharing
/// maps between the two steps lets three things win nevertheless: `spec.meshConfig` over
/// `values.meshConfig`, and the enablement of the components pilot and cni over
/// `values.pilot.enabled` and `values.pilot.cni.enabled`. So `values.global.hub`, `.tag` and
/// `values.revision` win over `spec.hub`, `.tag` and `.revision`, but not the other way round.
pub(super) fn derive(
    profile: Value,
    user: &Value,
    version: Version,
    catalogue: &Catalogue,
) -> Value {
    let mut spec = profile;
    if let Some(release) = catalogue.release(version.minor) {
        set(&mut spec, &["hub"], release.hub.as_str().into());
    }
    set(&mut spec, &["tag"], version.to_string().into());
    merge_over(&mut spec, user.clone());
    for (from, to) in [
        ("hub", &["values", "global", "hub"][..]),
        ("tag", &["values", "global", "tag"]),
        ("revision", &["values", "revision"]),
        ("compatibilityVersion", &["values", "compatibilityVersion"]),
    ] {
        if let Some(text) = spec.get(from).and_then(scalar_text) {
            set(&mut spec, to, text.into());
        }
    }
    let mut values = spec["values"].take();
    if let Some(again) = user.get("values") {
        merge_over(&mut values, again.clone());
    }
    if let Some(mesh @ Value::Object(_)) = spec.get("meshConfig") {
        let mut merged = at(&values, &["meshConfig"]).cloned().unwrap_or_default();
        merge_over(&mut merged, mesh.clone());
        set(&mut values, &["meshConfig"], merged);
    }
    let pilot = is_true(&spec, &["components", "pilot", "enabled"]);
    let cni = is_true(&spec, &["components", "cni", "enabled"]);
    set(&mut values, &["pilot", "enabled"], pilot.into());
    set(&mut values, &["pilot", "cni", "enabled"], cni.into());
    spec["values"] = values;
    spec
}
