//! What an IstioOperator may reach, as whoever runs the operator allows it.
//!
//! Who may write an IstioOperator acts with the rights of the operator. So its namespaces and the hubs of its images can be limited, and
//! what its overlays reach beyond the charts is refused unless it is allowed. Everything is judged by the objects as they
//! were rendered, before anything is sent, and not by the settings that lead to them.

use serde_json::Value;

use crate::api::{FieldError, Path, leaves, path_of_pointer};
use crate::merge::{Component, Merged};
use crate::render::{CONTAINERS, Object, Rendered};
use crate::settings::{Settings, named};

/// What an IstioOperator may reach.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    /// The namespaces of its objects; all if empty.
    namespaces: Vec<String>,
    /// The hubs of its images, in full; all if empty.
    hubs: Vec<String>,
    /// Whether overlays may reach what the charts do not.
    allows_privileged_overlays: bool,
}

impl Limits {
    /// Everything is allowed.
    pub(super) const fn none() -> Self {
        Self {
            namespaces: Vec::new(),
            hubs: Vec::new(),
            allows_privileged_overlays: true,
        }
    }

    /// What the flags of the operator allow.
    pub(super) fn of(settings: &Settings) -> Self {
        let hubs = named(&settings.allowed_hubs);
        Self {
            namespaces: named(&settings.allowed_namespaces),
            hubs: hubs.iter().map(|hub| hub_in_full(hub)).collect(),
            allows_privileged_overlays: settings.allow_privileged_overlays,
        }
    }

    /// An error for everything that reaches too far.
    pub(super) fn check(
        &self,
        merged: &Merged,
        rendered: &Rendered,
    ) -> Result<(), Vec<FieldError>> {
        let mut errors = self.refused_privileges(rendered);
        for (component, of_component) in merged.components.iter().zip(&rendered.components) {
            for object in &of_component.objects {
                let spec = &merged.source.spec;
                errors.extend(self.refused_namespace(object, component, spec));
                errors.extend(self.refused_images(object, component, spec));
            }
        }
        errors.sort();
        // One namespace and one image are told once for each setting that they come from.
        errors.dedup();
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors)
        }
    }

    fn refused_privileges(&self, rendered: &Rendered) -> Vec<FieldError> {
        if self.allows_privileged_overlays {
            return Vec::new();
        }
        let refuse = |found: &FieldError| {
            let problem = format!(
                "{}, which the charts do not; take it out, or run the operator with --allow-privileged-overlays",
                found.problem
            );
            FieldError::new(found.path.clone(), problem)
        };
        rendered.privileges.iter().map(refuse).collect()
    }

    fn refused_namespace(
        &self,
        object: &Object,
        component: &Component,
        spec: &Value,
    ) -> Option<FieldError> {
        let namespace = object.key.namespace.as_ref()?;
        if self.namespaces.is_empty() || self.namespaces.contains(namespace) {
            return None;
        }
        let names_it = |key: &str, text: &str| {
            text == namespace && key.to_ascii_lowercase().ends_with("namespace")
        };
        let path = setting(spec, &component.path, names_it);
        let problem = format!(
            "has objects in the namespace {namespace}, and this operator installs into {} only; name one of these, or run it \
             with another --allowed-namespaces",
            self.namespaces.join(", ")
        );
        Some(FieldError::new(path, problem))
    }

    fn refused_images(
        &self,
        object: &Object,
        component: &Component,
        spec: &Value,
    ) -> Vec<FieldError> {
        if self.hubs.is_empty() {
            return Vec::new();
        }
        let images = images(object).into_iter();
        let refused = images.filter(|image| !self.hubs.iter().any(|hub| is_of(image, hub)));
        let tell = |image: String| {
            let names_it =
                |_: &str, text: &str| image == in_full(text) || is_of(&image, &hub_in_full(text));
            let path = setting(spec, &component.path, names_it);
            let problem = format!(
                "has the image {image}, and this operator takes images of {} only; choose one of these, or run it with \
                 another --allowed-hubs",
                self.hubs.join(", ")
            );
            FieldError::new(path, problem)
        };
        refused.map(tell).collect()
    }
}

