//! Follows CRs until they are HEALTHY.

use std::time::{Duration, Instant};

use e2e::{
    actions::cr::{self, Cr},
    control_plane::ControlPlane,
    error::Error,
    operator::Operator,
};
use k8s_openapi::api::{apps::v1::Deployment, autoscaling::v2::HorizontalPodAutoscaler};
use kube::{
    Api, Client,
    api::{DynamicObject, ListParams},
};
use serde_json::Value;
use tokio::time::sleep;

use crate::display::{Display, Row};

/// How often is looked; also the speed of the animation.
const PAUSE: Duration = Duration::from_millis(100);

/// How long everything has to be well before it is shown: the operator may not have seen the last change yet.
const CALM: Duration = Duration::from_secs(2);

/// An ERROR that stays this long is what it ends in; a shorter one was repaired by the next try.
const LASTING: Duration = Duration::from_secs(5);

/// Shows the components of the CRs (namespace and name of each) until all CRs are HEALTHY.
///
/// A CR in ERROR for good, and one that is not HEALTHY within `limit`, is an error with the CR's
/// message; so is the end of the operator.
pub async fn until_healthy(
    plane: &ControlPlane,
    operator: &mut Operator,
    crs: &[(String, String)],
    limit: Duration,
) -> Result<(), Error> {
    let client = plane.client().await?;
    let mut display = Display::new();
    let started = Instant::now();
    let mut failing_since: Option<Instant> = None;
    loop {
        operator.process().check()?;
        let states = states(&client, crs).await?;
        let rows: Vec<_> = states
            .iter()
            .flat_map(|state| state.rows(crs.len() > 1))
            .collect();
        display.show(&rows)?;
        let Some(worst) = states.iter().find(|state| state.state() != "HEALTHY") else {
            return Ok(());
        };
        failing_since = match worst.state() {
            "ERROR" => failing_since.or_else(|| Some(Instant::now())),
            _ => None,
        };
        if failing_since.is_some_and(|since| since.elapsed() > LASTING) {
            return Err(worst.failure());
        }
        if started.elapsed() > limit {
            let what = format!("{} to be HEALTHY", worst.name());
            return Err(Error::TimedOut {
                what,
                waited: limit,
                last: worst.summary(),
            });
        }
        sleep(PAUSE).await;
    }
}

/// Waits, but no longer than `limit`, until HPAs have their minimum and the CRs are HEALTHY with it, so that the tables
/// show that.
pub async fn until_scaled(
    plane: &ControlPlane,
    crs: &[(String, String)],
    limit: Duration,
) -> Result<(), Error> {
    let client = plane.client().await?;
    let started = Instant::now();
    let mut well_since = started;
    while started.elapsed() < limit && well_since.elapsed() < CALM {
        let are_healthy = |states: Vec<State>| states.iter().all(|one| one.state() == "HEALTHY");
        if !are_scaled(&client).await? || !are_healthy(states(&client, crs).await?) {
            well_since = Instant::now();
        }
        sleep(PAUSE).await;
    }
    Ok(())
}

/// Whether every HPA has seen its minimum, and all pods of the Deployments are available.
async fn are_scaled(client: &Client) -> Result<bool, Error> {
    let hpas: Api<HorizontalPodAutoscaler> = Api::all(client.clone());
    let deployments: Api<Deployment> = Api::all(client.clone());
    let hpas = hpas.list(&ListParams::default()).await?;
    let deployments = deployments.list(&ListParams::default()).await?;
    Ok(hpas.iter().all(has_its_minimum) && deployments.iter().all(is_available))
}

fn has_its_minimum(hpa: &HorizontalPodAutoscaler) -> bool {
    let minimum = hpa.spec.min_replicas.unwrap_or(1);
    let current = hpa
        .status
        .as_ref()
        .and_then(|status| status.current_replicas)
        .unwrap_or(0);
    current >= minimum
}

fn is_available(deployment: &Deployment) -> bool {
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas);
    let status = deployment.status.as_ref();
    let available = status.and_then(|status| status.available_replicas);
    available.unwrap_or(0) >= wanted.unwrap_or(1)
}

/// One CR as it is now.
struct State(DynamicObject);

async fn states(client: &Client, crs: &[(String, String)]) -> Result<Vec<State>, Error> {
    let mut states = Vec::new();
    for (namespace, name) in crs {
        let cr = Cr::of(client.clone(), namespace, name);
        states.push(State(cr.get().await?));
    }
    Ok(states)
}

impl State {
    fn name(&self) -> String {
        let metadata = &self.0.metadata;
        let part = |text: &Option<String>| text.clone().unwrap_or_default();
        format!("{}/{}", part(&metadata.namespace), part(&metadata.name))
    }

    fn status(&self) -> &Value {
        &self.0.data["status"]
    }

    /// The state of the present generation; nothing was said yet about a newer one.
    fn state(&self) -> &str {
        cr::state(&self.0)
    }

    fn message(&self) -> &str {
        self.status()["message"].as_str().unwrap_or_default()
    }

    fn failure(&self) -> Error {
        Error::Unexpected(format!(
            "{} ended in ERROR: {}",
            self.name(),
            self.message()
        ))
    }

    fn summary(&self) -> String {
        match self.state() {
            "" => "the operator has not said anything about it".into(),
            state => format!("{state}: {}", self.message()),
        }
    }

    /// A row per component, prefixed by the CR where there are several.
    fn rows(&self, prefixed: bool) -> Vec<Row> {
        let components = self.status()["componentStatus"].as_object();
        let row = |(component, status): (&String, &Value)| Row {
            name: if prefixed {
                format!("{} {component}", self.name())
            } else {
                component.clone()
            },
            state: status["status"].as_str().unwrap_or("-").into(),
            detail: status["error"]
                .as_str()
                .unwrap_or_default()
                .replace('\n', " "),
        };
        components.into_iter().flatten().map(row).collect()
    }
}
