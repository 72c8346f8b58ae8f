//! Which components come before another one.

use super::PlanInput;
use crate::api::ComponentKind;
use crate::cluster::{Live, LiveObject, revision_label};
use crate::merge::Merged;
use crate::render::{Object, RenderedComponent};

/// The components that have to be ready before this one is rolled out.
pub(super) fn followed(
    component: &RenderedComponent,
    merged: &Merged,
    live: &Live,
) -> impl Iterator<Item = &'static ComponentKind> {
    let info = component.kind.info();
    let is_of_other_version = |object: &Object| {
        let live = live.get(&object.key);
        let version = live.and_then(LiveObject::istio_version);
        version.is_some_and(|version| version != merged.version)
    };
    let mut objects = component.objects.iter();
    let changes = objects.any(is_of_other_version);
    let more = info.upgraded_after.iter().filter(move |_| changes);
    info.parents.iter().chain(more)
}

/// Whether anything of a component is there in the version and revision that are rendered, so that the component was
/// rolled out after its parents at some time before.
pub(super) fn was_rolled_out(
    component: &RenderedComponent,
    merged: &Merged,
    input: PlanInput<'_>,
) -> bool {
    let (version, revision) = (merged.version.to_string(), revision_label(&merged.revision));
    component.objects.iter().any(|object| {
        let live = input.live.get(&object.key);
        live.filter(|live| live.is_owned_by(input.cr))
            .is_some_and(|live| {
                live.owner_labels.version.as_deref() == Some(version.as_str())
                    && live.owner_labels.revision.as_deref() == Some(revision)
            })
    })
}
