//! Whether somebody else applied an object under the name of our own field manager.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};

use super::field_ownership::{REPLICAS, is_ours};
use super::live::{LiveObject, digest};

/// What tells a write under our name from one of others, when both happened in one second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Digest of the managed fields of all others, with their times.
    others: u64,
    /// Digest of what is not status, for kinds that have a generation: the generation, labels and annotations.
    content: Option<u64>,
    /// Whether our entry is as new as any other.
    ours_is_newest: bool,
}

impl Evidence {
    /// Reads the metadata of a live object.
    pub(super) fn read(meta: &ObjectMeta) -> Self {
        let entries = meta.managed_fields.as_deref().unwrap_or_default();
        let (ours, others): (Vec<_>, Vec<_>) = entries.iter().partition(|entry| is_ours(entry));
        let time = |entry: &&ManagedFieldsEntry| entry.time.as_ref().map(|time| time.0);
        let parts: Vec<_> = others
            .iter()
            .map(|entry| {
                let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
                (
                    &entry.manager,
                    &entry.operation,
                    &entry.subresource,
                    time(entry),
                    fields,
                )
            })
            .collect();
        Self {
            others: digest(&parts),
            content: meta
                .generation
                .map(|generation| digest(&(generation, &meta.labels, &meta.annotations))),
            ours_is_newest: ours.iter().map(time).max() >= others.iter().map(time).max(),
        }
    }
}

impl LiveObject {
    /// Compares with the state before, to recognize an apply under our name by somebody else.
    ///
    /// Such an apply changes the time of our entry, except in the second in which we wrote ourselves. In that second, a
    /// write that no entry of another manager explains may be one. For kinds that have a generation, it is taken for a
    /// status write if generation, labels and annotations stay.
    pub fn compare_with(&mut self, before: &Self) {
        if before.uid != self.uid {
            return;
        }
        self.unexplained = before.unexplained;
        let is_explained = self.our_fields != before.our_fields
            || self.applied_at != before.applied_at
            || self.evidence.others != before.evidence.others
            || self.terminating;
        let may_be_status =
            self.evidence.content.is_some() && self.evidence.content == before.evidence.content;
        if self.version > before.version
            && !is_explained
            && self.evidence.ours_is_newest
            && !may_be_status
            && !self.is_scaled_since(before)
        {
            self.unexplained = self.version;
        }
    }

    /// Whether somebody who owns the replicas changed them. The API server keeps the time of an entry of the scale
    /// subresource when the same manager scales again.
    fn is_scaled_since(&self, before: &Self) -> bool {
        let mut others = self.co_owned.others.iter();
        self.replicas() != before.replicas() && others.any(|path| path == REPLICAS)
    }
}
