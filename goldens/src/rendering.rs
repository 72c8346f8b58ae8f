//! What an IstioOperator renders to, ours or upstream's, in the form that is compared.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::canonical::canonical;
use crate::difference::walk;
use crate::table::Rows;
use crate::{ANSWER, CRDS, ISTIOD_VALUES, digest, digests};

/// Objects and CRDs of one rendering. The texts in `ConfigMaps` that istiod parses must be parsed before.
pub struct Rendering {
    /// Every object but CRDs in canonical form, by API version, kind, namespace and name.
    objects: BTreeMap<String, Value>,
    /// The names of the CRDs, sorted.
    crds: Value,
    /// What the istiod chart was called with, as it was written.
    istiod_values: Option<Value>,
}

/// What upstream makes of an input: objects, or the message with which it refuses.
pub type Answer = Result<Rendering, String>;

impl Rendering {
    /// Takes objects without CRDs, the names of the CRDs, and the names of the user's injection templates.
    #[must_use]
    pub fn new(objects: Vec<Value>, mut crds: Vec<String>, templates: &BTreeSet<String>) -> Self {
        crds.sort_unstable();
        let values = |object: &Value| object.pointer("/data/original-values").cloned();
        Self {
            istiod_values: objects.iter().find_map(values),
            crds: json!(crds),
            objects: objects
                .into_iter()
                .map(|object| (identity(&object), canonical(object, templates)))
                .collect(),
        }
    }

    /// The column of this rendering in the table of its case.
    #[must_use]
    pub fn rows(&self) -> Rows {
        let mut rows = digests(&self.objects);
        rows.insert(ANSWER.to_owned(), "accepted".to_owned());
        rows.insert(CRDS.to_owned(), digest(&self.crds));
        let values = self.istiod_values.as_ref();
        rows.extend(values.map(|values| (ISTIOD_VALUES.to_owned(), digest(values))));
        rows
    }

    /// Every field in which `found` differs from this rendering, with object and path.
    #[must_use]
    pub fn differences(&self, found: &Self) -> Vec<String> {
        let mut all = Vec::new();
        walk(CRDS, Some(&self.crds), Some(&found.crds), &mut all);
        let (expected, other) = (&self.istiod_values, &found.istiod_values);
        walk(ISTIOD_VALUES, expected.as_ref(), other.as_ref(), &mut all);
        let keys: BTreeSet<&String> = self.objects.keys().chain(found.objects.keys()).collect();
        for key in keys {
            let (expected, other) = (self.objects.get(key), found.objects.get(key));
            walk(key, expected, other, &mut all);
        }
        all
    }
}

/// The column of an answer in the table of its case.
#[must_use]
pub fn answer_rows(answer: &Answer) -> Rows {
    let refused = |_: &String| Rows::from([(ANSWER.to_owned(), "refused".to_owned())]);
    answer.as_ref().map_or_else(refused, Rendering::rows)
}

/// The names of the injection templates that an IstioOperator brings along.
#[must_use]
pub fn user_templates(cr: &Value) -> BTreeSet<String> {
    let templates = cr.pointer("/spec/values/sidecarInjectorWebhook/templates");
    let templates = templates.and_then(Value::as_object).into_iter().flatten();
    templates.map(|(name, _)| name.clone()).collect()
}

/// Such as `apps/v1 Deployment istio-system/istiod`; no part of it has a space.
fn identity(object: &Value) -> String {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let part = |pointer: &str| text(pointer).unwrap_or_default();
    let (version, kind, name) = (part("/apiVersion"), part("/kind"), part("/metadata/name"));
    match text("/metadata/namespace") {
        Some(namespace) => format!("{version} {kind} {namespace}/{name}"),
        None => format!("{version} {kind} {name}"),
    }
}
