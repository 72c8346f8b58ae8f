//! What is counted, and what a list or an event changes of it.

use serde_json::{Value, json};

use super::*;

/// The source of this name.
pub(super) fn source(name: &str) -> &'static Source {
    SOURCES.iter().find(|source| source.name == name).unwrap()
}

/// Puts an object that a source tells of.
pub(super) fn put(data_plane: &mut DataPlane, of: &str, meta: Value) {
    let meta: ObjectMeta = serde_json::from_value(meta).unwrap();
    data_plane.put(source(of), &meta, None, Instant::now());
}

fn pod(name: &str, revision: &str, version: Option<&str>) -> Value {
    let mut meta =
        json!({"namespace": "shop", "name": name, "annotations": {"istio.io/rev": revision}});
    if let Some(version) = version {
        meta["annotations"][PROXY_VERSION] = version.into();
    }
    meta
}

/// Version and number of the sidecars of a revision.
fn sidecars(data_plane: &DataPlane, revision: &str) -> Vec<(String, u32)> {
    let rows = data_plane.proxies_of(revision).into_iter();
    rows.map(|row| (row.version, row.sidecars)).collect()
}

fn rows(rows: &[(&str, u32)]) -> Vec<(String, u32)> {
    let rows = rows.iter();
    rows.map(|(version, count)| ((*version).to_owned(), *count))
        .collect()
}

#[test]
fn proxies_are_counted_until_they_go() {
    let mut all = DataPlane::default();
    for (name, version) in [
        ("a", Some("1.30.10")),
        ("b", Some("1.30.9")),
        ("c", None),
        ("d", Some("1.30.9")),
    ] {
        put(&mut all, "pods", pod(name, "blue", version));
    }
    put(&mut all, "pods", pod("e", "green", None));
    let versions = [("1.30.9", 2), ("1.30.10", 1), ("unknown", 1)];
    assert_eq!(sidecars(&all, "blue"), rows(&versions));

    let changes = all.changes();
    put(&mut all, "pods", pod("a", "blue", Some("1.30.10")));
    put(
        &mut all,
        "pods",
        json!({"namespace": "shop", "name": "plain"}),
    );
    assert_eq!(all.changes(), changes, "it says nothing new");

    put(&mut all, "pods", pod("a", "blue", Some("1.31.1")));
    let gone = all.place(&serde_json::from_value(pod("c", "", None)).unwrap());
    all.remove(source("pods"), gone, Instant::now());
    assert_eq!(
        sidecars(&all, "blue"),
        rows(&[("1.30.9", 2), ("1.31.1", 1)])
    );
}

#[test]
fn a_list_ends_what_it_does_not_name_and_leaves_other_sources_alone() {
    let mut all = DataPlane::default();
    put(&mut all, "pods", pod("a", "blue", None));
    put(&mut all, "pods", pod("b", "blue", None));
    let managed = json!({
        "namespace": "shop", "name": "gateway", "annotations": {"istio.io/rev": "blue"},
    });
    let meta: ObjectMeta = serde_json::from_value(managed).unwrap();
    let containers = json!({"containers": [{"name": "istio-proxy", "image": "x:1.31.1"}]});
    let containers: Containers = serde_json::from_value(containers).unwrap();
    all.put(
        source("pods of Istio"),
        &meta,
        Some(&containers),
        Instant::now(),
    );
    let listed = all.place(&serde_json::from_value(pod("a", "", None)).unwrap());
    all.retain(source("pods"), &[listed].into(), Instant::now());
    assert_eq!(
        sidecars(&all, "blue"),
        rows(&[("1.31.1", 1), ("unknown", 1)])
    );
}

#[test]
fn five_thousand_pods_take_little_memory() {
    let mut all = DataPlane::default();
    for number in 0..5000 {
        let name = format!("application-{}-7c9f8d6b5-{number:05}", number / 5);
        put(&mut all, "pods", pod(&name, "blue", Some("1.31.1")));
    }
    let records = &all.records["pods"];
    // A name of its own, and the rest by reference.
    let one = size_of::<(Place, Record)>() + "application-999-7c9f8d6b5-00000".len();
    assert_eq!(records.len(), 5000);
    assert!(one <= 192, "{one} bytes");
    assert!(all.words.len() < 10, "{} words", all.words.len());
}
