//! An operator that is killed after any of its writes and started again ends in the same state as one that was not: after
//! an installation and after a deletion.

use std::{env, time::Duration};

use e2e::{
    actions::{api_proxy::ApiProxy, cr::Cr},
    control_plane::ControlPlane,
    observe::inventory::{Inventory, Snapshot, differences, snapshot},
    operator::Operator,
};
use futures::future::{join, join_all};
use tokio::time::timeout;

use crate::{SOON, sample};

const STRIDE: usize = 5;

/// Side by side, because a round mostly waits for pods to become ready.
pub const CONTROL_PLANES: usize = 3;

/// After one of how many writes a sweep kills the operator: `usual`, or after each of them with `EVERY_WRITE=1`.
pub fn stride(usual: usize) -> usize {
    env::var("EVERY_WRITE").map_or(usual, |_| 1)
}

/// One control plane, with the operator behind a proxy that limits its writes.
pub struct Site {
    operator: Operator,
    pub proxy: ApiProxy,
    inventory: Inventory,
    pub plane: ControlPlane,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_after_any_write_it_ends_in_the_same_state() {
    let mut first = Site::start().await;
    let reference = first.undisturbed().await;
    for End { found, writes } in [&reference.installed, &reference.deleted] {
        println!("{} objects after {writes} writes", found.len());
        assert!((20..100).contains(writes), "{writes} writes");
    }
    let most = reference.installed.writes.max(reference.deleted.writes);
    let others = (1..CONTROL_PLANES).map(|_| Site::start());
    let others = join_all(others).await;
    let sites = std::iter::once(first).chain(others).enumerate();
    let sweeps = sites.map(|(number, mut site)| {
        let reference = &reference;
        async move {
            let writes = (1..=most).step_by(stride(STRIDE));
            for write in writes.skip(number).step_by(CONTROL_PLANES) {
                site.survives(write, reference).await;
            }
        }
    });
    join_all(sweeps).await;
}

/// The end states of an operator that is not killed.
struct Reference {
    installed: End,
    deleted: End,
}

/// All objects that the operator made and that exist in the end, and the number of its writes.
pub struct End {
    pub found: Snapshot,
    pub writes: usize,
}

impl Site {
    pub async fn start() -> Self {
        let plane = ControlPlane::reuse_or_start().await.unwrap();
        let proxy = ApiProxy::start(&plane.kubeconfig()).await.unwrap();
        let operator = Operator::start_behind(&plane, &proxy).await.unwrap();
        let inventory = plane.inventory().await.unwrap();
        Self {
            operator,
            proxy,
            inventory,
            plane,
        }
    }

    /// One installation and its deletion.
    async fn undisturbed(&mut self) -> Reference {
        self.proxy.lift_limit();
        let cr = self.apply().await;
        cr.wait_for("HEALTHY", SOON).await.unwrap();
        let installed = self.end().await;
        self.proxy.lift_limit();
        cr.delete(SOON).await.unwrap();
        let deleted = self.end().await;
        Reference { installed, deleted }
    }

    /// One installation and its deletion; during each of them the operator dies right after its n-th write if there is
    /// one, before it gets the answer.
    async fn survives(&mut self, write: usize, reference: &Reference) {
        let when = format!("installing, killed after write {write}");
        self.proxy.limit_writes(write);
        let cr = self.apply().await;
        self.crash().await;
        let healthy = cr.wait_for("HEALTHY", SOON).await;
        healthy.unwrap_or_else(|error| panic!("{when}: {error}"));
        self.ends_as(&reference.installed, &when).await;

        if write > reference.deleted.writes {
            return cr.delete(SOON).await.unwrap();
        }
        let when = format!("deleting, killed after write {write}");
        self.proxy.limit_writes(write);
        let (gone, ()) = join(cr.delete(SOON), self.crash()).await;
        gone.unwrap_or_else(|error| panic!("{when}: {error}"));
        self.ends_as(&reference.deleted, &when).await;
    }

    /// Kills the operator once the limit of writes is reached, and starts it again.
    pub async fn crash(&mut self) {
        // It may take fewer writes than the first time.
        let _ = timeout(
            Duration::from_secs(10),
            self.proxy.wait_until_limit_reached(),
        )
        .await;
        self.operator.process().kill().unwrap();
        self.proxy.lift_limit();
        // Otherwise the next operator would wait 15 s for the lease to expire.
        let lease = ["lease", "istio-operator", "-n=istio-operator"];
        let delete = ["delete", "--ignore-not-found"];
        self.plane.kubectl(delete.into_iter().chain(lease)).unwrap();
        self.operator.process().restart().unwrap();
    }

    pub async fn end(&self) -> End {
        let writes = self.proxy.forwarded_writes();
        let found = snapshot(&self.inventory.touched().await.unwrap());
        End { found, writes }
    }

    async fn ends_as(&self, reference: &End, when: &str) {
        let differences = differences(&reference.found, &self.end().await.found);
        assert!(
            differences.is_empty(),
            "{when}:\n{}",
            differences.join("\n")
        );
    }

    async fn apply(&self) -> Cr {
        Cr::apply(&self.plane, &sample("default.yaml"))
            .await
            .unwrap()
    }
}
