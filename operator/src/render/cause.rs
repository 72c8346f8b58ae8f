//! Finds the setting of a CR that the API server would refuse an object for.
//!
//! The component is rendered again without one setting after the other, the last overlay patch first. The first one without
//! which a problem is gone is its cause. This happens only if there is a problem, so it may take its time.

mod narrow;

use std::collections::BTreeMap;

use serde_json::Value;

use super::kubernetes::{Place, Problem, Step, problems};
use super::{HasTime, Object, RenderError, objects_of};
use crate::api::{FieldError, Path};
use crate::charts::Charts;
use crate::charts::tree::at;
use crate::merge::{Component, Merged};

/// After so many renderings, what has no cause yet is told without one.
const MOST_TRIALS: usize = 1100;

/// A name that nobody refuses.
const OTHER_NAME: &str = "other";

/// A problem of an object.
#[derive(Clone, Debug)]
struct Found<'o> {
    object: &'o Object,
    problem: Problem,
}

/// What problems have in common that are alike: kind, place without the positions in lists, and text. Without a setting,
/// others may change their positions.
type Likeness = (String, Vec<String>, String);

impl Found<'_> {
    fn likeness(&self) -> Likeness {
        let keys = self.problem.place.0.iter().filter_map(|step| match step {
            Step::Key(key) => Some(key.clone()),
            Step::Index(_) => None,
        });
        (
            self.object.key.kind.clone(),
            keys.collect(),
            self.problem.text.clone(),
        )
    }

    /// The error that tells the setting at `cause` in the CR's spec.
    fn told(&self, spec: &Value, cause: &Place) -> RenderError {
        let Problem { place, text } = &self.problem;
        let field = place.below(&Path::default());
        let problem = format!("{text} ({}, {field})", self.object.key);
        let setting = if is_patch(cause) {
            cause.then("value")
        } else {
            cause.clone()
        };
        let written = setting.find(spec).filter(|value| !value.is_null());
        let Some(value) = written else {
            return setting_error(cause, problem);
        };
        let below = narrow::narrow(value, &self.object.body.value(), place);
        let mut told = setting;
        told.0.extend(below.unwrap_or_default().0);
        setting_error(&told, problem)
    }

    /// The error that names the object alone.
    fn untold(&self) -> RenderError {
        let Problem { place, text } = &self.problem;
        RenderError::Refused {
            key: Box::new(self.object.key.clone()),
            error: FieldError::new(place.below(&Path::default()), text.clone()),
        }
    }
}

fn setting_error(place: &Place, problem: String) -> RenderError {
    RenderError::Setting(FieldError::new(place.below(&Path::root("spec")), problem))
}

/// Whether a place is that of an overlay's patch.
fn is_patch(place: &Place) -> bool {
    matches!(&place.0[..], [.., Step::Key(key), Step::Index(_)] if key == "patches")
}

/// An error for everything in the objects of a component that the API server would refuse, with the setting that is why.
pub(super) fn refusals(
    merged: &Merged,
    component: &Component,
    objects: &[Object],
    charts: &Charts,
    has_time: HasTime,
) -> Vec<RenderError> {
    let unexplained = find(objects, component);
    if unexplained.is_empty() {
        return Vec::new();
    }
    let mut search = Search {
        merged,
        component,
        charts,
        has_time,
        before: Look::at(objects, component),
        unexplained,
        errors: Vec::new(),
    };
    search.run();
    let untold = search.unexplained.iter().map(Found::untold);
    search.errors.extend(untold);
    search.errors
}

/// The search for the causes of a component's problems.
struct Search<'a, 'o> {
    merged: &'a Merged,
    component: &'a Component,
    charts: &'a Charts,
    has_time: HasTime<'a>,
    /// The objects as they are.
    before: Look,
    /// The problems that have no cause yet.
    unexplained: Vec<Found<'o>>,
    /// The errors of those that have one.
    errors: Vec<RenderError>,
}

/// What counts in objects when a setting is tried: how many there are of each kind, and how many problems alike.
#[derive(Clone)]
struct Look {
    kinds: BTreeMap<String, usize>,
    problems: BTreeMap<Likeness, usize>,
}

impl Look {
    fn at(objects: &[Object], component: &Component) -> Self {
        let mut look = Self {
            kinds: BTreeMap::new(),
            problems: BTreeMap::new(),
        };
        for object in objects {
            *look.kinds.entry(object.key.kind.clone()).or_default() += 1;
        }
        for problem in find(objects, component) {
            *look.problems.entry(problem.likeness()).or_default() += 1;
        }
        look
    }

    /// Whether there is nothing wrong that was not wrong `before`.
    fn is_no_worse(&self, before: &Self) -> bool {
        let known = |(likeness, count): (_, &usize)| before.problems.get(likeness) >= Some(count);
        self.problems.iter().all(known)
    }
}

impl Search<'_, '_> {
    fn run(&mut self) {
        let settings = settings(&self.merged.source.spec, self.component);
        let settings = &settings[..settings.len().min(MOST_TRIALS)];
        // Without the setting that a problem comes from, the object is there and all right. If there is no such setting, it
        // is one without which the object is not there.
        for keeps_objects in [true, false] {
            for setting in settings {
                if self.is_done() {
                    return;
                }
                let after = self.without(&self.merged.source.spec, setting);
                if let Some((_, after)) = after.filter(|(_, a)| a.is_no_worse(&self.before)) {
                    self.explain(setting, &after, keeps_objects);
                }
            }
        }
        // Several settings may be wrong alike. The one that goes last takes the problem with it.
        let mut spec = self.merged.source.spec.clone();
        for setting in settings {
            if self.is_done() {
                return;
            }
            if let Some((rest, after)) = self.without(&spec, setting) {
                self.explain(setting, &after, false);
                spec = rest;
            }
        }
    }

