//! What a CR has while a canary stands beside the control plane that serves.

use std::collections::HashSet;

use super::{Object, Rendered, TAG};
use crate::api::ComponentKind;

/// The kind of what validates for everybody, by the control plane that serves.
const VALIDATOR: &str = "ValidatingWebhookConfiguration";

impl Rendered {
    /// These objects, with the control plane of `canary` beside them.
    ///
    /// Tags, gateways and node agents stay as they are here. What all revisions share is of the newer version.
    #[must_use]
    pub fn with_canary(mut self, canary: Self) -> Self {
        let mut objects = self
            .components
            .iter()
            .flat_map(|component| &component.objects);
        let taken: HashSet<_> = objects.by_ref().map(|object| object.key.clone()).collect();
        let is_own = |object: &Object| !taken.contains(&object.key) && !has_tag(object);
        let mut at = 0;
        for mut component in canary.components {
            let same = self
                .components
                .iter()
                .position(|it| it.kind == component.kind);
            match component.kind {
                ComponentKind::Base => match same {
                    Some(index)
                        if self.components[index].plane.version < component.plane.version =>
                    {
                        let validates = |object: &Object| object.key.kind == VALIDATOR;
                        let before = std::mem::take(&mut self.components[index].objects);
                        component.objects.retain(|object| !validates(object));
                        component
                            .objects
                            .extend(before.into_iter().filter(validates));
                        self.components[index] = component;
                    }
                    _ => {}
                },
                ComponentKind::Pilot => {
                    component.objects.retain(is_own);
                    at = same.map_or(at, |index| index + 1);
                    self.components.insert(at, component);
                }
                _ => {}
            }
        }
        self.warnings = canary.warnings;
        self
    }
}

fn has_tag(object: &Object) -> bool {
    object.body.field("metadata")["labels"].get(TAG).is_some()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::{IstioOperator, RawSpec};
    use crate::charts::Charts;
    use crate::merge::{Cluster, merge, revision_label};
    use crate::render::render;

    fn rendered(version: &str, revision: &str) -> Rendered {
        let charts = Charts::embedded().unwrap();
        let spec = json!({
            "profile": "ambient",
            "version": version,
            "revision": revision,
            "components": {"ingressGateways": [{"name": "edge", "enabled": true}]},
            "values": {"revisionTags": ["prod"], "defaultRevision": revision_label(revision)},
        });
        let cr = IstioOperator::new("cr", RawSpec(spec));
        let merged = merge(&cr, None, Cluster::default(), &charts).unwrap();
        render(&merged.for_cluster(), &charts).unwrap()
    }

    /// The versions of the components of a kind.
    fn versions(rendered: &Rendered, kind: ComponentKind) -> Vec<String> {
        let components = rendered.components.iter().filter(|it| it.kind == kind);
        components.map(|it| it.plane.version.to_string()).collect()
    }

    #[test]
    fn only_istiod_stands_beside_what_serves() {
        let old = rendered("1.29.8", "");
        let beside = old.clone().with_canary(rendered("1.31.1", "1-31-1"));
        assert_eq!(versions(&beside, ComponentKind::Base), ["1.31.1"]);
        assert_eq!(
            versions(&beside, ComponentKind::Pilot),
            ["1.29.8", "1.31.1"]
        );
        for held in [
            ComponentKind::IngressGateways,
            ComponentKind::Cni,
            ComponentKind::Ztunnel,
        ] {
            assert_eq!(versions(&beside, held), ["1.29.8"], "{held}");
        }
        let mut objects: Vec<_> = beside
            .components
            .iter()
            .flat_map(|it| &it.objects)
            .collect();
        let held = objects
            .iter()
            .filter(|object| has_tag(object) || object.key.name == "istiod-default-validator");
        for object in held {
            let labels = &object.body.field("metadata")["labels"];
            assert_eq!(labels["istio.io/rev"], "default", "{}", object.key);
        }
        let count = objects.len();
        objects.sort_by_key(|object| &object.key);
        objects.dedup_by_key(|object| &object.key);
        assert_eq!(objects.len(), count, "an object is there twice");
        let is_istiod = |object: &&&Object| {
            object.key.kind == "Deployment" && object.key.name.starts_with("istiod")
        };
        assert_eq!(objects.iter().filter(is_istiod).count(), 2);

        // On the way back, what is shared stays as new as it is.
        let back = rendered("1.31.1", "1-31-1").with_canary(old);
        assert_eq!(versions(&back, ComponentKind::Base), ["1.31.1"]);
        assert_eq!(versions(&back, ComponentKind::Pilot), ["1.31.1", "1.29.8"]);
    }
}
