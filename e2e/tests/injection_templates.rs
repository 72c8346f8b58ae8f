//! Our injection templates do what upstream's do, in every minor.
//!
//! istiod runs them, so the real engine judges: `istioctl kube-inject` of 1.31 with the mesh
//! config, templates and values that our charts give. It needs no cluster as long as it is told the revision.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on may stop anywhere, and says how far it came"
)]

mod dice;
mod injection;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use dice::Dice;
use injection::{
    Injector,
    compare::{as_stored, differences},
    engine::as_engine_of,
    files,
    gateways::{created, gateways_install},
    ours,
    pods::{installs, pod},
    stem, upstream,
};
use istio_operator::charts::{Charts, yaml};
use serde_json::Value;

const GOLDENS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/goldens");

/// Fixed, so that a failure is one that everybody sees; another seed is a fine experiment.
const SEED: u64 = 131;
const PODS_PER_INSTALL: usize = 60;

#[test]
fn pods_are_injected_as_by_upstream_in_every_minor() {
    let goldens = Path::new(GOLDENS);
    if !goldens.exists() {
        println!("skipped: {GOLDENS} is absent");
        return;
    }
    let charts = Charts::embedded().unwrap();
    let inputs = files(&goldens.join("injection-inputs"));
    let pods: Vec<Value> = inputs.iter().map(|input| read_yaml(input)).collect();
    let (mut equal, mut wrong) = (0, Vec::new());
    for release in charts.catalogue().releases() {
        let minor = release.version.minor_text();
        for golden in files(&goldens.join(&minor).join("injection")) {
            let install = stem(&golden);
            let cr = read_yaml(&goldens.join("inputs").join(format!("{install}.yaml")));
            let injected = Injector::new(&ours(&charts, &cr, &minor)).inject(&pods);
            let expected = read_yaml(&golden);
            for (input, mut found) in inputs.iter().zip(injected) {
                as_engine_of(release.version.minor, &mut found);
                let found = differences(&expected[stem(input)], &found);
                match found.as_slice() {
                    [] => equal += 1,
                    found => {
                        wrong.push(format!("{minor} {install} {}: {found:#?}", stem(input)));
                    }
                }
            }
        }
    }
    println!("injected pods equal: {equal}/{}", equal + wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The real istioctl holds upstream's templates of 1.31, so any pod and any settings can be tried.
#[test]
fn pods_that_nobody_wrote_down_are_injected_as_by_upstream() {
    let charts = Charts::embedded().unwrap();
    let mut dice = Dice::new(SEED);
    let (mut equal, mut wrong) = (0, Vec::new());
    for cr in installs() {
        let pods: Vec<Value> = (0..PODS_PER_INSTALL).map(|n| pod(&mut dice, n)).collect();
        let found = Injector::new(&ours(&charts, &cr, "1.31")).inject(&pods);
        let expected = Injector::new(&upstream(&cr)).inject(&pods);
        for ((pod, found), expected) in pods.iter().zip(found).zip(expected) {
            match differences(&expected, &found).as_slice() {
                [] => equal += 1,
                found => wrong.push(format!("{cr}\n{pod}\n{found:#?}")),
            }
        }
    }
    let total = equal + wrong.len();
    println!("random pods equal: {equal}/{total} (seed {SEED})");
    assert!(wrong.is_empty(), "{}", wrong[0]);
}

/// Gateways and waypoints become Deployments, Services and accounts in the hands of the real istiod.
#[tokio::test]
async fn gateways_become_what_upstream_makes_of_them() {
    let cr = gateways_install();
    let mut install = upstream(&cr);
    let expected = created(&install).await;
    // Only the templates are in question here; the rest of the install stays upstream's.
    let is_injector = |object: &Value| {
        object["kind"] == "ConfigMap" && object["metadata"]["name"] == "istio-sidecar-injector"
    };
    install.retain(|object| !is_injector(object));
    let ours = ours(&Charts::embedded().unwrap(), &cr, "1.31");
    install.extend(ours.into_iter().filter(is_injector));
    let found = created(&install).await;
    let keys: BTreeSet<&String> = expected.keys().chain(found.keys()).collect();
    let nothing = Value::Null;
    let wrong: Vec<String> = keys
        .iter()
        .flat_map(|key| {
            let of =
                |objects: &BTreeMap<String, Value>| objects.get(*key).unwrap_or(&nothing).clone();
            let found = differences(&of(&expected), &of(&found));
            found
                .into_iter()
                .map(move |difference| format!("{key}{difference}"))
        })
        .collect();
    println!(
        "objects of gateways: {}, differences: {}",
        keys.len(),
        wrong.len()
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_difference_is_seen() {
    let with = |json: &str| as_stored(serde_json::from_str(json).unwrap());
    assert_eq!(with(r#"{"a": null, "b": {"c": []}}"#), Value::Null);
    let one = with(r#"{"env": [{"name": "A"}]}"#);
    let other = with(r#"{"env": [{"name": "B"}], "x": 1}"#);
    let found = differences(&one, &other);
    assert_eq!(found.len(), 2, "{found:?}");
}

fn read_yaml(path: &Path) -> Value {
    yaml::parse(&fs::read_to_string(path).unwrap()).unwrap()
}
