//! Limits on what one CR may ask for, so that none can take the operator's time and memory from all others.
//!
//! A gateway takes about half a millisecond and 30 KiB to render, so a thousand of them fit into the time limit of
//! rendering and into the operator's memory limit. A thousand patches leave each a millisecond on a large object. A
//! mebibyte holds a thousand gateways with a `k8s` block of a kilobyte each; etcd stores at most one and a half.

use serde_json::Value;

use super::Findings;
use crate::api::{ComponentKind, Path};
use crate::charts::tree::at;

/// Gateways of one CR, ingress and egress together.
const MAX_GATEWAYS: usize = 1000;
/// Overlay patches of one CR.
const MAX_PATCHES: usize = 1000;
/// Bytes of one spec as JSON.
const MAX_BYTES: usize = 1024 * 1024;

/// Adds an error for every limit that the spec exceeds.
pub fn check(user: &Value, findings: &mut Findings) {
    let spec = Path::root("spec");
    let bytes = user.to_string().len();
    if bytes > MAX_BYTES {
        findings.error(
            spec.clone(),
            format!("has {bytes} bytes as JSON; at most {MAX_BYTES} are allowed"),
        );
    }
    let components: Vec<_> = ComponentKind::ALL
        .into_iter()
        .flat_map(|kind| components(user, kind).map(move |component| (kind, component)))
        .collect();
    let gateways = components
        .iter()
        .filter(|(kind, _)| kind.gateway_key().is_some())
        .count();
    let patches = components
        .iter()
        .map(|(_, component)| patches(component))
        .sum();
    for (what, count, most) in [
        ("gateways", gateways, MAX_GATEWAYS),
        ("overlay patches", patches, MAX_PATCHES),
    ] {
        if count > most {
            let problem = format!("has {count} {what}; at most {most} are allowed");
            findings.error(spec.key("components"), problem);
        }
    }
}

/// The components of a kind: the entries of a list, or the one that is written without a list.
fn components(user: &Value, kind: ComponentKind) -> impl Iterator<Item = &Value> {
    let written = at(user, &kind.spec_keys());
    let list = written.and_then(Value::as_array).map(Vec::as_slice);
    let one = written.filter(|written| written.is_object());
    list.unwrap_or_default().iter().chain(one)
}

fn patches(component: &Value) -> usize {
    let overlays = at(component, &["k8s", "overlays"]).and_then(Value::as_array);
    let patches = |overlay: &Value| Some(overlay.get("patches")?.as_array()?.len());
    overlays.into_iter().flatten().filter_map(patches).sum()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn errors(spec: &Value) -> Vec<String> {
        let mut findings = Findings::default();
        check(spec, &mut findings);
        findings.errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_reaches_a_limit_passes_and_one_more_does_not() {
        let gateways = |ingress: usize, egress: usize| {
            let list = |count: usize| vec![json!({"name": "a"}); count];
            json!({"components": {"ingressGateways": list(ingress), "egressGateways": list(egress)}})
        };
        assert_eq!(errors(&gateways(600, 400)), [""; 0]);
        assert_eq!(
            errors(&gateways(600, 401)),
            ["spec.components: has 1001 gateways; at most 1000 are allowed"]
        );
        let patched = |count: usize| {
            let patches = vec![json!({"path": "a", "value": 1}); count];
            let overlay = json!({"kind": "Service", "name": "istiod", "patches": patches});
            json!({"components": {"pilot": {"k8s": {"overlays": [overlay]}}}})
        };
        assert_eq!(errors(&patched(1000)), [""; 0]);
        assert_eq!(
            errors(&patched(1001)),
            ["spec.components: has 1001 overlay patches; at most 1000 are allowed"]
        );
        let large = |bytes: usize| json!({"hub": "x".repeat(bytes - r#"{"hub":""}"#.len())});
        assert_eq!(errors(&large(MAX_BYTES)), [""; 0]);
        assert_eq!(
            errors(&large(MAX_BYTES + 1)),
            ["spec: has 1048577 bytes as JSON; at most 1048576 are allowed"]
        );
    }
}
