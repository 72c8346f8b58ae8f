//! When an old revision may go: nobody uses it, everything was looked at, and that stays so for the grace period.

use std::collections::HashMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

use super::*;
use crate::cluster::{OwnerLabels, TagMode, TagRequest};
use crate::dataplane::Verdict;

const GRACE: Duration = Duration::from_mins(10);
const SECOND: Duration = Duration::from_secs(1);

/// A CR of the revision `green` that has istiod of `blue` still.
struct World {
    state: State,
    cr: CrKey,
    now: Instant,
}

fn cr(name: &str) -> CrKey {
    CrKey {
        namespace: "mesh".into(),
        name: name.into(),
    }
}

fn istiod(revision: &str) -> ObjectKey {
    ObjectKey {
        group: "apps".into(),
        kind: "Deployment".into(),
        namespace: Some("istio-system".into()),
        name: format!("istiod-{revision}"),
    }
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            state: State::new(None, [].into_iter()),
            cr: cr("one"),
            now: Instant::now(),
        };
        for source in &SOURCES {
            world.state.users.put_listing(source, Listing::Listed);
        }
        world.add_cr("one", "green");
        world.run("one", "green");
        world.run("one", "blue");
        world
    }

    fn add_cr(&mut self, name: &str, revision: &str) {
        let cr = cr(name);
        self.state.desired.add_cr(&cr);
        self.state
            .desired
            .set_objects(&cr, [istiod(revision)].iter());
        let (revision, mode) = (revision.to_owned(), TagMode::Never);
        self.state
            .desired
            .set_tag_request(&cr, TagRequest { revision, mode });
    }

    fn run(&mut self, owner: &str, revision: &str) {
        self.put_object(owner, revision, istiod(revision));
    }

    fn put_object(&mut self, owner: &str, revision: &str, key: ObjectKey) {
        let owner_labels = OwnerLabels {
            owner: Some(cr(owner)),
            component: Some(ComponentKind::Pilot),
            revision: Some(revision.into()),
            ..OwnerLabels::default()
        };
        let object = LiveObject {
            owner_labels,
            our_fields: Some(1),
            ..LiveObject::default()
        };
        self.state.live.put(key, object);
    }

    fn source(name: &str) -> &'static Source {
        SOURCES.iter().find(|source| source.name == name).unwrap()
    }

    fn put(&mut self, source: &str, meta: Value) {
        let meta: ObjectMeta = serde_json::from_value(meta).unwrap();
        let data_plane = &mut self.state.users.data_plane;
        data_plane.put(Self::source(source), &meta, None, self.now);
    }

    fn put_pod(&mut self) {
        let annotations = json!({"istio.io/rev": "blue"});
        self.put(
            "pods",
            json!({"namespace": "shop", "name": "a", "annotations": annotations}),
        );
    }

    fn end_pods(&mut self) {
        let data_plane = &mut self.state.users.data_plane;
        data_plane.retain(Self::source("pods"), &HashSet::new(), self.now);
    }

    /// Time passes, and everything is looked at as it happens in the controller.
    fn after(&mut self, time: Duration) -> Verdict {
        self.now += time;
        self.state.judge_old_revisions(self.now);
        if self.state.needs_templates(self.now) {
            self.state.users.put_templates(Templates::new(self.now));
            self.state.judge_old_revisions(self.now);
        }
        let verdicts = self.state.verdicts(&self.cr, self.now);
        let names: Vec<_> = verdicts.keys().collect();
        assert_eq!(names, ["blue"], "green is rendered");
        verdicts["blue"].clone()
    }
}

const WAITS: Verdict = Verdict::Unused { is_over: false };
const GOES: Verdict = Verdict::Unused { is_over: true };

#[test]
fn an_unused_revision_goes_after_the_grace_period() {
    let mut world = World::new();
    assert_eq!(world.after(SECOND), WAITS);
    assert_eq!(world.after(9 * GRACE / 10), WAITS);
    assert_eq!(world.after(GRACE / 10), GOES);
    let policy = Policy {
        grace: 2 * GRACE,
        ..Policy::default()
    };
    world.state.users.set_policy(&world.cr, policy);
    assert_eq!(world.after(SECOND), WAITS, "the CR grants more");
    assert_eq!(world.after(GRACE), GOES);
}

