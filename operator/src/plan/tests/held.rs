//! While the version may not change, nothing is rolled out or pruned, and what was lost comes back.

use super::*;

/// An installation whose operator was restarted, and whose CR asks for a version that it may not have.
fn held() -> World {
    let mut world = World::new();
    world.install();
    world.last_applied = LastApplied::default();
    world.held_by = Some("the step is refused");
    world
}

#[test]
fn a_lost_object_comes_back() {
    let mut world = held();
    world.live.remove(&key("Deployment", "istiod"));
    let plan = world.plan(sample());
    assert_eq!(world.apply(plan), ["Deployment istio-system/istiod"]);
}

#[test]
fn nothing_is_rolled_out_or_pruned() {
    let mut world = held();
    let plan = world.plan(sample());
    assert!(plan.waves.is_empty());
    assert_eq!(plan.postponed.len(), 7);

    // All of it is known to be as it should be, but a gateway is not rendered any more.
    let mut world = World::new();
    world.install();
    let mut rendered = sample();
    rendered
        .components
        .retain(|component| component.kind != ComponentKind::IngressGateways);
    world.held_by = Some("the step is refused");
    let plan = world.plan(rendered.clone());
    assert!(plan.prune.is_empty() && !plan.is_in_sync);
    world.held_by = None;
    assert_eq!(world.plan(rendered).prune.len(), 1);
}
