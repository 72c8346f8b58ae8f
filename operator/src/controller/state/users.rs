//! Who uses the revisions of each CR, and when its status has to tell of it.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use super::{Listing, State, ToRequeue};
use crate::api::{ComponentKind, RevisionStatus};
use crate::cluster::{CrKey, digest};
use crate::dataplane::{DataPlane, SOURCES, Source};

/// How often a status is written because proxies come and go: each write wakes whoever watches the CR.
const TELL_INTERVAL: Duration = Duration::from_mins(1);

/// Who uses which revision, and what was told of it.
#[derive(Debug)]
pub struct Users {
    /// What the watches tell.
    pub data_plane: DataPlane,
    /// How listing each source went.
    listings: BTreeMap<&'static str, Listing>,
    /// A digest of what was told of the revisions of each CR, and when.
    told: HashMap<CrKey, (u64, Instant)>,
    /// The change of the data plane up to which everything was told.
    told_up_to: u64,
}

impl Default for Users {
    fn default() -> Self {
        let pending = |source: &Source| (source.name, Listing::Pending);
        Self {
            data_plane: DataPlane::default(),
            listings: SOURCES.iter().map(pending).collect(),
            told: HashMap::new(),
            told_up_to: 0,
        }
    }
}

impl Users {
    /// Takes in how listing a source went.
    pub fn put_listing(&mut self, source: &Source, listing: Listing) {
        self.listings.insert(source.name, listing);
    }

    /// How listing each source went.
    pub fn listings(&self) -> impl Iterator<Item = &Listing> {
        self.listings.values()
    }

    /// A CR is gone.
    pub fn forget(&mut self, cr: &CrKey) {
        self.told.remove(cr);
    }
}

impl State {
    /// What the status of a CR tells of its control planes from now on.
    pub fn tell_revisions(&mut self, cr: &CrKey, now: Instant) -> Vec<RevisionStatus> {
        let revisions = self.revisions_of(cr);
        self.users
            .told
            .insert(cr.clone(), (digest(&revisions), now));
        revisions
    }

    /// The CRs whose statuses do not tell what is known of their control planes, unless they were told of late.
    pub fn untold_revisions(&mut self, now: Instant) -> ToRequeue {
        let changes = self.users.data_plane.changes();
        if changes == self.users.told_up_to {
            return ToRequeue::new();
        }
        let (mut untold, mut are_all_told) = (ToRequeue::new(), true);
        for cr in self.desired.crs() {
            let Some((told, at)) = self.users.told.get(&cr).copied() else {
                continue;
            };
            let revisions = digest(&self.revisions_of(&cr));
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

    /// The control planes of a CR: that of its revision, then old ones.
    fn revisions_of(&self, cr: &CrKey) -> Vec<RevisionStatus> {
        let current = self
            .desired
            .tag_request(cr)
            .map(|request| &request.revision);
        let istiods = self.live.iter().filter(|(key, object)| {
            key.kind == "Deployment"
                && object.owner_labels.component == Some(ComponentKind::Pilot)
                && object.is_owned_by(cr)
        });
        let mut names: Vec<_> = istiods
            .filter_map(|(_, object)| object.owner_labels.revision.as_ref())
            .collect();
        names.sort_by_key(|name| (Some(*name) != current, *name));
        names.dedup();
        let tell = |name: &String| RevisionStatus {
            name: name.clone(),
            proxies: self.users.data_plane.proxies_of(name),
        };
        names.into_iter().map(tell).collect()
    }
}
