//! Plans of a small installation: base with a CRD, istiod with an autoscaler and a webhook, one gateway.

mod base;
mod canary;
mod default_tag;
mod held;
mod injector_template;
mod others;
mod sequence;
mod webhook_order;

use serde_json::{Value, json};
use std::mem;

use super::namespaces::network;
use super::*;
use crate::catalogue::Version;
use crate::cluster::{Injector, OwnerLabels, Readiness, TagRequest, Workload, key};
use crate::merge::{Cluster, ControlPlane};
use crate::render::Object;

/// A cluster that answers every apply at once, as a double of the API server for what plans depend on.
struct World {
    cr: CrKey,
    revision: &'static str,
    version: Version,
    held_by: Option<&'static str>,
    takes_gateways_in_turn: bool,
    verdicts: Verdicts,
    annotations: Annotations,
    live: Live,
    last_applied: LastApplied,
    desired: DesiredInventory,
    now: Instant,
}

impl World {
    fn new() -> Self {
        let cr = CrKey {
            namespace: "mesh".into(),
            name: "one".into(),
        };
        let mut desired = DesiredInventory::new(None);
        desired.add_cr(&cr);
        let (live, last_applied) = (Live::default(), LastApplied::default());
        Self {
            cr,
            revision: "",
            version: merged().version,
            held_by: None,
            takes_gateways_in_turn: false,
            verdicts: Verdicts::new(),
            annotations: Annotations::default(),
            live,
            last_applied,
            desired,
            now: Instant::now(),
        }
    }

    fn plan(&mut self, mut rendered: Rendered) -> Plan {
        let merged = Merged {
            revision: self.revision.into(),
            version: self.version,
            ..merged()
        };
        let usual = self::merged().control_plane();
        for component in &mut rendered.components {
            if component.plane == usual {
                component.plane = merged.control_plane();
            }
        }
        self.desired.set_objects(&self.cr, keys(&rendered));
        let tag_request = TagRequest::of(&merged, &rendered);
        self.desired.set_tag_request(&self.cr, tag_request);
        let Self {
            cr,
            revision: _,
            version: _,
            held_by,
            takes_gateways_in_turn,
            verdicts,
            annotations,
            live,
            last_applied,
            desired,
            now,
        } = self;
        plan(
            &merged,
            rendered,
            PlanInput {
                cr,
                annotations,
                live,
                last_applied,
                desired,
                held_by: *held_by,
                unproven: None,
                takes_gateways_in_turn: *takes_gateways_in_turn,
                verdicts,
                now: *now,
            },
        )
    }

    /// Sends everything in `plan`; workloads stay unready.
    fn apply(&mut self, plan: Plan) -> Vec<String> {
        let mut names = Vec::new();
        for send in plan.waves.into_iter().flatten() {
            names.push(send.key.to_string());
            let labels =
                serde_json::from_value(send.body.field("metadata")["labels"].clone()).unwrap();
            let owner_labels = OwnerLabels::read(&labels);
            let injector = Injector::read(&send.key.kind, &labels);
            let uid = format!("uid of {}", send.key);
            let object = LiveObject {
                uid,
                owner_labels,
                our_fields: Some(1),
                injector,
                ..LiveObject::default()
            };
            self.last_applied.record(
                send.key.clone(),
                send.digests,
                send.reason,
                &object,
                self.now,
            );
            self.live.put_answer(send.key, object);
        }
        for deletions in plan.prune {
            names.push(format!("delete {}", deletions.key));
            self.live.remove(&deletions.key);
        }
        names
    }

    /// Every workload and every CRD becomes ready.
    fn remember_in_sync(&mut self) {
        let keys: Vec<_> = self.live.iter().map(|(key, _)| key.clone()).collect();
        for key in keys {
            let mut object = self.live.get(&key).unwrap().clone();
            object.readiness = match object.readiness {
                Some(Readiness::Crd { .. }) => Some(Readiness::Crd { established: true }),
                Some(Readiness::Workload(_)) => Some(Readiness::Workload(Workload::default())),
                other => other,
            };
            self.live.put(key, object);
        }
    }

    /// Goes on with another CR; gives the one before.
    fn turn_to(&mut self, namespace: &str, name: &str) -> CrKey {
        let other = CrKey {
            namespace: namespace.into(),
            name: name.into(),
        };
        self.desired.add_cr(&other);
        mem::replace(&mut self.cr, other)
    }

    fn install(&mut self) {
        for _ in 0..3 {
            let plan = self.plan(sample());
            self.apply(plan);
            self.remember_in_sync();
        }
    }

    fn edit(&mut self, key: &ObjectKey, change: impl FnOnce(&mut LiveObject)) {
        let mut object = self.live.get(key).unwrap().clone();
        change(&mut object);
        self.live.put(key.clone(), object);
    }
}