/// Istio's issue 35590: without the istiod that validates for everybody, no configuration can be written any more.
#[test]
fn the_revision_that_validates_for_everybody_stays() {
    let mut world = World::new();
    let validator = ObjectKey {
        group: "admissionregistration.k8s.io".into(),
        kind: "ValidatingWebhookConfiguration".into(),
        namespace: None,
        name: "istiod-default-validator".into(),
    };
    let of = |revision: &str| LiveObject {
        owner_labels: OwnerLabels {
            revision: Some(revision.into()),
            ..OwnerLabels::default()
        },
        ..LiveObject::default()
    };
    world.state.live.put(validator.clone(), of("blue"));
    let Verdict::Used(by) = world.after(2 * GRACE) else {
        panic!("nobody uses it");
    };
    assert!(by[0].contains("istiod-default-validator"), "{by:?}");
    world.state.live.put(validator, of("green"));
    assert_eq!(world.after(SECOND), WAITS);
    assert_eq!(world.after(GRACE), GOES);
}

#[test]
fn whoever_uses_it_for_a_moment_starts_the_time_anew() {
    let mut world = World::new();
    world.after(SECOND);
    world.now += GRACE / 2;
    // It comes and goes between two looks.
    world.put_pod();
    world.end_pods();
    assert_eq!(world.after(GRACE / 2 + SECOND), WAITS);
    assert_eq!(world.after(GRACE), GOES);

    world.put_pod();
    let users = "pods in namespaces shop".to_owned();
    assert_eq!(world.after(SECOND), Verdict::Used(vec![users]));
    world.end_pods();
    assert_eq!(world.after(SECOND), WAITS);
    assert_eq!(world.after(GRACE), GOES);
}

#[test]
fn what_cannot_be_looked_at_keeps_it_and_starts_the_time_anew() {
    let mut world = World::new();
    world.after(SECOND);
    assert_eq!(world.after(GRACE), GOES);
    let unknown = |verdict: &Verdict| matches!(verdict, Verdict::Unknown(_));
    world.state.users.set_broken(["namespaces"].into());
    assert!(unknown(&world.after(SECOND)));
    world.state.users.set_broken(BTreeSet::new());
    assert_eq!(world.after(SECOND), WAITS);
    assert_eq!(world.after(GRACE), GOES);

    for (source, listing, is_known) in [
        ("pods", Listing::Failed("forbidden".into()), false),
        ("pods", Listing::Pending, false),
        ("pods", Listing::Absent, false),
        ("Gateways", Listing::Failed("forbidden".into()), false),
        ("Gateways", Listing::Absent, true),
    ] {
        world
            .state
            .users
            .put_listing(World::source(source), listing.clone());
        assert_eq!(
            unknown(&world.after(SECOND)),
            !is_known,
            "{source} {listing:?}"
        );
        world
            .state
            .users
            .put_listing(World::source(source), Listing::Listed);
    }
    let policy = Policy {
        remote: Some("other clusters".into()),
        ..Policy::default()
    };
    world.state.users.set_policy(&world.cr, policy);
    assert!(unknown(&world.after(2 * GRACE)));
}

#[test]
fn templates_are_read_at_the_end_and_keep_it_while_they_ask_for_it() {
    let mut world = World::new();
    world.after(SECOND);
    world.now += GRACE;
    world.state.judge_old_revisions(world.now);
    let verdict = |world: &World| world.state.verdicts(&world.cr, world.now)["blue"].clone();
    assert_eq!(verdict(&world), WAITS, "nobody read them");
    assert!(world.state.needs_templates(world.now));
    let mut templates = Templates::new(world.now);
    templates.unknown = Some("forbidden".into());
    world.state.users.put_templates(templates);
    world.state.judge_old_revisions(world.now);
    assert!(matches!(verdict(&world), Verdict::Unknown(_)));
    assert!(!world.state.needs_templates(world.now), "not at once again");
    world.now += READ_INTERVAL;
    assert!(world.state.needs_templates(world.now));
    world.state.users.put_templates(Templates::new(world.now));
    assert_eq!(world.after(SECOND), WAITS);
    assert_eq!(world.after(GRACE), GOES);
}

