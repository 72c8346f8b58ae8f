//! What istioctl installed is written down as an IstioOperator that changes nothing when it is applied.

use std::fs;

use e2e::{
    control_plane::ControlPlane,
    istio::istioctl,
    observe::inventory::{Snapshot, differences, snapshot},
    operator::{self, Operator},
    yaml,
};
use serde_json::Value;

use crate::{
    commands::{ran, told},
    healthy,
    users::Users,
};

/// An installation with settings in every layer.
const INSTALLED: &str = "
apiVersion: install.istio.io/v1alpha1
kind: IstioOperator
metadata: {namespace: istio-system, name: theirs}
spec:
  profile: demo
  meshConfig: {accessLogFile: /dev/stdout, defaultConfig: {holdApplicationUntilProxyStarts: true}}
  components:
    cni: {enabled: true, namespace: kube-system}
    pilot:
      k8s:
        resources: {requests: {cpu: 77m, memory: 300Mi}}
        overlays:
        - {kind: Deployment, name: istiod, patches: [{path: spec.template.metadata.labels.team, value: mesh}]}
    ingressGateways:
    - name: istio-ingressgateway
      enabled: true
      k8s: {service: {type: NodePort}, hpaSpec: {minReplicas: 2, maxReplicas: 4}}
    - {name: internal, namespace: edge, enabled: true, label: {istio: internal, app: internal}}
    egressGateways:
    - {name: istio-egressgateway, enabled: true, k8s: {resources: {requests: {cpu: 9m}}}}
  values:
    global: {proxy: {resources: {requests: {cpu: 12m}}}}
    pilot: {env: {PILOT_ENABLE_STATUS: 'true'}, traceSampling: 7}
";

/// Labels of a release; in Istio's source tree, which the istioctl here is of, charts are of no release.
const RELEASE: [&str; 2] = ["app.kubernetes.io/version", "helm.sh/chart"];

/// What the operator has otherwise on purpose: templates tell the version of proxies, and the default tag selects istiod by its
/// usual label. The values are told as they are written.
const OURS: [&str; 3] = [
    "istio-system/istio-sidecar-injector",
    "istio-system/istiod-revision-tag-default",
    "istio-system/values",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_istioctl_installed_stays_as_it_is() {
    let plane = ControlPlane::start().await.unwrap();
    plane.create_namespace("edge").unwrap();
    let file = plane.dir().join("theirs.yaml");
    fs::write(&file, INSTALLED).unwrap();
    let file = file.display().to_string();
    istioctl::run(&plane, ["install", "-y", "-f", &file]).unwrap();
    let users = Users::create(&plane).await;

    let said = ran(&users.admin, &["adopt", "--write"]);
    assert_eq!(said.code, 0, "{said:?}");
    println!("{}", said.output);
    for line in said
        .output
        .lines()
        .filter(|line| line.starts_with("# Does not match: "))
    {
        let is_known = OURS.iter().any(|name| line.contains(name));
        assert!(is_known, "{line}");
    }
    let written = yaml::documents("adopt", &said.output).unwrap().remove(0);
    assert_eq!(written["metadata"]["name"], "theirs");
    assert_eq!(written["spec"]["profile"], "demo");
    who_may_only_read_gets_it_too(&users, &written);

    let cr = plane.dir().join("ours.yaml");
    fs::write(&cr, &said.output).unwrap();
    let (_, preview) = told(&users.admin, &["adopt", "-f", cr.to_str().unwrap()]);
    let others = changes(&preview);
    assert!(others.is_empty(), "{others:#?}");
    assert!(
        preview["from"].to_string().contains("istioctl"),
        "{preview:#}"
    );

    let mut before = objects(&plane).await;
    let _operator = Operator::start(&plane).await.unwrap();
    healthy(&plane, &said.output).await;
    let mut after = objects(&plane).await;
    // The default tag is kept by the one who has it.
    after.retain(|name, _| before.contains_key(name));
    // The texts that explain their fields are the operator's own.
    let is_crd = |name: &String| name.starts_with("CustomResourceDefinition ");
    before.retain(|name, _| !is_crd(name));
    after.retain(|name, _| !is_crd(name));
    for name in OURS {
        let key = |key: &&String| key.ends_with(name);
        let found = before.keys().find(key).cloned();
        found.map(|key| (before.remove(&key), after.remove(&key)));
    }
    assert!(after.len() > 35, "{}", after.len());
    let differing = differences(&before, &after);
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

/// The fields that would change, but for the labels of a release.
fn changes(report: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for object in report["objects"].as_array().unwrap() {
        let name = format!(
            "{}/{}",
            object["namespace"].as_str().unwrap_or_default(),
            object["name"].as_str().unwrap()
        );
        if OURS.contains(&name.as_str()) {
            continue;
        }
        if object["change"] != "update" {
            found.push(object.to_string());
        }
        for field in object["fields"].as_array().into_iter().flatten() {
            let path = field["path"].as_str().unwrap();
            let is_known = path.contains("operator.istio.io/")
                || path.contains("deprecated.daemonset")
                || object["kind"] == "CustomResourceDefinition" && path.ends_with("description")
                || RELEASE.iter().any(|label| path.contains(label));
            if !is_known {
                found.push(format!("{} {}: {field}", object["kind"], object["name"]));
            }
        }
    }
    found
}

fn who_may_only_read_gets_it_too(users: &Users, written: &Value) {
    let said = ran(&users.reader, &["adopt", "--write"]);
    assert_eq!(said.code, 0, "{said:?}");
    let document = yaml::documents("adopt", &said.output).unwrap().remove(0);
    for field in ["profile", "meshConfig", "version"] {
        assert_eq!(document["spec"][field], written["spec"][field], "{field}");
    }
    let said = ran(&users.nobody, &["adopt", "--write"]);
    assert_eq!((said.code, said.output.as_str()), (1, ""), "{said:?}");
    assert!(said.errors.contains("cannot list"), "{said:?}");
    let said = operator::run(
        &users.admin,
        &["adopt", "--write", "--revision", "none"],
        "",
    );
    let said = said.unwrap();
    assert!(said.errors.contains("there are default"), "{said:?}");
}

/// All objects, without what says who applied them and from which release.
async fn objects(plane: &ControlPlane) -> Snapshot {
    let inventory = plane.inventory().await.unwrap();
    let mut objects = snapshot(&inventory.touched().await.unwrap());
    for object in objects.values_mut() {
        without_bookkeeping(object);
    }
    objects
}

fn without_bookkeeping(node: &mut Value) {
    match node {
        Value::Object(fields) => {
            fields.retain(|key, _| {
                // A label of a release is one of the pods too, and the template that has it is counted.
                let is_ours = key.contains("operator.istio.io/")
                    || key == "deprecated.daemonset.template.generation";
                !is_ours && !RELEASE.contains(&key.as_str())
            });
            fields.values_mut().for_each(without_bookkeeping);
        }
        Value::Array(list) => list.iter_mut().for_each(without_bookkeeping),
        _ => {}
    }
}
