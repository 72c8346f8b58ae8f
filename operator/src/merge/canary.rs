//! Canaries: another version of a control plane, as a revision of its own beside the one that serves.
//!
//! With `updateStrategy.type: Canary`, a control plane is named after its version. So each version has its own revision,
//! and a CR means the same in every cluster.

use serde_json::{Map, Value};

use super::Merged;
use super::tree::{scalar_text, set, text_at};
use super::version::minor_of;
use crate::catalogue::Version;
use crate::charts::tree::at;

/// A control plane of a CR.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ControlPlane {
    /// Its Istio version.
    pub version: Version,
    /// Its revision; empty for the one without a name.
    pub revision: String,
}

impl ControlPlane {
    /// The version as the revision has it, if it is named after it.
    #[must_use]
    pub fn version_in_revision(&self) -> Option<String> {
        let version = in_revisions(self.version);
        let named = self.revision.strip_suffix(&version)?;
        (named.is_empty() || named.ends_with('-')).then_some(version)
    }
}

/// What labels call a revision: the one without a name is `default` there.
#[must_use]
pub fn revision_label(revision: &str) -> &str {
    if revision.is_empty() {
        "default"
    } else {
        revision
    }
}

/// The fields beside `version` that name the version of images.
const TAGS: [&[&str]; 3] = [
    &["tag"],
    &["values", "global", "tag"],
    &["unvalidatedValues", "global", "tag"],
];

/// Names the control plane of a spec with derived values after its version, if its author wants canaries. Gives the
/// revision that the author named.
pub(super) fn name_revision(spec: &mut Value, version: Version) -> String {
    let named = text_at(spec, &["values", "revision"]).unwrap_or_default();
    let named = named.to_owned();
    if is_canary(spec) {
        let revision = revision_of(&named, version);
        move_default(spec, &named, &revision);
        set(spec, &["values", "revision"], revision.into());
    }
    named
}

/// Lets what validates for everybody follow from the revision that the author named to another one.
fn move_default(spec: &mut Value, named: &str, revision: &str) {
    const DEFAULT_REVISION: [&str; 2] = ["values", "defaultRevision"];
    if text_at(spec, &DEFAULT_REVISION) == Some(revision_label(named)) {
        set(spec, &DEFAULT_REVISION, revision_label(revision).into());
    }
}

/// The revision of a version, such as `1-31-1`, or `prod-1-31-1` where the author named `prod`.
fn revision_of(named: &str, version: Version) -> String {
    let version = in_revisions(version);
    if named.is_empty() {
        version
    } else {
        format!("{named}-{version}")
    }
}

/// A version as revisions have it.
fn in_revisions(version: Version) -> String {
    version.to_string().replace('.', "-")
}

fn is_canary(spec: &Value) -> bool {
    text_at(spec, &["updateStrategy", "type"]) == Some("Canary")
}

impl Merged {
    /// Whether its author wants another version as a canary.
    #[must_use]
    pub fn is_canary(&self) -> bool {
        is_canary(&self.source.spec)
    }

    /// Its control plane.
    #[must_use]
    pub fn control_plane(&self) -> ControlPlane {
        ControlPlane {
            version: self.version,
            revision: self.revision.clone(),
        }
    }
}

/// The spec that installs just this control plane, where `spec` asks for the version `asked`.
///
/// A tag that names the minor that is asked for names this control plane's version instead. Any other tag belongs to all
/// versions.
#[must_use]
pub fn pinned(spec: &Value, asked: Version, plane: &ControlPlane) -> Value {
    let mut spec = spec.clone();
    if !spec.is_object() {
        return spec;
    }
    let named = text_at(&spec, &["values", "revision"]).or_else(|| text_at(&spec, &["revision"]));
    let named = named.unwrap_or_default().to_owned();
    move_default(&mut spec, &named, &plane.revision);
    set(&mut spec, &["version"], plane.version.to_string().into());
    set(&mut spec, &["updateStrategy", "type"], "InPlace".into());
    for section in ["values", "unvalidatedValues"] {
        if let Some(Value::Object(values)) = spec.get_mut(section) {
            values.remove("revision");
        }
    }
    let Value::Object(fields) = &mut spec else {
        return spec;
    };
    name(fields, &plane.revision);
    if plane.version != asked {
        for keys in TAGS {
            retag(&mut spec, keys, asked, plane.version);
        }
    }
    spec
}

