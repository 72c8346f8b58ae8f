//! Lists of the objects that the operator would watch.

use istio_operator::cluster::{Kind, LiveObject, WatchedSpec, WatchedStatus};
use istio_operator::render::ObjectKey;
use kube::Client;
use kube::api::{Api, DynamicObject, ListParams, PartialObjectMeta};
use kube::core::Object;

/// Objects per page of a list.
const PAGE: u32 = 50;

/// The objects of a kind that the operator would watch; none if the cluster does not serve the kind.
pub(super) async fn list_objects(
    client: &Client,
    kind: &Kind,
) -> Result<Vec<(ObjectKey, LiveObject)>, kube::Error> {
    let mut found = Vec::new();
    let mut params = ListParams::default().labels(kind.label()).limit(PAGE);
    loop {
        let page = if kind.reports_readiness() {
            let api: Api<Object<WatchedSpec, WatchedStatus>> =
                Api::all_with(client.clone(), &kind.resource());
            let reduce = |object: Object<WatchedSpec, WatchedStatus>| {
                let status = object.status.unwrap_or_default();
                LiveObject::of(kind, &object.metadata, Some((&object.spec, &status)))
            };
            api.list(&params).await.map(|list| {
                found.extend(list.items.into_iter().map(reduce));
                list.metadata.continue_
            })
        } else {
            let api: Api<DynamicObject> = Api::all_with(client.clone(), &kind.resource());
            let reduce = |object: PartialObjectMeta<DynamicObject>| {
                LiveObject::of(kind, &object.metadata, None)
            };
            api.list_metadata(&params).await.map(|list| {
                found.extend(list.items.into_iter().map(reduce));
                list.metadata.continue_
            })
        };
        match page {
            Ok(Some(next)) if !next.is_empty() => params = params.continue_token(&next),
            Ok(_) => return Ok(found),
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(found),
            Err(error) => return Err(error),
        }
    }
}
