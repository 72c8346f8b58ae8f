//! What a step to another minor changes for this mesh although nobody changes a setting.

use serde_json::Value;

use super::mesh::has_provider;
use crate::catalogue::{Catalogue, Change, Concerned, Mended, Version, WhenKept, parse_minor};
use crate::charts::tree::at;
use crate::merge::{Component, Merged};

/// What is told of a step, as far as it concerns a CR.
#[derive(Debug, Default)]
pub(super) struct StepNotes<'a> {
    /// The changes of all minors above the one that runs up to the one that is asked for, oldest first, but for those that
    /// the CR's `compatibilityVersion` keeps away.
    pub(super) changes: Vec<(Version, &'a Change)>,
    /// What is lost because it keeps others away.
    lost: Vec<(Version, &'a WhenKept)>,
    /// What the patch release that is asked for has, and later ones mend.
    pub(super) unmended: Vec<&'a Mended>,
}

impl<'a> StepNotes<'a> {
    /// The notes of the step of `from`; without it, nothing is known of what the step changes.
    pub(super) fn of(
        merged: &Merged,
        pilot: &Component,
        from: Option<Version>,
        catalogue: &'a Catalogue,
    ) -> Self {
        let (to, mut notes) = (merged.version, Self::default());
        let concerns = |of: Option<&Concerned>| concerns(of, merged, pilot);
        let kept = pilot.values.get("compatibilityVersion");
        let kept = kept.and_then(Value::as_str).and_then(parse_minor);
        let is_kept = |change: &Change| {
            let by = change.kept_by.as_deref().and_then(parse_minor);
            kept.zip(by).is_some_and(|(kept, by)| kept <= by)
        };
        let is_set = |path: &str| {
            let keys: Vec<_> = path.split('.').collect();
            at(&pilot.values, &keys).is_some_and(|value| *value == true)
        };
        for release in catalogue.releases() {
            let version = release.version;
            if from.is_none_or(|from| version.minor <= from.minor) || version.minor > to.minor {
                continue;
            }
            let changes = release.changes.iter();
            for change in changes.filter(|change| concerns(change.of.as_ref())) {
                if !is_kept(change) {
                    notes.changes.push((version, change));
                } else if let Some(lost) = &change.when_kept
                    && !is_set(&lost.unless)
                {
                    notes.lost.push((version, lost));
                }
            }
        }
        let release = catalogue.release(to.minor);
        let mended = release.iter().flat_map(|release| &release.mended);
        let mended = mended.filter(|mended| to < mended.until && concerns(mended.of.as_ref()));
        notes.unmended = mended.collect();
        notes
    }

    /// The notes that the status has.
    pub(super) fn told(&self) -> Vec<String> {
        let changes = self.changes.iter().map(|(version, change)| {
            let (minor, text) = (version.minor_text(), &change.text);
            match &change.kept_by {
                Some(kept) => {
                    format!("{minor}: {text}; compatibilityVersion \"{kept}\" keeps what was")
                }
                None => format!("{minor}: {text}"),
            }
        });
        let lost = self.lost.iter();
        let lost = lost.map(|(version, lost)| format!("{}: {}", version.minor_text(), lost.text));
        changes.chain(lost).collect()
    }
}

fn concerns(of: Option<&Concerned>, merged: &Merged, pilot: &Component) -> bool {
    let is_set = |section: &[&str], keys: &[String]| {
        let keys = section
            .iter()
            .copied()
            .chain(keys.iter().map(String::as_str));
        let value = at(&pilot.values, &keys.collect::<Vec<_>>());
        value.is_some_and(|value| !value.is_null() && *value != "")
    };
    match of {
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

    /// The notes of a step, one text, and what the patch release has.
    fn step(spec: Value, from: &str, to: &str) -> (String, String) {
        let charts = Charts::embedded().unwrap();
        let cr = IstioOperator::new("cr", RawSpec(spec));
        let merged = merge(&cr, Some(to), Cluster::default(), &charts).unwrap();
        let is_pilot = |component: &&Component| component.kind == ComponentKind::Pilot;
        let pilot = merged.components.iter().find(is_pilot).unwrap();
        let from = Version::parse(from);
        let notes = StepNotes::of(&merged, pilot, from, charts.catalogue());
        let unmended: Vec<_> = notes.unmended.iter().map(|it| it.text.as_str()).collect();
        (notes.told().join("\n"), unmended.join("\n"))
    }

    /// The notes of a step from 1.24 to 1.31, one text.
    fn of(spec: Value) -> String {
        step(spec, "1.24.6", "1.31").0
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

    /// Istio's issues 55968, 58509 and 56729: rules of ambient pods are lost at a restart of their node.
    #[test]
    fn what_the_compatibility_version_takes_away_is_told() {
        let mends = "values.cni.ambient.reconcileIptablesOnStartup: true lets it";
        let kept = |profile: &str, version: &str, cni: Value| {
            let values = json!({"cni": cni});
            of(json!({"profile": profile, "compatibilityVersion": version, "values": values}))
        };
        assert!(kept("ambient", "1.28", json!({})).contains(mends));
        assert!(!kept("ambient", "1.29", json!({})).contains(mends));
        assert!(!kept("minimal", "1.28", json!({})).contains(mends));
        let set = json!({"ambient": {"reconcileIptablesOnStartup": true}});
        assert!(!kept("ambient", "1.28", set).contains(mends));
    }

    /// Istio's issue 1360 of ztunnel.
    #[test]
    fn pods_that_have_to_restart_before_ztunnel_are_told() {
        let ambient = || json!({"profile": "ambient"});
        let (notes, _) = step(ambient(), "1.23.6", "1.24");
        assert!(notes.contains("until they restart"), "{notes}");
        let (notes, _) = step(json!({"profile": "default"}), "1.23.6", "1.24");
        assert!(!notes.contains("until they restart"), "{notes}");
        assert!(!of(ambient()).contains("CNI agent of 1.23"));
    }

    /// Istio's issues 57587 and 52245, and 59153 and 59474.
    #[test]
    fn what_is_new_in_a_minor_is_told_of_native_sidecars_and_other_clusters() {
        let minimal = || json!({"profile": "minimal"});
        assert!(step(minimal(), "1.26.8", "1.27").0.contains("native ones"));
        let reader = "the role of its reader";
        assert!(!step(minimal(), "1.28.10", "1.29").0.contains(reader));
        let named = json!({"global": {"multiCluster": {"clusterName": "east"}}});
        let named = json!({"profile": "minimal", "values": named});
        assert!(step(named, "1.28.10", "1.29").0.contains(reader));
    }

    /// Istio's issues 59959, 60629, 60668 and 61020.
    #[test]
    fn what_a_patch_release_has_is_told_to_whom_it_concerns() {
        let of = |profile: &str, to: &str| step(json!({"profile": profile}), "1.29.8", to).1;
        for (to, number) in [
            ("1.30.1", 4),
            ("1.30.2", 3),
            ("1.30.3", 2),
            ("1.30.4", 1),
            ("1.30.5", 0),
        ] {
            let found = of("ambient", to);
            assert_eq!(found.lines().count(), number, "{to}: {found}");
        }
        assert_eq!(of("minimal", "1.30.1").lines().count(), 2);
        assert_eq!(of("ambient", "1.31.0").lines().count(), 1);
        assert_eq!(of("minimal", "1.31.0"), "");
    }
}
