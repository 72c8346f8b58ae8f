//! Watches of who uses which revision. One watch for each source, each with its own backoff, as those of objects.

use std::collections::HashSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Instant;

use futures::{StreamExt, TryStreamExt};
use kube::api::{Api, DynamicObject, ObjectMeta, PartialObjectMeta};
use kube::core::{ApiResource, GroupVersionKind, NotUsed, Object};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Config, Event, watcher};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;

use super::ctx::Ctx;
use super::requeue::jitter;
use super::state::{Listing, ToRequeue};
use super::watch::{self, ABSENT, PAGE};
use super::watch_health::{WatchHealth, Watched};
use crate::dataplane::{Containers, Source, Tells};

/// Metadata of objects per page of a list.
const METADATA_PAGE: u32 = 250;

/// Watches the objects of one source.
pub async fn objects(ctx: Arc<Ctx>, source: &'static Source) {
    let health = ctx.watches.add(Watched::Source(source.name));
    let client = health.client(ctx.sender.client());
    loop {
        if source.tells == Tells::PodWithImage {
            let parts = |pod: Object<Containers, NotUsed>| (pod.metadata, Some(pod.spec));
            follow(&ctx, source, &health, &client, PAGE, parts).await;
        } else {
            let parts = |object: PartialObjectMeta<DynamicObject>| (object.metadata, None);
            follow(&ctx, source, &health, &client, METADATA_PAGE, parts).await;
        }
        health.reset();
        tokio::select! {
            () = tokio::time::sleep(jitter(ABSENT)) => {}
            () = ctx.absent_sources.notified() => {}
        }
    }
}

/// Follows one watch; ends when the cluster turns out not to serve the kind.
async fn follow<K>(
    ctx: &Ctx,
    source: &'static Source,
    health: &WatchHealth,
    client: &Client,
    page: u32,
    parts: impl Fn(K) -> (ObjectMeta, Option<Containers>),
) where
    K: Resource<DynamicType = ApiResource> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let gvk = GroupVersionKind::gvk(source.group, source.version, source.kind);
    let resource = ApiResource::from_gvk_with_plural(&gvk, source.plural);
    let api: Api<K> = Api::all_with(client.clone(), &resource);
    let config = Config {
        label_selector: source.labels.map(str::to_owned),
        field_selector: source.fields.map(str::to_owned),
        ..watch::config().page_size(page)
    };
    let mut listed = HashSet::new();
    let events = watcher(api, config).default_backoff();
    let mut events = std::pin::pin!(events.map_ok(|event| parted(event, &parts)));
    while let Some(event) = events.next().await {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                health.note_error();
                let listing = watch::failed(ctx, source.name, &error);
                let is_absent = listing == Listing::Absent;
                if let watcher::Error::InitialListFailed(_) = error {
                    ctx.state().users.put_listing(source, listing);
                }
                if is_absent {
                    ctx.state()
                        .users
                        .data_plane
                        .retain(source, &HashSet::new(), Instant::now());
                    return;
                }
                continue;
            }
        };
        watch::note(health, &event);
        let now = Instant::now();
        ctx.update(|state| {
            let data_plane = &mut state.users.data_plane;
            match event {
                Event::Init => listed.clear(),
                Event::InitApply((meta, containers)) => {
                    data_plane.put(source, &meta, containers.as_ref(), now);
                    listed.insert(data_plane.place(&meta));
                }
                Event::InitDone => {
                    data_plane.retain(source, &std::mem::take(&mut listed), now);
                    state.users.put_listing(source, Listing::Listed);
                }
                Event::Apply((meta, containers)) => {
                    data_plane.put(source, &meta, containers.as_ref(), now);
                }
                Event::Delete((meta, _)) => {
                    let place = data_plane.place(&meta);
                    data_plane.remove(source, place, now);
                }
            }
            ToRequeue::new()
        });
    }
}

type Parts = (ObjectMeta, Option<Containers>);

fn parted<K>(event: Event<K>, parts: impl Fn(K) -> Parts) -> Event<Parts> {
    match event {
        Event::Init => Event::Init,
        Event::InitApply(object) => Event::InitApply(parts(object)),
        Event::InitDone => Event::InitDone,
        Event::Apply(object) => Event::Apply(parts(object)),
        Event::Delete(object) => Event::Delete(parts(object)),
    }
}
