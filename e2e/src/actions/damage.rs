//! Changes and deletes single objects, and measures how long the operator takes to repair them.
//!
//! What to damage is read from the object's own managed fields, so that every kind is treated alike
//! and only fields that the operator set are touched.

use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt, future::try_join, pin_mut};
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, ResourceExt, WatchEvent, WatchParams},
};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    error::Error,
    observe::{
        inventory::{Item, MANAGER, OWNER, settled},
        managed_fields,
    },
};

/// What is done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// It is deleted.
    Delete,
    /// A field of ours gets another value.
    Change,
    /// A field of ours is removed.
    Remove,
    /// The labels that name its owner are removed.
    Disown,
}

/// A repair that was seen.
#[derive(Clone, Debug)]
pub struct Repair {
    /// The object, and the field that was damaged.
    pub what: String,
    /// From the answer to the damaging request to the watch event that showed the object as before.
    pub took: Duration,
}

/// The field manager of the damage.
const VANDAL: &str = "vandal";

/// Fields that others may own by design, so that a change to them is no damage.
const SHARED: [&str; 3] = ["/caBundle", "/failurePolicy", "/spec/replicas"];

/// Damages an object and waits until it is as before. Nothing happens to an object that the API
/// server does not let anybody damage in this way.
pub async fn damage(
    client: &Client,
    item: &Item,
    damage: Damage,
    deadline: Duration,
) -> Result<Option<Repair>, Error> {
    let api = item.api(client.clone());
    let name = item.object.name_any();
    let before = api.get(&name).await?;
    let Some(plan) = plan(&api, &before, damage).await? else {
        return Ok(None);
    };
    let what = format!("{damage:?} {} {}", item.name(), plan.field);
    let params = WatchParams::default().fields(&format!("metadata.name={name}"));
    let version = before.resource_version().unwrap_or_default();
    let events = api.watch(&params, &version).await?;
    pin_mut!(events);
    let damaged = async {
        match &plan.patch {
            Some(patch) => drop(api.patch(&name, &as_vandal(), patch).await?),
            None => drop(api.delete(&name, &DeleteParams::background()).await?),
        }
        Ok(Instant::now())
    };
    let mut last = "no event".to_string();
    // Followed from the start: a repair may be seen before the answer to the damage has arrived.
    let repaired = until_as_before(&api, events, &before, damage, &mut last);
    let both = timeout(deadline, try_join(damaged, repaired)).await;
    match both {
        Ok(both) => {
            let (damaged, repaired) = both?;
            let took = repaired.saturating_duration_since(damaged);
            Ok(Some(Repair { what, took }))
        }
        Err(_) => Err(Error::TimedOut {
            what: format!("the repair of {what}"),
            waited: deadline,
            last,
        }),
    }
}

/// The damage to one object: the field, and the patch that changes it; a deletion has none.
struct Plan {
    field: String,
    patch: Option<Patch<Value>>,
}

/// Looks for a field that can be damaged, by dry runs.
async fn plan(
    api: &Api<DynamicObject>,
    object: &DynamicObject,
    damage: Damage,
) -> Result<Option<Plan>, Error> {
    if damage == Damage::Delete {
        let field = String::new();
        return Ok(Some(Plan { field, patch: None }));
    }
    if damage == Damage::Disown {
        let namespace = format!("{OWNER}-namespace");
        let labels = json!({"metadata": {"labels": {OWNER: null, namespace: null}}});
        return Ok(Some(Plan {
            field: "owner labels".into(),
            patch: Some(Patch::Merge(labels)),
        }));
    }
    let before = settled(object);
    let value = serde_json::to_value(object).unwrap_or_default();
    let mut candidates = managed_fields::owned(object, MANAGER);
    candidates.retain(|field| {
        let pointer = field.pointer.as_str();
        let is_shared = SHARED.iter().any(|shared| pointer.ends_with(shared));
        !field.identifies && !is_shared && !pointer.contains("istio.io~1owning-resource")
    });
    // What a component does comes before how it is labeled.
    candidates.sort_by_key(|field| field.pointer.starts_with("/metadata"));
    for field in candidates {
        let Some(operation) = operation(&value, &field.pointer, damage) else {
            continue;
        };
        let patch: json_patch::Patch = serde_json::from_value(json!([operation]))
            .map_err(|error| Error::Unexpected(error.to_string()))?;
        let patch = Patch::Json(patch);
        let trial = PatchParams {
            dry_run: true,
            ..as_vandal()
        };
        // A refusal, or a default that undoes the change, says nothing about the next field.
        let answer = api.patch(&object.name_any(), &trial, &patch).await;
        if answer.is_ok_and(|answer| settled(&answer) != before) {
            let field = field.pointer;
            let patch = Some(patch);
            return Ok(Some(Plan { field, patch }));
        }
    }
    Ok(None)
}

