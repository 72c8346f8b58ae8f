//! Two control planes beside each other, and gateways that take turns.

use super::*;

const CANARY: Version = Version {
    minor: 32,
    patch: 0,
};

/// The sample with a canary beside istiod.
fn beside() -> Rendered {
    let canary = RenderedComponent {
        kind: ComponentKind::Pilot,
        name: "istiod-1-32-0".into(),
        plane: ControlPlane {
            version: CANARY,
            revision: "1-32-0".into(),
        },
        objects: vec![object("Deployment", "istiod-1-32-0", &json!({"spec": {}}))],
    };
    let mut rendered = sample();
    rendered.components.push(canary);
    rendered
}

/// The sample with two gateways, which scale to this.
fn gateways(replicas: u8) -> Rendered {
    let mut rendered = sample();
    let second = RenderedComponent {
        name: "edge".into(),
        objects: vec![object(
            "Deployment",
            "edge",
            &json!({"spec": {"replicas": replicas}}),
        )],
        ..rendered.components[1].clone()
    };
    let first = object(
        "Deployment",
        "istio-ingressgateway",
        &json!({"spec": {"replicas": replicas}}),
    );
    rendered.components[1].objects = vec![first];
    rendered.components.insert(2, second);
    rendered
}

#[test]
fn a_canary_holds_up_nothing_of_what_serves() {
    let mut world = World::new();
    world.install();
    let plan = world.plan(beside());
    assert_eq!(world.apply(plan), ["Deployment istio-system/istiod-1-32-0"]);
    world.edit(&key("Deployment", "istiod-1-32-0"), |istiod| {
        assert_eq!(istiod.istio_version(), Some(CANARY));
        assert_eq!(istiod.owner_labels.revision.as_deref(), Some("1-32-0"));
        istiod.readiness = Some(Readiness::Workload(Workload {
            desired: 1,
            ..Workload::default()
        }));
    });
    let mut edited = beside();
    edited.components[1].objects[0] = object(
        "Deployment",
        "istio-ingressgateway",
        &json!({"spec": {"replicas": 3}}),
    );
    let plan = world.plan(edited);
    assert!(
        plan.prune.is_empty() && !plan.is_in_sync,
        "the canary is not ready"
    );
    assert_eq!(
        world.apply(plan),
        ["Deployment istio-system/istio-ingressgateway"]
    );
    // Taken back, it is nobody's any more, and stays until it was looked at.
    let plan = world.plan(sample());
    assert_eq!(plan.findings.len(), 1, "{:?}", plan.findings);
}

#[test]
fn gateways_take_turns_where_they_are_to() {
    for (in_turn, first) in [(true, 1), (false, 2)] {
        let mut world = World::new();
        world.takes_gateways_in_turn = in_turn;
        for _ in 0..4 {
            let plan = world.plan(gateways(2));
            world.apply(plan);
            world.remember_in_sync();
        }
        let plan = world.plan(gateways(3));
        assert_eq!(plan.waves.iter().flatten().count(), first, "{in_turn}");
        world.apply(plan);
        world.remember_in_sync();
        let plan = world.plan(gateways(3));
        assert_eq!(world.apply(plan).len(), 2 - first, "{in_turn}");
    }
}
