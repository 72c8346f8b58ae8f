//! Who uses the revisions of each CR, what follows for old ones, and when its status has to tell of it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use super::{Listing, State, ToRequeue};
use crate::api::{Annotations, ComponentKind, RestartStatus, RevisionStatus};
use crate::cluster::{CrKey, LiveObject, Need, digest};
use crate::dataplane::{
    DataPlane, Policy, Question, SOURCES, ServedProxies, Source, Tag, Tells, Templates, Usage,
    Verdicts,
};
use crate::plan::{control_plane_revision, is_istiod};
use crate::render::ObjectKey;

/// How often a status is written because proxies come and go: each write wakes whoever watches the CR.
const TELL_INTERVAL: Duration = Duration::from_mins(1);
/// How often templates of pods are read again while they are all that keeps an old revision, unless its grace period is
/// shorter.
const READ_INTERVAL: Duration = Duration::from_mins(5);

/// Who uses which revision, and what was told of it.
#[derive(Debug)]
pub struct Users {
    /// What the watches tell.
    pub data_plane: DataPlane,
    /// Grows with every change of what is known beside that.
    changes: u64,
    /// How listing each source went.
    listings: BTreeMap<&'static str, Listing>,
    /// The sources whose watches do not work now.
    broken: BTreeSet<&'static str>,
    /// The templates of pods, as they were read last.
    templates: Option<Templates>,
    /// What each CR says about its old revisions.
    policies: HashMap<CrKey, Policy>,
    /// Since when nobody has used an old revision of a CR, as far as was looked at.
    unused_since: HashMap<(CrKey, String), Instant>,
    /// What was found of the old revisions of each CR last.
    verdicts: HashMap<CrKey, Verdicts>,
    /// How far the restarts of each CR are.
    restarts: HashMap<CrKey, RestartStatus>,
    /// The CRs whose deletion has begun.
    leaving: HashSet<CrKey>,
    /// A digest of what was told of the revisions of each CR, and when.
    told: HashMap<CrKey, (u64, Instant)>,
    /// A digest of what was told of the gateways of each CR.
    pub(super) told_gateways: HashMap<CrKey, u64>,
    /// The change up to which everything was told.
    told_up_to: u64,
}

impl Default for Users {
    fn default() -> Self {
        let pending = |source: &Source| (source.name, Listing::Pending);
        Self {
            data_plane: DataPlane::default(),
            changes: 0,
            listings: SOURCES.iter().map(pending).collect(),
            broken: BTreeSet::new(),
            templates: None,
            policies: HashMap::new(),
            unused_since: HashMap::new(),
            verdicts: HashMap::new(),
            restarts: HashMap::new(),
            leaving: HashSet::new(),
            told: HashMap::new(),
            told_gateways: HashMap::new(),
            told_up_to: 0,
        }
    }
}

impl Users {
    /// Takes in how listing a source went.
    pub fn put_listing(&mut self, source: &Source, listing: Listing) {
        self.changes += 1;
        self.listings.insert(source.name, listing);
    }

    /// How listing each source went.
    pub fn listings(&self) -> impl Iterator<Item = &Listing> {
        self.listings.values()
    }

