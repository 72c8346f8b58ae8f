//! Whether somebody else applied an object under the name of our own field manager.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};

use super::field_ownership::{REPLICAS, is_ours};
use super::live::{LiveObject, digest};

/// What tells a write under our name from one of others, when both happened in one second.
///
/// Entries of managed fields have times in seconds, so a second write of one manager in the same second leaves no trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Digest of the managed fields of all others, with their times.
    others: u64,
    /// The generation, for kinds that have one: it counts writes of the spec.
    generation: Option<i64>,
    /// Digest of labels and annotations.
    metadata: u64,
    /// Whether our entry is as new as any other.
    ours_is_newest: bool,
    /// Whether another manager that wrote in the same second as we did holds labels or annotations.
    others_write_metadata: bool,
    /// Whether another manager that wrote in the same second as we did holds anything but metadata and status.
    others_write_spec: bool,
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
        let our_time = ours.iter().map(time).max();
        let same_second = others.iter().filter(|entry| Some(time(entry)) >= our_time);
        let fields = same_second
            .filter_map(|entry| entry.fields_v1.as_ref()?.0.as_object())
            .flat_map(|fields| fields.keys())
            .filter(|field| *field != "f:status");
        // The deployment controller writes an annotation together with the status.
        let (metadata, spec): (Vec<_>, Vec<_>) = fields.partition(|field| *field == "f:metadata");
        Self {
            others: digest(&parts),
            generation: meta.generation,
            metadata: digest(&(&meta.labels, &meta.annotations)),
            ours_is_newest: our_time >= others.iter().map(time).max(),
            others_write_metadata: !metadata.is_empty(),
            others_write_spec: !spec.is_empty(),
        }
    }

    /// Whether the step from `before` to this may be a write under our name: nobody else can have made it unseen.
    fn has_unexplained_write_since(&self, before: &Self) -> bool {
        let is_spec_changed = self.generation != before.generation;
        if self.others != before.others || !self.ours_is_newest {
            false
        } else if self.generation.is_none() {
            !self.others_write_metadata && !self.others_write_spec
        } else if is_spec_changed {
            !self.others_write_spec
        } else {
            // If neither changed, it was a status write.
            self.metadata != before.metadata && !self.others_write_metadata
        }
    }
}

impl LiveObject {
    /// Compares with the state before, to recognize an apply under our name by somebody else.
    ///
    /// Such an apply changes the time of our entry, except in the second in which we wrote ourselves. In that second, a
    /// write that no entry of another manager explains may be one.
    pub fn compare_with(&mut self, before: &Self) {
        if before.uid != self.uid {
            return;
        }
        self.unexplained = before.unexplained;
        if self.version > before.version
            && self.our_fields == before.our_fields
            && self.applied_at == before.applied_at
            && !self.terminating
            && self.evidence.has_unexplained_write_since(&before.evidence)
            && !self.is_scaled_since(before)
        {
            self.unexplained = self.version;
        }
    }

    /// Whether the workload was scaled, and not by us. Scaling may leave no entry at all, or one whose time stays; but an
    /// apply that sets replicas holds them afterwards.
    fn is_scaled_since(&self, before: &Self) -> bool {
        let is_ours = self.co_owned.ours.iter().any(|path| path == REPLICAS);
        self.replicas() != before.replicas() && !is_ours
    }
}