    fn is_done(&self) -> bool {
        self.unexplained.is_empty() || !(self.has_time)()
    }

    /// A spec without a setting, and the objects of the component then; none if the rest is refused. A name that is needed
    /// becomes another one.
    fn without(&self, spec: &Value, setting: &Place) -> Option<(Value, Look)> {
        let mut spec = spec.clone();
        if setting.0.last() == Some(&Step::from("name")) {
            setting.replace(&mut spec, OTHER_NAME.into());
        } else if !setting.remove(&mut spec) {
            return None;
        }
        let merged = self.merged.with_spec(&spec, self.charts)?;
        let is_it = |other: &&Component| other.path == self.component.path;
        let component = merged.components.iter().find(is_it)?;
        let part = objects_of(&merged, component, self.charts, self.has_time).ok()?;
        let look = Look::at(&part.component.objects, self.component);
        Some((spec, look))
    }

    /// Tells the problems that are gone without a setting.
    fn explain(&mut self, setting: &Place, after: &Look, keeps_objects: bool) {
        let mut gone = self.before.problems.clone();
        for (likeness, count) in &mut gone {
            *count = count.saturating_sub(*after.problems.get(likeness).unwrap_or(&0));
        }
        let mut rest = Vec::new();
        // Lists grow at their end, so the last of several alike are those of the last setting.
        for problem in std::mem::take(&mut self.unexplained).into_iter().rev() {
            let kind = &problem.object.key.kind;
            let is_kept = after.kinds.get(kind) == self.before.kinds.get(kind);
            match gone.get_mut(&problem.likeness()) {
                Some(count) if *count > 0 && (is_kept || !keeps_objects) => {
                    *count -= 1;
                    self.errors
                        .push(problem.told(&self.merged.source.spec, setting));
                }
                _ => rest.push(problem),
            }
        }
        rest.reverse();
        self.unexplained = rest;
    }
}

/// The problems of objects. CRDs are large, and nothing but overlays reaches them. An object that the charts remember was checked
/// before, unless a setting changed it.
fn find<'o>(objects: &'o [Object], component: &Component) -> Vec<Found<'o>> {
    let is_reached = |object: &&Object| {
        let is_crd = object.key.kind == "CustomResourceDefinition";
        !object.body.is_checked() && (!component.overlays.is_empty() || !is_crd)
    };
    let mut found = Vec::new();
    for object in objects.iter().filter(is_reached) {
        let problems = problems(object);
        if problems.is_empty() {
            object.body.mark_checked();
        }
        found.extend(
            problems
                .into_iter()
                .map(|problem| Found { object, problem }),
        );
    }
    found
}

/// The settings of a spec that a component is rendered with, in the order in which they are tried.
fn settings(spec: &Value, component: &Component) -> Vec<Place> {
    let mut settings = Vec::new();
    let own = place_of(component);
    if let Some(written) = own.find(spec) {
        let overlays = own.then("k8s").then("overlays");
        let list = at(written, &["k8s", "overlays"]).and_then(Value::as_array);
        let list = list.map_or(&[][..], Vec::as_slice);
        for (index, overlay) in list.iter().enumerate().rev() {
            let place = overlays.then(index).then("patches");
            let patches = overlay.get("patches").and_then(Value::as_array);
            let patches = 0..patches.map_or(0, Vec::len);
            settings.extend(patches.rev().map(|index| place.then(index)));
        }
        let mut others = Vec::new();
        fields(written.get("k8s"), &own.then("k8s"), &mut others);
        others.push(overlays);
        fields(Some(written), &own, &mut others);
        others.dedup();
        settings.extend(others);
    }
    let own_values = component.kind.info().values_root;
    let values = [&["values"], own_values].concat();
    for keys in [
        &values[..],
        &["values"],
        &["unvalidatedValues"],
        &["meshConfig"],
    ] {
        let mut found = Vec::new();
        leaves(at(spec, keys), &Place::of(keys), &mut found);
        settings.extend(found.into_iter().rev());
    }
    let top = spec.as_object().into_iter().flatten();
    let top = top.filter(|(key, _)| *key != "components");
    settings.extend(top.map(|(key, _)| Place::of(&[key])));
    settings
}

/// The fields of a map but its overlays.
fn fields(map: Option<&Value>, place: &Place, found: &mut Vec<Place>) {
    let map = map.and_then(Value::as_object).into_iter().flatten();
    let named = map.filter(|(key, _)| *key != "overlays");
    found.extend(named.map(|(key, _)| place.then(key.as_str())));
}

/// Everything below a node that is not a map.
fn leaves(node: Option<&Value>, place: &Place, found: &mut Vec<Place>) {
    match node {
        Some(Value::Object(map)) if !map.is_empty() => {
            for (key, value) in map {
                leaves(Some(value), &place.then(key.as_str()), found);
            }
        }
        Some(_) => found.push(place.clone()),
        None => {}
    }
}

/// The place of a component in the spec.
fn place_of(component: &Component) -> Place {
    let key = component.kind.spec_key();
    let place = Place::of(&["components", key]);
    match component.index {
        Some(index) => place.then(index),
        None => place,
    }
}
