//! Who uses which revision of Istio: pods with proxies, namespaces, tags, objects of the Gateway API, virtual machines.
//!
//! Pure: takes no client and reads no clock, environment or file. Watches are fed in; what is kept of an object is a small
//! record, so that thousands of pods cost little.

mod pod;
mod sources;
mod words;

use std::collections::{BTreeMap, HashMap, HashSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

pub use pod::{Containers, PROXY_VERSION, Pod, ProxyKind};
pub use sources::{SOURCES, Source, Tells};
pub use words::Word;
use words::Words;

use crate::api::ProxyCount;
use crate::catalogue::Version;

/// Who uses which revision.
#[derive(Debug, Default)]
pub struct DataPlane {
    words: Words,
    /// By source, so that a list of one leaves the others alone.
    pods: HashMap<&'static str, HashMap<Place, Pod>>,
    /// How many proxies there are of each revision, version and kind.
    counts: BTreeMap<Proxies, u32>,
    /// Grows with every change.
    changes: u64,
}

/// Where an object is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// Its namespace; empty if it has none.
    pub namespace: Word,
    /// Its name.
    pub name: Box<str>,
}

/// Proxies that differ in nothing that is told of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Proxies {
    revision: Word,
    version: Option<Version>,
    kind: ProxyKind,
}

impl DataPlane {
    /// Where an object is.
    pub fn place(&mut self, meta: &ObjectMeta) -> Place {
        let namespace = meta.namespace.as_deref().unwrap_or_default();
        Place {
            namespace: self.words.word(namespace),
            name: meta.name.as_deref().unwrap_or_default().into(),
        }
    }

    /// Takes in an object as a list or an event has it.
    pub fn put(&mut self, source: &Source, meta: &ObjectMeta, containers: Option<&Containers>) {
        let place = self.place(meta);
        let pod = Pod::read(meta, containers, &mut self.words);
        self.set_pod(source.name, place, pod);
    }

    /// Takes in that an object is gone.
    pub fn remove(&mut self, source: &Source, place: Place) {
        self.set_pod(source.name, place, None);
    }

    /// Takes in that exactly these objects of a source exist.
    pub fn retain(&mut self, source: &Source, listed: &HashSet<Place>) {
        let known = self.pods.get(source.name);
        let gone = known.into_iter().flat_map(HashMap::keys);
        let gone: Vec<_> = gone.filter(|place| !listed.contains(*place)).cloned().collect();
        for place in gone {
            self.remove(source, place);
        }
    }

    /// Grows with every change.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// How many proxies a revision has, by their versions, oldest first; those whose version nothing tells come last.
    #[must_use]
    pub fn proxies_of(&self, revision: &str) -> Vec<ProxyCount> {
        let mut rows: BTreeMap<(bool, Option<Version>), ProxyCount> = BTreeMap::new();
        let of_revision = |(proxies, _): &(&Proxies, &u32)| *proxies.revision == *revision;
        for (proxies, count) in self.counts.iter().filter(of_revision) {
            let version = proxies.version;
            let row = rows.entry((version.is_none(), version)).or_default();
            row.version = version.map_or_else(|| "unknown".to_owned(), |it| it.to_string());
            *match proxies.kind {
                ProxyKind::Sidecar => &mut row.sidecars,
                ProxyKind::Gateway => &mut row.gateways,
                ProxyKind::Waypoint => &mut row.waypoints,
                ProxyKind::Ztunnel => &mut row.ztunnels,
            } += count;
        }
        rows.into_values().collect()
    }

    fn set_pod(&mut self, source: &'static str, place: Place, pod: Option<Pod>) {
        let pods = self.pods.entry(source).or_default();
        if pods.get(&place) == pod.as_ref() {
            return;
        }
        self.changes += 1;
        let now = pod.as_ref().and_then(Proxies::of);
        let before = match pod {
            Some(pod) => pods.insert(place, pod),
            None => pods.remove(&place),
        };
        if let Some(proxies) = now {
            *self.counts.entry(proxies).or_default() += 1;
        }
        if let Some(proxies) = before.as_ref().and_then(Proxies::of)
            && let Some(count) = self.counts.get_mut(&proxies)
        {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&proxies);
            }
        }
    }
}

impl Proxies {
    fn of(pod: &Pod) -> Option<Self> {
        Some(Self {
            revision: Word::clone(&pod.revision),
            version: pod.version,
            kind: pod.proxy?,
        })
    }
}
