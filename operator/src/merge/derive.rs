//! Lays the spec over its profile, and derives values from the fields above `values`, such as `hub` and `revision`.

use serde_json::Value;

use super::tree::{is_true, scalar_text, set};
use crate::catalogue::{Catalogue, Version};
use crate::charts::tree::{at, merge_over};

/// Lays `user` (a spec without top-level nulls) over `profile` and derives `values` from it.
///
/// `values.global.hub`, `values.global.tag` and `values.revision` win over `spec.hub`, `spec.tag` and `spec.revision`,
/// because upstream lays the user's `values` over the derived ones once more. Three derived values win over the user's
/// nevertheless, because upstream shares maps between these two steps: `spec.meshConfig` over `values.meshConfig`, and
/// whether pilot and cni are enabled over `values.pilot.enabled` and `values.pilot.cni.enabled`.
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