#[test]
fn a_revision_that_another_cr_renders_is_not_judged() {
    let mut world = World::new();
    world.add_cr("two", "blue");
    world.run("two", "blue");
    world.state.judge_old_revisions(world.now);
    assert_eq!(world.state.verdicts(&cr("one"), world.now), Verdicts::new());
    assert_eq!(world.state.verdicts(&cr("two"), world.now), Verdicts::new());
}

#[test]
fn a_cr_is_requeued_when_something_else_follows_for_its_old_revision() {
    let mut world = World::new();
    let one = HashSet::from([cr("one")]);
    assert_eq!(world.state.judge_old_revisions(world.now), one);
    assert_eq!(world.state.judge_old_revisions(world.now), HashSet::new());
    world.put_pod();
    assert_eq!(world.state.judge_old_revisions(world.now), one);
    world.state.live.remove(&istiod("blue"));
    assert_eq!(world.state.judge_old_revisions(world.now), one);
    assert_eq!(world.state.judge_old_revisions(world.now), HashSet::new());
}

/// The operator may be killed while it deletes a revision, or somebody may delete its istiod.
#[test]
fn what_is_left_of_a_revision_is_judged_without_its_istiod() {
    let mut world = World::new();
    let service = |revision: &str| ObjectKey {
        group: String::new(),
        kind: "Service".into(),
        ..istiod(revision)
    };
    world.put_object("one", "blue", service("blue"));
    // A setting that was switched off is no old revision.
    world.put_object("one", "green", service("green"));
    world.state.live.remove(&istiod("blue"));
    assert_eq!(world.after(SECOND), WAITS);
    assert_eq!(world.after(GRACE), GOES);
    world.put_pod();
    assert!(matches!(world.after(SECOND), Verdict::Used(_)));
}

#[test]
fn a_deletion_waits_for_pods_that_need_its_control_plane() {
    let mut world = World::new();
    let blocker = |world: &World, prune: Option<&str>| {
        let annotations = Annotations {
            prune_revision: prune.map(str::to_owned),
            ..Annotations::default()
        };
        world.state.deletion_blocker(&world.cr, &annotations)
    };
    assert_eq!(blocker(&world, None), None);
    // A namespace without pods loses nothing.
    world.put(
        "namespaces",
        json!({"name": "shop", "labels": {"istio.io/rev": "blue"}}),
    );
    assert_eq!(blocker(&world, None), None);
    world.put_pod();
    let told = blocker(&world, None).unwrap();
    for part in ["revision blue", "namespaces shop", "prune-revision: blue"] {
        assert!(told.contains(part), "{told}");
    }
    assert!(blocker(&world, Some("green")).is_some());
    assert_eq!(blocker(&world, Some("blue")), None);

    world.end_pods();
    let forbidden = Listing::Failed("forbidden".into());
    world
        .state
        .users
        .put_listing(World::source("pods"), forbidden);
    assert!(blocker(&world, None).unwrap().contains("not known"));
    // What has begun is not stopped half-way.
    world.state.users.begin_deletion(&world.cr);
    assert_eq!(blocker(&world, None), None);
}

#[test]
fn a_status_tells_of_proxies_once_a_minute_at_most() {
    let mut world = World::new();
    let one = HashSet::from([cr("one")]);
    let told = world.state.tell_revisions(&world.cr, world.now);
    let names: Vec<_> = told.iter().map(|revision| revision.name.as_str()).collect();
    assert_eq!(names, ["green", "blue"]);
    world.put_pod();
    world.now += SECOND;
    assert_eq!(world.state.untold_revisions(world.now), HashSet::new());
    world.now += TELL_INTERVAL;
    assert_eq!(world.state.untold_revisions(world.now), one);
    assert_eq!(world.state.untold_revisions(world.now), HashSet::new());
    let told = world.state.tell_revisions(&world.cr, world.now);
    let sidecars: HashMap<_, _> = told
        .iter()
        .flat_map(|it| {
            it.proxies
                .iter()
                .map(|row| (it.name.as_str(), row.sidecars))
        })
        .collect();
    assert_eq!(sidecars, HashMap::from([("blue", 1)]));
}
