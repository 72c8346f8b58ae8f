//! Rewrites the spec of an Istio before 1.24 into one of today.
//!
//! What [`merge`](super::merge) reads as something else is written as that, what has a successor that takes the same value is
//! moved to it, and what is left of removed settings is taken out. Each change is recorded, with what was written before.

mod control_plane;
mod gateways;
mod place;

use serde_json::{Map, Value};

use super::check::Findings;
use super::tree::{plain_numbers, scalar_text, set, without_keys};
use super::version::{self, minor_of};
use super::{addons, old_forms, removed};
use crate::api::{ComponentKind, Path, name_beside_spec};
use crate::catalogue::{Catalogue, Version};
use crate::charts::tree::at;
use crate::charts::{Charts, RemovedSetting};

pub use place::at_path;

/// A spec that is being rewritten.
#[derive(Clone, Debug)]
pub struct Migration {
    /// The spec.
    pub spec: Value,
    /// What was changed, in the order of the steps.
    pub changes: Vec<Change>,
}

/// One change of a spec.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The field: where it stands now, or where it stood if it is gone.
    pub path: Path,
    /// What was done.
    pub what: What,
}

/// What was done to a field.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// It stood at another place.
    Moved {
        /// That place.
        from: Path,
    },
    /// It is written in another way.
    Rewritten {
        /// What was written before.
        was: Value,
    },
    /// It is gone.
    Removed {
        /// Why.
        why: String,
        /// What was written before.
        was: Value,
    },
    /// It was not written, because the profile had it.
    Added {
        /// Why it has to be now.
        why: String,
    },
}

/// What a spec is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpecKind {
    /// An `IstioOperator`, which came with 1.5.
    IstioOperator,
    /// An `IstioControlPlane` of 1.4.
    IstioControlPlane,
}

/// Rewrites a spec.
#[must_use]
pub fn migrate(spec: &Value, kind: SpecKind, charts: &Charts) -> Migration {
    let mut migration = Migration {
        spec: spec.clone(),
        changes: Vec::new(),
    };
    plain_numbers(&mut migration.spec);
    if kind == SpecKind::IstioControlPlane {
        control_plane::write_components(&mut migration);
    }
    migration.step(|user, findings| *findings = old_forms::move_into_spec(user));
    let is_old = migration.take_out_old_tags(charts.catalogue());
    let version = migration.version(charts.catalogue());
    let table = charts.removed().unwrap_or_default();
    if let Ok(schema) = charts.schema(version.minor) {
        migration.step(|user, findings| old_forms::translate(user, schema, findings));
    }
    migration.move_to_successors(table);
    gateways::write_out(&mut migration, is_old);
    migration.write_addons();
    migration.step(|user, findings| removed::take_out(user, table, version.minor, findings));
    migration
}

impl Migration {
    /// Takes the field at `path` out, or the nearest one above it that is there. Gives whether there was one.
    pub fn take_out(&mut self, path: &Path, why: &str) -> bool {
        let Some((path, was)) = place::take(&mut self.spec, path) else {
            return false;
        };
        self.removed(path, why, was);
        true
    }

    fn moved(&mut self, from: Path, path: Path) {
        let what = What::Moved { from };
        self.changes.push(Change { path, what });
    }

    fn removed(&mut self, path: Path, why: impl Into<String>, was: Value) {
        let why = why.into();
        let what = What::Removed { why, was };
        self.changes.push(Change { path, what });
    }

    /// Does a step of `merge` and records what it found and changed.
    fn step(&mut self, work: impl FnOnce(&mut Value, &mut Findings)) {
        let before = resource(&self.spec);
        let mut findings = Findings::default();
        work(&mut self.spec, &mut findings);
        let after = resource(&self.spec);
        for (from, to) in &findings.moves {
            self.moved(from.clone(), to.clone());
        }
        let is_moved = |path: &Path| findings.moves.iter().any(|(from, _)| from == path);
        let errors = findings.errors.into_iter();
        let errors = errors.map(|error| (error.path, error.problem));
        let warnings = findings.warnings.into_iter();
        let all = errors.chain(warnings.map(|warning| (warning.path, warning.text)));
        for (path, why) in all.filter(|(path, _)| !is_moved(path)) {
            let Some(was) = at_path(&before, &path).cloned() else {
                continue;
            };
            let what = match at_path(&after, &path) {
                None | Some(Value::Null) => What::Removed {
                    // Here it is done, and not asked for.
                    why: why.trim_end_matches("; remove it").to_owned(),
                    was,
                },
                Some(now) if *now != was => What::Rewritten { was },
                Some(_) => continue,
            };
            if matches!(what, What::Removed { .. }) {
                place::prune_above(&mut self.spec, &path);
            }
            self.changes.push(Change { path, what });
        }
    }

