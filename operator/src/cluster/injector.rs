//! What configurations of injection webhooks say about revisions and tags, live ones and those that a CR renders.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;

use super::field_ownership::is_ours;
use super::owner_labels::REVISION;
use crate::charts::yaml::Manifest;
use crate::merge::{Merged, revision_label};
use crate::render::{ObjectKey, Rendered, TAG};

/// The name of the default tag, and of the default revision in labels.
pub(crate) const DEFAULT: &str = "default";
const WEBHOOKS: &str = "MutatingWebhookConfiguration";

/// For whom a live configuration of injection webhooks stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Injector {
    /// For this revision.
    Revision(String),
    /// For the default tag, which is a name of this revision.
    DefaultTag(String),
    /// For another tag.
    Tag {
        /// Its name.
        name: String,
        /// The revision that it is a name of.
        revision: String,
    },
}

impl Injector {
    /// Whether objects such as `key` are configurations of injection webhooks, or may be.
    #[must_use]
    pub fn is_injector(key: &ObjectKey) -> bool {
        key.kind == WEBHOOKS
    }

    /// Reads the labels of a live object of `kind`; `None` if it is no such configuration.
    pub(crate) fn read(kind: &str, labels: &BTreeMap<String, String>) -> Option<Self> {
        let revision = labels.get(REVISION).filter(|_| kind == WEBHOOKS)?.clone();
        Some(match labels.get(TAG).map(String::as_str) {
            None => Self::Revision(revision),
            Some(DEFAULT) => Self::DefaultTag(revision),
            Some(name) => Self::Tag {
                name: name.to_owned(),
                revision,
            },
        })
    }

    /// The tag that it stands for, with the revision behind it.
    #[must_use]
    pub fn tag(&self) -> Option<(&str, &str)> {
        match self {
            Self::Revision(_) => None,
            Self::DefaultTag(revision) => Some((DEFAULT, revision)),
            Self::Tag { name, revision } => Some((name, revision)),
        }
    }
}

/// Whether the object of a tag, which our applies made, was pointed to another revision since. Our owner labels stay on
/// it then, and mean nothing.
pub(crate) fn was_repointed(
    labels: &BTreeMap<String, String>,
    entries: &[ManagedFieldsEntry],
) -> bool {
    if !labels.contains_key(TAG) {
        return false;
    }
    let field = format!("/f:metadata/f:labels/f:{}", REVISION.replace('/', "~1"));
    let ours = entries.iter().find(|entry| is_ours(entry));
    let fields = ours.and_then(|entry| entry.fields_v1.as_ref());
    fields.is_some_and(|fields| fields.0.pointer(&field).is_none())
}

/// Whether a rendered object belongs to a tag, the default one or another.
pub(crate) fn belongs_to_tag(body: &Manifest) -> bool {
    label(body, TAG).is_some()
}

/// Whether a rendered object belongs to the default tag.
pub(crate) fn belongs_to_default_tag(body: &Manifest) -> bool {
    label(body, TAG).as_deref() == Some(DEFAULT)
}

/// Whether a rendered object is the configuration of injection webhooks of the default revision itself, which rests
/// while there is a default tag.
pub(crate) fn is_deactivated_injector(key: &ObjectKey, body: &Manifest, revision: &str) -> bool {
    revision.is_empty() && Injector::is_injector(key) && !belongs_to_tag(body)
}

fn label(body: &Manifest, key: &str) -> Option<String> {
    let labels = &body.field("metadata")["labels"];
    labels.get(key)?.as_str().map(str::to_owned)
}

/// What a living CR has to do with the default tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagRequest {
    /// Its revision, as labels have it.
    pub revision: String,
    /// Whether it wants the tag.
    pub mode: TagMode,
}

/// Whether a CR wants the default tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagMode {
    /// It renders no injection webhooks, or leaves webhooks to somebody else.
    Never,
    /// As `istioctl install` does, unless another revision has it.
    IfUnassigned,
    /// Its `values.revisionTags` name it.
    Explicit,
    /// It is paused: it keeps the tag if it has it, and does not take it.
    Keep,
}

impl TagRequest {
    /// What follows from a CR as it is rendered.
    #[must_use]
    pub fn of(merged: &Merged, rendered: &Rendered) -> Self {
        let objects = rendered
            .components
            .iter()
            .flat_map(|component| &component.objects);
        let mut webhooks = objects.filter(|object| Injector::is_injector(&object.key));
        let mode = if !webhooks.any(|object| belongs_to_default_tag(&object.body)) {
            TagMode::Never
        } else if rendered.names_default_tag {
            TagMode::Explicit
        } else {
            TagMode::IfUnassigned
        };
        Self {
            revision: revision_label(&merged.revision).to_owned(),
            mode,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::CrKey;
    use crate::cluster::LiveObject;

    #[test]
    fn our_labels_on_a_tag_that_was_moved_mean_nothing() {
        let entry = |manager: &str, field: &str| {
            json!({"manager": manager, "operation": "Apply",
                "fieldsV1": {"f:metadata": {"f:labels": {field: {}}}}})
        };
        let read = |rev_of_ours: &str, tag: &str| {
            let labels = json!({
                "install.operator.istio.io/owning-resource": "a",
                "install.operator.istio.io/owning-resource-namespace": "mesh",
                "istio.io/rev": "canary",
                tag: "default",
            });
            let entries = json!([
                entry("istio-operator", rev_of_ours),
                entry("istio-ci", "f:istio.io/rev")
            ]);
            let meta = json!({"labels": labels, "managedFields": entries});
            LiveObject::read(WEBHOOKS, &serde_json::from_value(meta).unwrap())
        };
        let a = CrKey {
            namespace: "mesh".into(),
            name: "a".into(),
        };
        let kept = read("f:istio.io/rev", TAG);
        assert_eq!(kept.owner_labels.owner, Some(a.clone()));
        assert_eq!(kept.injector, Some(Injector::DefaultTag("canary".into())));
        assert_eq!(read("f:app", TAG).owner_labels.owner, None);
        assert_eq!(read("f:app", "other").owner_labels.owner, Some(a), "no tag");
    }
}
