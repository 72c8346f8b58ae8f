//! Other tools that install Istio, and how their objects are recognized.
//!
//! Only marks count that the tool itself sets. Istio's charts render `app.kubernetes.io/managed-by: Helm` and
//! `app.kubernetes.io/instance`, so objects of `istioctl` and of this operator carry these labels too.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use kube::core::DynamicObject;

use crate::api::condition::reason;
use crate::render::ObjectKey;

const HELM_RELEASE: &str = "meta.helm.sh/release-name";
const ARGO_CD_TRACKING: &str = "argocd.argoproj.io/tracking-id";
/// The label that Argo CD tracks objects by where it is not told to use the annotation.
const ARGO_CD_LABEL: &str = "/f:metadata/f:labels/f:app.kubernetes.io~1instance";
/// What the names of Argo CD's field managers begin with.
const ARGO_CD_MANAGER: &str = "argocd";
const FLUX: [&str; 2] = [
    "kustomize.toolkit.fluxcd.io/name",
    "helm.toolkit.fluxcd.io/name",
];

/// What an Istio of revisions labels everything with, which came with 1.6.
const REVISION: &str = "istio.io/rev";
/// What the charts of every release label their objects with, the oldest manifests excepted.
const RELEASE: &str = "release";
/// The Service that a mesh configuration before 1.5 names as control plane.
const PILOT: &str = "istio-pilot";

/// A tool other than `istioctl` and this operator that manages an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ManagingTool {
    /// Helm.
    Helm,
    /// Argo CD.
    ArgoCd,
    /// Flux.
    Flux,
    /// Whatever installed an Istio whose control plane is not istiod, and which would lose its mesh configuration.
    OlderIstio,
}

impl ManagingTool {
    /// Reads the metadata of an object. Flux comes first: it uses Helm, whose marks are there then too.
    #[must_use]
    pub fn read(meta: &ObjectMeta) -> Option<Self> {
        let has_label = |key: &str| {
            let labels = meta.labels.as_ref();
            labels.is_some_and(|labels| labels.contains_key(key))
        };
        let has_annotation = |key: &str| {
            let annotations = meta.annotations.as_ref();
            annotations.is_some_and(|annotations| annotations.contains_key(key))
        };
        let entries = meta.managed_fields.as_deref().unwrap_or_default();
        if FLUX.iter().any(|label| has_label(label)) {
            Some(Self::Flux)
        } else if has_annotation(ARGO_CD_TRACKING) || entries.iter().any(is_tracked_by_label) {
            Some(Self::ArgoCd)
        } else if has_annotation(HELM_RELEASE) {
            Some(Self::Helm)
        } else {
            None
        }
    }

    /// Reads an object that has no owner label. Nothing of an old Istio has one, so its mesh configuration tells it.
    ///
    /// `object` needs its data only where [`is_mesh_config`] says so.
    #[must_use]
    pub fn of_unlabeled(key: &ObjectKey, object: &DynamicObject) -> Option<Self> {
        let is_older = is_mesh_config(key) && is_of_older_istio(object);
        Self::read(&object.metadata).or(is_older.then_some(Self::OlderIstio))
    }

    /// The reason of a condition that tells of objects which this tool manages.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Helm => reason::MANAGED_BY_HELM,
            Self::ArgoCd => reason::MANAGED_BY_ARGO_CD,
            Self::Flux => reason::MANAGED_BY_FLUX,
            Self::OlderIstio => reason::OLDER_ISTIO,
        }
    }
}

/// Whether an object is the mesh configuration of the default revision, the only one that an old Istio has.
#[must_use]
pub fn is_mesh_config(key: &ObjectKey) -> bool {
    key.kind == "ConfigMap" && key.name == "istio"
}

/// Whether a mesh configuration is one of a release, rather than somebody's own, and has no revision.
fn is_of_older_istio(mesh_config: &DynamicObject) -> bool {
    let labels = mesh_config.metadata.labels.as_ref();
    let has = |label: &str| labels.is_some_and(|labels| labels.contains_key(label));
    let text = mesh_config.data["data"]["mesh"].as_str();
    !has(REVISION) && (has(RELEASE) || text.is_some_and(|text| text.contains(PILOT)))
}

