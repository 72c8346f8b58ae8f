//! An operator that is killed after any of its writes of an upgrade, a promotion or the way back, and started again, ends in
//! the same state as one that was not. So does the deletion of a CR in the middle of an upgrade.

use e2e::{actions::cr::Cr, observe::inventory::differences, wait::wait_until};
use futures::future::join_all;
use kube::api::ResourceExt;
use serde_json::json;

use crate::{
    SOON,
    canary::with_gateways_and_tag,
    crash::{CONTROL_PLANES, End, Site, stride},
    deletion::only_crds_are_left,
    healthy, running,
};

const STRIDE: usize = 15;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_survives_a_crash_after_any_write() {
    survives("InPlace").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_survives_a_crash_after_any_write() {
    survives("Canary").await;
}

/// Upgrade row 5: a CR that is deleted in the middle of an upgrade takes everything along.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_in_the_middle_of_an_upgrade_ends_clean() {
    let (plane, _operator) = running().await;
    let inventory = plane.inventory().await.unwrap();
    for kind in ["InPlace", "Canary"] {
        let cr = healthy(&plane, &mesh("1.30", kind)).await;
        let nodes = plane.kubectl(["get", "nodes", "-o=name"]).unwrap();
        let on_nodes = |command: &str| {
            for node in nodes.lines() {
                plane.kubectl([command, node]).unwrap();
            }
        };
        on_nodes("cordon");
        plane.apply(&mesh("1.31", kind)).unwrap();
        wait_until("the new istiod", SOON, || async {
            let labels = "--selector=app=istiod,operator.istio.io/version=1.31.1";
            let found = plane.kubectl(["get", "deployments", "-A", "-o=name", labels])?;
            if found.is_empty() {
                return Err(e2e::error::Error::Unexpected("there is none".into()));
            }
            Ok(())
        })
        .await
        .unwrap();
        cr.delete(SOON).await.unwrap();
        only_crds_are_left(&inventory).await;
        on_nodes("uncordon");
    }
}

/// istiod, two gateways and a tag.
fn mesh(version: &str, kind: &str) -> String {
    let strategy = json!({"type": kind, "inactiveRevisionGracePeriod": "0s"});
    with_gateways_and_tag(version, &strategy).to_string()
}

/// One step up and one back, killed after one write after the other.
async fn survives(kind: &str) {
    let mut first = Site::start().await;
    // CRDs stay as new as they were once.
    for version in ["1.30", "1.31", "1.30"] {
        step(&mut first, version, kind).await;
    }
    let up = step(&mut first, "1.31", kind).await;
    let down = step(&mut first, "1.30", kind).await;
    println!("{kind}: {} writes up, {} back", up.writes, down.writes);
    assert!((10..120).contains(&up.writes) && (10..120).contains(&down.writes));
    let writes = 1..=up.writes.max(down.writes);
    let writes: Vec<_> = writes.step_by(stride(STRIDE)).collect();
    let others = (1..CONTROL_PLANES).map(|_| async {
        let mut site = Site::start().await;
        for version in ["1.30", "1.31", "1.30"] {
            step(&mut site, version, kind).await;
        }
        site
    });
    let others = join_all(others).await;
    let sites = std::iter::once(first).chain(others).enumerate();
    let sweeps = sites.map(|(number, mut site)| {
        let (writes, ends) = (&writes, [("1.31", &up), ("1.30", &down)]);
        async move {
            for write in writes.iter().skip(number).step_by(CONTROL_PLANES) {
                for (version, end) in ends {
                    let when = format!("{kind} to {version}, killed after write {write}");
                    site.proxy.limit_writes(*write);
                    let cr = Cr::apply(&site.plane, &mesh(version, kind)).await.unwrap();
                    site.crash().await;
                    is_there(&cr, version).await;
                    let found = site.end().await.found;
                    let differences = differences(&end.found, &found);
                    assert!(
                        differences.is_empty(),
                        "{when}:\n{}",
                        differences.join("\n")
                    );
                }
            }
        }
    });
    join_all(sweeps).await;
    println!("{kind}: {} runs", 2 * writes.len());
}

/// One step that is not disturbed.
async fn step(site: &mut Site, version: &str, kind: &str) -> End {
    site.proxy.lift_limit();
    let cr = Cr::apply(&site.plane, &mesh(version, kind)).await.unwrap();
    is_there(&cr, version).await;
    site.end().await
}

/// Waits until a version is there alone.
async fn is_there(cr: &Cr, version: &str) {
    let what = format!("{version} alone");
    wait_until(&what, SOON, || async {
        let cr = cr.get().await.map_err(|error| error.to_string())?;
        let status = &cr.data["status"];
        let is_version = status["version"]
            .as_str()
            .is_some_and(|it| it.starts_with(version));
        let is_done = status["observedGeneration"].as_i64() == cr.metadata.generation
            && status["status"] == "HEALTHY"
            && status.get("canary").is_none();
        if is_version && is_done {
            Ok(())
        } else {
            Err(format!("{}: {status}", cr.name_any()))
        }
    })
    .await
    .unwrap();
}
