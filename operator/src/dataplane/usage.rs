//! Whether a revision is in use, and by whom.
//!
//! What is not known counts as in use, and so does what is not known yet. A revision that nobody uses may go only after
//! that was so for a while without a break.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::record::Record;
use super::{DataPlane, Place, Tag, Templates, Word};
use crate::cluster::DEFAULT;

/// Names that a list spells out.
const MAX_NAMES: usize = 5;

/// What beside the data plane decides about a revision.
#[derive(Clone, Debug, Default)]
pub struct Question<'a> {
    /// The revision, as labels call it.
    pub revision: &'a str,
    /// The tags that webhooks carry, and whether their objects go together with the revision.
    pub tags: &'a [(Tag, bool)],
    /// Objects of Istio that are of this revision and stay.
    pub objects: Vec<String>,
    /// The workloads whose pods go together with the revision, by namespace and name.
    pub going: BTreeSet<(String, String)>,
    /// What cannot be looked at.
    pub unknown: Vec<String>,
}

/// By whom a revision is used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Usage {
    /// Its users, in words.
    pub used_by: Vec<String>,
    /// Users that are there only as templates of pods: these are not watched.
    pub templates: Vec<String>,
    /// What could not be looked at, in words.
    pub unknown: Vec<String>,
}

/// What may become of an old revision.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It stays for those who use it.
    Used(Vec<String>),
    /// It stays, because this could not be looked at.
    Unknown(Vec<String>),
    /// Nobody uses it.
    Unused {
        /// Whether that was so for long enough.
        is_over: bool,
    },
}

/// The verdict about each old revision of a CR.
pub type Verdicts = BTreeMap<String, Verdict>;

impl Usage {
    /// What follows for an old revision; `is_over` tells whether the grace period of one that nobody uses has ended.
    #[must_use]
    pub fn verdict(&self, is_over: bool) -> Verdict {
        if self.is_used() {
            Verdict::Used(
                self.used_by
                    .iter()
                    .chain(&self.templates)
                    .cloned()
                    .collect(),
            )
        } else if !self.unknown.is_empty() {
            Verdict::Unknown(self.unknown.clone())
        } else {
            Verdict::Unused { is_over }
        }
    }

    /// Whether somebody is known to use it.
    #[must_use]
    pub fn is_used(&self) -> bool {
        !self.used_by.is_empty() || !self.templates.is_empty()
    }

    /// Whether it is known that nobody uses it.
    #[must_use]
    pub fn is_unused(&self) -> bool {
        !self.is_used() && self.unknown.is_empty()
    }
}

impl DataPlane {
    /// By whom a revision is used.
    #[must_use]
    pub fn usage(&self, question: &Question<'_>, templates: Option<&Templates>) -> Usage {
        let names = self.names_of(question.revision, question.tags);
        let asked = self.asked_by(names.clone(), question);
        let mut used_by = Vec::new();
        let mut tell = |what: &str, names: BTreeSet<String>| used_by.extend(listed(what, names));
        tell("namespaces", self.namespaces_of(&asked));
        tell(
            "pods in namespaces",
            self.namespaces_with_pods(&names, &question.going),
        );
        tell("Gateways", self.gateways_of(&asked));
        tell("virtual machines", self.machines_of(question.revision));
        let pins = |(tag, goes): &&(Tag, bool)| tag.revision == question.revision && !goes;
        let tags = question
            .tags
            .iter()
            .filter(pins)
            .map(|(tag, _)| tag.name.clone());
        tell("tags", tags.collect());
        tell("objects", question.objects.iter().cloned().collect());
        let workloads = templates
            .map(|templates| templates.of(&names))
            .unwrap_or_default();
        let mut unknown = question.unknown.clone();
        unknown.extend(self.remote_clusters());
        unknown.extend(templates.and_then(|templates| templates.unknown.clone()));
        Usage {
            used_by,
            templates: listed("workloads", workloads).into_iter().collect(),
            unknown,
        }
    }

    /// Those of the names of a revision by which labels ask for it. Where the default tag leads elsewhere, labels that say
    /// `default` do so too, although pods that were injected by the revision without a name still carry that word.
    fn asked_by(&self, mut names: BTreeSet<String>, question: &Question<'_>) -> BTreeSet<String> {
        let is_default = |tag: &&Tag| tag.name == DEFAULT;
        let mut tags = self.tags(question.tags).filter(is_default).peekable();
        let leads_elsewhere =
            tags.peek().is_some() && tags.all(|tag| tag.revision != question.revision);
        if leads_elsewhere {
            names.remove(DEFAULT);
        }
        names
    }

