//! Plans with the default tag.

use super::*;
use crate::cluster::{CoOwnedFields, TagMode};
use crate::dataplane::Verdict;

/// Istiod of a revision, its injector, and the default tag.
fn tagged(revision: &str) -> Rendered {
    let suffix = |name: &str| [name, revision].join("-").trim_end_matches('-').to_owned();
    let tag = json!({"metadata": {"labels": {"istio.io/tag": "default"}}});
    let injector = "MutatingWebhookConfiguration";
    let objects = vec![
        object("Deployment", &suffix("istiod"), &json!({"spec": {}})),
        object(injector, &suffix("istio-sidecar-injector"), &json!({})),
        object(injector, "istio-revision-tag-default", &tag),
        object("Service", "istiod-revision-tag-default", &tag),
    ];
    let istiod = RenderedComponent {
        kind: ComponentKind::Pilot,
        name: suffix("istiod"),
        plane: merged().control_plane(),
        objects,
    };
    Rendered {
        components: vec![istiod],
        names_default_tag: false,
        warnings: Vec::new(),
        privileges: Vec::new(),
    }
}

fn decision(plan: &Plan, key: &ObjectKey) -> Decision {
    let components = plan.components.iter();
    let mut decided = components.flat_map(|component| &component.decided);
    decided.find(|(other, _)| other == key).unwrap().1.clone()
}

#[test]
fn the_tag_goes_ahead_of_the_injector_that_rests_beside_it() {
    let mut world = World::new();
    let plan = world.plan(tagged(""));
    assert_eq!(
        world.apply(plan),
        [
            "Service istio-system/istiod-revision-tag-default",
            "Deployment istio-system/istiod",
            "MutatingWebhookConfiguration istio-revision-tag-default",
            "MutatingWebhookConfiguration istio-sidecar-injector",
        ]
    );
    world.remember_in_sync();
    assert!(world.plan(tagged("")).is_in_sync);
}

#[test]
fn an_injector_works_until_somebody_has_the_tag() {
    let mut world = World::new();
    let injector = key("MutatingWebhookConfiguration", "istio-sidecar-injector");
    world.live.put(injector.clone(), LiveObject::default());
    let unseen = CrKey {
        namespace: "mesh".into(),
        name: "unseen".into(),
    };
    world.desired.add_cr(&unseen);
    let plan = world.plan(tagged(""));
    let tag = key("MutatingWebhookConfiguration", "istio-revision-tag-default");
    assert_eq!(decision(&plan, &tag), Decision::TagElsewhere);
    assert_eq!(
        decision(&plan, &injector),
        Decision::Waiting("nobody has the default tag yet".into())
    );
    world.desired.mark_unreadable(&unseen, None);
    let plan = world.plan(tagged(""));
    let sent = world.apply(plan);
    assert!(sent.contains(&tag.to_string()) && sent.contains(&injector.to_string()));
}

/// The webhook configurations that are sent with a CA, and where that comes from.
fn copied(world: &mut World) -> Vec<(String, String)> {
    let plan = world.plan(tagged(""));
    let sent = plan.waves.into_iter().flatten();
    sent.filter_map(|send| Some((send.key.name, send.ca_from?.name)))
        .collect()
}

#[test]
fn webhooks_take_the_ca_of_an_injector_that_has_one() {
    let mut world = World::new();
    let (injector, tag) = ("istio-sidecar-injector", "istio-revision-tag-default");
    let put = |world: &mut World, name: &str, co_owned: &CoOwnedFields| {
        let co_owned = co_owned.clone();
        let object = LiveObject {
            co_owned,
            ..LiveObject::default()
        };
        world
            .live
            .put(key("MutatingWebhookConfiguration", name), object);
    };
    let ca = vec!["webhooks[a].clientConfig.caBundle".to_owned()];
    let silent = CoOwnedFields {
        others: vec!["webhooks[a].failurePolicy".to_owned()],
        ours: Vec::new(),
    };
    let given = CoOwnedFields {
        others: ca.clone(),
        ours: Vec::new(),
    };
    let copy = CoOwnedFields {
        others: Vec::new(),
        ours: ca,
    };
    assert_eq!(copied(&mut world), [], "a fresh installation");
    put(&mut world, injector, &silent);
    assert_eq!(copied(&mut world), [], "nobody has one");
    put(&mut world, injector, &given);
    let pair = [(tag.to_owned(), injector.to_owned())];
    assert_eq!(copied(&mut world), pair);
    // What we copied is copied again, because an apply without it would remove it.
    put(&mut world, tag, &copy);
    assert_eq!(copied(&mut world), pair);
    put(&mut world, injector, &silent);
    assert_eq!(copied(&mut world), [], "it was in the CR, and is no more");
    // From then on it is istiod's.
    put(&mut world, injector, &given);
    put(&mut world, tag, &given);
    assert_eq!(copied(&mut world), []);
}

