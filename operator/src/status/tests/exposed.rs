//! What the status tells of components that people reach: gateways and addons.

use super::story::applied;
use super::*;
use crate::api::NodePort;
use crate::cluster::Exposure;

#[test]
fn a_gateway_shows_the_addresses_of_its_service() {
    let mut story = Story::new();
    story.mark_reconciling();
    let exposed = |addresses: &[&str]| {
        let addresses = addresses.iter().map(ToString::to_string).collect();
        LiveObject {
            readiness: Some(Readiness::Exposed(Exposure {
                addresses,
                ..Exposure::default()
            })),
            ..LiveObject::default()
        }
    };
    story
        .live
        .put(key("Service", "other"), exposed(&["192.0.2.1"]));
    let mut step = |service: Option<LiveObject>| {
        if let Some(object) = service {
            story.live.put(key("Service", "public"), object);
        }
        let mut applied = Applied::default();
        applied.components.push(AppliedComponent {
            kind: ComponentKind::IngressGateways,
            name: "public".into(),
            image: None,
            objects: vec![(key("Service", "public"), Verdict::Unchanged)],
        });
        story.step(&progress(applied));
        story.status.gateways[0].clone()
    };
    let missing = step(None);
    assert_eq!((missing.ready, missing.addresses.len()), (false, 0));
    let pending = step(Some(LiveObject::default()));
    assert_eq!((pending.ready, pending.addresses.len()), (true, 0));
    let addresses = ["203.0.113.7", "lb.example.com"];
    let served = step(Some(exposed(&addresses)));
    assert_eq!(
        (served.name.as_str(), served.namespace.as_str()),
        ("public", "istio-system")
    );
    assert_eq!(served.addresses, addresses);
}

#[test]
fn an_addon_shows_itself_and_holds_nothing_up_until_it_fails() {
    let mut story = Story::new();
    story.mark_reconciling();
    story.istiod(2);
    let exposure = Exposure {
        service_type: "NodePort".into(),
        node_ports: vec![NodePort {
            name: "http".into(),
            port: 20001,
            node_port: 31365,
        }],
        ..Exposure::default()
    };
    let service = LiveObject {
        readiness: Some(Readiness::Exposed(exposure.clone())),
        ..LiveObject::default()
    };
    story.live.put(key("Service", "kiali"), service);
    let mut step = |verdict: Verdict| {
        let mut applied = applied(istiod(Verdict::Unchanged));
        applied.components.push(AppliedComponent {
            kind: ComponentKind::Kiali,
            name: "kiali".into(),
            image: Some("quay.io/kiali/kiali:v2.27".into()),
            objects: vec![
                (key("Deployment", "kiali"), verdict),
                (key("Service", "kiali"), Verdict::Unchanged),
            ],
        });
        let judged = story.step(&progress(applied));
        (judged, story.status.component_status.clone())
    };
    // The Deployment is not there yet.
    let (judged, components) = step(Verdict::Applied);
    assert_eq!(judged, DONE);
    let kiali = &components["Kiali"];
    assert_eq!(kiali.status, Some(InstallState::Reconciling));
    assert_eq!(kiali.image.as_deref(), Some("quay.io/kiali/kiali:v2.27"));
    assert_eq!(kiali.service_type.as_deref(), Some("NodePort"));
    assert_eq!(kiali.node_ports, exposure.node_ports);
    assert_eq!(components["AddonComponents"].status, kiali.status);
    assert_eq!(components["Pilot"].status, Some(InstallState::Healthy));

    let refused = Verdict::Refused(ApplyError::Invalid("spec".into()));
    let (judged, components) = step(refused);
    assert_eq!(judged, FAILED);
    assert_eq!(components["Kiali"].status, Some(InstallState::Error));
    assert_eq!(components["Pilot"].status, Some(InstallState::Healthy));
}
