//! Ways in and ways between the services: 01 to 09.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use e2e::{
    bookinfo::READER,
    error::Error,
    host::http::Answer,
    wait::{SOON, wait_until},
};
use serde_json::Value;

use super::stage::Stage;
use crate::ensure;

/// The page.
pub const PAGE: &str = "/productpage";

/// What productpage hands on of reviews.
pub const REVIEWS: &str = "/api/v1/products/0/reviews";

/// How often is asked until a file has its effect. All of ten have one of three versions by chance once in 59,049 times.
const SOME: usize = 10;

/// How often is asked where every answer has to be the same.
pub const ALL: usize = 30;

/// How often is asked where a share is counted. With shares of 80 and 20, hardly one run of ten million counts less than 10
/// or more than 32 of 100.
pub const MANY: usize = 200;

/// The Deployment that gets copies of requests.
const V3: &str = "reviews-v3";

/// How late ratings is for the reader ada.
pub const LATE: Duration = Duration::from_secs(2);

pub async fn services(stage: &Stage, file: &str) -> Result<String, Error> {
    // The API server learns a moment after istiod is ready that its webhooks answer.
    wait_until("the webhooks to be answered", SOON, || async {
        stage.apply(file)
    })
    .await?;
    let page = stage
        .until("the page", async || {
            let page = stage
                .in_pod("ratings", "http://productpage/productpage")
                .await?;
            let is_whole =
                page.body.contains("Flatland") && page.body.contains("Told by reviews-v");
            is_whole
                .then_some(page.clone())
                .ok_or_else(|| unexpected(&page))
        })
        .await?;
    ensure(page.status == 200, page.body)?;
    Ok("a pod gets the page with details and reviews".into())
}

pub async fn gateway(stage: &Stage, file: &str) -> Result<String, Error> {
    stage.apply(file)?;
    until_status(stage, PAGE, 200).await?;
    let elsewhere = stage.at_gateway("/elsewhere", &[]).await?;
    ensure(elsewhere.status == 404, unexpected(&elsewhere).to_string())?;
    let server = stage.at_gateway(PAGE, &[]).await?;
    ensure(
        server.header("server") == "istio-envoy",
        unexpected(&server).to_string(),
    )?;
    let versions = versions_of(stage, &[], ALL).await?;
    ensure(
        versions.len() == 3,
        format!("{versions:?} is not all of v1, v2 and v3"),
    )?;
    Ok(format!(
        "the gateway answers 200, and 404 elsewhere; reviews take turns: {versions:?}"
    ))
}

pub async fn versions(stage: &Stage, file: &str) -> Result<String, Error> {
    stage.apply(file)?;
    until_only(stage, &[], "v1").await?;
    Ok(format!("{ALL} of {ALL} requests got v1"))
}

pub async fn header(stage: &Stage, file: &str) -> Result<String, Error> {
    stage.apply(file)?;
    until_only(stage, &[(READER, "ada")], "v2").await?;
    until_only(stage, &[(READER, "grace")], "v1").await?;
    until_only(stage, &[], "v1").await?;
    Ok("ada got v2 only, grace and strangers v1 only".into())
}

pub async fn weights(stage: &Stage, file: &str) -> Result<String, Error> {
    stage.apply(file)?;
    stage
        .until("v3", async || {
            let version = version(&stage.at_gateway(REVIEWS, &[]).await?)?;
            (version == "v3")
                .then_some(())
                .ok_or(Error::Unexpected(version))
        })
        .await?;
    let versions = versions_of(stage, &[], MANY).await?;
    are_weighted(&versions)?;
    Ok(format!("of {MANY} requests: {versions:?}"))
}