    /// The sources that the cluster does not serve, as far as their watches know.
    pub fn absent_sources(&self) -> Vec<&'static Source> {
        let is_absent = |source: &&Source| self.listings.get(source.name) == Some(&Listing::Absent);
        SOURCES.iter().filter(is_absent).collect()
    }

    /// Takes in which watches of sources do not work.
    pub fn set_broken(&mut self, broken: BTreeSet<&'static str>) {
        self.changes += u64::from(self.broken != broken);
        self.broken = broken;
    }

    /// Takes in templates of pods that were read.
    pub fn put_templates(&mut self, templates: Templates) {
        self.changes += 1;
        self.templates = Some(templates);
    }

    /// Takes in what a CR says about its old revisions.
    pub fn set_policy(&mut self, cr: &CrKey, policy: Policy) {
        self.policies.insert(cr.clone(), policy);
    }

    /// Takes in that objects of a CR are being deleted with it.
    pub fn begin_deletion(&mut self, cr: &CrKey) {
        self.leaving.insert(cr.clone());
    }

    /// What a CR says about its old revisions and its data plane.
    pub(super) fn policy(&self, cr: &CrKey) -> Option<&Policy> {
        self.policies.get(cr)
    }

    /// The CRs that ask for restarts, or asked for them until now.
    pub(super) fn restarting_crs(&self) -> Vec<CrKey> {
        let asking = self
            .policies
            .iter()
            .filter(|(_, policy)| policy.restarts.is_some());
        let mut crs: Vec<_> = asking
            .map(|(cr, _)| cr)
            .chain(self.restarts.keys())
            .cloned()
            .collect();
        crs.sort();
        crs.dedup();
        crs
    }

    /// Takes in how far the restarts of a CR are; gives whether that is to be told at once.
    pub(super) fn put_restarts(&mut self, cr: &CrKey, status: Option<RestartStatus>) -> bool {
        let before = self.restarts.get(cr);
        let essence =
            |status: &RestartStatus| (status.target.clone(), status.state, status.message.clone());
        let is_news = before.map(essence) != status.as_ref().map(essence);
        if before != status.as_ref() {
            self.changes += 1;
            match status {
                Some(status) => self.restarts.insert(cr.clone(), status),
                None => self.restarts.remove(cr),
            };
        }
        is_news
    }

    /// How far the restarts of a CR are.
    pub fn restarts(&self, cr: &CrKey) -> Option<RestartStatus> {
        self.restarts.get(cr).cloned()
    }

    /// A CR is gone.
    pub fn forget(&mut self, cr: &CrKey) {
        self.restarts.remove(cr);
        self.told.remove(cr);
        self.told_gateways.remove(cr);
        self.policies.remove(cr);
        self.verdicts.remove(cr);
        self.leaving.remove(cr);
        self.unused_since.retain(|(of, _), _| of != cr);
    }

    /// How long nobody may have used an old revision of a CR before it goes.
    fn grace(&self, cr: &CrKey) -> Duration {
        let policy = self.policies.get(cr);
        policy.map_or_else(|| Policy::default().grace, |policy| policy.grace)
    }

    /// A digest of what a status tells of the users of a CR.
    fn told_digest(&self, cr: &CrKey, revisions: &[RevisionStatus]) -> u64 {
        digest(&(revisions, self.restarts.get(cr)))
    }

    /// Grows with every change of what is known.
    fn changes(&self) -> u64 {
        self.data_plane.changes() + self.changes
    }

    /// The sources that are not known as they are now, and why.
    pub(super) fn gaps(&self, is_meant: impl Fn(&Source) -> bool) -> Vec<String> {
        let gap = |source: &Source| {
            let name = source.name;
            if self.broken.contains(name) {
                return Some(format!("the watch of {name} does not work"));
            }
            match self.listings.get(name)? {
                Listing::Listed => None,
                Listing::Absent if source.is_optional() => None,
                Listing::Absent => Some(format!("the cluster does not serve {name}")),
                Listing::Pending => Some(format!("{name} are not listed yet")),
                Listing::Failed(why) => Some(format!("{name} cannot be listed: {why}")),
            }
        };
        let meant = SOURCES.iter().filter(|source| is_meant(source));
        meant.filter_map(gap).collect()
    }
}

impl State {
    /// What the status of a CR tells of its control planes from now on.
    pub fn tell_revisions(&mut self, cr: &CrKey, now: Instant) -> Vec<RevisionStatus> {
        let revisions = self.revisions_of(cr);
        self.users
            .told
            .insert(cr.clone(), (self.users.told_digest(cr, &revisions), now));
        revisions
    }

    /// The CRs whose statuses do not tell what is known of their control planes, unless they were told of late. Gateways are
    /// few, and their versions change with updates only, so these are told at once.
    pub fn untold_revisions(&mut self, now: Instant) -> ToRequeue {
        let changes = self.users.changes();
        if changes == self.users.told_up_to {
            return ToRequeue::new();
        }
        let (mut untold, mut are_all_told) = (ToRequeue::new(), true);
        for cr in self.desired.crs() {
            let Some((told, at)) = self.users.told.get(&cr).copied() else {
                continue;
            };
            if self.has_untold_gateways(&cr) {
                untold.insert(cr.clone());
            }
            let revisions = self.users.told_digest(&cr, &self.revisions_of(&cr));
            if told == revisions {
                continue;
            }
            if now.duration_since(at) < TELL_INTERVAL {
                are_all_told = false;
                continue;
            }
            // Whatever its pass comes to, it is not asked for again at once.
            self.users.told.insert(cr.clone(), (revisions, now));
            untold.insert(cr);
        }
        if are_all_told {
            self.users.told_up_to = changes;
        }
        untold
    }

    /// Looks who uses the old revisions of all CRs; gives those CRs for which something else follows than before.
    pub fn judge_old_revisions(&mut self, now: Instant) -> ToRequeue {
        let mut concerned = ToRequeue::new();
        for cr in self.desired.crs() {
            let old = self.old_revisions(&cr);
            let is_old = |(of, revision): &(CrKey, String)| *of != cr || old.contains(revision);
            self.users.unused_since.retain(|key, _| is_old(key));
            for revision in &old {
                let key = (cr.clone(), revision.clone());
                if self.usage(&cr, revision).is_unused() {
                    self.users.unused_since.entry(key).or_insert(now);
                } else {
                    self.users.unused_since.remove(&key);
                }
            }
            let verdicts = self.verdicts(&cr, now);
            let before = self.users.verdicts.get(&cr);
            if before.is_none_or(|before| *before != verdicts)
                && !(before.is_none() && old.is_empty())
            {
                self.users.verdicts.insert(cr.clone(), verdicts);
                concerned.insert(cr);
            }
        }
        concerned
    }

