//! A dry run of a pod, to see its sidecar.

use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, PostParams};
use serde::Deserialize;

use super::{ApplyError, Sender};
use crate::plan::{Injection, InjectionProbe};

/// Labels of a namespace that decide about its pods ahead of the pods' own.
const DECISIVE: [&str; 2] = ["istio-injection", "istio.io/rev"];

/// Asks the API server what it would make of a pod that wants a sidecar.
pub async fn probe_injection(sender: &Sender, probe: &InjectionProbe) -> Injection {
    match ask(sender, probe).await {
        Ok(injection) => injection,
        Err(error) => match error {
            // Webhooks are asked before these are decided, or the operator may not ask at all.
            ApplyError::Forbidden(_) | ApplyError::NoDryRun(_) | ApplyError::Invalid(_) => {
                Injection::Unknown(error.to_string())
            }
            // Another webhook refuses such pods for reasons of its own.
            ApplyError::Denied(ref text) if !text.contains("sidecar-injector") => {
                Injection::Unknown(error.to_string())
            }
            error => Injection::Broken(error.to_string()),
        },
    }
}

async fn ask(sender: &Sender, probe: &InjectionProbe) -> Result<Injection, ApplyError> {
    let namespaces: Api<Namespace> = Api::all(sender.client().clone());
    let namespace = sender
        .read(namespaces.get_metadata(&probe.namespace))
        .await?;
    let labels = namespace.metadata.labels.unwrap_or_default();
    if let Some(label) = DECISIVE.iter().find(|label| labels.contains_key(**label)) {
        let why = format!(
            "the label {label} of namespace {} decides about its pods",
            probe.namespace
        );
        return Ok(Injection::Unknown(why));
    }
    let pods: Api<Pod> = Api::namespaced(sender.client().clone(), &probe.namespace);
    let pod =
        Pod::deserialize(&probe.pod).map_err(|error| ApplyError::Malformed(error.to_string()))?;
    let params = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let created = sender.write(pods.create(&params, &pod)).await?;
    let created = serde_json::to_value(&created);
    let created = created.map_err(|error| ApplyError::Malformed(error.to_string()))?;
    Ok(probe.judge(&created))
}
