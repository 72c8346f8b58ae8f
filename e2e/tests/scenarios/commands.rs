//! The commands for people at a terminal, on a running installation: what they say is so, and what they leave alone stays.

use std::path::{Path, PathBuf};

use e2e::{
    actions::cr::Cr,
    control_plane::ControlPlane,
    operator::{self, Said},
};
use serde_json::{Value, json};

use crate::{healthy, running, sample};

/// A user who may read everything but Secrets, and one who may read nothing.
const USERS: &str = r"
{apiVersion: v1, kind: Namespace, metadata: {name: people}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: reader, namespace: people}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: nobody, namespace: people}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: reader}
rules:
- {apiGroups: ['', apps, autoscaling, policy, discovery.k8s.io, networking.k8s.io, rbac.authorization.k8s.io,
    apiextensions.k8s.io, admissionregistration.k8s.io, install.istio.io, coordination.k8s.io, k8s.cni.cncf.io],
   resources: [bindings, componentstatuses, configmaps, endpoints, endpointslices, events, namespaces, nodes, persistentvolumeclaims,
     pods, resourcequotas, serviceaccounts, services, deployments, daemonsets, replicasets, horizontalpodautoscalers,
     poddisruptionbudgets, networkpolicies, clusterroles, clusterrolebindings, roles, rolebindings, customresourcedefinitions,
     mutatingwebhookconfigurations, validatingwebhookconfigurations, validatingadmissionpolicies,
     validatingadmissionpolicybindings, istiooperators, leases, network-attachment-definitions],
   verbs: [get, list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: reader}
subjects: [{kind: ServiceAccount, name: reader, namespace: people}]
";

/// A command says that applying the only IstioOperator again changes nothing.
pub fn nothing_to_change(plane: &ControlPlane) {
    let said = ran(&plane.kubeconfig(), &["diff", "--exit-code"]);
    assert_eq!(said.code, 0, "{said:?}");
}

fn ran(kubeconfig: &Path, args: &[&str]) -> Said {
    operator::run(kubeconfig, args, "").unwrap()
}

/// What a command prints as JSON, with its exit code.
fn told(kubeconfig: &Path, args: &[&str]) -> (i32, Value) {
    let said = ran(kubeconfig, &[args, &["-o", "json"]].concat());
    let value = said
        .json()
        .unwrap_or_else(|error| panic!("{args:?}: {error}"));
    (said.code, value)
}

/// The kubeconfigs of the users.
struct Users {
    admin: PathBuf,
    reader: PathBuf,
    nobody: PathBuf,
}

impl Users {
    async fn create(plane: &ControlPlane) -> Self {
        plane.apply(USERS).unwrap();
        Self {
            admin: plane.kubeconfig(),
            reader: plane.kubeconfig_of("people", "reader").await.unwrap(),
            nobody: plane.kubeconfig_of("people", "nobody").await.unwrap(),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_diff_tells_what_an_apply_changes() {
    let (plane, _operator) = running().await;
    let cr = healthy(&plane, &sample("acceptance.yaml")).await;
    let users = Users::create(&plane).await;
    for user in [&users.admin, &users.reader] {
        let said = ran(user, &["diff", "--exit-code"]);
        assert_eq!(said.code, 0, "{said:?}");
        let (_, report) = told(user, &["diff"]);
        assert_eq!(report["objects"], json!([]), "{report:#}");
        assert!(report["unchanged"].as_u64() > Some(30), "{report}");
    }
    a_change_is_told_field_by_field(&users, &cr).await;
    what_comes_and_goes_is_told(&users, &plane);
    who_may_not_look_learns_it(&users);
}

async fn a_change_is_told_field_by_field(users: &Users, cr: &Cr) {
    let before = cr.get().await.unwrap();
    let change = [
        "diff",
        "--exit-code",
        "--set",
        "values.pilot.traceSampling=7",
        "--set",
        "components.pilot.k8s.resources.requests.memory=3072Mi",
        "--set",
        "meshConfig.accessLogFile=/dev/other",
    ];
    for user in [&users.admin, &users.reader] {
        let (code, report) = told(user, &change);
        assert_eq!(code, 3);
        assert_eq!(
            report["restarts"],
            json!(["Deployment istio-system/istiod"]),
            "{report:#}"
        );
        let fields = |kind: &str, name: &str| {
            let objects = report["objects"].as_array().unwrap().iter();
            let mut found =
                objects.filter(|object| object["kind"] == kind && object["name"] == name);
            found
                .next()
                .map(|object| object["fields"].clone())
                .unwrap_or_default()
        };
        let deployment = fields("Deployment", "istiod");
        let memory = "spec.template.spec.containers[discovery].resources.requests.memory";
        let found = deployment
            .as_array()
            .unwrap()
            .iter()
            .find(|field| field["path"] == memory);
        // The API server writes quantities in its own way.
        let after = if *user == users.admin {
            "3Gi"
        } else {
            "3072Mi"
        };
        let expected = json!({"path": memory, "before": "512Mi", "after": after});
        assert_eq!(found, Some(&expected), "{report:#}");
        assert_eq!(fields("ConfigMap", "istio")[0]["path"], "data.mesh");
        let changed = report["objects"].as_array().unwrap().len();
        assert!(changed <= 4, "{report:#}");
    }
    let said = ran(&users.reader, &change);
    assert!(
        said.errors.contains("because you may not ask for dry runs"),
        "{said:?}"
    );
    assert!(
        said.output
            .starts_with("~ Deployment istio-system/istiod (restarts its pods)\n"),
        "{said:?}"
    );
    let after = cr.get().await.unwrap();
    assert_eq!(before.metadata.generation, after.metadata.generation);
}

fn what_comes_and_goes_is_told(users: &Users, plane: &ControlPlane) {
    let metadata = json!({"name": "acceptance", "namespace": "istio-system"});
    let names = plane
        .kubectl(["get", "iop", "-n", "istio-system", "-o", "name"])
        .unwrap();
    let name = names.trim().rsplit('/').next().unwrap();
    let cr = json!({
        "apiVersion": "install.istio.io/v1alpha1",
        "kind": "IstioOperator",
        "metadata": {"name": name, "namespace": metadata["namespace"]},
        "spec": {"profile": "minimal", "components": {"egressGateways": [
            {"name": "exit", "namespace": "new", "enabled": true}]}},
    });
    let said = operator::run(
        &users.admin,
        &["diff", "-f", "-", "-o", "json"],
        &cr.to_string(),
    )
    .unwrap();
    let report = said.json().unwrap();
    let of = |change: &str| -> Vec<String> {
        let objects = report["objects"].as_array().unwrap().iter();
        let objects = objects.filter(|object| object["change"] == change);
        objects
            .map(|object| {
                format!(
                    "{} {}",
                    object["kind"].as_str().unwrap(),
                    object["name"].as_str().unwrap()
                )
            })
            .collect()
    };
    let created = of("create");
    assert!(created.contains(&"Namespace new".to_owned()), "{created:?}");
    assert!(
        created.contains(&"Deployment exit".to_owned()),
        "{created:?}"
    );
    let deleted = of("delete");
    assert!(
        deleted.contains(&"Deployment istio-ingressgateway".to_owned()),
        "{deleted:?}"
    );
    assert_eq!(of("refused"), [""; 0]);
    assert!(plane.kubectl(["get", "namespace", "new"]).is_err());
}

fn who_may_not_look_learns_it(users: &Users) {
    let said = ran(&users.nobody, &["diff"]);
    assert_eq!((said.code, said.output.as_str()), (1, ""), "{said:?}");
    assert!(said.errors.contains("istiooperators"), "{said:?}");
    assert!(
        said.errors.contains("people:nobody\" cannot list"),
        "{said:?}"
    );
}
