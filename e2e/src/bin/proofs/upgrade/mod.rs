//! Upgrades of a control plane under load, with the real istiod, pilot-agent and Envoy of two minors.

mod newcomers;
mod report;
mod stage;

use std::time::Duration;

use e2e::{
    actions::cr::Cr,
    error::Error,
    host::{envoy, go_programs::Bundle},
    istio::{pod_process::UNREACHABLE_HUB, release::Release},
    observe::health::condition,
    operator,
    wait::{SOON, wait_until},
};
use serde_json::{Value, json};
use tokio::time::sleep;

use self::stage::{CLIENT, SERVER, Stage};
use crate::ensure;

/// How long is counted where nothing changes.
const QUIET: Duration = Duration::from_secs(15);

/// Runs the proof, and prints what it counted.
pub fn prove() -> Result<(), Error> {
    // Built before the runtime starts, so that Ctrl-C simply ends a long build.
    for bundle in [Bundle::Kubernetes, Bundle::Istio, Bundle::IstioPrevious] {
        bundle.dir()?;
    }
    envoy::path()?;
    envoy::previous_path()?;
    operator::binary()?;
    crate::run(async {
        let in_place = in_place().await;
        let canary = canary().await;
        in_place.and(canary)
    })
}

/// The version is edited, and the pods of istiod and of the gateway are replaced.
async fn in_place() -> Result<(), Error> {
    let mut stage = Stage::set(&json!({"type": "InPlace"})).await?;
    let done = replace(&mut stage).await;
    stage.end("Upgrade in place", done)
}

async fn replace(stage: &mut Stage) -> Result<(), Error> {
    stage.phase("Istio 1.30");
    sleep(QUIET).await;
    stage.phase("1.31 cannot be pulled");
    let mut unavailable = version(Release::Current);
    unavailable["spec"]["hub"] = UNREACHABLE_HUB.into();
    stage.cr.patch(&unavailable).await?;
    stage.cr.wait_for("UPDATING", SOON).await?;
    sleep(QUIET).await;
    stage.roll(SERVER, Release::Previous).await?;
    let mut back = version(Release::Previous);
    back["spec"]["hub"] = Value::Null;
    stage.cr.patch(&back).await?;
    stage.cr.wait_for("HEALTHY", SOON).await?;

    stage.phase("1.30 to 1.31 in place");
    stage.cr.patch(&version(Release::Current)).await?;
    stage.cr.wait_for("HEALTHY", SOON).await?;
    stage.only_runs("istiod", Release::Current).await?;
    stage
        .only_runs("istio-ingressgateway", Release::Current)
        .await?;
    stage.roll(SERVER, Release::Current).await?;
    sleep(QUIET).await;
    stage.phase("client restarted, too");
    stage.roll(CLIENT, Release::Current).await?;
    sleep(QUIET).await;
    Ok(())
}

/// Another control plane is installed beside the one that serves, promoted, taken back, and promoted for good.
async fn canary() -> Result<(), Error> {
    let strategy = json!({
        "type": "Canary",
        "approval": "Manual",
        "inactiveRevisionGracePeriod": "5s",
    });
    let mut stage = Stage::set(&strategy).await?;
    let done = promote_and_take_back(&mut stage).await;
    stage.end("Upgrade by canary", done)
}

async fn promote_and_take_back(stage: &mut Stage) -> Result<(), Error> {
    stage.phase("Istio 1.30");
    sleep(QUIET).await;

    stage.phase("canary 1.31 beside it");
    stage.cr.patch(&version(Release::Current)).await?;
    let plan = approval(&stage.cr).await?;
    sleep(QUIET).await;
    stage.phase("canary promoted");
    promote(stage, &plan, Release::Current).await?;
    stage.roll(SERVER, Release::Current).await?;
    sleep(QUIET).await;

    stage.phase("promotion taken back");
    stage.cr.patch(&version(Release::Previous)).await?;
    let plan = approval(&stage.cr).await?;
    promote(stage, &plan, Release::Previous).await?;
    stage.roll(SERVER, Release::Previous).await?;
    stage.only_runs("istiod", Release::Previous).await?;
    stage.phase("canary gone");
    stage.roll(SERVER, Release::Previous).await?;
    sleep(QUIET).await;

    stage.phase("promoted for good");
    stage.cr.patch(&version(Release::Current)).await?;
    let plan = approval(&stage.cr).await?;
    promote(stage, &plan, Release::Current).await?;
    stage.roll(SERVER, Release::Current).await?;
    force(stage).await?;
    stage.phase("old control plane gone");
    stage.roll(SERVER, Release::Current).await?;
    sleep(QUIET).await;
    Ok(())
}

/// Takes the old control plane away while the client uses it, which the operator does only where it is told to. The requests
/// that fail show that the others were counted.
async fn force(stage: &mut Stage) -> Result<(), Error> {
    stage.control("control: gone by force");
    let status = &stage.cr.get().await?.data["status"];
    let prune = json!({"install.istio.io/prune-revision": status["canary"]["from"]["revision"]});
    stage
        .cr
        .patch(&json!({"metadata": {"annotations": prune}}))
        .await?;
    stage.only_runs("istiod", Release::Current).await?;
    stage.roll(SERVER, Release::Current).await?;
    sleep(QUIET).await;
    stage.roll(CLIENT, Release::Current).await
}

fn version(release: Release) -> Value {
    json!({"spec": {"version": release.minor()}})
}

/// Waits until the operator asks for an approval of the present spec; gives the plan that it asks for.
async fn approval(cr: &Cr) -> Result<Value, Error> {
    wait_until("a plan that waits for approval", SOON, || async {
        let cr = cr.get().await?;
        let status = &cr.data["status"];
        let is_current = status["observedGeneration"].as_i64() == cr.metadata.generation;
        let is_asked = condition(&cr.data, "ApprovalRequired")["status"] == "True";
        if is_current && is_asked {
            Ok(status["plan"].clone())
        } else {
            Err(Error::Unexpected(status.to_string()))
        }
    })
    .await
}

/// Approves a plan, and waits until gateways and tags belong to this release.
async fn promote(stage: &Stage, plan: &Value, release: Release) -> Result<(), Error> {
    let approve =
        json!({"metadata": {"annotations": {"install.istio.io/approve": plan["digest"]}}});
    stage.cr.patch(&approve).await?;
    let cr = stage.cr.wait_for("HEALTHY", SOON).await?;
    let version = cr.data["status"]["version"].as_str().unwrap_or_default();
    ensure(
        version.starts_with(release.minor()),
        format!(
            "{version} is what serves, after the promotion of {}",
            release.minor()
        ),
    )?;
    stage.only_runs("istio-ingressgateway", release).await
}