pub async fn redirect_and_rewrite(stage: &Stage, file: &str) -> Result<String, Error> {
    stage.apply(file)?;
    let door = until_status(stage, "/", 302).await?;
    let to = door.header("location").to_owned();
    ensure(to == "http://shop.example.com/productpage", &to)?;
    let book = until_status(stage, "/catalog/0", 200).await?;
    ensure(field(&book, "title")? == "Flatland", &book.body)?;
    until_status(stage, PAGE, 200).await?;
    Ok(format!("/ is 302 to {to}, and /catalog/0 tells the title"))
}

pub async fn fault(stage: &Stage, file: &str) -> Result<String, Error> {
    stage.apply(file)?;
    let late = until_rated(stage, "ada", |_, took| took >= LATE).await?;
    let broken = until_rated(stage, "grace", |rating, _| {
        rating["error"] == "ratings: 500 Internal Server Error"
    });
    broken.await?;
    let others = until_rated(stage, "nobody", |rating, took| {
        rating["stars"] == 5 && took < LATE
    });
    let others = others.await?;
    Ok(format!(
        "ada waited {:.1} s, grace got no stars but a 500, others got theirs after {:.2} s",
        late.as_secs_f64(),
        others.as_secs_f64()
    ))
}

pub async fn timeout(stage: &Stage, file: &str) -> Result<String, Error> {
    stage.apply(file)?;
    let took = until_given_up(stage, async |headers| {
        stage.at_gateway(REVIEWS, headers).await
    });
    let took = took.await?;
    let page = stage.at_gateway(PAGE, &[(READER, "ada")]).await?;
    let told = "Not available (reviews: 504 Gateway Timeout).";
    ensure(page.body.contains(told), page.body)?;
    until_only(stage, &[], "v2").await?;
    Ok(format!(
        "ada read after {:.2} s that there are no reviews",
        took.as_secs_f64()
    ))
}

pub async fn mirroring(stage: &Stage, file: &str) -> Result<String, Error> {
    let before = stage.seen_by(V3);
    stage.apply(file)?;
    stage
        .until("a copy of a request", async || {
            let version = version(&stage.at_gateway(REVIEWS, &[]).await?)?;
            let is_copied = version == "v1" && stage.seen_by(V3) > before;
            is_copied.then_some(()).ok_or(Error::Unexpected(version))
        })
        .await?;
    let copies = copies_of(stage, async || stage.at_gateway(REVIEWS, &[]).await).await?;
    Ok(format!(
        "v1 answered {ALL} requests, and v3 got {copies} copies"
    ))
}

/// Asks often; v1 has to answer, and v3 to get a copy of each request. Gives the number of copies.
pub async fn copies_of(
    stage: &Stage,
    ask: impl AsyncFn() -> Result<Answer, Error>,
) -> Result<usize, Error> {
    // Copies of requests from before may still be on their way.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = stage.seen_by(V3);
    for _ in 0..ALL {
        let answer = ask().await?;
        ensure(version(&answer)? == "v1", answer.body)?;
    }
    let all = stage.until("the copies", async || {
        let copies = stage.seen_by(V3) - before;
        let why = || Error::Unexpected(format!("{copies} of {ALL}"));
        (copies >= ALL).then_some(copies).ok_or_else(why)
    });
    let copies = all.await?;
    ensure(copies == ALL, format!("{copies} copies of {ALL} requests"))?;
    Ok(copies)
}

/// Waits until ada is told quickly that there are no reviews; gives how quickly.
pub async fn until_given_up(
    stage: &Stage,
    ask: impl AsyncFn(&[(&str, &str)]) -> Result<Answer, Error>,
) -> Result<Duration, Error> {
    stage
        .until("ada not to wait", async || {
            let started = Instant::now();
            let answer = ask(&[(READER, "ada")]).await?;
            let took = started.elapsed();
            let is_given_up = answer.status == 504 && took < LATE;
            is_given_up
                .then_some(took)
                .ok_or_else(|| unexpected(&answer))
        })
        .await
}

