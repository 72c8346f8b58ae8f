//! Objects that other CRs or other tools have.

use super::*;

#[test]
fn an_object_of_another_living_cr_is_shared_and_taken_over_when_that_goes() {
    let mut world = World::new();
    world.install();
    let first = world.turn_to("mesh", "two");
    let plan = world.plan(sample());
    assert!(plan.waves.is_empty());
    let decided = plan
        .components
        .iter()
        .flat_map(|component| &component.decided);
    assert!(
        decided
            .into_iter()
            .all(|(_, decision)| *decision == Decision::OwnedByOther(first.clone()))
    );

    world.desired.remove_cr(&first);
    let plan = world.plan(sample());
    let sent = world.apply(plan);
    assert_eq!(sent.len(), 2, "base first: {sent:?}");
    let reader = world.live.get(&key("ServiceAccount", "reader")).unwrap();
    assert_eq!(reader.owner_labels.owner.as_ref(), Some(&world.cr));
}

#[test]
fn an_owner_that_is_not_watched_is_told_with_the_way_out() {
    let mut world = World::new();
    world.install();
    world.desired = DesiredInventory::new(Some(vec!["watched".into()]));
    let first = world.turn_to("watched", "two");
    let plan = world.plan(sample());
    assert!(plan.waves.is_empty());
    let texts: Vec<_> = plan.findings.iter().map(|found| &found.text).collect();
    assert_eq!(texts.len(), 1, "{texts:?}");
    assert!(texts[0].contains(&first.to_string()) && texts[0].contains("install.istio.io/adopt"));
    world.annotations.may_adopt = true;
    let plan = world.plan(sample());
    assert!(plan.findings.is_empty() && !plan.waves.is_empty());
}

#[test]
fn a_new_object_is_sent_by_one_pass_at_a_time() {
    let mut world = World::new();
    let plan = world.plan(sample());
    let sent: HashSet<_> = plan.waves.iter().flatten().map(|send| &send.key).collect();
    assert_eq!(sent.len(), 2, "base");
    let sent = sent.into_iter().cloned().collect();
    world.desired.set_claims(&world.cr, sent);
    let first = world.turn_to("mesh", "two");
    let plan = world.plan(sample());
    assert!(plan.waves.is_empty());
    assert!(!plan.is_in_sync);
    world.desired.end_claims(&first);
    assert_eq!(world.plan(sample()).waves.iter().flatten().count(), 2);
}

#[test]
fn what_another_tool_manages_is_not_sent_unless_the_user_says_so() {
    let mut world = World::new();
    world.install();
    let istiod = key("Deployment", "istiod");
    world.edit(&istiod, |istiod| {
        istiod.managed_by = Some(ManagingTool::Helm);
        istiod.our_fields = Some(2);
    });
    let decision = |plan: &Plan| {
        let mut decided = plan.components[2].decided.iter();
        decided
            .find(|(key, _)| *key == istiod)
            .map(|found| found.1.clone())
    };
    let plan = world.plan(sample());
    assert_eq!(
        decision(&plan),
        Some(Decision::ManagedBy(ManagingTool::Helm))
    );
    assert!(!plan.is_in_sync);
    world.annotations.may_adopt = true;
    let plan = world.plan(sample());
    assert_eq!(world.apply(plan), ["Deployment istio-system/istiod"]);
}

#[test]
fn one_decisive_object_of_each_unknown_component_is_read_first() {
    let mut world = World::new();
    let names =
        |plan: &Plan| -> Vec<String> { plan.unseen.iter().map(ToString::to_string).collect() };
    let plan = world.plan(sample());
    assert_eq!(
        names(&plan),
        [
            "ConfigMap istio-system/istio",
            "ServiceAccount istio-system/reader",
            "Deployment istio-system/istio-ingressgateway",
            "Deployment istio-system/istiod",
        ]
    );
    assert!(plan.waves.iter().flatten().all(|object| object.is_new));
    world
        .live
        .put_managing_tool(key("Deployment", "istiod"), None);
    let policy = key("ServiceAccount", "reader");
    world
        .live
        .put_managing_tool(policy, Some(ManagingTool::Flux));
    let plan = world.plan(sample());
    assert_eq!(
        names(&plan),
        [
            "ConfigMap istio-system/istio",
            "ServiceAccount istio-system/reader",
            "Deployment istio-system/istio-ingressgateway",
        ],
        "what was managed is read again"
    );
    world.annotations.may_adopt = true;
    let plan = world.plan(sample());
    assert!(plan.unseen.is_empty());
    assert!(plan.waves.iter().flatten().all(|object| !object.is_new));
    world.annotations.may_adopt = false;
    world.install();
    assert!(world.plan(sample()).unseen.is_empty());
}
