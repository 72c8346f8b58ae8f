//! What istioctl installed is written down as an IstioOperator that changes nothing when it is applied.

use std::fs;

use e2e::{operator, yaml};
use serde_json::Value;

use crate::{
    commands::{ran, told},
    takeovers::{DEFAULT_TAG, OURS, Site},
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

/// An installation by istioctl is written down, and applying that would change nothing; gives what was written.
pub fn what_istioctl_installed_is_written_down(site: &Site) -> String {
    let Site { plane, users, .. } = site;
    let installed = yaml::documents("INSTALLED", INSTALLED).unwrap().remove(0);
    site.istioctl_install(&installed);

    let said = ran(&users.admin, &["adopt", "--write"]);
    assert_eq!(said.code, 0, "{said:?}");
    println!("{}", said.output);
    everything_matches(&said.output);
    let written = yaml::documents("adopt", &said.output).unwrap().remove(0);
    assert_eq!(written["metadata"]["name"], "theirs");
    assert_eq!(written["spec"]["profile"], "demo");
    who_may_only_read_gets_it_too(users, &written);

    let cr = plane.dir().join("ours.yaml");
    fs::write(&cr, &said.output).unwrap();
    let (_, preview) = told(&users.admin, &["adopt", "-f", cr.to_str().unwrap()]);
    let others = changes(&preview);
    assert!(others.is_empty(), "{others:#?}");
    assert!(
        preview["from"].to_string().contains("istioctl"),
        "{preview:#}"
    );
    said.output
}

/// No comment says that anything else does not match than what is otherwise on purpose.
pub fn everything_matches(written: &str) {
    for line in written
        .lines()
        .filter(|line| line.starts_with("# Does not match: "))
    {
        let mut known = OURS.iter().chain(&DEFAULT_TAG);
        assert!(known.any(|name| line.contains(name)), "{line}");
    }
}

/// The fields that would change.
fn changes(report: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for object in report["objects"].as_array().unwrap() {
        let namespace = object["namespace"].as_str().unwrap_or_default();
        let (kind, name) = (
            object["kind"].as_str().unwrap(),
            object["name"].as_str().unwrap(),
        );
        if OURS.contains(&format!("{kind} {namespace}/{name}").as_str()) {
            continue;
        }
        if object["change"] != "update" {
            found.push(object.to_string());
        }
        for field in object["fields"].as_array().into_iter().flatten() {
            let path = field["path"].as_str().unwrap();
            let is_known = path.contains("operator.istio.io/")
                || path.contains("deprecated.daemonset")
                || kind == "CustomResourceDefinition" && path.ends_with("description");
            if !is_known {
                found.push(format!("{kind} {name}: {field}"));
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
