//! The operator, and others that do the same.

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{DynamicObject, ListParams};

use super::super::connection::Connection;
use super::{Findings, list};

const DEPLOYMENT: (&str, &str, &str, &str) = ("apps", "v1", "Deployment", "deployments");
const LEASE: (&str, &str, &str, &str) = ("coordination.k8s.io", "v1", "Lease", "leases");
const NAME: &str = "istio-operator";
/// The label of the operator's Deployment and pods.
const LABEL: &str = "app.kubernetes.io/name=istio-operator";
/// How old the last sign of life may be, in seconds; the lease is renewed far more often.
const LONGEST_SILENCE: i64 = 30;

/// Looks at the Deployment and the lease of the operator.
pub(super) async fn operator(connection: &Connection, findings: &mut Findings) {
    let about = "operator";
    let params = ListParams::default().labels(LABEL);
    let Some(found) = findings.take(about, list(connection, DEPLOYMENT, &params).await) else {
        return;
    };
    if found.is_empty() {
        findings.warn(about, "no Deployment of it is there; istio-operator manifests | kubectl apply -f - installs it");
    }
    for deployment in &found {
        let name = format!(
            "{}/{}",
            deployment.namespace().unwrap_or_default(),
            deployment.name_any()
        );
        let (status, spec) = (&deployment.data["status"], &deployment.data["spec"]);
        let (available, wanted) = (
            status["availableReplicas"].as_i64().unwrap_or(0),
            spec["replicas"].as_i64().unwrap_or(1),
        );
        let image = spec["template"]["spec"]["containers"][0]["image"]
            .as_str()
            .unwrap_or_default();
        if available >= wanted {
            findings.ok(about, format!("{name} runs {image}"));
        } else {
            findings.fail(about, format!(
                "{name} has {available} of {wanted} pods; kubectl describe pods -n {} -l {LABEL} tells why",
                deployment.namespace().unwrap_or_default()
            ));
        }
    }
    let leases = list(
        connection,
        LEASE,
        &ListParams::default().fields(&format!("metadata.name={NAME}")),
    )
    .await;
    let about = "lease";
    let Some(leases) = findings.take(about, leases) else {
        return;
    };
    match leases.as_slice() {
        [] => findings.warn(
            about,
            "there is none, so no operator leads, or one that runs without",
        ),
        [lease] => judge_lease(lease, findings),
        several => {
            let names: Vec<_> = several.iter().filter_map(ResourceExt::namespace).collect();
            findings.fail(about, format!(
                "operators lead in several namespaces: {}; two of them fight over every IstioOperator: remove one, or set WATCH_NAMESPACE",
                names.join(", ")
            ));
        }
    }
}

fn judge_lease(lease: &DynamicObject, findings: &mut Findings) {
    let about = "lease";
    let spec = &lease.data["spec"];
    let holder = spec["holderIdentity"].as_str().unwrap_or_default();
    let renewed = spec["renewTime"]
        .as_str()
        .and_then(|time| time.parse::<Timestamp>().ok());
    let age = renewed.map(|renewed| Timestamp::now().as_second() - renewed.as_second());
    match age {
        _ if holder.is_empty() => findings.warn(about, "nobody leads at the moment"),
        Some(age) if age > LONGEST_SILENCE => findings.fail(about, format!(
            "{holder} renewed it {age} s ago, so no operator is at work; look at its pods and their logs"
        )),
        _ => findings.ok(about, format!("{holder} leads")),
    }
}

/// Looks for the operator of Istio itself, which was removed after 1.23.
pub(super) async fn others(connection: &Connection, findings: &mut Findings) {
    let about = "other operators";
    let Some(all) = findings.take(
        about,
        list(connection, DEPLOYMENT, &ListParams::default()).await,
    ) else {
        return;
    };
    let is_old = |deployment: &&DynamicObject| {
        let containers = deployment.data["spec"]["template"]["spec"]["containers"].as_array();
        let mut images = containers
            .into_iter()
            .flatten()
            .filter_map(|container| container["image"].as_str());
        let is_istios = |image: &str| {
            let name = image.split('@').next().unwrap_or_default();
            let name = name.rsplit('/').next().unwrap_or_default();
            name == "operator" || name.starts_with("operator:")
        };
        deployment.name_any().starts_with(NAME) && images.any(is_istios)
    };
    let old: Vec<_> = all.iter().filter(is_old).collect();
    if old.is_empty() {
        findings.ok(about, "none is there");
    }
    for deployment in old {
        let (namespace, name) = (
            deployment.namespace().unwrap_or_default(),
            deployment.name_any(),
        );
        findings.fail(about, format!(
            "Deployment {namespace}/{name} is Istio's old operator, which undoes what this one does: kubectl delete deployment {name} -n {namespace}"
        ));
    }
}
