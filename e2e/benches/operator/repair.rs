//! How long repairs take.

use std::time::Duration;

use e2e::{
    actions::damage::{Damage, damage},
    control_plane::ControlPlane,
    observe::{audit::Event, inventory::Item},
    operator::Operator,
    wait::wait_until,
};
use k8s_openapi::jiff::Timestamp;
use kube::api::ResourceExt;

use crate::{
    LIMIT, median,
    table::{Row, milliseconds, row},
};

/// Every object, edited and deleted in turn. A repair lasts from the answer to the damaging request to the watch event that
/// shows the object as before.
pub async fn repairing(plane: &ControlPlane, operator: &Operator) -> Vec<Row> {
    let client = plane.client().await.unwrap();
    let inventory = plane.inventory().await.unwrap();
    let items = inventory.owned().await.unwrap();
    let mut rows = Vec::new();
    for (what, kind, upstream) in [
        (
            "deleted object back",
            Damage::Delete,
            "operator 1.23.6: 0.5 to 2.9 s",
        ),
        (
            "edited object back",
            Damage::Change,
            "operator 1.23.6: never",
        ),
    ] {
        let mut repairs = Vec::new();
        for item in &items {
            let since = Timestamp::now();
            let repair = damage(&client, item, kind, LIMIT).await.unwrap();
            repairs.extend(repair.map(|repair| (repair.took, item, since)));
        }
        repairs.sort_by_key(|repair| repair.0);
        let times: Vec<_> = repairs.iter().map(|repair| repair.0).collect();
        let p99 = (times.len() * 99).div_ceil(100) - 1;
        let measured = format!(
            "median {}, p99 {} of {}",
            milliseconds(median(&times)),
            milliseconds(times[p99]),
            times.len()
        );
        rows.push(row(what, measured, "p99 <= 250 ms", upstream));
        let (_, item, since) = repairs[p99];
        let (ours, answer) = split(plane, operator, item, since).await;
        let name = item.object.name_any();
        for (part, time) in [
            ("- of its p99 until we write", ours),
            ("- of its p99 until that is answered", answer),
        ] {
            let measured = format!("{} ({name})", milliseconds(time));
            rows.push(row(part, measured, "-", "-"));
        }
    }
    rows
}

/// Splits the time of a repair, by the API server's clock: from the last write of others, which did the damage, to the
/// arrival of our first write after `since`, and from there to its answer. The rest of a repair lies before: a deleted CRD
/// exists until the API server's own finalizer is done.
async fn split(
    plane: &ControlPlane,
    operator: &Operator,
    item: &Item,
    since: Timestamp,
) -> (Duration, Duration) {
    wait_until("the audit log", LIMIT, || async {
        let events = plane.audit().by("", since);
        let mut events = events.map_err(|error| error.to_string())?;
        events.retain(|event| {
            event.is_write()
                && event.is_about(&item.resource.group, &item.resource.plural)
                && event.object_ref.name == item.object.name_any()
        });
        let is_ours = |event: &&Event| event.user.username == operator.user();
        let write = events.iter().find(is_ours);
        let write = write.ok_or("the write is not recorded yet")?;
        let others = events.iter().filter(|event| !is_ours(event));
        let others = others.filter(|event| event.completed <= write.received);
        let last = others.map(|event| event.completed).max();
        let last = last.ok_or("no write of others came before")?;
        let ours = Duration::try_from(write.received.duration_since(last));
        let answer = Duration::try_from(write.completed.duration_since(write.received));
        ours.and_then(|ours| Ok((ours, answer?)))
            .map_err(|error| error.to_string())
    })
    .await
    .unwrap()
}
