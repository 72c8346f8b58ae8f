//! The default tag as it is rendered: what it adds to an installation, and what it changes of the rest.

#![allow(clippy::unwrap_used, reason = "what goes wrong here fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use istio_operator::api::IstioOperator;
use istio_operator::charts::Charts;
use istio_operator::dataplane::PROXY_VERSION;
use istio_operator::merge::{Cluster, Merged, merge};
use istio_operator::render::render;
use serde_json::{Value, json};

static CHARTS: LazyLock<Charts> = LazyLock::new(|| Charts::embedded().unwrap());

const INJECTOR: &str = "MutatingWebhookConfiguration istio-sidecar-injector";
const TAG: &str = "MutatingWebhookConfiguration istio-revision-tag-default";
const SERVICE: &str = "Service istio-system/istiod-revision-tag-default";
const VALIDATOR: &str = "ValidatingWebhookConfiguration istiod-default-validator";

type Objects = BTreeMap<String, Value>;

/// A CR without base, unless it asks for it: base has nothing to do with most of this, and is by far the largest.
fn merged(spec: &Value, minor: &str) -> Merged {
    let mut spec = spec.clone();
    let base = &mut spec["components"]["base"];
    if base.is_null() {
        *base = json!({"enabled": false});
    }
    let cr: IstioOperator = serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap();
    merge(&cr, Some(minor), Cluster::default(), &CHARTS).unwrap()
}

fn objects(merged: &Merged) -> Objects {
    let rendered = render(merged, &CHARTS).unwrap();
    let objects = rendered.components.into_iter().flat_map(|c| c.objects);
    objects
        .map(|o| (o.key.to_string(), o.body.value()))
        .collect()
}

/// What `render` prints.
fn printed(spec: &Value, minor: &str) -> Objects {
    objects(&merged(spec, minor))
}

/// What the controller installs, but for what injected pods tell of their proxies there.
fn installed(spec: &Value, minor: &str) -> Objects {
    let mut installed = objects(&merged(spec, minor).for_cluster());
    for (key, body) in &mut installed {
        if !key.contains("/istio-sidecar-injector") {
            continue;
        }
        let version = body["metadata"]["labels"]["app.kubernetes.io/version"].as_str();
        let told = format!(
            "injectedAnnotations:\n  {PROXY_VERSION}: {}",
            version.unwrap()
        );
        let config = body["data"]["config"].as_str().unwrap();
        assert!(config.contains(&told), "{minor}");
        body["data"]["config"] = config.replace(&told, "injectedAnnotations: null").into();
    }
    installed
}

fn minors() -> Vec<String> {
    let releases = CHARTS.catalogue().releases().iter();
    releases
        .map(|release| release.version.minor_text())
        .collect()
}

/// The keys of what the first has and the second has not.
fn beyond(more: &Objects, less: &Objects) -> BTreeSet<String> {
    let keys = more.keys().filter(|key| !less.contains_key(*key));
    keys.cloned().collect()
}

/// Fails unless the objects of `before` are in `after` as they were, but for the injector, all of whose webhooks ask
/// for a label that nobody sets, and for the `ConfigMap` that repeats what the user wrote.
fn assert_only_the_injector_rests(before: &Objects, after: &Objects, context: &str) {
    for (key, body) in before {
        if key == "ConfigMap istio-system/values" {
            continue;
        }
        let mut expected = body.clone();
        if key == INJECTOR {
            for webhook in expected["webhooks"].as_array_mut().unwrap() {
                for selector in ["namespaceSelector", "objectSelector"] {
                    assert!(webhook[selector]["matchExpressions"].is_array());
                    webhook[selector] =
                        json!({"matchLabels": {"istio.io/deactivated": "never-match"}});
                }
            }
        }
        assert_eq!(after.get(key), Some(&expected), "{context}: {key}");
    }
}

