//! What a step means for the settings of a CR, and for the CRDs beside Istio's own.

use std::collections::BTreeSet;

use serde_json::Value;

use super::check;
use crate::api::{CheckResult, CheckStatus};
use crate::catalogue::{Catalogue, Change, Concerned, Version};
use crate::charts::tree::at;
use crate::dataplane::ServedProxies;
use crate::merge::{Component, Merged};

/// istiod ignores a kind of the Gateway API silently whose CRD is too old or too new for it (issues 60357, 59949).
pub(super) fn gateway_api(
    from: Option<Version>,
    to: Version,
    catalogue: &Catalogue,
    served: &ServedProxies,
) -> CheckStatus {
    let name = "gateway-api";
    if !served.gateway_api_gaps.is_empty() {
        return check(
            name,
            CheckResult::NotChecked,
            served.gateway_api_gaps.join("; "),
        );
    }
    let range = |minor: u16, kind: &str| {
        let release = catalogue.release(minor)?;
        release.gateway_api.get(kind)
    };
    let mut result = CheckResult::Passed;
    let mut ignored = Vec::new();
    for (kind, found) in &served.gateway_api {
        let Some(wanted) = range(to.minor, kind).filter(|range| !range.contains(found)) else {
            continue;
        };
        let before = from.and_then(|from| range(from.minor, kind));
        let was_read = from.is_some() && before.is_none_or(|range| range.contains(found));
        result = if was_read || result == CheckResult::Failed {
            CheckResult::Failed
        } else {
            CheckResult::Warning
        };
        let remedy = match before {
            Some(before) if was_read && !before.meets(wanted) => {
                format!(
                    "no CRD works with both, so install such a one and take the step at once; {name} skips this check"
                )
            }
            _ => "install such CRDs first".to_owned(),
        };
        ignored.push(format!(
            "istiod {to} ignores {kind} of Gateway API {found}, and reads those {wanted}: {remedy}"
        ));
    }
    if ignored.is_empty() {
        return check(name, result, "every CRD of Gateway API is read");
    }
    check(name, result, ignored.join("; "))
}

/// The registry of a minor is a default that another minor may not share.
pub(super) fn hub(
    merged: &Merged,
    from: Option<Version>,
    to: Version,
    catalogue: &Catalogue,
) -> CheckStatus {
    let name = "hub";
    let of = |minor: u16| catalogue.release(minor).map(|release| &release.hub);
    let is_named = [&["hub"][..], &["values", "global", "hub"]]
        .iter()
        .any(|keys| at(&merged.source.spec, keys).is_some_and(|hub| !hub.is_null()));
    let before = from.and_then(|from| of(from.minor));
    match (before, of(to.minor)) {
        _ if is_named => check(name, CheckResult::Passed, "the spec names it"),
        (Some(before), Some(after)) if before != after => {
            let why = format!(
                "images come from {after} instead of {before}; mirrors and allow-lists have to know it, or spec.hub keeps \
                 the one before"
            );
            check(name, CheckResult::Warning, why)
        }
        _ => check(name, CheckResult::Passed, "it stays the same"),
    }
}

/// Settings of the CR that the version does not know any more, although they are accepted.
pub(super) fn settings(changes: &[(Version, &Change)]) -> CheckStatus {
    let name = "settings";
    let gone: Vec<_> = changes
        .iter()
        .filter_map(|(version, change)| match &change.of {
            Some(Concerned::Env(env)) => Some((version, format!("the variable {env}"))),
            Some(Concerned::Provider(provider)) => {
                Some((version, format!("the extension provider {provider}")))
            }
            Some(Concerned::Component(_) | Concerned::Value(_) | Concerned::Mesh(_)) | None => None,
        })
        .map(|(version, what)| format!("{what} has no effect from {} on", version.minor_text()))
        .collect();
    if gone.is_empty() {
        return check(name, CheckResult::Passed, "none is gone");
    }
    check(name, CheckResult::Warning, gone.join("; "))
}

/// Behavior that changes although nobody changes a setting, and the `compatibilityVersion` that keeps what was.
pub(super) fn behavior(changes: &[(Version, &Change)]) -> CheckStatus {
    let name = "behavior";
    let kept: BTreeSet<_> = changes
        .iter()
        .filter_map(|(_, change)| change.kept_by.as_deref())
        .collect();
    let count = changes
        .iter()
        .filter(|(_, change)| change.kept_by.is_some())
        .count();
    match kept.first() {
        None => check(name, CheckResult::Passed, "none changes that can be kept"),
        Some(oldest) => {
            let why = format!(
                "{count} of the changes in the notes can be put off: spec.compatibilityVersion: \"{oldest}\" keeps what was"
            );
            check(name, CheckResult::Warning, why)
        }
    }
}

