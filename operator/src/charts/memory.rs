//! What charts gave for each component the last time, so that what did not change is neither executed nor read again.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::yaml::Manifest;

/// What is remembered at most, in bytes of manifests. It is enough for the CRDs of all minors and several hundred gateways.
const LARGEST: usize = 8 * 1024 * 1024;

/// The manifests of one template.
#[derive(Clone, Debug, PartialEq)]
pub struct TemplateManifests {
    /// The file of the template inside the charts directory, such as `pilot/templates/service.yaml.hbs`.
    pub file: String,
    /// What its output holds.
    pub manifests: Vec<Manifest>,
}

/// What the templates of a chart gave for one component.
pub(super) struct LastRender {
    /// The hash of the root context.
    pub(super) context: u64,
    /// Each output, in the order of the templates.
    pub(super) outputs: Vec<LastOutput>,
}

/// What one template gave.
pub(super) struct LastOutput {
    /// The hash of the output. The output itself is as large as its manifests, and nobody needs it any more.
    pub(super) text: u64,
    pub(super) template: TemplateManifests,
}

impl LastRender {
    /// The manifests of an output that is the same as then.
    pub(super) fn manifests(&self, file: &str, text: u64) -> Option<Vec<Manifest>> {
        let mut outputs = self.outputs.iter();
        let same = outputs.find(|last| last.text == text && last.template.file == file);
        same.map(|last| last.template.manifests.clone())
    }

    /// All manifests, template by template.
    pub(super) fn templates(&self) -> Vec<TemplateManifests> {
        let outputs = self.outputs.iter();
        outputs.map(|last| last.template.clone()).collect()
    }

    fn size(&self) -> usize {
        let outputs = self.outputs.iter();
        let manifests = outputs.flat_map(|last| &last.template.manifests);
        manifests.map(Manifest::size).sum()
    }
}

/// The last render of every component.
#[derive(Default)]
pub(super) struct Memory {
    by_component: Mutex<Renders>,
    /// Hashes with keys of this process, so that nobody can write two contexts or outputs with one hash.
    hasher: RandomState,
}

#[derive(Default)]
struct Renders {
    last: BTreeMap<String, Arc<LastRender>>,
    /// The bytes of all manifests.
    size: usize,
}

impl Memory {
    pub(super) fn hash(&self, value: impl Hash) -> u64 {
        self.hasher.hash_one(value)
    }

    pub(super) fn last(&self, component: &str) -> Option<Arc<LastRender>> {
        self.lock().last.get(component).cloned()
    }

    /// Remembers a render in place of the component's last one. If that is too much, everything is forgotten.
    pub(super) fn remember(&self, component: &str, render: LastRender) {
        let mut renders = self.lock();
        renders.size += render.size();
        if let Some(old) = renders.last.insert(component.to_owned(), render.into()) {
            renders.size -= old.size();
        }
        if renders.size > LARGEST {
            *renders = Renders::default();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Renders> {
        let renders = self.by_component.lock();
        renders.unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn render(context: u64, bytes: usize) -> LastRender {
        let manifest = Manifest::from(&json!({"a": "x".repeat(bytes)}));
        let template = TemplateManifests {
            file: "t".to_owned(),
            manifests: vec![manifest],
        };
        LastRender {
            context,
            outputs: vec![LastOutput { text: 1, template }],
        }
    }

    #[test]
    fn the_last_render_of_a_component_takes_the_place_of_the_one_before() {
        let memory = Memory::default();
        for context in 0..20 {
            memory.remember("a", render(context, LARGEST / 10));
            memory.remember("b", render(100 + context, LARGEST / 10));
        }
        let context = |component| memory.last(component).map(|last| last.context);
        assert_eq!(context("a"), Some(19));
        assert_eq!(context("b"), Some(119));
        assert_eq!(context("c"), None);
    }

    #[test]
    fn everything_is_forgotten_once_it_is_too_much() {
        let memory = Memory::default();
        memory.remember("a", render(1, LARGEST / 2));
        memory.remember("b", render(1, LARGEST / 2));
        assert!(memory.last("a").is_none());
        assert!(memory.last("b").is_none());
        memory.remember("b", render(2, 1));
        assert!(memory.last("b").is_some());
    }

    #[test]
    fn an_output_that_changed_is_not_known() {
        let last = render(1, 1);
        assert!(last.manifests("t", 1).is_some());
        assert!(last.manifests("t", 2).is_none());
        assert!(last.manifests("u", 1).is_none());
    }
}
