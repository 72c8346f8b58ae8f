//! Reads the templates of pods of all workloads, when an old revision may go unless one of them asks for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::core::{NotUsed, Object};

use super::ctx::Ctx;
use super::watch::PAGE;
use crate::dataplane::{TEMPLATE_KINDS, TemplateKind, TemplateSpec, Templates};

/// How often it is checked whether they are needed.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// Reads templates whenever an old revision waits for them.
pub async fn read_when_needed(ctx: Arc<Ctx>) {
    loop {
        tokio::time::sleep(POLL_INTERVAL).await;
        let now = Instant::now();
        if !ctx.state().needs_templates(now) {
            continue;
        }
        if is_a_source_served_by_now(&ctx).await {
            // Its watch lists it first.
            ctx.absent_sources.notify_waiters();
            continue;
        }
        let mut templates = Templates::new(now);
        for kind in TEMPLATE_KINDS {
            if let Err(error) = read(&ctx, kind, &mut templates).await {
                let plural = kind.plural;
                tracing::warn!(plural, %error, "templates of pods cannot be read");
                templates.unknown = Some(format!("{plural} cannot be listed: {error}"));
                break;
            }
        }
        ctx.update(|state| {
            state.users.put_templates(templates);
            state.judge_old_revisions(Instant::now())
        });
    }
}

/// Whether the cluster serves a source by now that its watch found absent.
async fn is_a_source_served_by_now(ctx: &Ctx) -> bool {
    let absent = ctx.state().users.absent_sources();
    for source in absent {
        let gvk = GroupVersionKind::gvk(source.group, source.version, source.kind);
        let resource = ApiResource::from_gvk_with_plural(&gvk, source.plural);
        let api: Api<DynamicObject> = Api::all_with(ctx.sender.client().clone(), &resource);
        match api.list_metadata(&ListParams::default().limit(1)).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            _ => return true,
        }
    }
    false
}

/// Reads the workloads of one kind, page by page. A kind that the cluster does not serve has none.
async fn read(ctx: &Ctx, kind: TemplateKind, templates: &mut Templates) -> kube::Result<()> {
    let gvk = GroupVersionKind::gvk(kind.group, kind.version, kind.kind);
    let resource = ApiResource::from_gvk_with_plural(&gvk, kind.plural);
    let client = ctx.sender.client().clone();
    let api: Api<Object<TemplateSpec, NotUsed>> = Api::all_with(client, &resource);
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = match api.list(&params).await {
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
            other => other?,
        };
        for workload in &page.items {
            templates.put(kind, &workload.metadata, &workload.spec);
        }
        match page.metadata.continue_.filter(|next| !next.is_empty()) {
            Some(next) => params.continue_token = Some(next),
            None => return Ok(()),
        }
    }
}
