//! Injection templates are never newer than the oldest istiod that runs.

use super::*;

fn mesh() -> Rendered {
    let istiod = RenderedComponent {
        kind: ComponentKind::Pilot,
        name: "istiod".into(),
        plane: merged().control_plane(),
        objects: vec![
            object(
                "ConfigMap",
                "istio-sidecar-injector",
                &json!({"data": {"config": "x"}}),
            ),
            object("ConfigMap", "istio", &json!({"data": {"mesh": "x"}})),
            object("Deployment", "istiod", &json!({"spec": {}})),
        ],
    };
    Rendered {
        components: vec![istiod],
        names_default_tag: false,
        warnings: Vec::new(),
        privileges: Vec::new(),
    }
}

impl World {
    /// One pass in this version; what was sent.
    fn pass(&mut self, minor: u16) -> Vec<String> {
        self.version = Version { minor, patch: 0 };
        let plan = self.plan(mesh());
        self.apply(plan)
    }
}

const TEMPLATES: &str = "ConfigMap istio-system/istio-sidecar-injector";
const MESH: &str = "ConfigMap istio-system/istio";
const ISTIOD: &str = "Deployment istio-system/istiod";

#[test]
fn on_the_way_up_they_follow_istiod_and_on_the_way_down_they_go_first() {
    let mut world = World::new();
    assert_eq!(world.pass(30), [TEMPLATES, MESH, ISTIOD]);
    world.remember_in_sync();

    assert_eq!(world.pass(31), [MESH, ISTIOD]);
    let unready = Workload {
        desired: 1,
        ..Workload::default()
    };
    world.edit(&key("Deployment", "istiod"), |istiod| {
        istiod.readiness = Some(Readiness::Workload(unready));
    });
    assert!(world.pass(31).is_empty(), "istiod is not ready");
    world.remember_in_sync();
    assert_eq!(world.pass(31), [TEMPLATES]);

    assert_eq!(world.pass(30), [TEMPLATES, MESH, ISTIOD]);
}

#[test]
fn templates_of_the_same_version_wait_for_nobody() {
    let mut world = World::new();
    world.pass(31);
    let key = key("ConfigMap", "istio-sidecar-injector");
    world.edit(&key, |object| object.our_fields = Some(7));
    assert_eq!(world.pass(31), [TEMPLATES], "istiod is not ready");
}
