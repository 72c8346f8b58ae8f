//! Reads `k8s.overlays`.

use serde_json::Value;

use super::{Overlay, OverlayPatch};
use crate::api::Path;

/// The overlays of a component, in list order. Parts of a wrong type read as empty; the check of the schema refuses them.
pub(super) fn overlays(written: Option<&Value>, path: &Path) -> Vec<Overlay> {
    let entries = written
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .enumerate();
    let read = |(index, entry): (usize, &Value)| {
        let path = path.index(index);
        let text = |key| {
            entry
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        Overlay {
            kind: text("kind"),
            name: text("name"),
            patches: patches(entry.get("patches"), &path.key("patches")),
            path,
        }
    };
    entries.map(read).collect()
}

fn patches(written: Option<&Value>, path: &Path) -> Vec<OverlayPatch> {
    let entries = written
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .enumerate();
    let read = |(index, entry): (usize, &Value)| OverlayPatch {
        target: entry
            .get("path")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
        value: entry.get("value").cloned().unwrap_or_default(),
        path: path.index(index),
    };
    entries.map(read).collect()
}
