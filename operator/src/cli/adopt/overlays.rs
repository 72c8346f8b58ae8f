//! Paths of overlays, and fields that no overlay has to keep.

use std::fmt::Write as _;

use istio_operator::api::Path;
use istio_operator::render::ObjectKey;

/// Labels that say who installed an object and from which release; they belong to whoever applies it.
const BOOKKEEPING: [&str; 10] = [
    // Kubernetes counts in it.
    "deprecated.daemonset.template.generation",
    "install.operator.istio.io/owning-resource",
    "install.operator.istio.io/owning-resource-namespace",
    "install.operator.istio.io/owning-resource-not-pruned",
    "operator.istio.io/component",
    "operator.istio.io/managed",
    "operator.istio.io/version",
    "app.kubernetes.io/version",
    "helm.sh/chart",
    "install.operator.istio.io/chart-owner",
];

/// The name of Helm's release and the revision of who installed it, on an object itself. Its pods keep them, because they would
/// restart otherwise.
const RELEASE: [&str; 3] = [
    r#"metadata.labels["istio.io/rev"]"#,
    r#"metadata.labels["app.kubernetes.io/instance"]"#,
    "metadata.labels.release",
];

/// The injector of the default revision.
const INJECTOR: &str = "istio-sidecar-injector";

/// Whether a field only tells who installed an object and from which release, or explains a field of a CRD.
pub(super) fn is_bookkeeping(key: &ObjectKey, path: &Path) -> bool {
    let explains = key.kind == "CustomResourceDefinition" && path.last() == "description";
    explains || RELEASE.contains(&path.to_string().as_str()) || BOOKKEEPING.contains(&path.last())
}

/// Whether an object is made of values and of the version alone, so that an overlay of it would hold up every later change: the
/// configuration of the mesh and of the injector, CRDs, and the default tag. Beside that tag the injector of the default revision rests;
/// an overlay that kept it at work would have pods injected twice.
pub(super) fn is_generated(key: &ObjectKey) -> bool {
    let is_of_version = matches!(key.kind.as_str(), "ConfigMap" | "CustomResourceDefinition");
    let is_of_tag = key.kind == "MutatingWebhookConfiguration" && key.name == INJECTOR;
    is_of_version || is_of_tag || key.name.starts_with("istiod-revision-tag-")
}

/// A path as overlays have it: `spec.containers[a].env[0]` is `spec.containers.[name:a].env.[0]`.
pub(super) fn overlay_path(path: &Path) -> String {
    let text = path.to_string();
    let mut out = String::new();
    let mut rest = text.as_str();
    while let Some((before, behind)) = rest.split_once('[') {
        out += before;
        if let Some(quoted) = behind.strip_prefix('"') {
            let (key, after) = quoted.split_once("\"]").unwrap_or((quoted, ""));
            let _ = write!(out, ".{}", key.replace('.', "\\."));
            rest = after;
            continue;
        }
        let (inside, after) = behind.split_once(']').unwrap_or((behind, ""));
        let is_index = !inside.is_empty() && inside.bytes().all(|byte| byte.is_ascii_digit());
        let kind = if is_index { "" } else { "name:" };
        let inside = inside.replace('.', "\\.");
        let _ = write!(out, ".[{kind}{inside}]");
        rest = after;
    }
    out += rest;
    out.trim_start_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_written_as_overlays_have_them() {
        let spec = Path::root("spec");
        let env = spec.key("containers").element("a").key("env").index(0);
        assert_eq!(overlay_path(&env), "spec.containers.[name:a].env.[0]");
        let webhook = Path::root("webhooks").element("rev.object.istio.io");
        let expected = r"webhooks.[name:rev\.object\.istio\.io].timeoutSeconds";
        assert_eq!(overlay_path(&webhook.key("timeoutSeconds")), expected);
        let label = Path::root("metadata").key("labels").key("istio.io/rev");
        assert_eq!(
            overlay_path(&label.key("x")),
            r"metadata.labels.istio\.io/rev.x"
        );
    }

    #[test]
    fn labels_of_the_owner_are_kept_by_nobody() {
        let key = |kind: &str| ObjectKey {
            group: String::new(),
            kind: kind.to_owned(),
            namespace: None,
            name: "a".to_owned(),
        };
        let labels = Path::root("metadata").key("labels");
        let told = Path::root("spec").key("description");
        assert!(is_bookkeeping(
            &key("Service"),
            &labels.key("operator.istio.io/version")
        ));
        assert!(!is_bookkeeping(&key("Service"), &labels.key("app")));
        assert!(is_bookkeeping(&key("CustomResourceDefinition"), &told));
        assert!(!is_bookkeeping(&key("Service"), &told));
    }
}
