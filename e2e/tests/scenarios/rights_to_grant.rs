//! What the operator has to have because Istio's roles grant it: each rule is needed by some role, and the status names what is
//! missing when the API server does not let that role in.

use std::collections::BTreeSet;

use e2e::{
    actions::{
        cr::{Cr, state},
        rights::{Right, Rights},
    },
    wait::wait_until,
};
use istio_operator::{
    api::IstioOperator,
    charts::Charts,
    merge::{Cluster, merge},
    render::render,
};
use k8s_openapi::api::rbac::v1::PolicyRule;
use serde_json::{Map, Value, json};

use crate::SOON;

/// Specs whose roles need between them all that the operator may grant.
fn specs() -> Vec<Value> {
    let everything = |version: &str, repair: Value| {
        json!({
            "profile": "ambient",
            "version": version,
            "components": {"egressGateways": [{"name": "egress", "enabled": true}]},
            "unvalidatedValues": {
                "cni": {"repair": repair},
                "global": {"istiod": {"enableAnalysis": true}},
                "pilot": {"env": {"ENABLE_CLUSTER_TRUST_BUNDLE_API": true}, "taint": {"enabled": true}},
            },
        })
    };
    let addons = json!({"prometheus": {}, "kiali": {"viewOnly": false}});
    vec![
        everything("1.31", json!({"repairPods": false, "deletePods": true})),
        everything("1.31", json!({"repairPods": false, "labelPods": true})),
        everything("1.24", json!({"repairPods": true})),
        json!({"profile": "openshift", "version": "1.31"}),
        json!({"profile": "empty", "addonComponents": addons}),
    ]
}

/// A spec with what its roles grant.
struct Granting {
    spec: Value,
    rights: Vec<Right>,
}

impl Granting {
    fn of(mut spec: Value, charts: &Charts) -> Self {
        // Base grants nothing, and is by far the largest.
        spec["components"]["base"] = json!({"enabled": false});
        let cr: IstioOperator =
            serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap();
        let merged = merge(&cr, None, Cluster::default(), charts).unwrap();
        let rendered = render(&merged, charts).unwrap();
        let objects = rendered.components.iter().flat_map(|one| &one.objects);
        let granting =
            objects.filter(|object| ["Role", "ClusterRole"].contains(&object.key.kind.as_str()));
        let granted = granting.flat_map(|role| {
            let list = role.body.value()["rules"].take();
            serde_json::from_value::<Vec<PolicyRule>>(list).unwrap()
        });
        Self {
            rights: granted.flat_map(|rule| Right::of(&rule)).collect(),
            spec,
        }
    }

    /// The spec with something in it that every role tells of, so that the API server is asked for each of them once more.
    fn spec_of(&self, round: usize) -> Value {
        let mut spec = self.spec.clone();
        if let Some(minor) = spec["version"].as_str() {
            spec["version"] = format!("{minor}.{round}").into();
        }
        let addons = spec["addonComponents"].as_object_mut();
        for addon in addons.into_iter().flat_map(Map::values_mut) {
            addon["namespace"] = format!("tools-{round}").into();
        }
        spec
    }
}

/// Takes one rule after the other away, and sees the status name a right of it.
pub async fn each_is_named_when_it_is_missing(cr: &Cr, rights: &Rights) {
    let charts = Charts::embedded().unwrap();
    let granting: Vec<_> = specs()
        .into_iter()
        .map(|spec| Granting::of(spec, &charts))
        .collect();
    let own = rights.rules("istio-operator");
    let own: BTreeSet<_> = own.iter().flat_map(Right::of).collect();
    let rules = rights.rules("istio-operator-grants");
    assert!(rules.len() > 30, "{}", rules.len());
    let nothing = json!({"profile": "empty"});
    for (round, rule) in rules.iter().enumerate() {
        // What was refused in the round before would be installed once its right is back.
        cr.replace_spec(&nothing).await.unwrap();
        let mut taken = Right::of(rule);
        if !taken.is_subset(&own) {
            // What the operator uses itself is another matter.
            taken.retain(|right| !own.contains(right));
        }
        let needs = |one: &&Granting| {
            let mut granted = one.rights.iter();
            granted.any(|right| taken.iter().any(|taken| taken.overlaps(right)))
        };
        let needing = granting.iter().find(needs);
        let needing = needing.unwrap_or_else(|| panic!("no role grants {rule:?}"));
        rights.take(&taken).await.unwrap();
        cr.replace_spec(&needing.spec_of(round)).await.unwrap();
        until_named(cr, &taken).await;
    }
    cr.replace_spec(&nothing).await.unwrap();
    rights.give_back().await.unwrap();
}

/// Waits until the status tells of the present generation that the API server let a role not in, for one of these rights.
async fn until_named(cr: &Cr, taken: &BTreeSet<Right>) {
    let is_quoted = |message: &str, word: &str| message.contains(&format!("\"{word}\""));
    let is_named = |message: &str, right: &Right| {
        let Right {
            group,
            resource,
            verb,
            ..
        } = right;
        // Of all resources one may be lacking, and all where one was taken, because nothing less can be taken of all.
        let is_resource =
            resource == "*" || is_quoted(message, "*") || is_quoted(message, resource);
        is_quoted(message, group) && is_resource && is_quoted(message, verb)
    };
    wait_until("a role to be refused", SOON, || async {
        let cr = cr.get().await.map_err(|error| error.to_string())?;
        let message = cr.data["status"]["message"].as_str().unwrap_or_default();
        let is_refused = !state(&cr).is_empty() && message.contains("not currently held");
        if is_refused && taken.iter().any(|right| is_named(message, right)) {
            Ok(())
        } else {
            Err(format!("{taken:?}: {}", cr.data["status"]))
        }
    })
    .await
    .unwrap();
}
