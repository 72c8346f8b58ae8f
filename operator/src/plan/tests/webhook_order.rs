//! Webhooks that fail closed follow the workload that answers them.

use super::*;

fn closed(name: &str) -> Object {
    let webhook = json!({"webhooks": [{"name": "a.istio.io", "failurePolicy": "Fail"}]});
    object("ValidatingWebhookConfiguration", name, &webhook)
}

/// [`sample`] with a webhook that fails closed in base and in pilot.
fn closing() -> Rendered {
    let mut rendered = sample();
    for component in &mut rendered.components {
        match component.kind {
            ComponentKind::Base => component.objects.push(closed("base")),
            ComponentKind::Pilot => component.objects.push(closed("pilot")),
            _ => {}
        }
    }
    rendered
}

fn sent(plan: &Plan) -> Vec<String> {
    let sent = plan.waves.iter().flatten();
    sent.map(|send| send.key.to_string()).collect()
}

#[test]
fn the_webhook_of_base_follows_istiod_and_holds_nobody_up() {
    let mut world = World::new();
    let (base, pilot) = (
        "ValidatingWebhookConfiguration base".to_owned(),
        "ValidatingWebhookConfiguration pilot".to_owned(),
    );
    let plan = world.plan(closing());
    assert!(!sent(&plan).contains(&base));
    assert!(
        plan.postponed
            .iter()
            .any(|send| send.key.to_string() == base)
    );
    world.apply(plan);
    world.remember_in_sync();
    let plan = world.plan(closing());
    let now = sent(&plan);
    let at = |name: &str| now.iter().position(|sent| sent == name);
    assert!(at("Deployment istio-system/istiod") < at(&pilot), "{now:?}");
    assert!(at(&pilot).is_some() && at(&base).is_none(), "{now:?}");
    world.apply(plan);
    world.remember_in_sync();
    let plan = world.plan(closing());
    assert!(!plan.is_in_sync);
    assert!(sent(&plan).contains(&base), "{:?}", sent(&plan));
    world.apply(plan);
    world.remember_in_sync();
    // The gateway.
    let plan = world.plan(closing());
    world.apply(plan);
    world.remember_in_sync();
    assert!(world.plan(closing()).is_in_sync);
}

#[test]
fn a_lost_webhook_waits_for_a_workload_that_is_going() {
    let mut world = World::new();
    for _ in 0..4 {
        let plan = world.plan(closing());
        world.apply(plan);
        world.remember_in_sync();
    }
    let istiod = key("Deployment", "istiod");
    let webhook = key("ValidatingWebhookConfiguration", "pilot");
    world.live.remove(&webhook);
    world.edit(&istiod, |object| object.terminating = true);
    let plan = world.plan(closing());
    assert!(plan.waves.is_empty(), "{:?}", sent(&plan));
    world.live.remove(&istiod);
    let plan = world.plan(closing());
    assert_eq!(
        sent(&plan),
        [
            "Deployment istio-system/istiod",
            "ValidatingWebhookConfiguration pilot"
        ]
    );
}
