//! A spec that is accepted can be applied: the API server takes every object that we render for random CRs, half of which
//! were damaged after they were drawn. What is refused is told with a path.
//!
//! `ACCEPTED_CRS` sets how many are tried. The seed is printed, and `ACCEPTED_CRS_SEED` sets another one.

mod damage;

use std::{collections::BTreeMap, env};

use futures::{StreamExt, stream};
use istio_operator::{
    api::IstioOperator,
    charts::Charts,
    merge::{Cluster, merge},
    parallel::in_parallel,
    render::{Object, Rendered, render},
};
use serde_json::Value;

use crate::{
    accepted_objects::{PARALLEL, prepared, refusal},
    random::numbered_cr,
};

const MINOR: u16 = 31;
/// Fixed, so that every run tries the same CRs.
const SEED: usize = 36;
const COUNT: usize = 600;

/// Every object once, with the number of the first CR that renders it.
type Objects = BTreeMap<String, (Object, usize)>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_accepted_can_be_applied() {
    let number = |name: &str, otherwise| {
        env::var(name).map_or(otherwise, |text| text.parse::<usize>().expect(name))
    };
    let (seed, count) = (
        number("ACCEPTED_CRS_SEED", SEED),
        number("ACCEPTED_CRS", COUNT),
    );
    println!("ACCEPTED_CRS_SEED={seed} ACCEPTED_CRS={count}");
    let charts = Charts::embedded().unwrap();
    let crs: Vec<Value> = (0..count).map(|index| cr(&charts, seed, index)).collect();
    let mut objects = Objects::new();
    let mut wrong = Vec::new();
    let mut accepted = 0;
    // Finding causes takes most of the time.
    let all = in_parallel(&crs, PARALLEL, |cr| rendered(&charts, cr));
    for (index, rendered) in all.into_iter().enumerate() {
        match rendered {
            Ok(rendered) => {
                accepted += 1;
                let all = rendered.components.into_iter().flat_map(|c| c.objects);
                for object in all {
                    let text = object.body.value().to_string();
                    objects.entry(text).or_insert((object, index));
                }
            }
            Err(errors) => {
                let pathless = errors.iter().filter(|error| !error.starts_with("spec"));
                wrong.extend(pathless.map(|error| format!("CR {index}: no path: {error}")));
            }
        }
    }
    println!(
        "{accepted} CRs are accepted and render {} objects",
        objects.len()
    );
    wrong.extend(refused(&objects).await);
    let damaged = |text: &String| {
        let index = text
            .split([' ', ':'])
            .nth(1)
            .and_then(|n| n.parse::<usize>().ok());
        format!("{text}\n  {}", crs[index.unwrap()])
    };
    let wrong: Vec<String> = wrong.iter().map(damaged).collect();
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(4 * accepted > count, "most CRs are refused");
    assert!(4 * (count - accepted) > count, "most CRs are accepted");
}

/// A CR; every other one is damaged.
fn cr(charts: &Charts, seed: usize, index: usize) -> Value {
    let render = |cr: &Value| rendered(charts, cr).ok();
    let (mut sampler, mut cr) = numbered_cr(charts, MINOR, (seed, index), render);
    if !index.is_multiple_of(2) {
        damage::damage(&mut sampler.rng, &mut cr["spec"]);
    }
    cr
}

fn rendered(charts: &Charts, cr: &Value) -> Result<Rendered, Vec<String>> {
    let cr: IstioOperator = serde_json::from_value(cr.clone()).unwrap();
    let merged = merge(&cr, Some(&format!("1.{MINOR}")), Cluster::default(), charts);
    let merged = merged.map_err(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    render(&merged, charts).map_err(|all| all.iter().map(ToString::to_string).collect())
}

/// What the API server says of objects that it does not take.
async fn refused(objects: &Objects) -> Vec<String> {
    let namespaces = objects
        .values()
        .filter_map(|(object, _)| object.key.namespace.as_deref());
    let plane = prepared(namespaces).await;
    let client = plane.client().await.unwrap();
    let answers = objects.values().map(|(object, index)| {
        let client = client.clone();
        async move { (index, object, refusal(client, object).await) }
    });
    let mut answers = stream::iter(answers).buffer_unordered(PARALLEL);
    let mut refused = Vec::new();
    while let Some((index, object, refusal)) = answers.next().await {
        refused.extend(refusal.map(|why| format!("CR {index}: {}: {why}", object.key)));
    }
    refused
}
