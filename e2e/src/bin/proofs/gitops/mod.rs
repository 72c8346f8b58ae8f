//! A mesh in Git, by Argo CD and by Flux: what `samples/gitops` promises, with their own code.

mod stage;
mod writes;

use std::time::{Duration, Instant};

use e2e::{
    control_plane::ControlPlane,
    error::Error,
    host::go_programs::Bundle,
    operator,
    wait::{SOON, wait_until},
};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    ensure,
    gitops::{
        stage::{GATEWAYS, ISTIO, Stage, Tool},
        writes::Moment,
    },
    say,
};

/// The version that the samples install, and the one before, with which this begins.
const VERSION: &str = "1.31.1";
const BEFORE: &str = "1.30.5";

/// Nobody may write that long. Both tools are watched at the same time.
const QUIET: Duration = Duration::from_mins(10);

/// Longer than either tool leaves an edit unnoticed.
const SETTLED: Duration = Duration::from_secs(30);

/// Runs the proof, and prints what it counted.
pub fn prove() -> Result<(), Error> {
    // Built before the runtime starts, so that Ctrl-C simply ends a long build.
    for bundle in [
        Bundle::Kubernetes,
        Bundle::Istio,
        Bundle::ArgoCd,
        Bundle::Flux,
    ] {
        bundle.dir()?;
    }
    operator::binary()?;
    crate::run(async { tokio::try_join!(mesh(Tool::ArgoCd), mesh(Tool::Flux)).map(drop) })
}

/// A mesh in a cluster of its own. If something is not as promised, the logs are kept.
async fn mesh(tool: Tool) -> Result<(), Error> {
    let plane = ControlPlane::start().await?;
    Box::pin(life(tool, &plane)).await.map_err(|error| {
        let kept = match plane.keep_logs() {
            Ok(kept) => kept.display().to_string(),
            Err(error) => error.to_string(),
        };
        Error::Unexpected(format!("{tool}: {error} (logs: {kept})"))
    })
}

/// Everything that happens to it.
async fn life(tool: Tool, plane: &ControlPlane) -> Result<(), Error> {
    let mut stage = installs(tool, plane).await?;
    upgrades(&mut stage).await?;
    prunes(&mut stage).await?;
    an_object_is_edited(&mut stage).await?;
    the_cr_is_edited(&mut stage).await?;
    nobody_writes(&mut stage).await?;
    removes(&mut stage).await
}

/// From an empty cluster to an application with sidecars, one wave after the other.
async fn installs(tool: Tool, plane: &ControlPlane) -> Result<Stage<'_>, Error> {
    let started = Instant::now();
    let (mut stage, revision) = Stage::set(tool, plane, VERSION, BEFORE).await?;
    stage.wait_until_synced(&revision).await?;
    let seconds = started.elapsed().as_secs_f64();
    let writes = stage.writes(stage.since());
    writes.happened_in_order(&[
        Moment::Written(
            "customresourcedefinitions",
            "istiooperators.install.istio.io",
        ),
        Moment::Written("deployments", "istio-operator"),
        Moment::Written("istiooperators", ISTIO),
        Moment::Healthy(ISTIO),
        Moment::Written("istiooperators", GATEWAYS),
        Moment::Healthy(GATEWAYS),
        Moment::Written("peerauthentications", "default"),
        Moment::Written("deployments", "shop"),
    ])?;
    let pods = ["get", "pods", "-n=shop", "-l=app=shop", "-o=json"];
    let pods: Value = serde_json::from_str(&stage.plane.kubectl(pods)?).unwrap_or_default();
    let pod = &pods["items"][0]["spec"];
    ensure(
        pod.to_string().contains("istio-proxy"),
        format!("no sidecar in {pod}"),
    )?;
    let (tool_wrote, operator_wrote) = (writes.by_tool()?.len(), writes.by_operator()?.len());
    say(&format!(
        "{tool}: synced and healthy after {seconds:.1} s, in order, with a sidecar in the application; \
         writes: {tool_wrote} by {tool}, {operator_wrote} by the operator"
    ))?;
    Ok(stage)
}

