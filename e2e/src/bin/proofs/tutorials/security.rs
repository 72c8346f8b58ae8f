//! Who may talk to whom: 13 and 14.

use e2e::error::Error;

use super::{
    egress::until,
    routing::{PAGE, REVIEWS, unexpected, until_answered, until_status},
    stage::Stage,
};
use crate::ensure;

/// The services that others ask.
const ASKED: [&str; 3] = ["details", "ratings", "reviews"];

pub async fn strict_mtls(stage: &Stage, file: &str) -> Result<String, Error> {
    for service in ASKED {
        let what = format!("plain text to {service}");
        until_answered(stage, &what, 200, async || {
            stage.without_sidecar(service).await
        })
        .await?;
    }
    stage.apply(file)?;
    for service in ASKED {
        stage
            .until(
                &format!("{service} to refuse plain text"),
                async || match stage.without_sidecar(service).await {
                    Err(_) => Ok(()),
                    Ok(answer) => Err(unexpected(&answer)),
                },
            )
            .await?;
    }
    // It is alive and answers those with a certificate.
    for service in ASKED {
        let url = format!("http://{service}/{service}/0");
        until(stage, "productpage", &url, 200).await?;
    }
    until_status(stage, PAGE, 200).await?;
    Ok("plain text was answered before, and is cut off now; the mesh goes on".into())
}

pub async fn authorization(stage: &Stage, file: &str) -> Result<String, Error> {
    let details = "http://details/details/0";
    let ratings = "http://ratings/ratings/0";
    until(stage, "ratings", details, 200).await?;
    until(stage, "productpage", ratings, 200).await?;
    stage.apply(file)?;
    let refused = until(stage, "ratings", details, 403).await?;
    ensure(refused.body.contains("RBAC"), refused.body)?;
    until(stage, "productpage", ratings, 403).await?;
    until(stage, "productpage", details, 200).await?;
    until_status(stage, PAGE, 200).await?;
    until_status(stage, REVIEWS, 200).await?;
    until_status(stage, "/api/v1/products/0/ratings", 403).await?;
    let posted = stage.posted_at_gateway(PAGE).await?;
    ensure(posted.status == 403, unexpected(&posted).to_string())?;
    Ok("the page is there; ratings may not ask details, productpage not ratings, and nobody may POST".into())
}
