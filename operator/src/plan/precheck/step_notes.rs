//! What a step to another minor changes for this mesh although nobody changes a setting.

use serde_json::Value;

use super::mesh::has_provider;
use crate::catalogue::{Catalogue, Change, Concerned, Version, parse_minor};
use crate::charts::tree::at;
use crate::merge::{Component, Merged};

/// The changes of all minors above `from` up to the one that is asked for, oldest first, as far as they concern the CR and
/// its `compatibilityVersion` does not keep what was.
pub(super) fn changes<'a>(
    merged: &Merged,
    pilot: &Component,
    from: Version,
    catalogue: &'a Catalogue,
) -> Vec<(Version, &'a Change)> {
    let steps = catalogue.releases().iter().filter(|release| {
        let minor = release.version.minor;
        minor > from.minor && minor <= merged.version.minor
    });
    let kept = pilot.values.get("compatibilityVersion");
    let kept = kept.and_then(Value::as_str).and_then(parse_minor);
    let is_kept = |change: &Change| {
        let by = change.kept_by.as_deref().and_then(parse_minor);
        kept.zip(by).is_some_and(|(kept, by)| kept <= by)
    };
    let changes = steps.flat_map(|release| {
        let changes = release.changes.iter();
        let changes = changes.filter(|change| concerns(change, merged, pilot) && !is_kept(change));
        changes.map(|change| (release.version, change))
    });
    changes.collect()
}

/// What the status tells of a change of some version.
pub(super) fn note((version, change): &(Version, &Change)) -> String {
    let (minor, text) = (version.minor_text(), &change.text);
    match &change.kept_by {
        Some(kept) => format!("{minor}: {text}; compatibilityVersion \"{kept}\" keeps what was"),
        None => format!("{minor}: {text}"),
    }
}

fn concerns(change: &Change, merged: &Merged, pilot: &Component) -> bool {
    let is_set = |section: &[&str], keys: &[String]| {
        let keys = section
            .iter()
            .copied()
            .chain(keys.iter().map(String::as_str));
        let value = at(&pilot.values, &keys.collect::<Vec<_>>());
        value.is_some_and(|value| !value.is_null() && *value != "")
    };
    match &change.of {
        None => true,
        Some(Concerned::Component(name)) => {
            let mut components = merged.components.iter();
            components.any(|component| component.kind.spec_key() == name)
        }
        Some(Concerned::Env(name)) => {
            let entries = pilot.k8s.get("env").and_then(Value::as_array);
            let mut entries = entries.into_iter().flatten();
            entries.any(|entry| entry["name"] == **name)
                || is_set(&["pilot", "env"], std::slice::from_ref(name))
        }
        Some(Concerned::Provider(kind)) => has_provider(pilot, kind),
        Some(Concerned::Value(keys)) => is_set(&[], keys),
        Some(Concerned::Mesh(keys)) => is_set(&["meshConfig"], keys),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::{ComponentKind, IstioOperator, RawSpec};
    use crate::charts::Charts;
    use crate::merge::{Cluster, merge};

    /// The notes of a step from 1.24 to 1.31, one text.
    fn of(spec: Value) -> String {
        let charts = Charts::embedded().unwrap();
        let cr = IstioOperator::new("cr", RawSpec(spec));
        let merged = merge(&cr, Some("1.31"), Cluster::default(), &charts).unwrap();
        let is_pilot = |component: &&Component| component.kind == ComponentKind::Pilot;
        let pilot = merged.components.iter().find(is_pilot).unwrap();
        let from = charts.catalogue().version("1.24").unwrap();
        let changes = changes(&merged, pilot, from, charts.catalogue());
        let notes: Vec<_> = changes.iter().map(note).collect();
        notes.join("\n")
    }

    #[test]
    fn only_what_concerns_the_cr_is_told() {
        let minimal = of(json!({"profile": "minimal"}));
        assert!(minimal.starts_with("1.25: ServiceEntries"), "{minimal}");
        for other in ["DNS captured", "CNI agent", "AUTO_SNI", "openCensus"] {
            assert!(!minimal.contains(other), "{other}: {minimal}");
        }
        let ambient = of(json!({"profile": "ambient"}));
        for own in ["DNS captured", "CNI agent leaves"] {
            assert!(ambient.contains(own), "{own}: {ambient}");
        }
        let env = json!([{"name": "ENABLE_AUTO_SNI", "value": "true"}]);
        for spec in [
            json!({"components": {"pilot": {"k8s": {"env": env}}}}),
            json!({"values": {"pilot": {"env": {"ENABLE_AUTO_SNI": "true"}}}}),
        ] {
            assert!(of(spec.clone()).contains("AUTO_SNI"), "{spec}");
        }
    }

    #[test]
    fn what_the_compatibility_version_keeps_is_not_told() {
        let kept = |version: &str| of(json!({"compatibilityVersion": version}));
        assert!(of(json!({})).contains("compatibilityVersion \"1.30\" keeps what was"));
        assert!(!kept("1.30").contains("UNHEALTHY_ENDPOINTS"));
        assert!(kept("1.30").contains("PICK_BEST_SERVICE"));
        assert!(!kept("1.29").contains("PICK_BEST_SERVICE"));
    }
}
