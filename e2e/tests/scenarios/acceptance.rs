//! The samples, each applied with kubectl, become HEALTHY; the acceptance sample in detail.

use std::{fs, time::Duration};

use e2e::{
    actions::cr::{Cr, resource},
    control_plane::ControlPlane,
    error::Error,
    host::workspace::root,
    observe::{
        health::{ArgoHealth, Kstatus, argo, kstatus},
        history::History,
    },
    wait::wait_until,
};
use k8s_openapi::api::{
    apps::v1::Deployment, autoscaling::v2::HorizontalPodAutoscaler, core::v1::Service,
};
use kube::{
    Api,
    api::{ApiResource, ListParams},
};
use serde_json::{Value, json};

use crate::{
    SOON, bystander::quiet, commands::nothing_to_change, running, sample, truthful_status,
};

/// The operator is done if it writes nothing for this long.
const QUIET: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_sample_becomes_healthy_and_goes_away() {
    let (plane, operator) = running().await;
    let client = plane.client().await.unwrap();
    let kinds = [resource(), ApiResource::erase::<Deployment>(&())];
    let history = History::record(&client, &kinds).await.unwrap();

    let cr = Cr::apply(&plane, &sample("acceptance.yaml")).await.unwrap();
    let healthy = cr.wait_for("HEALTHY", SOON).await.unwrap();
    let healthy = serde_json::to_value(healthy).unwrap();
    assert_eq!(
        (argo(&healthy), kstatus(&healthy)),
        (ArgoHealth::Healthy, Kstatus::Current)
    );
    looks_as_the_acceptance_sample_says(&plane).await;
    // A status that was on its way while the spec changed is one of the old spec.
    quiet(&plane, &operator, QUIET).await;
    a_change_is_rolled_out(&cr).await;
    quiet(&plane, &operator, QUIET).await;
    cr.delete(SOON).await.unwrap();

    for entry in fs::read_dir(root().join("samples")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy();
        if name.ends_with(".yaml") && name != "acceptance.yaml" {
            let cr = Cr::apply(&plane, &sample(&name)).await.unwrap();
            cr.wait_for("HEALTHY", SOON)
                .await
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            nothing_to_change(&plane);
            if name == "gateways-in-other-namespaces.yaml" {
                addresses_follow_the_services(&plane, &cr).await;
            }
            quiet(&plane, &operator, QUIET).await;
            cr.delete(SOON)
                .await
                .unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
    truthful_status::check(&history.entries().unwrap());
}

/// Two pods of each workload, two autoscalers, the Service with its node ports, the mesh settings.
async fn looks_as_the_acceptance_sample_says(plane: &ControlPlane) {
    let client = plane.client().await.unwrap();
    let namespace = "istio-system";
    let hpas: Api<HorizontalPodAutoscaler> = Api::namespaced(client.clone(), namespace);
    for (name, selector) in [
        ("istiod", "app=istiod"),
        ("istio-ingressgateway", "app=istio-ingressgateway"),
    ] {
        two_pods_run(plane, selector).await;
        let hpa = hpas.get(name).await.unwrap().spec;
        assert_eq!((hpa.min_replicas, hpa.max_replicas), (Some(2), 5), "{name}");
    }
    assert_eq!(
        hpas.list(&ListParams::default()).await.unwrap().items.len(),
        2
    );

    let services: Api<Service> = Api::namespaced(client, namespace);
    let service = services
        .get("istio-ingressgateway")
        .await
        .unwrap()
        .spec
        .unwrap();
    assert_eq!(service.type_.as_deref(), Some("NodePort"));
    let ports: Vec<_> = service
        .ports
        .unwrap()
        .into_iter()
        .map(|port| {
            let target = serde_json::to_value(port.target_port).unwrap();
            (port.port, port.node_port.unwrap(), target)
        })
        .collect();
    let expected = [
        (15020, 30520, json!(15020)),
        (80, 30080, json!(8080)),
        (443, 30443, json!(8443)),
    ];
    assert_eq!(ports, expected);

    let mesh = plane.kubectl([
        "get",
        "configmap",
        "istio",
        "-n",
        namespace,
        "-o=jsonpath={.data.mesh}",
    ]);
    let mesh: Vec<Value> = e2e::yaml::documents("mesh", &mesh.unwrap()).unwrap();
    assert_eq!(mesh[0]["accessLogFile"], "/dev/stdout");
    assert_eq!(mesh[0]["accessLogEncoding"], "JSON");

    // The autoscalers' second pods may still be on their way into the status.
    wait_until("the table to say HEALTHY", SOON, || async {
        let table = plane.kubectl(["get", "iop", "-n", namespace])?;
        let row = table.lines().find(|line| line.starts_with("example-istio"));
        let mut words = row.unwrap_or_default().split_whitespace();
        let is_healthy = words.any(|word| word == "HEALTHY");
        is_healthy.then_some(()).ok_or(Error::Unexpected(table))
    })
    .await
    .unwrap();
}

async fn two_pods_run(plane: &ControlPlane, selector: &str) {
    let what = format!("two running pods {selector}");
    let running = wait_until(&what, SOON, || async {
        let phases = "-o=jsonpath={.items[*].status.phase}";
        let phases =
            plane.kubectl(["get", "pods", "-n", "istio-system", "-l", selector, phases])?;
        match phases.as_str() {
            "Running Running" => Ok(()),
            other => Err(Error::Unexpected(other.into())),
        }
    });
    running.await.unwrap();
}

/// The addresses of gateways are those of their Services, as long as they have some.
async fn addresses_follow_the_services(plane: &ControlPlane, cr: &Cr) {
    let ingress = json!([{"hostname": "lb.example.com"}, {"ip": "203.0.113.7"}]);
    for (ingress, expected) in [
        (ingress, json!(["203.0.113.7", "lb.example.com"])),
        (Value::Null, Value::Null),
    ] {
        // As a cloud's load balancer does; there is none here.
        let status = json!({"status": {"loadBalancer": {"ingress": ingress}}}).to_string();
        let service = ["service", "public-gateway", "-n=edge"];
        let patch = ["--subresource=status", "--type=merge", "-p", &status];
        let patch = ["patch"].into_iter().chain(service).chain(patch);
        plane.kubectl(patch).unwrap();
        wait_until("the addresses in the status", SOON, || async {
            let cr = cr.get().await?;
            let gateways = cr.data["status"]["gateways"].as_array();
            let gateways = gateways.into_iter().flatten();
            let found: Vec<_> = gateways
                .map(|gateway| (gateway["name"].clone(), gateway["addresses"].clone()))
                .collect();
            let wanted = [
                (json!("public-gateway"), expected.clone()),
                (json!("internal-gateway"), Value::Null),
                (json!("egress-gateway"), Value::Null),
            ];
            if found == wanted {
                return Ok(());
            }
            Err(Error::Unexpected(format!("{found:?}")))
        })
        .await
        .unwrap();
        cr.wait_for("HEALTHY", SOON).await.unwrap();
    }
}

/// A new generation is rolled out, and is not called healthy before that.
async fn a_change_is_rolled_out(cr: &Cr) {
    let change = json!({"spec": {"components": {"pilot": {"k8s": {
        "podAnnotations": {"example.com/round": "two"},
    }}}}});
    let changed = cr.patch(&change).await.unwrap();
    let healthy = cr.wait_for("HEALTHY", SOON).await.unwrap();
    assert_eq!(healthy.metadata.generation, changed.metadata.generation);
}