fn expected(minor: &str) -> BTreeSet<String> {
    let service = ["1.24", "1.25", "1.26", "1.27"].contains(&minor);
    let all = [TAG, VALIDATOR, SERVICE].into_iter();
    let known = all.filter(|key| !(service && *key == SERVICE));
    known.map(str::to_owned).collect()
}

#[test]
fn an_installation_has_the_tag_and_its_own_injector_rests() {
    for minor in minors() {
        let spec = json!({"profile": "demo"});
        let (before, after) = (printed(&spec, &minor), installed(&spec, &minor));
        assert_eq!(beyond(&after, &before), expected(&minor), "{minor}");
        assert_only_the_injector_rests(&before, &after, &minor);
        let webhooks = |key: &str| {
            let webhooks = after[key]["webhooks"].as_array().unwrap().iter();
            let names = webhooks.map(|webhook| webhook["name"].as_str().unwrap().to_owned());
            names.collect::<Vec<_>>()
        };
        assert_eq!(webhooks(TAG), webhooks(INJECTOR), "{minor}");
    }
}

/// The difference from `istioctl manifest generate`, which leaves both configurations active: only the injector.
#[test]
fn a_named_default_tag_lets_the_injector_rest_when_printed_too() {
    for minor in minors() {
        let before = printed(&json!({"profile": "minimal"}), &minor);
        let named = json!({"profile": "minimal", "values": {"revisionTags": ["prod", "default"]}});
        let after = printed(&named, &minor);
        assert_only_the_injector_rests(&before, &after, &minor);
        assert!(
            after.contains_key(TAG) && !after.contains_key(VALIDATOR),
            "{minor}"
        );
        assert_eq!(
            beyond(&installed(&named, &minor), &after),
            BTreeSet::from([VALIDATOR.into()])
        );
    }
}

#[test]
fn a_revision_keeps_its_own_injector_beside_the_tag() {
    for minor in minors() {
        let spec = json!({"profile": "minimal", "revision": "canary"});
        let (before, after) = (printed(&spec, &minor), installed(&spec, &minor));
        assert_eq!(beyond(&after, &before), expected(&minor), "{minor}");
        assert!(
            before.iter().all(|(key, body)| after[key] == *body),
            "{minor}"
        );
        for key in [TAG, VALIDATOR] {
            let body = &after[key];
            assert_eq!(body["metadata"]["labels"]["istio.io/rev"], "canary");
            assert_eq!(body["metadata"]["labels"]["istio.io/tag"], "default");
            let service = &body["webhooks"][0]["clientConfig"]["service"]["name"];
            assert_eq!(service, "istiod-canary", "{minor} {key}");
        }
    }
}

#[test]
fn the_tag_is_left_out_where_upstream_leaves_it_out() {
    for minor in minors() {
        let specs = [
            json!({"profile": "empty", "components": {"base": {"enabled": true}}}),
            json!({"values": {"global": {"operatorManageWebhooks": true}}}),
        ];
        for spec in specs {
            assert_eq!(
                installed(&spec, &minor),
                printed(&spec, &minor),
                "{minor} {spec}"
            );
        }
    }
}

/// Base renders the validator of a default revision that the user names, as it always did.
#[test]
fn the_validator_of_a_named_default_revision_is_that_of_base() {
    for minor in minors() {
        let base = json!({"base": {"enabled": true}});
        let values = json!({"defaultRevision": "default"});
        let spec = json!({"profile": "minimal", "components": base, "values": values});
        let (before, after) = (printed(&spec, &minor), installed(&spec, &minor));
        assert!(before.contains_key(VALIDATOR) && after.contains_key(TAG));
        assert_eq!(after[VALIDATOR], before[VALIDATOR], "{minor}");
    }
}