/// Whether Argo CD wrote the label that it tracks objects by.
fn is_tracked_by_label(entry: &ManagedFieldsEntry) -> bool {
    let is_argo_cd = entry
        .manager
        .as_ref()
        .is_some_and(|manager| manager.starts_with(ARGO_CD_MANAGER));
    let fields = entry.fields_v1.as_ref();
    is_argo_cd && fields.is_some_and(|fields| fields.0.pointer(ARGO_CD_LABEL).is_some())
}

impl fmt::Display for ManagingTool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Helm => "Helm",
            Self::ArgoCd => "Argo CD",
            Self::Flux => "Flux",
            Self::OlderIstio => "an Istio older than 1.6",
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(meta: Value) -> Option<ManagingTool> {
        ManagingTool::read(&serde_json::from_value(meta).unwrap())
    }

    #[test]
    fn labels_that_istios_charts_render_themselves_say_nothing() {
        let labels = json!({
            "app.kubernetes.io/managed-by": "Helm",
            "app.kubernetes.io/instance": "istio",
            "helm.sh/chart": "istiod-1.31.1",
        });
        assert_eq!(read(json!({"labels": labels})), None);
        assert_eq!(read(json!({})), None);
    }

    #[test]
    fn each_tool_is_recognized_by_its_own_marks() {
        let helm = json!({"meta.helm.sh/release-name": "istiod"});
        assert_eq!(read(json!({"annotations": helm})), Some(ManagingTool::Helm));
        let flux = json!({"helm.toolkit.fluxcd.io/name": "istiod"});
        assert_eq!(
            read(json!({"annotations": helm, "labels": flux})),
            Some(ManagingTool::Flux),
            "Flux uses Helm"
        );
        let kustomization = json!({"kustomize.toolkit.fluxcd.io/name": "mesh"});
        assert_eq!(
            read(json!({"labels": kustomization})),
            Some(ManagingTool::Flux)
        );
        let tracking = json!({"argocd.argoproj.io/tracking-id": "mesh:apps/Deployment:a/b"});
        assert_eq!(
            read(json!({"annotations": tracking})),
            Some(ManagingTool::ArgoCd)
        );
    }

    #[test]
    fn an_istio_without_revisions_is_recognized_by_its_mesh_configuration() {
        let of = |kind: &str, name: &str, labels: Value, mesh: &str| {
            let key = ObjectKey {
                group: String::new(),
                kind: kind.to_owned(),
                namespace: Some("istio-system".to_owned()),
                name: name.to_owned(),
            };
            let metadata = json!({"name": name, "labels": labels});
            let object = json!({"metadata": metadata, "data": {"mesh": mesh}});
            ManagingTool::of_unlabeled(&key, &serde_json::from_value(object).unwrap())
        };
        let older = Some(ManagingTool::OlderIstio);
        let pilot = "defaultConfig: {discoveryAddress: 'istio-pilot:15003'}";
        let release = json!({"release": "istio"});
        assert_eq!(of("ConfigMap", "istio", json!({}), pilot), older);
        assert_eq!(of("ConfigMap", "istio", release.clone(), "{}"), older);
        let revision = json!({"release": "istio", "istio.io/rev": "default"});
        assert_eq!(of("ConfigMap", "istio", revision, "{}"), None);
        let by_hand = of("ConfigMap", "istio", json!({"app": "mesh"}), "by hand");
        assert_eq!(by_hand, None);
        assert_eq!(of("ConfigMap", "istio-mixer", release.clone(), pilot), None);
        assert_eq!(of("Service", "istio", release, pilot), None);
    }

    #[test]
    fn argo_cd_is_recognized_by_the_instance_label_that_it_wrote() {
        let written_by = |manager: &str, label: &str| {
            let labels = json!({"f:metadata": {"f:labels": {label: {}}}});
            let entry = json!({"manager": manager, "operation": "Update", "fieldsV1": labels});
            read(json!({
                "labels": {"app.kubernetes.io/instance": "mesh"},
                "managedFields": [entry],
            }))
        };
        let instance = "f:app.kubernetes.io/instance";
        assert_eq!(
            written_by("argocd-controller", instance),
            Some(ManagingTool::ArgoCd)
        );
        assert_eq!(written_by("istio-operator", instance), None);
        assert_eq!(written_by("argocd-controller", "f:app"), None);
    }
}
