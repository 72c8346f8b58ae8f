//! Applies `k8s.overlays`: patches at paths of objects.
//!
//! Upstream's `tpath` package defines the language, with its oddities: missing maps on the way are created, also by a
//! delete; `[0]` below a missing field is a literal key; `[text]` in a list of scalars is a regular expression; a value set
//! on a list that an earlier patch of the same overlay added is appended to it. Two things differ on purpose: a patch that
//! fails or matches nothing is a warning, even an index out of range, where upstream panics; and a text is read by the type
//! of the field that it sets.

mod path;
mod pattern;
mod tree;
mod typed;

use serde_json::Value;

use super::{HasTime, Object, RenderError, check_time, privileges};
use crate::api::{FieldError, Path, Warning};
use crate::charts::yaml::{DEEPEST, Manifest, depth};
use crate::merge::{Component, ControlPlane, Overlay};
use tree::{Node, Origin};

/// What overlays lead to beside the objects.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Overlays and patches without effect.
    pub(super) warnings: Vec<Warning>,
    /// What patches reach that the charts by themselves do not.
    pub(super) privileges: Vec<FieldError>,
}

/// Applies the overlays of a component of `plane` to its objects, in order. It fails if an object loses its kind or name, if a patch is
/// deeper than objects may be, or once `has_time` says no.
pub(super) fn apply(
    component: &Component,
    plane: &ControlPlane,
    objects: &mut [Object],
    findings: &mut Findings,
    has_time: HasTime,
) -> Result<(), RenderError> {
    for overlay in &component.overlays {
        let is_named =
            |object: &Object, name: &str| object.key.kind == overlay.kind && overlay.name == name;
        let is_there = objects
            .iter()
            .any(|object| is_named(object, &object.key.name));
        let mut found = false;
        for object in objects.iter_mut() {
            let name = object.key.name.clone();
            let name = if is_there {
                name
            } else {
                without_version(&name, plane)
            };
            if is_named(object, &name) {
                found = true;
                *object = patched_object(overlay, object, findings, has_time)?;
            }
        }
        if !found {
            let text = matches_nothing(overlay, objects);
            findings
                .warnings
                .push(Warning::new(overlay.path.clone(), text));
        }
    }
    Ok(())
}

/// The name that an object has in every version, where the revision is named after the version.
fn without_version(name: &str, plane: &ControlPlane) -> String {
    match plane.version_in_revision() {
        Some(version) => name.replacen(&format!("-{version}"), "", 1),
        None => name.to_owned(),
    }
}

/// What a warning says of an overlay without an object: which names of its kind there are.
fn matches_nothing(overlay: &Overlay, objects: &[Object]) -> String {
    let (kind, name) = (&overlay.kind, &overlay.name);
    let same = objects.iter().filter(|object| object.key.kind == *kind);
    let names: Vec<&str> = same.map(|object| object.key.name.as_str()).collect();
    let there = match names.as_slice() {
        [] => String::new(),
        [one] => format!("; there is {one}"),
        several => format!("; there are {}", several.join(", ")),
    };
    format!("matches nothing: no {kind} {name} is rendered{there}")
}

fn patched_object(
    overlay: &Overlay,
    object: &Object,
    findings: &mut Findings,
    has_time: HasTime,
) -> Result<Object, RenderError> {
    let before = object.body.value();
    let mut root = Node::of(&before, Origin::Object);
    for patch in &overlay.patches {
        check_time(has_time, &patch.path)?;
        let elements = path::elements(&patch.target);
        let value = typed::read(object, &elements, &patch.value);
        let levels = elements.len() + depth(&value);
        if levels > DEEPEST {
            let problem = format!("expected at most {DEEPEST} levels, found {levels}");
            let error = FieldError::new(patch.path.clone(), problem);
            return Err(RenderError::Setting(error));
        }
        if let Err(problem) = root.patch(&elements, &value) {
            let text = format!("{:?} changes nothing: {problem}", patch.target);
            findings
                .warnings
                .push(Warning::new(patch.path.clone(), text));
        }
    }
    let after = root.into_value();
    let added = privileges::added(&before, &after);
    let patched = Object::of(Manifest::from(&after)).map_err(|problem| {
        let problem = format!("leaves {problem}");
        RenderError::Setting(FieldError::new(overlay.path.clone(), problem))
    })?;
    if !added.is_empty() {
        let told = blame(overlay, object, &before, added, has_time)?;
        findings.privileges.extend(told);
    }
    Ok(patched)
}

/// Tells of each privilege that an overlay adds to an object which patch it comes from: the first one that it is there after.
fn blame(
    overlay: &Overlay,
    object: &Object,
    before: &Value,
    mut added: Vec<String>,
    has_time: HasTime,
) -> Result<Vec<FieldError>, RenderError> {
    let key = &object.key;
    let told = |path: &Path, what: &str| FieldError::new(path.clone(), format!("{what} ({key})"));
    let mut found = Vec::new();
    let mut root = Node::of(before, Origin::Object);
    for patch in &overlay.patches {
        check_time(has_time, &patch.path)?;
        let elements = path::elements(&patch.target);
        // A patch that changes nothing has its warning.
        let _ = root.patch(&elements, &typed::read(object, &elements, &patch.value));
        let now = privileges::added(before, &root.clone().into_value());
        added.retain(|what| {
            let is_new = now.contains(what);
            if is_new {
                found.push(told(&patch.path, what));
            }
            !is_new
        });
    }
    // What only several patches together are.
    found.extend(added.iter().map(|what| told(&overlay.path, what)));
    Ok(found)
}

#[cfg(test)]
mod tests;
