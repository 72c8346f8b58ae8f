//! A CR that would install objects of another CR names it and does not take them.

use e2e::{actions::cr::Cr, observe::health::condition, wait::wait_until};
use serde_json::{Value, json};

use crate::{SOON, manifest, running};

/// Of two CRs of one revision that are created at the same moment, one owns everything, and the other says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_crs_at_once_one_gets_everything() {
    let (plane, _operator) = running().await;
    let spec = json!({"profile": "minimal"});
    let list = json!({
        "apiVersion": "v1",
        "kind": "List",
        "items": [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "istio-system"}},
            manifest("one", &spec),
            manifest("two", &spec),
        ],
    });
    plane.apply(&list.to_string()).unwrap();
    let client = plane.client().await.unwrap();
    let [one, two] = ["one", "two"].map(|name| Cr::of(client.clone(), "istio-system", name));
    let words = |cr: &Value| {
        let ready = condition(cr, "Ready");
        format!("{} {}", ready["status"], ready["reason"]).replace('"', "")
    };
    wait_until("one to be HEALTHY and one to yield", SOON, || async {
        let one = one.get().await.map_err(|error| error.to_string())?;
        let two = two.get().await.map_err(|error| error.to_string())?;
        let mut ends = [words(&one.data), words(&two.data)];
        ends.sort();
        if ends == ["False OwnedByAnotherIstioOperator", "True Installed"] {
            Ok(())
        } else {
            Err(format!("{} {}", one.data["status"], two.data["status"]))
        }
    })
    .await
    .unwrap();
}
