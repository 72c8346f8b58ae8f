//! An ordinary pod every second, as any workload of the mesh may get one at any time.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use e2e::error::Error;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams, ResourceExt},
};
use serde_json::json;
use tokio::{
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval},
};

/// A pod that was to be created.
#[derive(Clone, Debug)]
pub struct NewPod {
    pub at: Instant,
    /// Why there is none, or none with a sidecar.
    pub refused: Option<String>,
}

/// Pods that are created and deleted until this is dropped.
pub struct Newcomers {
    task: JoinHandle<()>,
    pods: Arc<Mutex<Vec<NewPod>>>,
}

impl Newcomers {
    /// Begins in a namespace whose pods are injected.
    pub fn start(client: Client, namespace: &str) -> Self {
        let pods: Arc<Mutex<Vec<NewPod>>> = Arc::default();
        let api: Api<Pod> = Api::namespaced(client, namespace);
        let seen = Arc::clone(&pods);
        let task = tokio::spawn(async move {
            let mut ticks = interval(Duration::from_secs(1));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            for number in 0_u32.. {
                ticks.tick().await;
                let at = Instant::now();
                let refused = match created(&api, &format!("newcomer-{number}")).await {
                    Ok(pod) if pod.annotations().contains_key("sidecar.istio.io/status") => None,
                    Ok(_) => Some("it has no sidecar".into()),
                    Err(error) => Some(error.to_string()),
                };
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                seen.push(NewPod { at, refused });
            }
        });
        Self { task, pods }
    }

    /// All of them so far.
    pub fn pods(&self) -> Vec<NewPod> {
        let pods = self.pods.lock();
        pods.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Newcomers {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Creates a pod through all webhooks, and deletes it; it is scheduled nowhere, so nothing has to run it.
async fn created(api: &Api<Pod>, name: &str) -> Result<Pod, Error> {
    let pod = json!({
        "metadata": {"name": name},
        "spec": {
            "nodeSelector": {"example.com/runs": "nowhere"},
            "containers": [{"name": "app", "image": "example.com/app"}],
        },
    });
    let pod = serde_json::from_value(pod).map_err(|error| Error::Unexpected(error.to_string()))?;
    let pod = api.create(&PostParams::default(), &pod).await?;
    let at_once = DeleteParams::default().grace_period(0);
    api.delete(name, &at_once).await?;
    Ok(pod)
}