/// Both webhooks call the control plane that runs elsewhere, and trust what the injector trusts.
#[test]
fn a_remote_cluster_asks_the_control_plane_elsewhere() {
    for minor in minors() {
        let remote = json!({
            "injectionURL": "https://istiod.example.com:15017/inject/cluster/a/net/b",
            "injectionCABundle": "Q0E=",
        });
        let spec = json!({"profile": "remote", "values": {"istiodRemote": remote}});
        let after = installed(&spec, &minor);
        let client = |key: &str| after[key]["webhooks"][0]["clientConfig"].clone();
        assert_eq!(client(TAG), client(INJECTOR), "{minor}");
        assert_eq!(
            client(VALIDATOR),
            json!({"url": "https://istiod.example.com:15017/validate", "caBundle": "Q0E="}),
            "{minor}"
        );
    }
}

#[test]
fn outside_the_usual_namespace_the_tag_has_its_own_name() {
    let spec = json!({"values": {"global": {"istioNamespace": "mesh"}}});
    let after = installed(&spec, "1.31");
    assert!(after.contains_key(&format!("{TAG}-mesh")));
    assert!(after.contains_key("Service mesh/istiod-revision-tag-default"));
    let service = &after[VALIDATOR]["webhooks"][0]["clientConfig"]["service"];
    assert_eq!(service["namespace"], "mesh");
}

/// The difference from `istioctl install`, which until 1.25 forgets what the user wrote.
#[test]
fn the_tag_calls_again_as_the_injector_does() {
    for minor in minors() {
        let webhook = json!({"reinvocationPolicy": "IfNeeded"});
        let spec = json!({"values": {"sidecarInjectorWebhook": webhook}});
        let after = installed(&spec, &minor);
        for key in [INJECTOR, TAG] {
            for webhook in after[key]["webhooks"].as_array().unwrap() {
                assert_eq!(webhook["reinvocationPolicy"], "IfNeeded", "{minor} {key}");
            }
        }
    }
}

/// The difference from `istioctl install`, which asks for them as for any tag but forgets these values.
#[test]
fn the_service_of_the_tag_is_that_of_istiod() {
    let pilot = json!({"ipFamilies": ["IPv6"], "ipFamilyPolicy": "SingleStack", "serviceAnnotations": {"a": "b"}});
    let after = installed(&json!({"values": {"pilot": pilot}}), "1.31");
    let (tag, own) = (&after[SERVICE], &after["Service istio-system/istiod"]);
    assert_eq!(tag["spec"], own["spec"]);
    assert_eq!(tag["spec"]["ipFamilies"], json!(["IPv6"]));
    assert_eq!(tag["metadata"]["annotations"], json!({"a": "b"}));
    for key in [TAG, SERVICE, VALIDATOR] {
        let mark = &after[key]["metadata"]["labels"]["install.operator.istio.io/owning-resource-not-pruned"];
        assert!(mark.is_null(), "{key}");
    }
}

#[test]
fn an_overlay_that_takes_the_webhooks_of_the_tag_away_is_refused() {
    let spec = |target: &str, value: Value| {
        let overlay = json!({
            "kind": "MutatingWebhookConfiguration",
            "name": "istio-revision-tag-default",
            "patches": [{"path": target, "value": value}],
        });
        json!({"profile": "minimal", "components": {"pilot": {"k8s": {"overlays": [overlay]}}}})
    };
    let outcome = |spec: &Value| {
        let rendered = render(&merged(spec, "1.31").for_cluster(), &CHARTS);
        rendered.err().map(|errors| errors[0].to_string())
    };
    let gone = [
        spec("webhooks", json!(null)),
        spec("webhooks", json!([])),
        spec("metadata.labels.istio\\.io/tag", json!(null)),
    ];
    for spec in gone {
        let error = outcome(&spec).unwrap();
        assert!(
            error.starts_with("spec.components.pilot.k8s.overlays: delete the webhooks"),
            "{error}"
        );
    }
    let changed = spec(
        "webhooks.[name:namespace\\.sidecar-injector\\.istio\\.io].timeoutSeconds",
        json!(5),
    );
    assert_eq!(outcome(&changed), None);
}
