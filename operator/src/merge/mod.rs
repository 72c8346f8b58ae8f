//! CR → [`Merged`]: profile, derived values and the user's own settings folded into one value per component.
//!
//! Pure: takes no client and reads no clock, environment or file.

use serde_json::Value;

use crate::api::{ComponentKind, Mistake, Path};
use crate::catalogue::Version;

/// A CR with every default filled in. Only [`merge`] makes one.
#[derive(Clone, Debug)]
pub struct Merged {
    /// The Istio version whose charts are rendered.
    pub version: Version,
    /// `spec.revision` after derivation; empty for the default revision.
    pub revision: String,
    /// The namespace that Istio is installed in (`values.global.istioNamespace`).
    pub namespace: String,
    /// The enabled components, in render order; a gateway list gives one entry per gateway.
    pub components: Vec<Component>,
    /// What the author should know although nothing is refused.
    pub warnings: Vec<Mistake>,
}

/// One component to render.
#[derive(Clone, Debug)]
pub struct Component {
    /// Which component this is.
    pub kind: ComponentKind,
    /// The name of its workload: `istiod`, `istiod-<revision>`, or a gateway's own name. Empty for base.
    pub name: String,
    /// The namespace of its objects.
    pub namespace: String,
    /// The user-level values that its chart is rendered with, before chart defaults and chart profiles.
    pub values: Value,
    /// The `k8s` block without `overlays`: a JSON object, empty if there is none.
    pub k8s: Value,
    /// `k8s.overlays`, in list order.
    pub overlays: Vec<Overlay>,
    /// Where the component stands in the CR, for warnings and errors.
    pub path: Path,
}

/// One entry of `k8s.overlays`. Upstream ignores `apiVersion` in selecting objects, so it is not kept.
#[derive(Clone, Debug)]
pub struct Overlay {
    /// The kind of the objects to change.
    pub kind: String,
    /// The name of the objects to change.
    pub name: String,
    /// The changes, in order.
    pub patches: Vec<OverlayPatch>,
    /// Where the overlay stands in the CR.
    pub path: Path,
}

/// One entry of `k8s.overlays[].patches`.
#[derive(Clone, Debug)]
pub struct OverlayPatch {
    /// The path inside the object, in upstream's overlay language.
    pub target: String,
    /// The new value; null deletes.
    pub value: Value,
    /// Where the patch stands in the CR.
    pub path: Path,
}
