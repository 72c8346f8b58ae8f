//! Installations of releases before 1.24: what can be upgraded in one step is taken over, and everything else is refused and stays as it is.

use e2e::{actions::cr::Cr, operator, yaml};
use serde_json::{Value, json};

use crate::{
    SOON, manifest,
    takeovers::{Site, owned_config_map, until_refused},
};

/// The newest release that Istio's former operator was of.
const FORMER: &str = "1.23.6";

/// The former operator itself, as `istioctl operator init` leaves it.
const FORMER_OPERATOR: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: istio-operator}
---
apiVersion: v1
kind: Service
metadata: {name: istio-operator, namespace: istio-operator}
spec: {selector: {name: istio-operator}, ports: [{name: http-metrics, port: 8383}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: istio-operator, namespace: istio-operator}
spec:
  selector: {matchLabels: {name: istio-operator}}
  template:
    metadata: {labels: {name: istio-operator}}
    spec:
      containers:
      - {name: istio-operator, image: 'docker.io/istio/operator:1.23.6', args: [operator, server]}
";

/// An IstioOperator with the status and the finalizer of the former operator: its objects are upgraded in place once the spec names the next
/// minor, and not before.
pub async fn of_the_former_operator(site: &Site) {
    let plane = &site.plane;
    let mut theirs = manifest("theirs", &json!({"profile": "default"}));
    plane
        .apply_as("istio-operator", &as_the_former_operator_left_it(&theirs))
        .unwrap();
    let mut leftover = owned_config_map("of-1.22", "theirs");
    leftover["metadata"]["labels"]["operator.istio.io/version"] = FORMER.into();
    plane
        .apply_as("istio-operator", &leftover.to_string())
        .unwrap();
    plane.apply(FORMER_OPERATOR).unwrap();
    theirs["metadata"]["finalizers"] = json!(["istio-finalizer.install.istio.io"]);
    // No istiod runs here that could prove that it injects.
    theirs["metadata"]["annotations"] = json!({"install.istio.io/skip-checks": "injection"});
    let before = site.look().await;

    let cr = Cr::apply(plane, &theirs.to_string()).await.unwrap();
    let status =
        r#"{"status": {"status": "HEALTHY", "componentStatus": {"Pilot": {"status": "HEALTHY"}}}}"#;
    let patch = [
        "patch",
        "iop",
        "theirs",
        "-n=istio-system",
        "--type=merge",
        "--subresource=status",
    ];
    plane.kubectl(patch.iter().chain(&["-p", status])).unwrap();
    let why = until_refused(&cr, "Stalled", "UpgradeRefused").await;
    assert!(
        why.contains(FORMER) && why.contains("\"1.24\" first"),
        "{why}"
    );
    let refused = site.look().await;
    assert_eq!(refused.changed_since(&before), [""; 0]);

    let reader = site.reader();
    reader.writes("istio.yaml", &theirs.to_string());
    reader.follows("From Istio's own operator");
    let after = site.look().await;
    assert_eq!(
        after.lost_since(&before),
        ["ConfigMap istio-system/of-1.22"]
    );
    site.remove("theirs").await;
}

/// The objects of the next minor, with the labels and the images of the former operator's own release.
fn as_the_former_operator_left_it(cr: &Value) -> String {
    let mut cr = cr.clone();
    cr["spec"]["version"] = "1.24".into();
    let mut objects = operator::render(&cr.to_string()).unwrap();
    for object in &mut objects {
        let labels = &mut object["metadata"]["labels"];
        for (label, value) in [
            ("install.operator.istio.io/owning-resource", "theirs"),
            (
                "install.operator.istio.io/owning-resource-namespace",
                "istio-system",
            ),
            ("istio.io/rev", "default"),
            ("operator.istio.io/managed", "Reconcile"),
            ("operator.istio.io/version", FORMER),
        ] {
            labels[label] = value.into();
        }
    }
    yaml::stream(&objects).replace("1.24.6", FORMER)
}

/// A workload that moves from an old control plane to a new one.
const SHOP: &str = "
{apiVersion: v1, kind: Namespace, metadata: {name: shop}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 0
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: web}]}}
";

/// An installation of an old release, and how it is recognized.
struct Old {
    objects: String,
    condition: &'static str,
    reason: &'static str,
    told: &'static str,
}

