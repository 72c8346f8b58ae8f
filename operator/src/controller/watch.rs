//! Watches: what happens in the cluster becomes known to [`State`], and wakes the CRs that it concerns.
//!
//! One watch per kind, each with its own backoff. A kind that the cluster does not serve, or that we may not list, is
//! logged and noted, and holds up nothing else.

use std::collections::HashSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt, TryStreamExt};
use kube::Client;
use kube::api::{Api, DynamicObject, PartialObjectMeta};
use kube::core::Object;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Config, Event, watcher};
use serde::de::DeserializeOwned;

use super::ctx::Ctx;
use super::requeue::jitter;
use super::state::{Listing, State, ToRequeue};
use super::watch_health::{WatchHealth, Watched};
use crate::api::StoredCr;
use crate::cluster::{CrKey, Kind, LiveObject, WatchedSpec, WatchedStatus};
use crate::render::ObjectKey;

/// How long one watch call lasts. A connection that died silently is noticed this late, and every renewal is a request.
pub(super) const CALL: u32 = 120;
/// How often it is tried whether the cluster serves a kind by now.
pub(super) const ABSENT: Duration = Duration::from_mins(10);
/// Objects per page of a list of whole objects; CRDs have up to a megabyte together.
pub(super) const PAGE: u32 = 50;

/// Watches CRs, in one namespace or in all.
pub async fn crs(ctx: Arc<Ctx>, namespace: Option<String>) {
    let health = ctx.watches.add(Watched::Crs(namespace.clone()));
    let client = health.client(ctx.sender.client());
    let api: Api<StoredCr> = match &namespace {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    };
    let mut listed = HashSet::new();
    let mut events = std::pin::pin!(watcher(api, config()).default_backoff());
    while let Some(event) = events.next().await {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                health.note_error();
                let listing = failed(&ctx, "IstioOperator", &error);
                ctx.state().put_cr_listing(namespace.as_deref(), listing);
                continue;
            }
        };
        note(&health, &event);
        ctx.update(|state| match event {
            Event::Init => {
                listed.clear();
                ToRequeue::new()
            }
            Event::InitApply(cr) => {
                listed.insert(CrKey::of(&cr));
                state.put_cr(cr, true)
            }
            Event::InitDone => {
                state.put_cr_listing(namespace.as_deref(), Listing::Listed);
                state.retain_crs(namespace.as_deref(), &listed)
            }
            Event::Apply(cr) => state.put_cr(cr, false),
            Event::Delete(cr) => state.remove_cr(&CrKey::of(&cr)),
        });
    }
}

/// Watches the objects of one kind that carry the label which those of interest have.
pub async fn objects(ctx: Arc<Ctx>, kind: &'static Kind) {
    let (group, name) = (kind.group, kind.kind);
    let health = ctx.watches.add(Watched::Objects { group, kind: name });
    let client = health.client(ctx.sender.client());
    loop {
        if kind.reports_readiness() {
            let events = watched::<Object<WatchedSpec, WatchedStatus>>(&client, kind);
            let reduce = |object: Object<WatchedSpec, WatchedStatus>| {
                let status = object.status.unwrap_or_default();
                LiveObject::of(kind, &object.metadata, Some((&object.spec, &status)))
            };
            follow(
                &ctx,
                kind,
                &health,
                events.map_ok(|event| map(event, reduce)),
            )
            .await;
        } else {
            let events = watched::<PartialObjectMeta<DynamicObject>>(&client, kind);
            let reduce = |object: PartialObjectMeta| LiveObject::of(kind, &object.metadata, None);
            follow(
                &ctx,
                kind,
                &health,
                events.map_ok(|event| map(event, reduce)),
            )
            .await;
        }
        health.reset();
        tokio::time::sleep(jitter(ABSENT)).await;
    }
}

pub(super) fn config() -> Config {
    Config::default().timeout(CALL).page_size(PAGE)
}