/// The setting that something comes from, by its last key and its text: one of the component itself, or else one that is for all. A
/// default is told of the component.
fn setting(spec: &Value, component: &Path, is_it: impl Fn(&str, &str) -> bool) -> Path {
    let leaves = leaves(spec);
    let found = leaves.into_iter().filter(|leaf| {
        leaf.value
            .as_str()
            .is_some_and(|text| !text.is_empty() && is_it(leaf.path.last(), text))
    });
    // A leaf calls elements of lists by their names, and what is refused should be found as it is written.
    let mut found: Vec<_> = found
        .map(|leaf| path_of_pointer(Path::root("spec"), spec, &leaf.pointer))
        .collect();
    let own = component.to_string();
    found.sort_by_key(|path| (!path.to_string().starts_with(&own), path.clone()));
    let is_of_another = |path: &Path| {
        let path = path.to_string();
        let is_of_list = |list: &str| path.starts_with(list) && !path.starts_with(&own);
        is_of_list("spec.components.") || is_of_list("spec.addonComponents.")
    };
    found
        .into_iter()
        .find(|path| !is_of_another(path))
        .unwrap_or_else(|| component.clone())
}

/// The images that an object runs, or has others run, in full.
fn images(object: &Object) -> Vec<String> {
    if object.key.kind == "ConfigMap" {
        return images_of_injector(&object.body.field("data"));
    }
    let spec = object.body.field("spec");
    let pod = spec.pointer("/template/spec");
    let containers = CONTAINERS
        .iter()
        .filter_map(|list| pod?.get(list)?.as_array())
        .flatten();
    let images = containers.filter_map(|container| container.get("image")?.as_str());
    // The injector puts its own in place of this one.
    let images = images.filter(|image| *image != "auto");
    images.map(in_full).collect()
}

/// The images that the injector gives to pods: those of its values. Templates of a user's own are not read.
fn images_of_injector(data: &Value) -> Vec<String> {
    let values = data["values"].as_str().unwrap_or_default();
    let Ok(values) = serde_json::from_str::<Value>(values) else {
        return Vec::new();
    };
    let global = &values["global"];
    let hub = global["hub"].as_str().unwrap_or_default();
    let names = [&global["proxy"]["image"], &global["proxy_init"]["image"]];
    let names = names.into_iter().filter_map(Value::as_str);
    let image = |name: &str| {
        if name.contains('/') {
            in_full(name)
        } else {
            in_full(&format!("{hub}/{name}"))
        }
    };
    names.filter(|name| !name.is_empty()).map(image).collect()
}

/// An image with its registry, which is Docker's where none is named.
fn in_full(image: &str) -> String {
    match image.split_once('/') {
        Some((registry, _)) if is_registry(registry) => image.to_owned(),
        Some(_) => format!("docker.io/{image}"),
        None => format!("docker.io/library/{image}"),
    }
}

/// A hub with its registry. It may be a registry, or a whole image.
fn hub_in_full(hub: &str) -> String {
    let hub = hub.trim_end_matches('/');
    if is_registry(hub) && !hub.contains('/') {
        return hub.to_owned();
    }
    match hub.split_once('/') {
        Some(_) => in_full(hub),
        None => format!("docker.io/{hub}"),
    }
}

/// Whether the part of an image before the first slash is a registry and no user of Docker's.
fn is_registry(part: &str) -> bool {
    part.contains(['.', ':']) || part == "localhost"
}

/// Whether an image is one of a hub. A hub may be a whole image, too.
fn is_of(image: &str, hub: &str) -> bool {
    image
        .strip_prefix(hub)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ':', '@']))
}

#[cfg(test)]
mod tests;
