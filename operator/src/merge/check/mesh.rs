//! What a schema cannot say about mesh settings.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Checked, Findings, elements};
use crate::api::{Mistake, Path};
use crate::charts::tree::at;

pub(super) fn check(checked: &Checked, findings: &mut Findings) {
    let spec = Path::root("spec");
    for (keys, path) in [
        (&["meshConfig"][..], spec.key("meshConfig")),
        (
            &["values", "meshConfig"],
            spec.key("values").key("meshConfig"),
        ),
    ] {
        if let Some(mesh) = at(checked.user, keys) {
            providers(mesh, &path, findings);
            tracing(mesh, &path, findings);
            curves(mesh, &path, findings);
        }
    }
}

/// istiod takes the last of two providers of one name and cannot use one without a name, yet starts
/// with both, so these are warnings.
fn providers(mesh: &Value, path: &Path, findings: &mut Findings) {
    let mut seen = BTreeSet::new();
    let path = path.key("extensionProviders");
    for (path, provider) in elements(mesh.get("extensionProviders"), &path) {
        let path = path.key("name");
        let problem = match provider
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default()
        {
            "" => "a provider without a name cannot be used".to_owned(),
            name if !seen.insert(name) => format!("another provider is called {name} too"),
            _ => continue,
        };
        findings.warnings.push(Mistake { path, problem });
    }
}

/// Lightstep needs both of its settings; Stackdriver's were removed with its tracer.
fn tracing(mesh: &Value, path: &Path, findings: &mut Findings) {
    let path = path.key("defaultConfig").key("tracing");
    if let Some(lightstep) = at(mesh, &["defaultConfig", "tracing", "lightstep"])
        && !lightstep.is_null()
    {
        for key in ["address", "accessToken"] {
            if lightstep
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .is_empty()
            {
                let problem = "is required by the lightstep tracer".to_owned();
                let path = path.key("lightstep").key(key);
                findings.mistakes.push(Mistake { path, problem });
            }
        }
    }
    for key in super::support::STACKDRIVER {
        if at(mesh, &["defaultConfig", "tracing", "stackdriver", key]).is_some_and(|v| v != "") {
            let problem = "was removed from Istio".to_owned();
            let path = path.key("stackdriver").key(key);
            findings.mistakes.push(Mistake { path, problem });
        }
    }
}

/// Traffic inside of the mesh has fixed curves.
fn curves(mesh: &Value, path: &Path, findings: &mut Findings) {
    let curves = at(mesh, &["meshMTLS", "ecdhCurves"]).and_then(Value::as_array);
    if curves.is_some_and(|curves| !curves.is_empty()) {
        let problem =
            "is not for traffic inside of the mesh; use tlsDefaults.ecdhCurves".to_owned();
        let path = path.key("meshMTLS").key("ecdhCurves");
        findings.mistakes.push(Mistake { path, problem });
    }
}
