//! The cluster itself: its version, its clock, what users may do in it, its CRDs and its webhooks.

use std::collections::BTreeSet;

use istio_operator::charts::Charts;
use k8s_openapi::jiff::Timestamp;
use k8s_openapi::jiff::fmt::rfc2822;
use kube::ResourceExt;
use kube::api::{DynamicObject, ListParams};
use serde_json::Value;

use super::super::connection::Connection;
use super::super::writes;
use super::{Findings, Outcome, list};

/// How far clocks may differ, in seconds, before tokens and leases suffer.
const LARGEST_SKEW: i64 = 10;

/// Compares the version of Kubernetes with what the newest Istio needs.
pub(super) fn kubernetes(connection: &Connection, charts: &Charts, findings: &mut Findings) {
    let (about, version) = ("Kubernetes", &connection.git_version);
    let catalogue = charts.catalogue();
    let Some(found) = connection.cluster().kubernetes else {
        return findings.add(
            about,
            Outcome::Unknown,
            format!("{version:?} is no version that is known"),
        );
    };
    let default = catalogue.default_version();
    let fits = |release: &&istio_operator::catalogue::Release| release.kubernetes <= found;
    let newest = catalogue.releases().iter().rev().find(fits);
    match newest {
        Some(release) if release.version.minor >= default.minor => {
            findings.ok(about, format!("{version} runs Istio {default}"));
        }
        Some(release) => findings.warn(about, format!(
            "{version} is too old for Istio {default}; the newest that runs here is {}: set spec.version",
            release.version.minor_text()
        )),
        None => findings.fail(about, format!("{version} is too old for every Istio from {} on", catalogue.known())),
    }
}

/// What installing takes.
const NEEDED: [(&str, &str); 9] = [
    ("apiextensions.k8s.io", "customresourcedefinitions"),
    ("", "namespaces"),
    ("", "serviceaccounts"),
    ("", "services"),
    ("apps", "deployments"),
    ("rbac.authorization.k8s.io", "clusterroles"),
    ("rbac.authorization.k8s.io", "clusterrolebindings"),
    (
        "admissionregistration.k8s.io",
        "mutatingwebhookconfigurations",
    ),
    (
        "admissionregistration.k8s.io",
        "validatingwebhookconfigurations",
    ),
];

/// Asks whether the user may install.
pub(super) async fn rights(connection: &Connection, findings: &mut Findings) {
    let about = "your rights";
    let mut lacking = Vec::new();
    for (group, resource) in NEEDED {
        match writes::may(connection, "create", group, resource).await {
            Ok(true) => {}
            Ok(false) => lacking.push(resource),
            Err(why) => return findings.add(about, Outcome::Unknown, why),
        }
    }
    if lacking.is_empty() {
        findings.ok(
            about,
            "you may create what the operator and Istio consist of",
        );
    } else {
        let lacking = lacking.join(", ");
        findings.fail(about, format!("you may not create {lacking}; ask for the role cluster-admin, or somebody who has it"));
    }
}

/// Compares the clock of this machine with that of the API server.
pub(super) async fn clock(connection: &Connection, findings: &mut Findings) {
    let about = "clock";
    let date = connection.date().await;
    let Some(date) = findings.take(about, date) else {
        return;
    };
    let there = rfc2822::DateTimeParser::new().parse_timestamp(&date);
    let Ok(there) = there else {
        return findings.add(
            about,
            Outcome::Unknown,
            format!("the API server says {date:?}"),
        );
    };
    let skew = Timestamp::now().as_second() - there.as_second();
    if skew.abs() <= LARGEST_SKEW {
        findings.ok(about, "the API server and this machine agree");
    } else {
        findings.warn(about, format!(
            "the API server and this machine differ by {} s; tokens and certificates may count as expired: set the clocks by NTP",
            skew.abs()
        ));
    }
}

const CRD: (&str, &str, &str, &str) = (
    "apiextensions.k8s.io",
    "v1",
    "CustomResourceDefinition",
    "customresourcedefinitions",
);
const BUNDLE: &str = "gateway.networking.k8s.io/bundle-version";