    /// What follows for the old revisions of a CR.
    pub fn verdicts(&self, cr: &CrKey, now: Instant) -> Verdicts {
        let judge = |revision: String| {
            let usage = self.usage(cr, &revision);
            let is_over = self.end_of_grace(cr, &revision).is_some_and(|end| {
                // Templates are not watched, so they are read once more at the end.
                let templates = self.users.templates.as_ref();
                now >= end && templates.is_some_and(|templates| templates.at >= end)
            });
            (revision, usage.verdict(is_over))
        };
        self.old_revisions(cr).into_iter().map(judge).collect()
    }

    /// The proxies that a revision of a CR serves, except for those that go up and down with the CR.
    pub fn served_proxies(&self, cr: &CrKey, revision: &str) -> ServedProxies {
        let own = self.workloads(cr, |_, _| true);
        let gaps = self.users.gaps(|source| source.kind == "Pod");
        ServedProxies {
            gateway_api_gaps: self.users.gaps(|source| source.tells == Tells::Bundle),
            ..self.users.data_plane.served_proxies(revision, &own, gaps)
        }
    }

    /// Whether templates of pods have to be read, so that an old revision can go.
    pub fn needs_templates(&self, now: Instant) -> bool {
        let read = self.users.templates.as_ref();
        self.desired.crs().iter().any(|cr| {
            let interval = self.users.grace(cr).min(READ_INTERVAL);
            let is_stale = |read: &Templates| now.duration_since(read.at) >= interval;
            self.old_revisions(cr).iter().any(|revision| {
                let usage = self.usage(cr, revision);
                let is_due = self
                    .end_of_grace(cr, revision)
                    .is_some_and(|end| now >= end && read.is_none_or(|read| read.at < end));
                let is_kept = usage.used_by.is_empty() && !usage.is_unused();
                (usage.is_unused() && is_due) || (is_kept && read.is_some_and(is_stale))
            })
        })
    }

    /// Why the control plane of a CR that is being deleted has to stay, if it has to: pods use it now.
    pub fn deletion_blocker(&self, cr: &CrKey, annotations: &Annotations) -> Option<String> {
        if self.users.leaving.contains(cr) {
            return None;
        }
        let is_going = |key: &ObjectKey, object: &LiveObject| {
            !object.terminating && self.desired.need(cr, key, object) == Need::Unneeded
        };
        let mut revisions: Vec<_> = self
            .istiods(cr)
            .filter(|(key, object)| is_going(key, object))
            .filter_map(|(_, object)| object.owner_labels.revision.as_deref())
            .filter(|revision| annotations.prune_revision.as_deref() != Some(*revision))
            .collect();
        revisions.sort_unstable();
        revisions.dedup();
        let gaps = self.users.gaps(|source| source.kind == "Pod");
        let going = self.workloads(cr, |key, object| is_going(key, object));
        revisions.into_iter().find_map(|revision| {
            let names = self.users.data_plane.names_of(revision, &self.tags(cr));
            let used = self.users.data_plane.running_users(revision, &names, &going);
            let why = match used {
                Some(used) => format!(
                    "revision {revision} is used by {used}, which would lose their control plane: delete them, or restart \
                     them without a proxy or with one of another revision"
                ),
                None if gaps.is_empty() => return None,
                None => format!("whether pods use revision {revision} is not known: {}", gaps.join("; ")),
            };
            Some(format!(
                "{why}; the annotation install.istio.io/prune-revision: {revision} deletes it all the same"
            ))
        })
    }

    /// The control planes of a CR: that of its revision, then old ones.
    fn revisions_of(&self, cr: &CrKey) -> Vec<RevisionStatus> {
        let current = self.desired.tag_request(cr);
        let current = current.map(|request| request.revision.as_str());
        let mut names: Vec<_> = self
            .istiods(cr)
            .filter_map(|(_, object)| object.owner_labels.revision.as_deref())
            .collect();
        names.sort_by_key(|name| (Some(*name) != current, *name));
        names.dedup();
        let tell = |name: &str| {
            let Usage {
                mut used_by,
                templates,
                unknown,
            } = self.usage(cr, name);
            used_by.extend(templates);
            RevisionStatus {
                name: name.to_owned(),
                proxies: self.users.data_plane.proxies_of(name),
                used_by,
                unknown,
            }
        };
        names.into_iter().map(tell).collect()
    }

