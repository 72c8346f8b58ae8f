//! Plans with the default tag.

use super::*;

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
        objects,
    };
    Rendered {
        components: vec![istiod],
        names_default_tag: false,
        warnings: Vec::new(),
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
            "MutatingWebhookConfiguration istio-revision-tag-default",
            "MutatingWebhookConfiguration istio-sidecar-injector",
            "Deployment istio-system/istiod",
        ]
    );
    world.settle();
    assert!(world.plan(tagged("")).is_settled);
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
    world.claims.live(&unseen);
    let plan = world.plan(tagged(""));
    let tag = key("MutatingWebhookConfiguration", "istio-revision-tag-default");
    assert_eq!(decision(&plan, &tag), Decision::Untagged);
    assert_eq!(
        decision(&plan, &injector),
        Decision::Waiting("nobody has the default tag yet".into())
    );
    world.claims.refuse(&unseen);
    let plan = world.plan(tagged(""));
    let sent = world.apply(plan);
    assert!(sent.contains(&tag.to_string()) && sent.contains(&injector.to_string()));
}

#[test]
fn the_tag_moves_to_another_cr_once_its_istiod_is_ready() {
    let mut world = World::new();
    let first = world.cr.clone();
    let plan = world.plan(tagged(""));
    world.apply(plan);
    world.settle();
    let second = CrKey {
        namespace: "mesh".into(),
        name: "two".into(),
    };
    let tag = key("MutatingWebhookConfiguration", "istio-revision-tag-default");
    (world.cr, world.revision) = (second.clone(), "canary");
    world.claims.live(&second);
    let plan = world.plan(tagged("canary"));
    assert_eq!(decision(&plan, &tag), Decision::Untagged);
    let sent = world.apply(plan);
    assert!(
        !sent.iter().any(|name| name.contains("tag-default")),
        "{sent:?}"
    );

    // As `istioctl tag set` leaves it.
    world.edit(&tag, |tag| {
        tag.injector = Some(Injector::DefaultTag("canary".into()));
        tag.ownership.owner = None;
        tag.ours = Some(2);
    });
    let plan = world.plan(tagged("canary"));
    let sent = world.apply(plan);
    assert_eq!(sent.len(), 2, "{sent:?}");
    assert_eq!(
        world.live.get(&tag).unwrap().ownership.owner,
        Some(second.clone())
    );
    (world.cr, world.revision) = (first.clone(), "");
    let plan = world.plan(tagged(""));
    assert_eq!(decision(&plan, &tag), Decision::Untagged);
    assert!(plan.waves.is_empty() && plan.prune.is_empty());

    // Its CR is deleted: the first takes the tag back in place, but not before it can serve.
    world.claims.leave(&second);
    world.edit(&key("Deployment", "istiod"), |istiod| istiod.generation = 9);
    let plan = world.plan(tagged(""));
    assert!(matches!(decision(&plan, &tag), Decision::Waiting(_)));
    assert!(
        removal(&second, &world.live, &world.claims)
            .left
            .iter()
            .all(|key| *key != tag)
    );
    world.edit(&key("Deployment", "istiod"), |istiod| istiod.generation = 0);
    let plan = world.plan(tagged(""));
    let sent = world.apply(plan);
    assert_eq!(sent.len(), 2, "{sent:?}");
    assert_eq!(world.live.get(&tag).unwrap().ownership.owner, Some(first));
}
