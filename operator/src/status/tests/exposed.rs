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

/// Accepted row 6: whoever has no load balancer learns the ports to use.
#[test]
fn a_gateway_without_load_balancer_shows_the_ports_of_nodes() {
    let exposure = |service_type: &str| Exposure {
        service_type: service_type.into(),
        addresses: vec!["198.51.100.1".into()],
        node_ports: vec![NodePort {
            name: "http2".into(),
            port: 80,
            node_port: 30080,
        }],
    };
    let of_nodes = exposure("NodePort").reached_at();
    assert_eq!(of_nodes, ["198.51.100.1", "NodePort 80:30080"]);
    // A load balancer has its own address, and the ports behind it are no news.
    assert_eq!(exposure("LoadBalancer").reached_at(), ["198.51.100.1"]);
}

/// Accepted row 6: a request is answered by the pass that acted upon it, and the answer stays.
#[test]
fn a_request_is_answered_by_the_pass_that_acts_upon_it() {
    let mut story = Story::new();
    story.istiod(2);
    let requested = |request: Option<&str>| {
        let mut result = progress(applied(istiod(Verdict::Unchanged)));
        if let PassResult::Applied(progress) = &mut result {
            progress.request = request.map(str::to_owned);
        }
        result
    };
    story.mark_reconciling();
    assert_eq!(story.status.last_handled_reconcile_at, None);
    for (request, answer) in [
        (None, None),
        (Some("one"), Some("one")),
        (None, Some("one")),
    ] {
        story.step(&requested(request));
        let told = story.status.last_handled_reconcile_at.as_deref();
        assert_eq!(told, answer);
    }
    story.step(&PassResult::Rejected {
        reason: reason::INVALID_SPEC,
        errors: vec!["spec.hub: expected text".into()],
        request: Some("two".into()),
    });
    let told = story.status.last_handled_reconcile_at.as_deref();
    assert_eq!(told, Some("two"));
    story.step(&PassResult::Paused);
    let told = story.status.last_handled_reconcile_at.as_deref();
    assert_eq!(told, Some("two"));
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
