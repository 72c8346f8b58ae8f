//! All that happens to objects of some kinds, in the order in which it happened in the cluster.
//!
//! Resource versions count the writes of one store, so events of different watches can be put in
//! order by them, whenever the watches deliver them.

use std::sync::{Arc, Mutex, PoisonError};

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
    recorded: Arc<Mutex<Vec<Result<Entry, Error>>>>,
    watches: Vec<JoinHandle<()>>,
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
        let mut history = Self {
            recorded: Arc::default(),
            watches: Vec::new(),
        };
        for kind in kinds {
            let api: Api<DynamicObject> = Api::all_with(client.clone(), kind);
            let list = api.list(&ListParams::default().limit(1)).await?;
            let version = list.metadata.resource_version.unwrap_or_default();
            let recorded = Arc::clone(&history.recorded);
            history.watches.push(tokio::spawn(async move {
                let note = |entry| {
                    recorded
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(entry);
                };
                if let Err(error) = follow(&api, &version, note).await {
                    note(Err(error));
                }
            }));
        }
        Ok(history)
    }

    /// What was recorded so far; an error if there may be a gap in it.
    pub fn entries(&self) -> Result<Vec<Entry>, Error> {
        let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        let entries: Result<Vec<_>, _> = std::mem::take(&mut *recorded).into_iter().collect();
        let mut entries = entries?;
        recorded.extend(entries.iter().cloned().map(Ok));
        entries.sort_by_key(|entry| entry.version);
        Ok(entries)
    }
}

impl Drop for History {
    fn drop(&mut self) {
        for watch in &self.watches {
            watch.abort();
        }
    }
}

async fn follow(
    api: &Api<DynamicObject>,
    version: &str,
    note: impl Fn(Result<Entry, Error>),
) -> Result<(), Error> {
    let events = api.watch(&WatchParams::default(), version).await?;
    pin_mut!(events);
    while let Some(event) = events.try_next().await? {
        let (object, is_deletion) = match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => (object, false),
            WatchEvent::Deleted(object) => (object, true),
            WatchEvent::Bookmark(_) => continue,
            WatchEvent::Error(status) => return Err(Error::Unexpected(status.message.clone())),
        };
        let version = object.resource_version().and_then(|text| text.parse().ok());
        note(Ok(Entry {
            version: version.unwrap_or_default(),
            object: serde_json::to_value(object).unwrap_or_default(),
            is_deletion,
        }));
    }
    Err(Error::Unexpected("a recording ended".into()))
}
