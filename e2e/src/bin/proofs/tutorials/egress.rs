//! What sidecars know, and the way out: 10 to 12.

use e2e::{error::Error, host::http::Answer};

use super::{
    routing::{ALL, PAGE, unexpected, until_answered, until_status},
    stage::{OUTSIDE, Stage},
};
use crate::ensure;

const RATINGS: &str = "http://ratings/ratings/0";

pub async fn sidecar(stage: &Stage, file: &str) -> Result<String, Error> {
    // It is the file that hides ratings.
    until(stage, "details", RATINGS, 200).await?;
    stage.apply(file)?;
    until(stage, "details", RATINGS, 502).await?;
    until(stage, "ratings", OUTSIDE, 502).await?;
    until(stage, "productpage", RATINGS, 200).await?;
    until_status(stage, PAGE, 200).await?;
    Ok(
        "details does not find ratings any more, productpage does; nobody reaches www.example.com"
            .into(),
    )
}

pub async fn service_entry(stage: &Stage, file: &str) -> Result<String, Error> {
    stage.apply(file)?;
    until(stage, "ratings", OUTSIDE, 200).await?;
    all_come_from(stage, "app", "ratings").await?;
    Ok("www.example.com answers ratings, whose sidecar asks it".into())
}

pub async fn egress_gateway(stage: &Stage, file: &str) -> Result<String, Error> {
    stage.apply(file)?;
    stage
        .until("a request through the egress gateway", async || {
            let answer = stage.in_pod("ratings", OUTSIDE).await?;
            let is_so = answer.status == 200 && stage.came_from(&answer, "istio", "egressgateway");
            is_so.then_some(()).ok_or_else(|| unexpected(&answer))
        })
        .await?;
    all_come_from(stage, "istio", "egressgateway").await?;
    Ok(format!(
        "{ALL} of {ALL} requests reached www.example.com from the egress gateway"
    ))
}

async fn all_come_from(stage: &Stage, label: &str, value: &str) -> Result<(), Error> {
    for _ in 0..ALL {
        let answer = stage.in_pod("ratings", OUTSIDE).await?;
        let is_so = answer.status == 200 && stage.came_from(&answer, label, value);
        ensure(is_so, unexpected(&answer).to_string())?;
    }
    Ok(())
}

/// Waits until a request of a service's pod has this status.
pub async fn until(stage: &Stage, service: &str, url: &str, status: u16) -> Result<Answer, Error> {
    let what = format!("{url} from {service}");
    until_answered(stage, &what, status, async || {
        stage.in_pod(service, url).await
    })
    .await
}