fn merged() -> Merged {
    Merged {
        cluster: Cluster::default(),
        version: Version {
            minor: 31,
            patch: 1,
        },
        revision: String::new(),
        named_revision: String::new(),
        namespace: "istio-system".into(),
        components: Vec::new(),
        is_for_cluster: false,
        warnings: Vec::new(),
        source: crate::merge::Source::default(),
    }
}

fn object(kind: &str, name: &str, body: &Value) -> Object {
    Object {
        key: key(kind, name),
        version: "v1".into(),
        body: Manifest::from(body),
    }
}

fn sample() -> Rendered {
    let component = |kind, name: &str, objects| RenderedComponent {
        kind,
        name: name.into(),
        plane: merged().control_plane(),
        objects,
    };
    let scaler = json!({"spec": {"scaleTargetRef": {"kind": "Deployment", "name": "istiod"}}});
    let webhook = json!({"webhooks": [{"name": "a.istio.io", "failurePolicy": "Ignore"}]});
    let components = vec![
        component(
            ComponentKind::Base,
            "",
            vec![
                object("ServiceAccount", "reader", &json!({})),
                object(
                    "CustomResourceDefinition",
                    "gateways.networking.istio.io",
                    &json!({}),
                ),
            ],
        ),
        component(
            ComponentKind::IngressGateways,
            "istio-ingressgateway",
            vec![object(
                "Deployment",
                "istio-ingressgateway",
                &json!({"spec": {"replicas": 2}}),
            )],
        ),
        component(
            ComponentKind::Pilot,
            "istiod",
            vec![
                object("Deployment", "istiod", &json!({"spec": {}})),
                object("HorizontalPodAutoscaler", "istiod", &scaler),
                object("ValidatingWebhookConfiguration", "validator", &webhook),
                object("ConfigMap", "istio", &json!({"data": {"mesh": "x"}})),
            ],
        ),
    ];
    Rendered {
        components,
        names_default_tag: false,
        warnings: Vec::new(),
        privileges: Vec::new(),
    }
}

#[test]
fn components_follow_their_parents_and_workloads_their_config() {
    let mut world = World::new();
    let plan = world.plan(sample());
    assert_eq!(
        plan.namespaces,
        [Namespace {
            name: "istio-system".into(),
            network: None
        }]
    );
    assert_eq!(
        world.apply(plan),
        [
            "CustomResourceDefinition gateways.networking.istio.io",
            "ServiceAccount istio-system/reader"
        ]
    );
    let plan = world.plan(sample());
    assert!(plan.waves.is_empty(), "the CRD is not served yet");
    assert!(plan.prune.is_empty());
    assert_eq!(
        plan.components[2].decided[0].1,
        Decision::Waiting(
            "Base is not ready: CustomResourceDefinition gateways.networking.istio.io: it is not \
             served yet"
                .into()
        )
    );
    world.remember_in_sync();
    let plan = world.plan(sample());
    assert!(
        plan.namespaces.is_empty(),
        "an object in the namespace shows that it exists"
    );
    assert_eq!(
        world.apply(plan),
        [
            "ConfigMap istio-system/istio",
            "Deployment istio-system/istiod",
            "HorizontalPodAutoscaler istio-system/istiod",
            "ValidatingWebhookConfiguration validator",
        ]
    );
    world.remember_in_sync();
    let plan = world.plan(sample());
    assert_eq!(
        world.apply(plan),
        ["Deployment istio-system/istio-ingressgateway"]
    );
}

#[test]
fn a_settled_cr_needs_nothing_and_a_lost_object_one_request() {
    let mut world = World::new();
    world.install();
    let before = plan_inputs_digest(
        &world.cr,
        &world.annotations,
        &world.live,
        &world.desired,
        &Verdicts::new(),
    );
    let plan = world.plan(sample());
    assert!(plan.waves.is_empty() && plan.prune.is_empty());
    assert_eq!(
        plan_inputs_digest(
            &world.cr,
            &world.annotations,
            &world.live,
            &world.desired,
            &Verdicts::new()
        ),
        before
    );

    world.live.remove(&key("ConfigMap", "istio"));
    assert_ne!(
        plan_inputs_digest(
            &world.cr,
            &world.annotations,
            &world.live,
            &world.desired,
            &Verdicts::new()
        ),
        before
    );
    let plan = world.plan(sample());
    assert_eq!(world.apply(plan), ["ConfigMap istio-system/istio"]);
}

