//! The operator, killed after any of its writes and started again, ends in the same state as one
//! that nobody disturbed.

use std::time::Duration;

use e2e::{
    control_plane::ControlPlane,
    cr::Cr,
    gate::Gate,
    inventory::{Inventory, Snapshot, differences, snapshot},
    operator::Operator,
};
use futures::future::join_all;
use tokio::time::timeout;

use crate::{SOON, sample};

/// Side by side, because a round mostly waits for pods to become ready.
const CONTROL_PLANES: usize = 3;

/// One control plane, with the operator behind a gate that counts its writes.
struct Site {
    operator: Operator,
    gate: Gate,
    inventory: Inventory,
    plane: ControlPlane,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_after_any_write_it_ends_in_the_same_state() {
    let mut first = Site::start().await;
    let (reference, writes) = first.undisturbed().await;
    println!("{} objects, {writes} writes", reference.len());
    assert!((30..100).contains(&writes), "{writes} writes");
    let others = (1..CONTROL_PLANES).map(|_| Site::start());
    let others = join_all(others).await;
    let sites = std::iter::once(first).chain(others).enumerate();
    let sweeps = sites.map(|(number, mut site)| {
        let reference = &reference;
        async move {
            for write in (1 + number..=writes).step_by(CONTROL_PLANES) {
                site.survives(write, reference).await;
            }
        }
    });
    join_all(sweeps).await;
}

impl Site {
    async fn start() -> Self {
        let plane = ControlPlane::start().await.unwrap();
        let gate = Gate::start(&plane.kubeconfig()).await.unwrap();
        let operator = Operator::start_behind(&plane, &gate).await.unwrap();
        let inventory = plane.inventory().await.unwrap();
        Self {
            operator,
            gate,
            inventory,
            plane,
        }
    }

    /// One installation: what it ends in, and the number of writes it took.
    async fn undisturbed(&mut self) -> (Snapshot, usize) {
        self.gate.open();
        let cr = self.apply().await;
        cr.wait_for("HEALTHY", SOON).await.unwrap();
        let writes = self.gate.passed();
        let found = snapshot(&self.inventory.touched().await.unwrap());
        cr.delete(SOON).await.unwrap();
        (found, writes)
    }

    /// One installation during which the operator dies right after its n-th write, before it learns
    /// that it was carried out.
    async fn survives(&mut self, write: usize, reference: &Snapshot) {
        self.gate.admit(write);
        let cr = self.apply().await;
        // An installation may take a write less than the first one did.
        let _ = timeout(Duration::from_secs(10), self.gate.until_shut()).await;
        self.operator.process().kill().unwrap();
        self.gate.open();
        // What the next one waits for would be 15 s of doing nothing.
        let lease = ["lease", "istio-operator", "-n=istio-operator"];
        let delete = ["delete", "--ignore-not-found"];
        self.plane.kubectl(delete.into_iter().chain(lease)).unwrap();
        self.operator.process().restart().unwrap();
        cr.wait_for("HEALTHY", SOON).await.unwrap_or_else(|error| {
            panic!("killed after write {write}: {error}");
        });
        let found = snapshot(&self.inventory.touched().await.unwrap());
        let differences = differences(reference, &found);
        assert!(
            differences.is_empty(),
            "killed after write {write}:\n{}",
            differences.join("\n")
        );
        cr.delete(SOON).await.unwrap();
    }

    async fn apply(&self) -> Cr {
        Cr::apply(&self.plane, &sample("default.yaml"))
            .await
            .unwrap()
    }
}
