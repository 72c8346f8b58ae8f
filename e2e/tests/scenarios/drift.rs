//! Every object of an installation, deleted or edited, each in turn, comes back as it was.

use e2e::{
    actions::damage::{Damage, Repair, damage},
    observe::inventory::{differences, snapshot},
};

use crate::{SOON, healthy, running, sample};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_object_comes_back_as_it_was() {
    let (plane, _operator) = running().await;
    let cr = healthy(&plane, &sample("acceptance.yaml")).await;
    let client = plane.client().await.unwrap();
    let inventory = plane.inventory().await.unwrap();
    let items = inventory.owned().await.unwrap();
    let before = snapshot(&items);
    assert!(before.len() > 35, "{:?}", before.keys());

    for kind in [
        Damage::Change,
        Damage::Remove,
        Damage::Disown,
        Damage::Delete,
    ] {
        let mut repairs = Vec::new();
        for item in &items {
            let repair = damage(&client, item, kind, SOON).await.unwrap();
            // Some objects cannot lose a field, for example if their only one is required.
            assert!(
                repair.is_some() || kind == Damage::Remove,
                "{kind:?} {}",
                item.name()
            );
            repairs.extend(repair);
        }
        println!("{kind:?}: {}", told(&mut repairs));
        assert!(
            repairs.len() * 10 > items.len() * 9,
            "{} of {}",
            repairs.len(),
            items.len()
        );
    }
    cr.wait_for("HEALTHY", SOON).await.unwrap();
    let after = snapshot(&inventory.owned().await.unwrap());
    let differences = differences(&before, &after);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

fn told(repairs: &mut [Repair]) -> String {
    repairs.sort_by_key(|repair| repair.took);
    let (Some(median), Some(slowest)) = (repairs.get(repairs.len() / 2), repairs.last()) else {
        return "nothing could be damaged".into();
    };
    format!(
        "{} repairs, median {} ms, slowest {} ms ({})",
        repairs.len(),
        median.took.as_millis(),
        slowest.took.as_millis(),
        slowest.what
    )
}