/// A commit with another version: the gateways wait for the control plane.
async fn upgrades(stage: &mut Stage<'_>) -> Result<(), Error> {
    let (started, since) = (Instant::now(), Timestamp::now());
    for file in ["control-plane/istio.yaml", "gateways/gateways.yaml"] {
        stage.repository.replace(file, BEFORE, VERSION)?;
    }
    let revision = stage.repository.commit("Upgrade Istio")?;
    stage.wait_until_synced(&revision).await?;
    let seconds = started.elapsed().as_secs_f64();
    stage.writes(since).happened_in_order(&[
        Moment::Written("istiooperators", ISTIO),
        Moment::Healthy(ISTIO),
        Moment::Written("istiooperators", GATEWAYS),
        Moment::Healthy(GATEWAYS),
    ])?;
    for (namespace, name) in [
        ("istio-system", "istiod"),
        ("istio-ingress", "istio-ingressgateway"),
    ] {
        let version = r"-o=jsonpath={.metadata.labels.operator\.istio\.io/version}";
        let get = ["get", "deployment", name, "-n", namespace, version];
        let version = stage.plane.kubectl(get)?;
        ensure(version == VERSION, format!("{name} is of {version}"))?;
    }
    say(&format!(
        "{}: upgraded from {BEFORE} to {VERSION} after {seconds:.1} s, the gateways after the control plane",
        stage.tool
    ))
}

/// A commit that takes something away: an object of the mesh configuration, and the gateways with what the operator made for them.
async fn prunes(stage: &mut Stage<'_>) -> Result<(), Error> {
    let (started, since) = (Instant::now(), Timestamp::now());
    for (file, line) in [
        ("mesh/kustomization.yaml", "  - telemetry.yaml\n"),
        ("gateways/kustomization.yaml", "  - gateways.yaml\n"),
    ] {
        stage.repository.replace(file, line, "")?;
    }
    let revision = stage.repository.commit("Remove the gateways")?;
    stage.wait_until_synced(&revision).await?;
    let seconds = started.elapsed().as_secs_f64();
    for (resource, namespace) in [
        ("istiooperators", "istio-ingress"),
        ("deployments", "istio-ingress"),
        ("telemetries", "istio-system"),
    ] {
        let get = ["get", resource, "-n", namespace, "-o=name"];
        let left = stage.plane.kubectl(get)?;
        ensure(left.is_empty(), format!("left over: {left}"))?;
    }
    let writes = stage.writes(since);
    let deleted = writes
        .by_tool()?
        .into_iter()
        .filter(|event| event.verb == "delete");
    let deleted: Vec<_> = deleted.map(|event| event.to_string()).collect();
    ensure(deleted.len() == 2, format!("{deleted:?}"))?;
    say(&format!(
        "{}: pruned after {seconds:.1} s, by {deleted:?} and {} writes of the operator",
        stage.tool,
        writes.objects_by_operator()?.len()
    ))
}

/// Somebody edits an object of the operator: the operator repairs it, and the tool has nothing to say.
async fn an_object_is_edited(stage: &mut Stage<'_>) -> Result<(), Error> {
    let plane = stage.plane;
    let target = ["deployment", "istiod", "-n=istio-system"];
    let image = || {
        let path = "-o=jsonpath={.spec.template.spec.containers[0].image}";
        plane.kubectl(["get"].iter().chain(&target).chain(&[path]))
    };
    let wanted = image()?;
    let since = Timestamp::now();
    let set = ["set", "image", "deployment/istiod", "-n=istio-system"];
    plane.kubectl(set.iter().chain(&["discovery=example.com/pilot:edited"]))?;
    wait_until("the image to be set back", SOON, || async {
        let now = image()?;
        ensure(now == wanted, now)
    })
    .await?;
    sleep(SETTLED).await;
    let writes = stage.writes(since);
    let of_tool = writes.by_tool()?;
    ensure(of_tool.is_empty(), format!("the tool wrote {of_tool:?}"))?;
    let repairs = writes.objects_by_operator()?;
    let is_repair = repairs.len() == 1 && repairs[0].is_about("apps", "deployments");
    ensure(is_repair, format!("the operator wrote {repairs:?}"))?;
    say(&format!(
        "{}: an edited Deployment of istiod is repaired by 1 write of the operator, and 0 of {}",
        stage.tool, stage.tool
    ))
}

