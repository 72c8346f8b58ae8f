//! The same by Gateway API: 15 to 17.

use std::{collections::BTreeMap, fs};

use e2e::{
    bookinfo::READER,
    error::Error,
    host::{go_programs::Bundle, http::Answer, workspace::entries},
};

use super::{
    routing::{
        ALL, MANY, PAGE, REVIEWS, are_weighted, copies_of, count_versions, until_answered,
        until_given_up, version,
    },
    stage::Stage,
};
use crate::ensure;

/// The files whose objects do not count any more.
const BEFORE: [&str; 13] = [
    "02-gateway.yaml",
    "03-versions.yaml",
    "04-header.yaml",
    "05-weights.yaml",
    "06-redirect-rewrite.yaml",
    "07-fault.yaml",
    "08-timeout.yaml",
    "09-mirroring.yaml",
    "10-sidecar.yaml",
    "11-service-entry.yaml",
    "12-egress-gateway.yaml",
    "13-strict-mtls.yaml",
    "14-authorization.yaml",
];

/// Takes away what the files before did, and installs the CRDs of Gateway API that this Istio was made with.
pub async fn prepare(stage: &Stage) -> Result<(), Error> {
    for file in BEFORE {
        stage.delete(file)?;
    }
    let crds = Bundle::Istio.source("sigs.k8s.io/gateway-api")?;
    let crds = crds.join("config/crd/standard");
    let mut texts = Vec::new();
    for path in entries(&crds)? {
        let text = fs::read_to_string(&path).map_err(Error::io(path.display().to_string()))?;
        if text.contains("kind: CustomResourceDefinition") {
            texts.push(text);
        }
    }
    ensure(!texts.is_empty(), "there are no CRDs of Gateway API")?;
    stage.plane().apply(&texts.join("\n---\n"))?;
    stage
        .plane()
        .wait_until_served("httproutes.gateway.networking.k8s.io")
        .await
}

pub async fn gateway(stage: &Stage, file: &str) -> Result<String, Error> {
    stage.apply(file)?;
    until_status(stage, PAGE, 200).await?;
    let door = until_status(stage, "/", 302).await?;
    let to = door.header("location").to_owned();
    ensure(to.ends_with("/productpage"), &to)?;
    let book = until_status(stage, "/catalog/0", 200).await?;
    ensure(book.body.contains("Flatland"), book.body)?;
    until_status(stage, "/elsewhere", 404).await?;
    Ok(format!(
        "Istio made a gateway; / is 302 to {to}, /catalog/0 tells the title, 404 elsewhere"
    ))
}

pub async fn versions(stage: &Stage, file: &str) -> Result<String, Error> {
    stage.apply(file)?;
    let ada = [(READER, "ada")];
    stage
        .until("v2 for ada and no more v2 for others", async || {
            let of_ada = version(&ask(stage, &ada).await?)?;
            let others = count(stage, &[], ALL).await?;
            let is_so = of_ada == "v2" && !others.contains_key("v2");
            is_so
                .then_some(())
                .ok_or_else(|| Error::Unexpected(format!("{of_ada}, {others:?}")))
        })
        .await?;
    let of_ada = count(stage, &ada, ALL).await?;
    ensure(
        of_ada.get("v2") == Some(&ALL),
        format!("ada got {of_ada:?}"),
    )?;
    let others = count(stage, &[], MANY).await?;
    are_weighted(&others)?;
    Ok(format!(
        "ada got v2 only; others, of {MANY} requests: {others:?}"
    ))
}

pub async fn timeout_and_mirror(stage: &Stage, file: &str) -> Result<String, Error> {
    stage.apply(file)?;
    let took = until_given_up(stage, async |headers| ask(stage, headers).await).await?;
    let copied = copies_of(stage, async || ask(stage, &[]).await).await?;
    Ok(format!(
        "ada gave up after {:.2} s; v1 answered {ALL} requests of others, and v3 got {copied} copies",
        took.as_secs_f64()
    ))
}

async fn ask(stage: &Stage, headers: &[(&str, &str)]) -> Result<Answer, Error> {
    stage.at_made_gateway(REVIEWS, headers).await
}

async fn count(
    stage: &Stage,
    headers: &[(&str, &str)],
    times: usize,
) -> Result<BTreeMap<String, usize>, Error> {
    count_versions(times, async || ask(stage, headers).await).await
}

async fn until_status(stage: &Stage, path: &str, status: u16) -> Result<Answer, Error> {
    let ask = async || stage.at_made_gateway(path, &[]).await;
    until_answered(stage, path, status, ask).await
}
