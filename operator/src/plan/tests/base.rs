//! What revisions share is that of the newest, and CRDs never get older.

use super::*;

const CRD: &str = "CustomResourceDefinition gateways.networking.istio.io";
const READER: &str = "ServiceAccount istio-system/reader";

fn base() -> Rendered {
    let mut rendered = sample();
    rendered
        .components
        .retain(|component| component.kind == ComponentKind::Base);
    rendered
}

impl World {
    /// One pass of base in this version; what was sent.
    fn base_pass(&mut self, minor: u16) -> Vec<String> {
        self.version = Version { minor, patch: 0 };
        let plan = self.plan(base());
        let sent = self.apply(plan);
        self.remember_in_sync();
        sent
    }
}

#[test]
fn a_step_back_leaves_crds_as_they_are() {
    let mut world = World::new();
    assert_eq!(world.base_pass(31), [CRD, READER]);
    assert_eq!(world.base_pass(30), [READER]);
    assert!(world.plan(base()).is_in_sync);
    assert_eq!(world.base_pass(31), [READER]);
}

#[test]
fn a_newer_cr_takes_base_over_and_an_older_one_does_not() {
    let mut world = World::new();
    let other = CrKey {
        namespace: "mesh".into(),
        name: "other".into(),
    };
    world.desired.add_cr(&other);
    world.desired.set_objects(&other, keys(&base()));
    world.base_pass(30);
    let owned_by_other = |world: &mut World| {
        let owned: Vec<_> = world.live.iter().map(|(key, _)| key.clone()).collect();
        for key in owned {
            world.edit(&key, |object| {
                object.owner_labels.owner = Some(other.clone());
            });
        }
    };
    owned_by_other(&mut world);
    assert_eq!(world.base_pass(31), [CRD, READER]);
    owned_by_other(&mut world);
    assert!(world.base_pass(31).is_empty());
    assert!(world.base_pass(30).is_empty());
}