/// Waits until a request from outside has this status.
pub async fn until_status(stage: &Stage, path: &str, status: u16) -> Result<Answer, Error> {
    until_answered(stage, path, status, async || {
        stage.at_gateway(path, &[]).await
    })
    .await
}

/// Waits until the answer for `what` has this status.
pub async fn until_answered(
    stage: &Stage,
    what: &str,
    status: u16,
    ask: impl AsyncFn() -> Result<Answer, Error>,
) -> Result<Answer, Error> {
    stage
        .until(&format!("{status} for {what}"), async || {
            let answer = ask().await?;
            if answer.status == status {
                Ok(answer)
            } else {
                Err(unexpected(&answer))
            }
        })
        .await
}

/// Waits until reviews are of this version, and then asks often whether all are.
async fn until_only(stage: &Stage, headers: &[(&str, &str)], wanted: &str) -> Result<(), Error> {
    let what = format!("reviews of {wanted} for {headers:?}");
    let only = |versions: &BTreeMap<String, usize>| versions.keys().all(|one| one == wanted);
    stage
        .until(&what, async || {
            // One of them may be of this version by chance.
            let versions = versions_of(stage, headers, SOME).await?;
            let why = || Error::Unexpected(format!("{versions:?}"));
            only(&versions).then_some(()).ok_or_else(why)
        })
        .await?;
    let versions = versions_of(stage, headers, ALL).await?;
    ensure(only(&versions), format!("{what}: {versions:?}"))
}

/// How often each version answers.
async fn versions_of(
    stage: &Stage,
    headers: &[(&str, &str)],
    times: usize,
) -> Result<BTreeMap<String, usize>, Error> {
    count_versions(times, async || stage.at_gateway(REVIEWS, headers).await).await
}

/// How often each version answers when it is asked so often.
pub async fn count_versions(
    times: usize,
    ask: impl AsyncFn() -> Result<Answer, Error>,
) -> Result<BTreeMap<String, usize>, Error> {
    let mut versions = BTreeMap::new();
    for _ in 0..times {
        *versions.entry(version(&ask().await?)?).or_default() += 1;
    }
    Ok(versions)
}

/// Most of v1, some of v3, nothing else.
pub fn are_weighted(versions: &BTreeMap<String, usize>) -> Result<(), Error> {
    let of = |version: &str| versions.get(version).copied().unwrap_or_default();
    let share = of("v3") * 100 / MANY;
    let is_so = of("v1") + of("v3") == MANY && (10..=32).contains(&share);
    ensure(is_so, format!("{versions:?} is not 80 of v1 to 20 of v3"))
}

/// Waits until the first rating in the reviews for a reader is so, and takes so long; gives how long.
async fn until_rated(
    stage: &Stage,
    reader: &str,
    is_so: impl Fn(&Value, Duration) -> bool,
) -> Result<Duration, Error> {
    stage
        .until(&format!("what {reader} gets"), async || {
            let started = Instant::now();
            let answer = stage.at_gateway(REVIEWS, &[(READER, reader)]).await?;
            let took = started.elapsed();
            let reviews = parsed(&answer)?;
            let rating = &reviews["reviews"][0]["rating"];
            let why = || Error::Unexpected(format!("{reviews} after {took:?}"));
            is_so(rating, took).then_some(took).ok_or_else(why)
        })
        .await
}

/// The version of the reviews in an answer.
pub fn version(answer: &Answer) -> Result<String, Error> {
    field(answer, "version")
}

fn field(answer: &Answer, name: &str) -> Result<String, Error> {
    let body = parsed(answer)?;
    body[name]
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| unexpected(answer))
}

fn parsed(answer: &Answer) -> Result<Value, Error> {
    serde_json::from_str(&answer.body).map_err(|_| unexpected(answer))
}

/// An answer as an error.
pub fn unexpected(answer: &Answer) -> Error {
    Error::Unexpected(format!("{}: {}", answer.status, answer.body.trim_end()))
}