fn old() -> Vec<Old> {
    let istiod = |version: &str, labels: Value, annotations: Value| {
        let metadata = |name: &str| {
            let mut metadata = json!({"name": name, "namespace": "istio-system",
                "labels": {"istio.io/rev": "default", "release": "istio", "operator.istio.io/component": "Pilot"}});
            let all = metadata["labels"].as_object_mut().unwrap();
            all.extend(labels.as_object().unwrap().clone());
            metadata["annotations"] = annotations.clone();
            metadata
        };
        let pod = json!({"app": "istiod", "istio": "pilot"});
        let image = format!("docker.io/istio/pilot:{version}");
        yaml::stream(&[
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata("istio"), "data": {"mesh": "{}"}}),
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata("istiod"), "spec": {
                "selector": {"matchLabels": pod},
                "template": {"metadata": {"labels": pod}, "spec": {"containers": [{"name": "discovery", "image": image}]}}}}),
        ])
    };
    let owner = "install.operator.istio.io/owning-resource";
    let of_istioctl = json!({owner: "installed-state", "operator.istio.io/version": "1.12.0",
        "install.operator.istio.io/owning-resource-namespace": "istio-system"});
    let of_helm = json!({owner: "unknown", "app.kubernetes.io/managed-by": "Helm"});
    let release = json!({"meta.helm.sh/release-name": "istiod", "meta.helm.sh/release-namespace": "istio-system"});
    let before_istiod = "
{apiVersion: v1, kind: ConfigMap, metadata: {name: istio, namespace: istio-system}, data: {mesh: 'defaultConfig: {discoveryAddress: istio-pilot:15003}'}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: istio-pilot, namespace: istio-system, labels: {istio: pilot}}
spec:
  selector: {matchLabels: {istio: pilot}}
  template: {metadata: {labels: {istio: pilot}}, spec: {containers: [{name: discovery, image: 'docker.io/istio/pilot:0.4.0'}]}}
";
    vec![
        Old {
            objects: before_istiod.to_owned(),
            condition: "OwnershipConflict",
            reason: "OlderIstio",
            told: "ConfigMap istio-system/istio",
        },
        Old {
            objects: istiod("1.12.0", of_istioctl, json!({})),
            condition: "Stalled",
            reason: "UpgradeRefused",
            told: "from Istio 1.12.0",
        },
        // Rendered and applied by hand, so that only the image tells the version.
        Old {
            objects: istiod("1.16.2", json!({owner: "unknown"}), json!({})),
            condition: "Stalled",
            reason: "UpgradeRefused",
            told: "from Istio 1.16.2",
        },
        Old {
            objects: istiod("1.17.8", of_helm, release),
            condition: "Stalled",
            reason: "UpgradeRefused",
            told: "from Istio 1.17.8",
        },
    ]
}

/// The releases of the tutorials are told, and nothing of them changes, also not when the IstioOperator goes again.
pub async fn of_old_releases(site: &Site) {
    site.plane.apply(SHOP).unwrap();
    for Old {
        objects,
        condition,
        reason,
        told,
    } in old()
    {
        site.plane.apply(&objects).unwrap();
        let before = site.look().await;
        let spec = manifest("mesh", &json!({"profile": "minimal"}));
        let cr = Cr::apply(&site.plane, &spec.to_string()).await.unwrap();
        let why = until_refused(&cr, condition, reason).await;
        assert!(why.contains(told), "{why}");
        if reason == "OlderIstio" {
            beside_it_by_the_page(site);
        }
        cr.delete(SOON).await.unwrap();
        let after = site.look().await;
        let mut changed = after.changed_since(&before);
        changed.retain(|line| !line.contains("shop"));
        assert_eq!(changed, [""; 0], "{told}");
        let delete = ["delete", "--filename=-", "--cascade=foreground"];
        site.plane.kubectl_with_input(delete, &objects).unwrap();
    }
}

/// The new control plane is installed beside the old one, and workloads move.
fn beside_it_by_the_page(site: &Site) {
    let plane = &site.plane;
    let reader = site.reader();
    let file = manifest("mesh", &json!({"profile": "minimal"}));
    reader.writes("istio.yaml", &file.to_string());
    reader.follows("From an older Istio");
    // Nobody uses the revision any more, so that it can go.
    plane
        .kubectl(["label", "namespace", "shop", "istio.io/rev-"])
        .unwrap();
}