#[test]
fn a_repair_does_not_wait_for_parents() {
    let mut world = World::new();
    world.install();
    world.edit(&key("Deployment", "istiod"), |istiod| istiod.generation = 9);
    world.edit(&key("Deployment", "istio-ingressgateway"), |gateway| {
        gateway.our_fields = Some(2);
    });
    let plan = world.plan(sample());
    assert_eq!(
        world.apply(plan),
        ["Deployment istio-system/istio-ingressgateway"]
    );
}

#[test]
fn after_a_restart_what_is_lost_comes_back_and_what_runs_keeps_the_order() {
    let mut world = World::new();
    let (gateway, service) = (
        key("Deployment", "istio-ingressgateway"),
        key("Service", "istio-ingressgateway"),
    );
    let with_service = || {
        let mut rendered = sample();
        let objects = &mut rendered.components[1].objects;
        objects.push(object("Service", "istio-ingressgateway", &json!({})));
        rendered
    };
    for _ in 0..3 {
        let plan = world.plan(with_service());
        world.apply(plan);
        world.remember_in_sync();
    }
    world.last_applied = LastApplied::default();
    world.edit(&key("Deployment", "istiod"), |istiod| istiod.generation = 9);
    let mut sent = |lost: &ObjectKey| {
        let object = world.live.remove(lost).unwrap();
        let plan = world.plan(with_service());
        world.live.put(lost.clone(), object);
        let sent: Vec<_> = plan
            .waves
            .into_iter()
            .flatten()
            .map(|send| send.key)
            .collect();
        sent.contains(&gateway).then_some(sent.contains(lost))
    };
    assert_eq!(sent(&service), None, "the Deployment may get another image");
    assert_eq!(sent(&gateway), Some(true));
    world.edit(&gateway, |gateway| {
        gateway.owner_labels.version = Some("1.30.0".into());
    });
    world.live.remove(&service);
    let plan = world.plan(with_service());
    let sent = plan.waves.iter().flatten();
    assert!(
        sent.into_iter().all(|send| send.key != service),
        "an upgrade"
    );
}

#[test]
fn leftovers_go_once_everything_else_is_done() {
    let mut world = World::new();
    world.install();
    let mut smaller = sample();
    smaller.components.remove(1);
    world.edit(&key("Deployment", "istiod"), |istiod| istiod.generation = 9);
    let plan = world.plan(smaller.clone());
    assert!(plan.prune.is_empty(), "istiod is not ready");
    world.remember_in_sync();
    world.edit(&key("Deployment", "istiod"), |istiod| istiod.generation = 0);
    let plan = world.plan(smaller);
    assert_eq!(
        world.apply(plan),
        ["delete Deployment istio-system/istio-ingressgateway"]
    );
}

#[test]
fn a_co_owned_field_is_sent_until_its_owner_holds_it() {
    let mut world = World::new();
    let validator = key("ValidatingWebhookConfiguration", "validator");
    let policy = |plan: &Plan| {
        let sends = plan.waves.iter().flatten();
        let send = sends
            .into_iter()
            .find(|send| send.key == validator)
            .unwrap();
        send.body.field("webhooks")[0].get("failurePolicy").cloned()
    };
    let plan = world.plan(sample());
    world.apply(plan);
    world.remember_in_sync();
    let plan = world.plan(sample());
    assert_eq!(policy(&plan), Some(json!("Ignore")));
    world.apply(plan);
    world.remember_in_sync();
    world.edit(&validator, |validator| {
        validator.our_fields = Some(2);
        validator.co_owned.others = vec!["webhooks[a.istio.io].failurePolicy".into()];
    });
    let plan = world.plan(sample());
    assert_eq!(policy(&plan), None);
    assert_eq!(
        plan.waves.iter().flatten().next().unwrap().reason,
        ApplyReason::Repair
    );
}

#[test]
fn a_kind_outside_the_table_is_not_sent() {
    let mut world = World::new();
    let mut rendered = sample();
    let pod = ObjectKey {
        kind: "Pod".into(),
        ..key("ConfigMap", "stolen")
    };
    rendered.components.truncate(1);
    rendered.components[0].objects = vec![Object {
        key: pod,
        version: "v1".into(),
        body: Manifest::default(),
    }];
    let plan = world.plan(rendered);
    assert!(plan.waves.is_empty());
    assert_eq!(plan.components[0].decided[0].1, Decision::UnsupportedKind);
}

#[test]
fn the_namespace_of_istio_carries_the_network() {
    let mut merged = merged();
    merged.components.push(crate::merge::Component {
        kind: ComponentKind::Base,
        name: String::new(),
        namespace: "istio-system".into(),
        values: json!({"global": {"network": "west"}}),
        k8s: json!({}),
        overlays: Vec::new(),
        path: crate::api::Path::default(),
        index: None,
    });
    assert_eq!(network(&merged, "istio-system").as_deref(), Some("west"));
    assert_eq!(network(&merged, "elsewhere"), None);
}