/// Whether the mesh config of a CR has an extension provider of a kind.
pub(super) fn has_provider(pilot: &Component, kind: &str) -> bool {
    let providers = at(&pilot.values, &["meshConfig", "extensionProviders"]);
    let mut providers = providers.and_then(Value::as_array).into_iter().flatten();
    providers.any(|provider| provider.get(kind).is_some_and(|it| !it.is_null()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::{ComponentKind, IstioOperator, RawSpec};
    use crate::catalogue::Bundle;
    use crate::charts::Charts;
    use crate::merge::{Cluster, merge};
    use crate::plan::precheck::step_notes::StepNotes;

    fn version(text: &str) -> Version {
        Version::parse(text).unwrap()
    }

    #[test]
    fn a_kind_of_the_gateway_api_that_istiod_would_ignore_stops_the_step() {
        use CheckResult::{Failed, Passed, Warning};
        let charts = Charts::embedded().unwrap();
        for (from, to, kind, found, expected) in [
            // No CRD works with both.
            ("1.29.8", "1.30.5", "tlsroutes", "v1.4.1", Failed),
            ("1.29.8", "1.30.5", "tlsroutes", "v1.5.0", Passed),
            ("1.30.5", "1.29.8", "tlsroutes", "v1.5.1", Failed),
            ("1.27.9", "1.28.10", "backendtlspolicies", "v1.3.0", Failed),
            ("1.27.9", "1.28.10", "backendtlspolicies", "v1.4.0", Passed),
            ("1.30.5", "1.31.1", "tcproutes", "v1.5.1", Failed),
            // It was ignored before.
            ("1.30.5", "1.31.1", "tlsroutes", "v1.4.1", Warning),
            ("1.30.5", "1.31.1", "httproutes", "v0.8.0", Passed),
        ] {
            let served = ServedProxies {
                gateway_api: [(kind.to_owned(), Bundle::parse(found).unwrap())].into(),
                ..ServedProxies::default()
            };
            let catalogue = charts.catalogue();
            let found = gateway_api(Some(version(from)), version(to), catalogue, &served);
            assert_eq!(
                found.result, expected,
                "{from} {to} {kind}: {}",
                found.message
            );
        }
        let unlisted = ServedProxies {
            gateway_api_gaps: vec!["forbidden".to_owned()],
            ..ServedProxies::default()
        };
        let found = gateway_api(None, version("1.31.1"), charts.catalogue(), &unlisted);
        assert_eq!(found.result, CheckResult::NotChecked);
    }

    /// The results of the checks of a step from 1.26 for a CR: hub, settings, behavior.
    fn results(spec: Value, to: &str) -> [CheckResult; 3] {
        let charts = Charts::embedded().unwrap();
        let cr = IstioOperator::new("cr", RawSpec(spec));
        let merged = merge(&cr, Some(to), Cluster::default(), &charts).unwrap();
        let is_pilot = |component: &&Component| component.kind == ComponentKind::Pilot;
        let pilot = merged.components.iter().find(is_pilot).unwrap();
        let from = charts.catalogue().version("1.26").unwrap();
        let changes = StepNotes::of(&merged, pilot, Some(from), charts.catalogue()).changes;
        let hub = hub(&merged, Some(from), merged.version, charts.catalogue());
        [
            hub.result,
            settings(&changes).result,
            behavior(&changes).result,
        ]
    }

    #[test]
    fn settings_registry_and_behavior_are_checked() {
        use CheckResult::{Passed, Warning};
        let none = json!({"profile": "minimal"});
        assert_eq!(results(none.clone(), "1.27"), [Passed, Passed, Warning]);
        assert_eq!(results(none, "1.30")[0], Warning);
        for hub in [
            json!({"hub": "example.com"}),
            json!({"values": {"global": {"hub": "a"}}}),
        ] {
            assert_eq!(results(hub, "1.30")[0], Passed);
        }
        let kept = json!({"compatibilityVersion": "1.26"});
        assert_eq!(results(kept, "1.27")[2], Passed);
        let provider =
            json!({"name": "a", "lightstep": {"service": "a", "port": 1, "accessToken": "t"}});
        let gone = json!({"meshConfig": {"extensionProviders": [provider]}});
        assert_eq!(results(gone, "1.27")[1], Warning);
        let env = json!({"values": {"pilot": {"env": {"METRIC_ROTATION_INTERVAL": "1m"}}}});
        assert_eq!(results(env.clone(), "1.28")[1], Warning);
        assert_eq!(results(env, "1.27")[1], Passed);
    }
}
