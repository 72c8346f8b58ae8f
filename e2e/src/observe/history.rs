//! All that happens to objects of some kinds, in the order in which it happened in the cluster.
//!
//! Resource versions count the writes of one store, so events of different watches can be put in
//! order by them, whenever the watches deliver them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::{TryStreamExt, pin_mut};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, ListParams, ResourceExt, WatchEvent, WatchParams},
};
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::error::Error;

/// A recording that goes on until it is dropped.
#[derive(Debug)]
pub struct History {
    recordings: Vec<Recording>,
}

/// The recording of one kind.
#[derive(Debug)]
struct Recording {
    entries: Arc<Mutex<Vec<Result<Entry, Error>>>>,
    watch: JoinHandle<()>,
}

/// What an object was from one moment on.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The resource version that made it so.
    pub version: u64,
    /// The object.
    pub object: Value,
    /// Whether it was removed then.
    pub is_deletion: bool,
}

impl History {
    /// Starts to record all objects of these kinds.
    pub async fn record(client: &Client, kinds: &[ApiResource]) -> Result<Self, Error> {
        let mut recordings = Vec::new();
        for kind in kinds {
            let api: Api<DynamicObject> = Api::all_with(client.clone(), kind);
            let list = api.list(&ListParams::default().limit(1)).await?;
            let version = list.metadata.resource_version.unwrap_or_default();
            let entries = Arc::new(Mutex::new(Vec::new()));
            let recorded = Arc::clone(&entries);
            let watch = tokio::spawn(async move {
                let note = |entry| lock(&recorded).push(entry);
                if let Err(error) = follow(&api, version, note).await {
                    note(Err(error));
                }
            });
            recordings.push(Recording { entries, watch });
        }
        Ok(Self { recordings })
    }

    /// What was recorded so far; an error if an entry may be missing. Entries that are newer than the last one of some
    /// watch are left out, because that watch may still deliver older ones.
    pub fn entries(&self) -> Result<Vec<Entry>, Error> {
        let mut all = Vec::new();
        let mut complete_to = u64::MAX;
        for recording in &self.recordings {
            let mut recorded = lock(&recording.entries);
            let entries: Result<Vec<_>, _> = std::mem::take(&mut *recorded).into_iter().collect();
            let entries = entries?;
            recorded.extend(entries.iter().cloned().map(Ok));
            complete_to = complete_to.min(entries.last().map_or(0, |entry| entry.version));
            all.extend(entries);
        }
        all.retain(|entry| entry.version <= complete_to);
        all.sort_by_key(|entry| entry.version);
        Ok(all)
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes all events from a version on, over as many watches as that takes: the API server ends each after some minutes.
async fn follow(
    api: &Api<DynamicObject>,
    mut version: String,
    note: impl Fn(Result<Entry, Error>),
) -> Result<(), Error> {
    loop {
        let events = api.watch(&WatchParams::default(), &version).await?;
        pin_mut!(events);
        while let Some(event) = events.try_next().await? {
            let (object, is_deletion) = match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => (object, false),
                WatchEvent::Deleted(object) => (object, true),
                WatchEvent::Bookmark(bookmark) => {
                    version = bookmark.metadata.resource_version;
                    continue;
                }
                WatchEvent::Error(status) => return Err(Error::Unexpected(status.message.clone())),
            };
            version = object.resource_version().unwrap_or_default();
            note(Ok(Entry {
                version: version.parse().unwrap_or_default(),
                object: serde_json::to_value(object).unwrap_or_default(),
                is_deletion,
            }));
        }
    }
}
