//! The proof that istiod injects sidecars of a version: a dry run of a pod that asks for one.
//!
//! istiod calls itself ready before its webhook answers (Istio's issue 61049). So after a change of the version, what comes
//! after istiod waits until a pod was seen with the new sidecar.

use serde_json::{Value, json};

use crate::catalogue::Version;
use crate::cluster::{Live, revision_label};
use crate::merge::Merged;

/// The check, as the annotation `install.istio.io/skip-checks` names it.
pub const INJECTION: &str = "injection";

/// A pod to create in a dry run, and what has to come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InjectionProbe {
    /// The version whose sidecar is expected.
    pub version: Version,
    /// The namespace of Istio, which the webhooks of a revision serve unless its labels say something else.
    pub namespace: String,
    /// The pod.
    pub pod: Value,
    /// What the image of the sidecar begins with.
    image: String,
}

/// What came of a dry run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Injection {
    /// The pod has a sidecar of the version.
    Works,
    /// It does not work yet, and why.
    Broken(String),
    /// The API server would refuse any such pod, or the namespace is not served, so that nothing is proven.
    Unknown(String),
}

impl InjectionProbe {
    /// The probe for a CR; none if its istiod injects into no pod by its labels.
    #[must_use]
    pub fn of(merged: &Merged, live: &Live) -> Option<Self> {
        let revision = revision_label(&merged.revision);
        // The injector of the default revision rests, because the default tag serves its pods.
        if merged.revision.is_empty() && !live.has_default_tag(revision) {
            return None;
        }
        let image = merged.proxy_image()?;
        let labels = json!({"istio.io/rev": revision, "sidecar.istio.io/inject": "true"});
        Some(Self {
            version: merged.version,
            namespace: merged.namespace.clone(),
            pod: json!({
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"generateName": "istio-operator-probe-", "labels": labels},
                "spec": {"containers": [{"name": "probe", "image": "probe"}]},
            }),
            image,
        })
    }

    /// What a pod proves that the API server would have created.
    #[must_use]
    pub fn judge(&self, pod: &Value) -> Injection {
        // A native sidecar is an init container.
        let lists = ["initContainers", "containers"].map(|list| pod["spec"][list].as_array());
        let mut containers = lists.into_iter().flatten().flatten();
        let sidecar = containers.find(|container| container["name"] == "istio-proxy");
        match sidecar.and_then(|sidecar| sidecar["image"].as_str()) {
            Some(image) if image.starts_with(&self.image) => Injection::Works,
            Some(image) => Injection::Broken(format!("a new pod gets the sidecar {image}")),
            None => Injection::Broken("a new pod gets no sidecar".to_owned()),
        }
    }

    /// What is said while the proof is not there.
    #[must_use]
    pub fn waiting(&self, why: &str) -> String {
        format!(
            "istiod does not inject sidecars of Istio {} yet: {why}",
            self.version
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{IstioOperator, RawSpec};
    use crate::charts::Charts;
    use crate::merge::{Cluster, merge};

    fn probe(spec: Value) -> Option<InjectionProbe> {
        let charts = Charts::embedded().unwrap();
        let cr = IstioOperator::new("cr", RawSpec(spec));
        let merged = merge(&cr, Some("1.31.1"), Cluster::default(), &charts).unwrap();
        InjectionProbe::of(&merged, &Live::default())
    }

    fn pod(list: &str, image: &str) -> Value {
        json!({"spec": {list: [{"name": "istio-proxy", "image": image}]}})
    }

    #[test]
    fn a_sidecar_of_the_version_proves_it() {
        let probe = probe(json!({"revision": "canary", "hub": "example.com/istio"})).unwrap();
        assert_eq!(probe.pod["metadata"]["labels"]["istio.io/rev"], "canary");
        for list in ["containers", "initContainers"] {
            let found = pod(list, "example.com/istio/proxyv2:1.31.1-distroless");
            assert_eq!(probe.judge(&found), Injection::Works);
            let found = pod(list, "example.com/istio/proxyv2:1.30.5");
            assert!(matches!(probe.judge(&found), Injection::Broken(_)));
        }
        let none = json!({"spec": {"containers": [{"name": "probe"}]}});
        assert!(matches!(probe.judge(&none), Injection::Broken(_)));
    }

    #[test]
    fn an_istiod_whose_pods_another_one_injects_is_not_asked() {
        assert_eq!(probe(json!({})), None);
        assert_eq!(probe(json!({"profile": "empty", "revision": "a"})), None);
    }
}
