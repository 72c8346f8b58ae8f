//! The store of a control plane, and how everything in it becomes what it was before.
//!
//! To start a control plane costs more CPU time than most tests do, so tests use it one after the other. The keys of etcd
//! are all that it remembers: once they are what they were, its programs, which watch them, forget the test before.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use k8s_openapi::ByteString;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    error::Error,
    host::http,
    wait::{SOON, wait_until},
};

/// Where the API server keeps everything; the second one ends the range.
const ALL: (&str, &str) = ("/registry/", "/registry0");

/// Where it keeps Events, which its controllers write at any time.
const EVENTS: (&str, &str) = ("/registry/events/", "/registry/events0");

/// Where it keeps leases, which their holders renew all the time.
const LEASES: &str = "/registry/leases/";

/// How long nothing may appear before a store counts as settled: controllers answer a change within this time.
const SETTLED: Duration = Duration::from_millis(500);

/// What is deleted first and what last, by the begin of its key: a webhook or a policy must not refuse the rest, and a
/// controller must not replace what it watches over. All else is deleted in between.
const FIRST: [&str; 4] = [
    "/registry/admissionregistration.k8s.io/",
    "/registry/horizontalpodautoscalers/",
    "/registry/deployments/",
    "/registry/daemonsets/",
];
const LAST: [&str; 2] = ["/registry/pods/", "/registry/services/endpoints/"];

/// The etcd of one control plane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Etcd(SocketAddr);

/// Everything in the store at one moment, by key.
#[derive(Debug)]
pub(crate) struct Backup(BTreeMap<ByteString, Entry>);

/// One key as etcd tells it. Without a value if only keys were asked for.
#[derive(Clone, Debug, Deserialize)]
struct Entry {
    key: ByteString,
    #[serde(default)]
    value: ByteString,
    /// Changes with each write.
    mod_revision: String,
}

#[derive(Debug, Deserialize)]
struct Range {
    #[serde(default)]
    kvs: Vec<Entry>,
}

impl Etcd {
    pub(crate) fn at(port: u16) -> Self {
        Self(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }

    /// Everything in the store, once the controllers have made what they make in every cluster.
    pub(crate) async fn settled_backup(self) -> Result<Backup, Error> {
        wait_until("the store to settle", SOON, || async {
            let before = self.entries(true).await?;
            sleep(SETTLED).await;
            let after = self.entries(false).await?;
            if after.keys().eq(before.keys()) {
                return Ok(Backup(after));
            }
            Err(Error::Unexpected("more and more is written".into()))
        })
        .await
    }

    /// Makes everything what it was at the backup, except what its owners renew all the time. Returns when no controller
    /// adds anything any more.
    pub(crate) async fn restore(self, backup: &Backup) -> Result<(), Error> {
        let now = self.entries(true).await?;
        for (key, was) in &backup.0 {
            let is_same = now
                .get(key)
                .is_some_and(|entry| entry.mod_revision == was.mod_revision);
            if !is_same && !key.0.starts_with(LEASES.as_bytes()) {
                let entry = json!({"key": key, "value": was.value});
                self.call::<Value>("put", &entry).await?;
            }
        }
        wait_until("the store to be as it was", SOON, || async {
            let now = self.entries(true).await?;
            let mut new: Vec<_> = now
                .keys()
                .filter(|key| !backup.0.contains_key(key))
                .collect();
            new.sort_by_key(|key| rank(key));
            for key in &new {
                self.call::<Value>("deleterange", &json!({"key": key}))
                    .await?;
            }
            if new.is_empty() {
                return Ok(());
            }
            let last = new.last().map(|key| String::from_utf8_lossy(&key.0));
            let found = format!("{} keys more, such as {last:?}", new.len());
            sleep(SETTLED).await;
            Err(Error::Unexpected(found))
        })
        .await?;
        self.call::<Value>("deleterange", &range(EVENTS)).await?;
        Ok(())
    }

    /// All keys but those of Events.
    async fn entries(self, keys_only: bool) -> Result<BTreeMap<ByteString, Entry>, Error> {
        let mut asked = range(ALL);
        asked["keys_only"] = keys_only.into();
        let mut found: Range = self.call("range", &asked).await?;
        found
            .kvs
            .retain(|entry| !entry.key.0.starts_with(EVENTS.0.as_bytes()));
        let entries = found.kvs.into_iter();
        Ok(entries.map(|entry| (entry.key.clone(), entry)).collect())
    }

    async fn call<T: DeserializeOwned>(self, method: &str, asked: &Value) -> Result<T, Error> {
        let url = format!("http://{}/v3/kv/{method}", self.0);
        let answer = http::post(self.0, &url, asked.to_string()).await?;
        serde_json::from_str(&answer.body)
            .map_err(|error| Error::Unexpected(format!("etcd: {method}: {error}: {}", answer.body)))
    }
}

fn range((from, to): (&str, &str)) -> Value {
    let bytes = |text: &str| ByteString(text.into());
    json!({"key": bytes(from), "range_end": bytes(to)})
}

/// The place of a key in the order of deletions; see [`FIRST`].
fn rank(key: &ByteString) -> u8 {
    let is_one_of = |prefixes: &[&str]| {
        let mut prefixes = prefixes.iter();
        prefixes.any(|prefix| key.0.starts_with(prefix.as_bytes()))
    };
    match (is_one_of(&FIRST), is_one_of(&LAST)) {
        (true, _) => 0,
        (_, true) => 2,
        _ => 1,
    }
}
