//! Which components come before another one.

use super::PlanInput;
use crate::api::ComponentKind;
use crate::cluster::{Live, LiveObject, revision_label};
use crate::merge::ControlPlane;
use crate::render::{Object, RenderedComponent};

/// The components that are not as they should be, and why.
#[derive(Default)]
pub(super) struct Gaps {
    found: Vec<(ComponentKind, ControlPlane, String)>,
}

impl Gaps {
    /// Takes in a component that is not as it should be.
    pub(super) fn put(&mut self, kind: ComponentKind, plane: ControlPlane, why: String) {
        self.found.push((kind, plane, why));
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Whether an istiod lacks this.
    pub(super) fn has_istiod(&self, lacks: &str) -> bool {
        let mut istiods = self
            .found
            .iter()
            .filter(|(kind, ..)| *kind == ComponentKind::Pilot);
        istiods.any(|(_, _, why)| why == lacks)
    }

    /// What has to be as it should be before a component is rolled out, and is not. A canary holds up nothing of the
    /// control plane beside it.
    pub(super) fn before(
        &self,
        component: &RenderedComponent,
        input: PlanInput<'_>,
    ) -> Option<&String> {
        let concerns = |kind: ComponentKind, plane: &ControlPlane| {
            kind == ComponentKind::Base || *plane == component.plane
        };
        let mut found = self.found.iter();
        let parent = followed(component, input.live).find_map(|earlier| {
            let mut found = self.found.iter();
            found.find(|(kind, plane, _)| kind == earlier && concerns(*kind, plane))
        });
        let takes_turns = input.takes_gateways_in_turn && component.kind.gateway_key().is_some();
        let is_gateway = |kind: &ComponentKind| kind.gateway_key().is_some();
        let earlier = found.find(|(kind, ..)| takes_turns && is_gateway(kind));
        parent.or(earlier).map(|(_, _, why)| why)
    }
}

/// The components that have to be ready before this one is rolled out.
fn followed(
    component: &RenderedComponent,
    live: &Live,
) -> impl Iterator<Item = &'static ComponentKind> {
    let info = component.kind.info();
    let is_of_other_version = |object: &Object| {
        let live = live.get(&object.key);
        let version = live.and_then(LiveObject::istio_version);
        version.is_some_and(|version| version != component.plane.version)
    };
    let mut objects = component.objects.iter();
    let changes = objects.any(is_of_other_version);
    let more = info.upgraded_after.iter().filter(move |_| changes);
    info.parents.iter().chain(more)
}

/// Whether anything of a component is there in the version and revision that are rendered, so that the component was
/// rolled out after its parents at some time before.
pub(super) fn was_rolled_out(component: &RenderedComponent, input: PlanInput<'_>) -> bool {
    let ControlPlane { version, revision } = &component.plane;
    let (version, revision) = (version.to_string(), revision_label(revision));
    component.objects.iter().any(|object| {
        let live = input.live.get(&object.key);
        live.filter(|live| live.is_owned_by(input.cr))
            .is_some_and(|live| {
                live.owner_labels.version.as_deref() == Some(version.as_str())
                    && live.owner_labels.revision.as_deref() == Some(revision)
            })
    })
}