    /// All tags, whether webhooks or Services carry them.
    fn tags<'a>(&'a self, of_webhooks: &'a [(Tag, bool)]) -> impl Iterator<Item = &'a Tag> {
        let services = self.records().filter_map(|(_, record)| match record {
            Record::TagService(tag) => Some(tag),
            _ => None,
        });
        of_webhooks.iter().map(|(tag, _)| tag).chain(services)
    }

    /// The revision and all tags that lead to it.
    #[must_use]
    pub fn names_of(&self, revision: &str, tags: &[(Tag, bool)]) -> BTreeSet<String> {
        let tags = self.tags(tags).filter(|tag| tag.revision == revision);
        let tags = tags.map(|tag| tag.name.clone());
        // The word `default` is a tag wherever there is one, and the revision without a name elsewhere.
        tags.chain([revision.to_owned()]).collect()
    }

    /// When something that used one of these names changed or went last.
    #[must_use]
    pub fn last_seen(&self, names: &BTreeSet<String>) -> Option<Instant> {
        let seen = names.iter().filter_map(|name| self.seen.get(name.as_str()));
        seen.max().copied()
    }

    /// The pods and virtual machines that use a revision now, in words, except for pods of workloads that go with it.
    #[must_use]
    pub fn running_users(
        &self,
        revision: &str,
        names: &BTreeSet<String>,
        going: &BTreeSet<(String, String)>,
    ) -> Option<String> {
        let pods = listed(
            "pods in namespaces",
            self.namespaces_with_pods(names, going),
        );
        let machines = listed("virtual machines", self.machines_of(revision));
        let users: Vec<_> = pods.into_iter().chain(machines).collect();
        (!users.is_empty()).then(|| users.join("; "))
    }

    /// The namespaces with pods that use a revision, except for pods of workloads that go with it.
    fn namespaces_with_pods(
        &self,
        names: &BTreeSet<String>,
        going: &BTreeSet<(String, String)>,
    ) -> BTreeSet<String> {
        let mut namespaces: BTreeSet<&Word> = BTreeSet::new();
        for (place, record) in self.records() {
            let Record::Pod(pod) = record else { continue };
            if namespaces.contains(&place.namespace) || !names.contains(&*pod.revision) {
                continue;
            }
            let goes = pod.workload.as_ref().is_some_and(|workload| {
                going.contains(&(place.namespace.to_string(), workload.to_string()))
            });
            if !goes {
                namespaces.insert(&place.namespace);
            }
        }
        namespaces.into_iter().map(ToString::to_string).collect()
    }

    fn namespaces_of(&self, names: &BTreeSet<String>) -> BTreeSet<String> {
        let is_used = |record: &Record| match record {
            Record::Namespace(namespace) => {
                let is_named = namespace
                    .revision
                    .as_ref()
                    .is_some_and(|it| names.contains(&**it));
                is_named || namespace.is_injected && names.contains(DEFAULT)
            }
            _ => false,
        };
        let places = self.records().filter(|(_, record)| is_used(record));
        places.map(|(place, _)| place.name.to_string()).collect()
    }

    fn gateways_of(&self, names: &BTreeSet<String>) -> BTreeSet<String> {
        let is_used =
            |record: &Record| matches!(record, Record::Gateway(name) if names.contains(&**name));
        self.places(is_used)
    }

    fn machines_of(&self, revision: &str) -> BTreeSet<String> {
        let is_used = |record: &Record| match record {
            Record::Machine(istiod) => match istiod.strip_prefix("istiod-") {
                Some(suffix) => suffix == revision,
                None => revision == DEFAULT,
            },
            _ => false,
        };
        self.places(is_used)
    }

    fn places(&self, is_meant: impl Fn(&Record) -> bool) -> BTreeSet<String> {
        let places = self.records().filter(|(_, record)| is_meant(record));
        places.map(|(place, _)| place.to_string()).collect()
    }

    /// Why other clusters may use a revision of this one, if they may. Their pods are not seen here.
    fn remote_clusters(&self) -> Option<String> {
        let speaks = |record: &Record| matches!(record, Record::Namespace(it) if it.has_clusters);
        let (place, _) = self.records().find(|(_, record)| speaks(record))?;
        let namespace = &place.name;
        Some(format!(
            "namespace {namespace} says that the mesh has other clusters, and their pods are not seen here"
        ))
    }

    fn records(&self) -> impl Iterator<Item = (&Place, &Record)> {
        self.records.values().flatten()
    }
}

/// A list in words; none if it is empty.
pub fn listed(what: &str, names: BTreeSet<String>) -> Option<String> {
    if names.is_empty() {
        return None;
    }
    let more = names.len().saturating_sub(MAX_NAMES);
    let names: Vec<_> = names.into_iter().take(MAX_NAMES).collect();
    let names = names.join(", ");
    Some(match more {
        0 => format!("{what} {names}"),
        more => format!("{what} {names} and {more} more"),
    })
}

#[cfg(test)]
mod tests;
