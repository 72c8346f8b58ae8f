//! In a change of the version, each component of an ambient mesh is complete before the next one begins.

use super::*;

const ORDER: [(ComponentKind, &str, &str); 4] = [
    (ComponentKind::Pilot, "Deployment", "istiod"),
    (ComponentKind::Cni, "DaemonSet", "istio-cni-node"),
    (ComponentKind::Ztunnel, "DaemonSet", "ztunnel"),
    (ComponentKind::IngressGateways, "Deployment", "edge"),
];

/// The mesh, with its components in another order than that of an upgrade.
fn mesh() -> Rendered {
    let component = |(component, kind, name): (ComponentKind, &str, &str)| RenderedComponent {
        kind: component,
        name: name.to_owned(),
        plane: merged().control_plane(),
        objects: vec![object(kind, name, &json!({"spec": {}}))],
    };
    Rendered {
        components: ORDER.into_iter().rev().map(component).collect(),
        names_default_tag: false,
        warnings: Vec::new(),
        privileges: Vec::new(),
    }
}

/// One pass in a minor; what was sent.
fn pass(world: &mut World, minor: u16) -> Vec<String> {
    world.version = Version { minor, patch: 0 };
    let plan = world.plan(mesh());
    world.apply(plan)
}

/// Istio's issues 58523 and 53843.
#[test]
fn an_ambient_mesh_goes_up_one_component_after_the_other() {
    let mut world = World::new();
    for _ in ORDER {
        pass(&mut world, 30);
        world.remember_in_sync();
    }
    for (_, kind, name) in ORDER {
        let sent = pass(&mut world, 31);
        assert_eq!(sent, [format!("{kind} istio-system/{name}")]);
        world.edit(&key(kind, name), |workload| {
            workload.readiness = Some(Readiness::Workload(Workload {
                desired: 3,
                updated: 2,
                available: 2,
                ..Workload::default()
            }));
        });
        let sent = pass(&mut world, 31);
        assert!(sent.is_empty(), "{name} is not ready on one node: {sent:?}");
        world.remember_in_sync();
    }
    assert_eq!(pass(&mut world, 31), [""; 0]);
}