    /// The revisions of the control planes that a CR has and does not render. A deletion that was cut short may have taken
    /// istiod already: the rest of its revision has to go too.
    pub(super) fn old_revisions(&self, cr: &CrKey) -> BTreeSet<String> {
        let current = self.desired.tag_request(cr);
        let current = current.map(|request| request.revision.as_str());
        let old = self.live.iter().filter_map(|(key, object)| {
            let revision = control_plane_revision(object, current)?;
            // What else is not rendered of the current revision is a setting that was switched off.
            let is_old = is_istiod(key, object) || Some(revision) != current;
            let is_left = is_old && object.is_owned_by(cr) && !self.desired.renders(cr, key);
            is_left.then(|| revision.to_owned())
        });
        old.collect()
    }

    fn istiods(&self, cr: &CrKey) -> impl Iterator<Item = (&ObjectKey, &LiveObject)> {
        let live = self.live.iter();
        live.filter(move |(key, object)| is_istiod(key, object) && object.is_owned_by(cr))
    }

    /// When the grace period of an old revision that nobody uses ends.
    fn end_of_grace(&self, cr: &CrKey, revision: &str) -> Option<Instant> {
        let users = &self.users;
        let unused = users.unused_since.get(&(cr.clone(), revision.to_owned()))?;
        let names = users.data_plane.names_of(revision, &self.tags(cr));
        let seen = users.data_plane.last_seen(&names);
        let since = seen.map_or(*unused, |seen| seen.max(*unused));
        Some(since + users.grace(cr))
    }

    /// By whom a revision of a CR is used.
    fn usage(&self, cr: &CrKey, revision: &str) -> Usage {
        let users = &self.users;
        let mut unknown = users.gaps(|source| source.tells != Tells::Bundle);
        unknown.extend(
            users
                .policies
                .get(cr)
                .and_then(|policy| policy.remote.clone()),
        );
        let question = Question {
            revision,
            tags: &self.tags(cr),
            objects: self.objects_of(cr, revision),
            going: self.workloads(cr, |key, object| self.is_orphan(cr, key, object)),
            unknown,
        };
        users.data_plane.usage(&question, users.templates.as_ref())
    }

    /// The tags that webhooks carry, and whether they go with an old revision of `cr`.
    pub(super) fn tags(&self, cr: &CrKey) -> Vec<(Tag, bool)> {
        let tagged = self.live.iter().filter(|(_, object)| !object.terminating);
        let tags = tagged.filter_map(|(key, object)| {
            let (name, revision) = object.injector.as_ref()?.tag()?;
            let (name, revision) = (name.to_owned(), revision.to_owned());
            Some((Tag { name, revision }, self.is_orphan(cr, key, object)))
        });
        tags.collect()
    }

    /// Objects of Istio that need a revision and stay: node agents, gateways, and the webhook that validates for everybody.
    fn objects_of(&self, cr: &CrKey, revision: &str) -> Vec<String> {
        let needs_istiod = |key: &ObjectKey, object: &LiveObject| match key.kind.as_str() {
            "Deployment" | "DaemonSet" => matches!(
                object.owner_labels.component,
                Some(
                    ComponentKind::Cni
                        | ComponentKind::Ztunnel
                        | ComponentKind::IngressGateways
                        | ComponentKind::EgressGateways
                )
            ),
            "ValidatingWebhookConfiguration" => key.name.starts_with("istiod-default-validator"),
            _ => false,
        };
        let objects = self.live.iter().filter(|(key, object)| {
            object.owner_labels.revision.as_deref() == Some(revision)
                && needs_istiod(key, object)
                && !self.is_orphan(cr, key, object)
        });
        objects.map(|(key, _)| key.to_string()).collect()
    }

    /// The workloads of a CR that `is_meant`, as pods name them.
    pub(super) fn workloads(
        &self,
        cr: &CrKey,
        is_meant: impl Fn(&ObjectKey, &LiveObject) -> bool,
    ) -> BTreeSet<(String, String)> {
        let is_workload = |key: &ObjectKey| matches!(key.kind.as_str(), "Deployment" | "DaemonSet");
        let own = self.live.iter().filter(|(key, object)| {
            is_workload(key) && object.is_owned_by(cr) && is_meant(key, object)
        });
        own.map(|(key, _)| {
            let namespace = key.namespace.clone().unwrap_or_default();
            (namespace, format!("{}/{}", key.kind, key.name))
        })
        .collect()
    }

    /// Whether an object is one of `cr` that no CR renders.
    fn is_orphan(&self, cr: &CrKey, key: &ObjectKey, object: &LiveObject) -> bool {
        object.is_owned_by(cr)
            && !self.desired.renders(cr, key)
            && self.desired.need(cr, key, object) == Need::Unneeded
    }
}

#[cfg(test)]
mod tests;