fn watched<K>(
    client: &Client,
    kind: &Kind,
) -> impl Stream<Item = watcher::Result<Event<K>>> + use<K>
where
    K: kube::Resource<DynamicType = kube::core::ApiResource>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + 'static,
{
    let api: Api<K> = Api::all_with(client.clone(), &kind.resource());
    watcher(api, config().labels(kind.label())).default_backoff()
}

type Seen = (ObjectKey, LiveObject);

fn map<K>(event: Event<K>, reduce: impl Fn(K) -> Seen) -> Event<Seen> {
    match event {
        Event::Init => Event::Init,
        Event::InitApply(object) => Event::InitApply(reduce(object)),
        Event::InitDone => Event::InitDone,
        Event::Apply(object) => Event::Apply(reduce(object)),
        Event::Delete(object) => Event::Delete(reduce(object)),
    }
}

/// Follows one watch; ends when the cluster turns out not to serve the kind.
async fn follow(
    ctx: &Ctx,
    kind: &'static Kind,
    health: &WatchHealth,
    events: impl Stream<Item = watcher::Result<Event<Seen>>>,
) {
    let mut listed = HashSet::new();
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                note(health, &event);
                ctx.update(|state| take(state, kind, &mut listed, event));
            }
            Err(error) => {
                health.note_error();
                let listing = failed(ctx, kind.kind, &error);
                let is_absent = listing == Listing::Absent;
                // A watch that breaks later on leaves what it listed.
                if let watcher::Error::InitialListFailed(_) = error {
                    ctx.state().put_listing(kind.kind, listing);
                }
                if is_absent {
                    let none = HashSet::new();
                    ctx.update(|state| state.retain_objects(kind.group, kind.kind, &none));
                    return;
                }
            }
        }
    }
}

fn take(
    state: &mut State,
    kind: &'static Kind,
    listed: &mut HashSet<ObjectKey>,
    event: Event<Seen>,
) -> ToRequeue {
    match event {
        Event::Init => {
            listed.clear();
            state.live.note_told(kind.kind, None);
            ToRequeue::new()
        }
        Event::InitApply((key, object)) => {
            let requeue = state.put_object(&key, object, true);
            listed.insert(key);
            requeue
        }
        Event::InitDone => {
            state.put_listing(kind.kind, Listing::Listed);
            state.live.note_listed(kind.kind);
            let listed = std::mem::take(listed);
            state.retain_objects(kind.group, kind.kind, &listed)
        }
        Event::Apply((key, object)) => {
            state.live.note_told(kind.kind, Some(object.version));
            state.put_object(&key, object, false)
        }
        Event::Delete((key, object)) => {
            state.live.note_told(kind.kind, Some(object.version));
            state.delete_object(&key, &object)
        }
    }
}

/// Notes that a watch told something. That a list begins says nothing: no request was sent yet.
pub(super) fn note<K>(health: &WatchHealth, event: &Event<K>) {
    if !matches!(event, Event::Init) {
        health.note_event();
    }
}

/// Tells that a watch broke; gives what that says of the kind.
pub(super) fn failed(ctx: &Ctx, kind: &str, error: &watcher::Error) -> Listing {
    ctx.health.metrics.watch_errors.inc();
    let listing = listing(error);
    if listing == Listing::Absent {
        tracing::info!(kind, "the cluster does not serve this kind");
    } else {
        tracing::warn!(kind, %error, "a watch broke");
    }
    listing
}

/// What an error of a watch says of the kind.
fn listing(error: &watcher::Error) -> Listing {
    let (watcher::Error::InitialListFailed(source)
    | watcher::Error::WatchStartFailed(source)
    | watcher::Error::WatchFailed(source)) = error
    else {
        return Listing::Failed(error.to_string());
    };
    match source {
        kube::Error::Api(status) if status.code == 404 => Listing::Absent,
        kube::Error::Api(status) => Listing::Failed(status.message.clone()),
        other => Listing::Failed(other.to_string()),
    }
}