#[test]
fn the_tag_moves_to_another_cr_once_its_istiod_is_ready() {
    let mut world = World::new();
    let first = world.cr.clone();
    let plan = world.plan(tagged(""));
    world.apply(plan);
    world.remember_in_sync();
    let second = CrKey {
        namespace: "mesh".into(),
        name: "two".into(),
    };
    let tag = key("MutatingWebhookConfiguration", "istio-revision-tag-default");
    (world.cr, world.revision) = (second.clone(), "canary");
    world.desired.add_cr(&second);
    let plan = world.plan(tagged("canary"));
    assert_eq!(decision(&plan, &tag), Decision::TagElsewhere);
    let sent = world.apply(plan);
    assert!(
        !sent.iter().any(|name| name.contains("tag-default")),
        "{sent:?}"
    );

    // As `istioctl tag set` leaves it.
    world.edit(&tag, |tag| {
        tag.injector = Some(Injector::DefaultTag("canary".into()));
        tag.owner_labels.owner = None;
        tag.our_fields = Some(2);
    });
    let plan = world.plan(tagged("canary"));
    let sent = world.apply(plan);
    assert_eq!(sent.len(), 2, "{sent:?}");
    assert_eq!(
        world.live.get(&tag).unwrap().owner_labels.owner,
        Some(second.clone())
    );
    (world.cr, world.revision) = (first.clone(), "");
    let plan = world.plan(tagged(""));
    assert_eq!(decision(&plan, &tag), Decision::TagElsewhere);
    assert!(plan.waves.is_empty() && plan.prune.is_empty());

    // Its CR is deleted: the first takes the tag back in place, but not before it can serve.
    world.desired.mark_deleting(&second);
    world.edit(&key("Deployment", "istiod"), |istiod| istiod.generation = 9);
    let plan = world.plan(tagged(""));
    assert!(matches!(decision(&plan, &tag), Decision::Waiting(_)));
    assert!(
        deletion_step(&second, &world.annotations, &world.live, &world.desired)
            .remaining
            .iter()
            .all(|key| *key != tag)
    );
    world.edit(&key("Deployment", "istiod"), |istiod| istiod.generation = 0);
    let plan = world.plan(tagged(""));
    let sent = world.apply(plan);
    assert_eq!(sent.len(), 2, "{sent:?}");
    assert_eq!(
        world.live.get(&tag).unwrap().owner_labels.owner,
        Some(first)
    );
}

#[test]
fn istiod_is_not_pruned_while_the_default_tag_leads_to_it() {
    let mut world = World::new();
    let plan = world.plan(tagged(""));
    world.apply(plan);
    world.remember_in_sync();
    let (tag, tag_service) = (
        key("MutatingWebhookConfiguration", "istio-revision-tag-default"),
        key("Service", "istiod-revision-tag-default"),
    );
    let canary = CrKey {
        namespace: "mesh".into(),
        name: "canary".into(),
    };
    world.desired.add_cr(&canary);
    world
        .desired
        .set_objects(&canary, [tag.clone(), tag_service].iter());
    let request = TagRequest {
        revision: "canary".into(),
        mode: TagMode::IfUnassigned,
    };
    world.desired.set_tag_request(&canary, request);
    let nothing = || Rendered {
        components: Vec::new(),
        names_default_tag: false,
        warnings: Vec::new(),
        privileges: Vec::new(),
    };
    let unused = Verdict::Unused { is_over: false };
    world.verdicts.insert("default".into(), unused);
    let plan = world.plan(nothing());
    assert!(plan.prune.is_empty(), "{:?}", plan.prune);
    assert_eq!(plan.findings.len(), 1);
    assert!(plan.findings[0].text.contains("until the default tag"));

    world.edit(&tag, |tag| {
        tag.injector = Some(Injector::DefaultTag("canary".into()));
        tag.owner_labels.owner = Some(canary);
    });
    let plan = world.plan(nothing());
    assert!(plan.findings.is_empty());
    assert_eq!(plan.prune.len(), 2, "the injector and istiod");
}