/// Somebody edits the `IstioOperator`: the tool puts it back, and the operator follows, once.
async fn the_cr_is_edited(stage: &mut Stage<'_>) -> Result<(), Error> {
    let cr = stage.istio().await?;
    let sampling = |value: u64| json!({"spec": {"values": {"pilot": {"traceSampling": value}}}});
    let before = cr.get().await?;
    let since = Timestamp::now();
    cr.patch(&sampling(50)).await?;
    wait_until("the edit to be put back", SOON, || async {
        let now = cr.get().await?;
        ensure(
            now.data["spec"] == before.data["spec"],
            now.data["spec"].to_string(),
        )
    })
    .await?;
    cr.wait_for("HEALTHY", SOON).await?;
    sleep(SETTLED).await;
    cr.wait_for("HEALTHY", SOON).await?;
    let writes = stage.writes(since);
    let of_tool = writes.by_tool()?;
    let is_put_back = of_tool.len() == 1
        && of_tool[0].is_about("install.istio.io", "istiooperators")
        && of_tool[0].object_ref.name == ISTIO;
    ensure(is_put_back, format!("the tool wrote {of_tool:?}"))?;
    // There and back: whoever is faster, no object is written more than twice.
    let most = writes.most_of_one_object()?;
    ensure(most <= 2, format!("{:?}", writes.objects_by_operator()?))?;
    say(&format!(
        "{}: an edited IstioOperator is put back by 1 write of {}; the operator followed with at most {most} of one object",
        stage.tool, stage.tool
    ))
}

/// The quiet time: both sides look, and nobody writes.
async fn nobody_writes(stage: &mut Stage<'_>) -> Result<(), Error> {
    let since = Timestamp::now();
    let looks = stage.looks(since)?;
    let end = Instant::now() + QUIET;
    while Instant::now() < end {
        sleep(Duration::from_secs(10)).await;
        let writes = stage.writes(since);
        let (of_tool, of_operator) = (writes.by_tool()?, writes.by_operator()?);
        ensure(of_tool.is_empty(), format!("the tool wrote {of_tool:?}"))?;
        ensure(
            of_operator.is_empty(),
            format!("the operator wrote {of_operator:?}"),
        )?;
    }
    let looks = stage.looks(since)? - looks;
    ensure(looks > 0, "the tool did not look")?;
    say(&format!(
        "{}: in {} s without a change, it looked {looks} times: 0 writes of {}, 0 of the operator{}",
        stage.tool,
        QUIET.as_secs(),
        stage.tool,
        stage.writes(since).bookkeeping()?
    ))
}

/// All but the operator goes, in reverse.
async fn removes(stage: &mut Stage<'_>) -> Result<(), Error> {
    let (started, since) = (Instant::now(), Timestamp::now());
    stage.remove_mesh().await?;
    let seconds = started.elapsed().as_secs_f64();
    stage.writes(since).happened_in_order(&[
        Moment::Deleted("deployments", "shop"),
        Moment::Deleted("peerauthentications", "default"),
        Moment::Deleted("istiooperators", ISTIO),
    ])?;
    let labeled = "-l=install.operator.istio.io/owning-resource";
    let kinds = "deployments,services,configmaps,clusterroles,mutatingwebhookconfigurations";
    let get = ["get", kinds, "--all-namespaces", labeled, "-o=name"];
    let left = stage.plane.kubectl(get)?;
    ensure(left.is_empty(), format!("left over: {left}"))?;
    say(&format!(
        "{}: removed after {seconds:.1} s, in reverse",
        stage.tool
    ))
}
