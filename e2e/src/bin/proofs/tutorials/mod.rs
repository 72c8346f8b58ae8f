//! The tutorials of `samples/README.md`: each file is applied as it is, and real requests show that it does what it says.

mod egress;
mod gateway_api;
mod routing;
mod security;
mod stage;

use std::time::Instant;

use e2e::{
    error::Error,
    host::{envoy, go_programs::Bundle},
    operator,
};

use self::stage::Stage;
use crate::say;

/// Runs the proof, and prints what was seen.
pub fn prove() -> Result<(), Error> {
    // Built before the runtime starts, so that Ctrl-C simply ends a long build.
    for bundle in [Bundle::Kubernetes, Bundle::Istio] {
        bundle.dir()?;
    }
    envoy::path()?;
    operator::binary()?;
    crate::run(async {
        let stage = Stage::set().await?;
        let done = all(&stage).await;
        stage.end(done)
    })
}

/// The files in the order of the tutorial.
async fn all(stage: &Stage) -> Result<(), Error> {
    lesson(stage, "01-services.yaml", routing::services).await?;
    lesson(stage, "02-gateway.yaml", routing::gateway).await?;
    lesson(stage, "03-versions.yaml", routing::versions).await?;
    lesson(stage, "04-header.yaml", routing::header).await?;
    lesson(stage, "05-weights.yaml", routing::weights).await?;
    lesson(
        stage,
        "06-redirect-rewrite.yaml",
        routing::redirect_and_rewrite,
    )
    .await?;
    lesson(stage, "07-fault.yaml", routing::fault).await?;
    lesson(stage, "08-timeout.yaml", routing::timeout).await?;
    lesson(stage, "09-mirroring.yaml", routing::mirroring).await?;
    lesson(stage, "10-sidecar.yaml", egress::sidecar).await?;
    lesson(stage, "11-service-entry.yaml", egress::service_entry).await?;
    lesson(stage, "12-egress-gateway.yaml", egress::egress_gateway).await?;
    lesson(stage, "13-strict-mtls.yaml", security::strict_mtls).await?;
    lesson(stage, "14-authorization.yaml", security::authorization).await?;
    gateway_api::prepare(stage).await?;
    lesson(stage, "15-gateway-api.yaml", gateway_api::gateway).await?;
    lesson(stage, "16-gateway-api-versions.yaml", gateway_api::versions).await?;
    lesson(
        stage,
        "17-gateway-api-timeout-mirror.yaml",
        gateway_api::timeout_and_mirror,
    )
    .await?;
    stage.all_files_were_applied()
}

/// Applies a file and shows what it does. What a request must answer before it is part of what is shown.
async fn lesson(
    stage: &Stage,
    file: &str,
    shown: impl AsyncFnOnce(&Stage, &str) -> Result<String, Error>,
) -> Result<(), Error> {
    let (started, asked) = (Instant::now(), stage.asked());
    let seen = shown(stage, file).await;
    let seen = seen.map_err(|error| Error::Unexpected(format!("{file}: {error}")))?;
    let requests = stage.asked() - asked;
    let took = started.elapsed().as_secs_f64();
    say(&format!(
        "{file:<36}{took:>6.1} s {requests:>5} requests  {seen}"
    ))
}