/// The JSON patch operation that damages one field.
fn operation(object: &Value, pointer: &str, damage: Damage) -> Option<Value> {
    if damage == Damage::Remove {
        return Some(json!({"op": "remove", "path": pointer}));
    }
    let value = match object.pointer(pointer)? {
        Value::String(text) => json!(format!("{text}x")),
        Value::Number(number) => json!(number.as_i64()? + 1),
        Value::Bool(truth) => json!(!truth),
        Value::Null | Value::Array(_) | Value::Object(_) => return None,
    };
    Some(json!({"op": "replace", "path": pointer, "value": value}))
}

fn as_vandal() -> PatchParams {
    PatchParams {
        field_manager: Some(VANDAL.into()),
        ..PatchParams::default()
    }
}

/// After this time without an event, the API server may have forgotten to finish a deletion; see [`remind`].
const FORGOTTEN: Duration = Duration::from_secs(10);

/// Follows the events of one object; gives when it was as before again.
async fn until_as_before(
    api: &Api<DynamicObject>,
    mut events: impl StreamExt<Item = kube::Result<WatchEvent<DynamicObject>>> + Unpin,
    before: &DynamicObject,
    damage: Damage,
    last: &mut String,
) -> Result<Instant, Error> {
    let whole = settled(before);
    let mut is_damaged = false;
    loop {
        let Ok(event) = timeout(FORGOTTEN, events.try_next()).await else {
            if damage == Damage::Delete {
                remind(api, before).await;
            }
            continue;
        };
        let Some(event) = event? else {
            return Err(Error::Unexpected("the watch ended".into()));
        };
        let seen = Instant::now();
        match event {
            WatchEvent::Deleted(_) => {
                *last = "it is gone".into();
                is_damaged = true;
            }
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                let now = settled(&object);
                let differing = managed_fields::differing(&whole, &now, "");
                let is_new = damage != Damage::Delete || object.uid() != before.uid();
                if differing.is_empty() && is_new && is_damaged {
                    return Ok(seen);
                }
                is_damaged |= !differing.is_empty() && damage != Damage::Delete;
                *last = format!("differs in {}", differing.join(", "));
            }
            WatchEvent::Bookmark(_) => {}
            WatchEvent::Error(status) => return Err(Error::Unexpected(status.message.clone())),
        }
    }
}

/// Changes an object that is being deleted and still there.
///
/// The API server empties a CRD before it lets it go. If it meets a conflict while it does so, it looks at the CRD again only
/// when something else than the condition `Terminating` changes, or after five minutes (Kubernetes 1.36,
/// `crd_finalizer.go`).
async fn remind(api: &Api<DynamicObject>, object: &DynamicObject) {
    let marks =
        json!({"annotations": {"reminded": format!("{:?}", Instant::now())}, "uid": object.uid()});
    let change = Patch::Merge(json!({"metadata": marks}));
    // It may be gone by now, or another one by the same name, which the UID protects.
    let _ = api.patch(&object.name_any(), &as_vandal(), &change).await;
}