    /// Takes out the tags of images that no chart is made for; gives whether the spec may be of such an Istio.
    fn take_out_old_tags(&mut self, catalogue: &Catalogue) -> bool {
        let spec = Path::root("spec");
        let mut places = vec![spec.key("tag")];
        for section in ["global", "pilot", "cni"] {
            places.push(spec.keys(&["values", section, "tag"]));
        }
        let components = spec.key("components");
        for kind in ComponentKind::ALL {
            let path = components.key(kind.spec_key());
            match at(&self.spec, &["components", kind.spec_key()]) {
                Some(Value::Array(list)) => {
                    places.extend((0..list.len()).map(|index| path.index(index).key("tag")));
                }
                _ => places.push(path.key("tag")),
            }
        }
        let tags = places.iter().filter_map(|path| {
            let tag = scalar_text(at_path(&resource(&self.spec), path)?)?;
            Some((path, minor_of(&tag)?, tag))
        });
        let tags: Vec<_> = tags.collect();
        let is_known = |minor: &u16| catalogue.release(*minor).is_some();
        let is_old = at(&self.spec, &["version"]).is_none()
            && !tags.iter().any(|(_, minor, _)| is_known(minor));
        let old = tags.iter().filter(|(_, minor, _)| !is_known(minor));
        for (path, _, tag) in old {
            let why = format!(
                "images of Istio {tag} do not fit; without a tag they are of the version that is installed"
            );
            self.take_out(path, &why);
        }
        is_old
    }

    /// The version that is installed, once what names an unknown one is gone.
    fn version(&mut self, catalogue: &Catalogue) -> Version {
        loop {
            match version::choose(&self.spec, None, catalogue) {
                Ok(version) => return version,
                Err(error) => {
                    if !self.take_out(&error.path, &error.problem) {
                        return catalogue.default_version();
                    }
                }
            }
        }
    }

    /// Moves what has a successor that takes the same value and is not set itself.
    fn move_to_successors(&mut self, table: &[RemovedSetting]) {
        let spec = Path::root("spec");
        for setting in table {
            let Some(successor) = setting.successor() else {
                continue;
            };
            let from: Vec<&str> = setting.path.split('.').collect();
            let to: Vec<&str> = successor.split('.').collect();
            let is_set = |keys: &[&str]| at(&self.spec, keys).is_some_and(|value| !value.is_null());
            if is_set(&from) && !is_set(&to) {
                let path = spec.keys(&from);
                if let Some((_, value)) = place::take(&mut self.spec, &path) {
                    set(&mut self.spec, &to, value);
                    self.moved(path, spec.keys(&to));
                }
            }
        }
    }

    /// Writes the settings of addons that stand in `values` where addons have them today.
    fn write_addons(&mut self) {
        let before = self.spec.clone();
        let mut findings = Findings::default();
        addons::translate(&mut self.spec, &mut findings);
        let spec = Path::root("spec");
        let is_zipkin = at(&before, &addons::PROVIDER).is_some_and(|store| store == "zipkin");
        let store = if is_zipkin { "zipkin" } else { "jaeger" };
        let addon = |name: &str| spec.keys(&["addonComponents", name]);
        if at(&before, &["addonComponents", "tracing"]).is_some() {
            self.moved(addon("tracing"), addon(store));
        }
        for section in addons::SECTIONS {
            let path = spec.keys(&["values", section]);
            let Some((_, was)) =
                at(&before, &["values", section]).and_then(|_| place::take(&mut self.spec, &path))
            else {
                continue;
            };
            let name = if section == "tracing" { store } else { section };
            if at(&self.spec, &["addonComponents", name]).is_some() {
                self.moved(path, addon(name));
            } else {
                self.removed(path, "is of an addon that is not installed", was);
            }
        }
        for warning in findings.warnings {
            if let Some(was) = at_path(&resource(&before), &warning.path).cloned() {
                self.removed(warning.path, warning.text, was);
            }
        }
    }
}

/// A resource with this spec, as its author wrote it: with the fields beside the spec that are kept in it.
fn resource(spec: &Value) -> Value {
    let mut fields = Map::new();
    let mut inside = spec.clone();
    if let Value::Object(all) = spec {
        for (key, value) in all {
            if let Some(name) = name_beside_spec(key) {
                fields.insert(name.to_owned(), value.clone());
                without_keys(&mut inside, &[key]);
            }
        }
    }
    fields.insert("spec".to_owned(), inside);
    Value::Object(fields)
}

#[cfg(test)]
mod tests;
