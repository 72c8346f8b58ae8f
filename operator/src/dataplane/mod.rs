//! Who uses which revision of Istio: pods with proxies, namespaces, tags, objects of the Gateway API, virtual machines.
//!
//! Pure: takes no client and reads no clock, environment or file. Watches are fed in; what is kept of an object is a small
//! record, so that thousands of pods cost little.

mod budget;
mod pod;
mod policy;
mod record;
mod restarts;
mod served;
mod sources;
mod templates;
mod usage;
mod words;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::time::Instant;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

pub use budget::{Budget, is_about, is_about_all, lets_none_go};
pub use pod::{Containers, PROXY_VERSION, Pod, ProxyKind};
pub use policy::Policy;
use record::Record;
pub use record::Tag;
pub use restarts::{
    Admission, HOLD, PodsOfWorkload, RESTARTED_FOR, RunSpec, RunStatus, Target, Workload, is_held,
    restartable,
};
pub use served::ServedProxies;
pub use sources::{SOURCES, Source, Tells};
pub use templates::{TEMPLATE_KINDS, TemplateKind, TemplateSpec, Templates};
pub(crate) use usage::listed;
pub use usage::{Question, Usage, Verdict, Verdicts};
pub use words::Word;
use words::Words;

use crate::api::ProxyCount;
use crate::catalogue::Version;

/// Who uses which revision.
#[derive(Debug, Default)]
pub struct DataPlane {
    words: Words,
    /// By source, so that a list of one leaves the others alone.
    records: BTreeMap<&'static str, HashMap<Place, Record>>,
    /// How many proxies there are of each revision, version and kind.
    counts: BTreeMap<Proxies, u32>,
    /// When something that named a revision or tag came, changed or went last.
    seen: HashMap<Word, Instant>,
    /// Grows with every change.
    changes: u64,
}

/// Where an object is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Its namespace; empty if it has none.
    pub namespace: Word,
    /// Its name.
    pub name: Box<str>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
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
    pub fn put(
        &mut self,
        source: &Source,
        meta: &ObjectMeta,
        containers: Option<&Containers>,
        now: Instant,
    ) {
        let place = self.place(meta);
        let record = Record::read(source.tells, meta, containers, &mut self.words);
        self.set(source.name, place, record, now);
    }

    /// Takes in that an object is gone.
    pub fn remove(&mut self, source: &Source, place: Place, now: Instant) {
        self.set(source.name, place, None, now);
    }

    /// Takes in that exactly these objects of a source exist.
    pub fn retain(&mut self, source: &Source, listed: &HashSet<Place>, now: Instant) {
        let known = self.records.get(source.name);
        let gone = known.into_iter().flat_map(HashMap::keys);
        let gone: Vec<_> = gone
            .filter(|place| !listed.contains(*place))
            .cloned()
            .collect();
        for place in gone {
            self.remove(source, place, now);
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

    /// The Istio versions of the pods of one of Istio's own workloads, such as `Deployment/edge`, oldest first.
    #[must_use]
    pub fn versions_of(&self, namespace: &str, workload: &str) -> BTreeSet<Version> {
        let pods = self.records.get(sources::ISTIO_PODS).into_iter().flatten();
        let versions = pods.filter_map(|(place, record)| match record {
            Record::Pod(pod)
                if *place.namespace == *namespace && pod.workload.as_deref() == Some(workload) =>
            {
                pod.version
            }
            _ => None,
        });
        versions.collect()
    }

    fn set(&mut self, source: &'static str, place: Place, record: Option<Record>, now: Instant) {
        let records = self.records.entry(source).or_default();
        if records.get(&place) == record.as_ref() {
            return;
        }
        self.changes += 1;
        let counted = record.as_ref().and_then(Proxies::of);
        let named: Vec<_> = record
            .iter()
            .flat_map(Record::names)
            .map(Word::from)
            .collect();
        let before = match record {
            Some(record) => records.insert(place, record),
            None => records.remove(&place),
        };
        for name in named
            .iter()
            .map(|name| &**name)
            .chain(before.iter().flat_map(Record::names))
        {
            self.seen.insert(self.words.word(name), now);
        }
        if let Some(proxies) = counted {
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
    fn of(record: &Record) -> Option<Self> {
        let Record::Pod(pod) = record else {
            return None;
        };
        Some(Self {
            revision: Word::clone(&pod.revision),
            version: pod.version,
            kind: pod.proxy?,
        })
    }
}

#[cfg(test)]
mod tests;