fn name(fields: &mut Map<String, Value>, revision: &str) {
    if revision.is_empty() {
        fields.remove("revision");
    } else {
        fields.insert("revision".to_owned(), revision.into());
    }
}

/// Lets a tag that names the minor of `asked` name another version; what is behind the number stays.
fn retag(spec: &mut Value, keys: &[&str], asked: Version, version: Version) {
    let Some(tag) = at(spec, keys).and_then(scalar_text) else {
        return;
    };
    if minor_of(&tag) == Some(asked.minor) {
        let variant = tag.split_once('-').map_or("", |(_, variant)| variant);
        let separator = if variant.is_empty() { "" } else { "-" };
        set(spec, keys, format!("{version}{separator}{variant}").into());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::{IstioOperator, RawSpec};
    use crate::charts::Charts;
    use crate::merge::{Cluster, merge};

    fn merged(spec: Value) -> Merged {
        let charts = Charts::embedded().unwrap();
        let cr = IstioOperator::new("cr", RawSpec(spec));
        merge(&cr, None, Cluster::default(), &charts).unwrap()
    }

    #[test]
    fn a_control_plane_is_named_after_its_version() {
        let canary = json!({"type": "Canary"});
        let spec = json!({"version": "1.31.1", "updateStrategy": canary});
        assert_eq!(merged(spec).revision, "1-31-1");
        let spec = json!({"version": "1.29.8", "revision": "prod", "updateStrategy": canary});
        let named = merged(spec);
        assert_eq!(named.revision, "prod-1-29-8");
        assert_eq!(named.named_revision, "prod");
        let istiod = named
            .components
            .iter()
            .find(|it| it.name == "istiod-prod-1-29-8");
        assert!(istiod.is_some());
        let in_place = merged(json!({"version": "1.29.8", "revision": "prod"}));
        assert_eq!(in_place.revision, "prod");
        let validates = json!({
            "version": "1.31.1",
            "updateStrategy": canary,
            "values": {"defaultRevision": "default"},
        });
        let validator = merged(validates).components[0].values["defaultRevision"].clone();
        assert_eq!(validator, "1-31-1");
    }

    #[test]
    fn a_pinned_spec_installs_that_control_plane() {
        let asked = Version {
            minor: 31,
            patch: 1,
        };
        let old = |revision: &str| ControlPlane {
            version: Version {
                minor: 29,
                patch: 8,
            },
            revision: revision.to_owned(),
        };
        for (tag, expected) in [
            (json!("1.31.1-distroless"), json!("1.29.8-distroless")),
            (json!("1.31.1"), json!("1.29.8")),
            (json!(1.31), json!("1.29.8")),
            (json!("mine"), json!("mine")),
            (json!("1.28.0"), json!("1.28.0")),
        ] {
            let spec = json!({
                "tag": tag,
                "updateStrategy": {"type": "Canary", "approval": "Manual"},
                "values": {"revision": "prod", "defaultRevision": "prod", "global": {"tag": tag}},
            });
            let pinned = pinned(&spec, asked, &old(""));
            assert_eq!(pinned["tag"], expected, "{tag}");
            let values = json!({"defaultRevision": "default", "global": {"tag": expected}});
            assert_eq!(pinned["values"], values);
            assert_eq!(pinned["updateStrategy"]["approval"], "Manual");
            let plane = merged(pinned).control_plane();
            assert_eq!(plane, old(""), "{tag}");
        }
        let spec = json!({"version": "1.31.1", "updateStrategy": {"type": "Canary"}});
        let pinned = pinned(&spec, asked, &old("prod"));
        assert_eq!(merged(pinned).control_plane(), old("prod"));
        assert_eq!(super::pinned(&Value::Null, asked, &old("")), Value::Null);
    }
}
