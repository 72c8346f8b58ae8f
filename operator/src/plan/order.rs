//! The order in which objects are applied.

use crate::cluster::{Kind, Role};
use crate::render::{Object, Rendered};

/// All objects in the order in which a cluster that has none of them gets them: parents first, and within a component
/// what workloads read before the workloads.
#[must_use]
pub fn in_apply_order(rendered: &Rendered) -> Vec<&Object> {
    let role = |object: &Object| Kind::of(&object.key).map_or(Role::Config, |kind| kind.role);
    let mut objects: Vec<_> = rendered
        .components
        .iter()
        .flat_map(|component| {
            component
                .objects
                .iter()
                .map(|object| (component.kind, object))
        })
        .collect();
    objects.sort_by_key(|(component, object)| (component.apply_rank(), role(object)));
    objects.into_iter().map(|(_, object)| object).collect()
}