/// Looks at the definitions of Istio and of the Gateway API.
pub(super) async fn crds(connection: &Connection, findings: &mut Findings) {
    let about = "CRDs";
    let Some(crds) = findings.take(about, list(connection, CRD, &ListParams::default()).await)
    else {
        return;
    };
    let is_established = |crd: &&DynamicObject| {
        let conditions = crd.data["status"]["conditions"].as_array();
        let is_it =
            |condition: &Value| condition["type"] == "Established" && condition["status"] == "True";
        conditions.is_some_and(|conditions| conditions.iter().any(is_it))
    };
    let istio: Vec<_> = crds
        .iter()
        .filter(|crd| crd.name_any().ends_with(".istio.io"))
        .collect();
    let broken: Vec<_> = istio
        .iter()
        .filter(|crd| !is_established(crd))
        .map(|crd| crd.name_any())
        .collect();
    if broken.is_empty() {
        findings.ok(about, format!("{} of Istio are served", istio.len()));
    } else {
        findings.fail(
            about,
            format!(
                "{} are not served; kubectl describe crd tells why",
                broken.join(", ")
            ),
        );
    }
    let about = "Gateway API";
    let bundles: BTreeSet<_> = crds
        .iter()
        .filter_map(|crd| crd.annotations().get(BUNDLE))
        .collect();
    match bundles.iter().collect::<Vec<_>>().as_slice() {
        [] => findings.ok(
            about,
            "is not installed; waypoints of ambient mode and Gateways need it",
        ),
        [one] => findings.ok(about, format!("{one} is installed")),
        several => {
            let several: Vec<_> = several.iter().map(|bundle| bundle.as_str()).collect();
            findings.warn(
                about,
                format!(
                    "several bundles are mixed: {}; apply one of them as a whole",
                    several.join(", ")
                ),
            );
        }
    }
}

const ADMISSION: &str = "admissionregistration.k8s.io";
/// The kind of injection webhooks: group, version, kind and plural.
pub(in crate::cli) const MUTATING: (&str, &str, &str, &str) = (
    ADMISSION,
    "v1",
    "MutatingWebhookConfiguration",
    "mutatingwebhookconfigurations",
);
const VALIDATING: (&str, &str, &str, &str) = (
    ADMISSION,
    "v1",
    "ValidatingWebhookConfiguration",
    "validatingwebhookconfigurations",
);
const SLICES: (&str, &str, &str, &str) =
    ("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices");

/// Looks whether the webhooks of Istio lead to somebody, and whether two of them want the same pods.
pub(super) async fn webhooks(connection: &Connection, findings: &mut Findings) {
    let about = "webhooks";
    let params = ListParams::default().labels("istio.io/rev");
    let mut found = Vec::new();
    for kind in [MUTATING, VALIDATING] {
        let listed = list(connection, kind, &params).await;
        let Some(listed) = findings.take(about, listed) else {
            return;
        };
        found.extend(listed.into_iter().map(|webhook| (kind, webhook)));
    }
    let slices = list(connection, SLICES, &ListParams::default()).await;
    let Some(slices) = findings.take("endpoints", slices) else {
        return;
    };
    let before = findings.0.len();
    for ((_, _, kind, _), configuration) in &found {
        for service in services(configuration) {
            if !slices.iter().any(|slice| serves(slice, &service)) {
                let (namespace, name) = &service;
                findings.fail(about, format!(
                    "{kind} {} leads to Service {namespace}/{name}, which nobody answers; what it decides about is refused: \
                     bring the Service's pods up, or delete the configuration",
                    configuration.name_any()
                ));
            }
        }
    }
    let tags = found.iter().filter(|((_, _, kind, _), webhook)| {
        *kind == "MutatingWebhookConfiguration"
            && webhook
                .labels()
                .get("istio.io/tag")
                .is_some_and(|tag| tag == "default")
    });
    let tags: Vec<_> = tags.map(|(_, webhook)| webhook.name_any()).collect();
    if tags.len() > 1 {
        findings.warn(
            about,
            format!(
                "several carry the default tag: {}; pods may be injected twice",
                tags.join(", ")
            ),
        );
    }
    if findings.0.len() == before {
        findings.ok(
            about,
            format!("{} of Istio, and each is answered", found.len()),
        );
    }
}

/// The Services that the webhooks of a configuration lead to, by namespace and name.
fn services(configuration: &DynamicObject) -> BTreeSet<(String, String)> {
    let webhooks = configuration.data["webhooks"]
        .as_array()
        .into_iter()
        .flatten();
    let service = |webhook: &Value| {
        let service = &webhook["clientConfig"]["service"];
        let text = |key: &str| service[key].as_str().map(str::to_owned);
        Some((text("namespace")?, text("name")?))
    };
    webhooks.filter_map(service).collect()
}

/// Whether a slice has an endpoint of a Service that is ready.
fn serves(slice: &DynamicObject, (namespace, name): &(String, String)) -> bool {
    let is_its = slice.namespace().as_ref() == Some(namespace)
        && slice.labels().get("kubernetes.io/service-name") == Some(name);
    let endpoints = slice.data["endpoints"].as_array().into_iter().flatten();
    is_its
        && endpoints
            .into_iter()
            .any(|endpoint| endpoint["conditions"]["ready"] != false)
}
