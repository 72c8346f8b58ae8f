//! Of two operators one works, and the other takes over when it ends or is killed.

use std::time::Duration;

use e2e::{
    actions::damage::{Damage, damage},
    control_plane::ControlPlane,
    error::Error,
    host::probe,
    operator::{Operator, Options},
    wait::wait_until,
};
use k8s_openapi::jiff::Timestamp;
use kube::api::ResourceExt;

use crate::{
    SOON,
    bystander::{object_writes, quiet},
    healthy, sample,
};

/// The operator is done if it writes nothing for this long.
const QUIET: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_operator_takes_over() {
    let plane = ControlPlane::reuse_or_start().await.unwrap();
    let mut first = replica(&plane, "first").await;
    leads(&first).await;
    let mut second = replica(&plane, "second").await;
    let cr = healthy(&plane, &sample("minimal.yaml")).await;
    assert_eq!(metric(&second, "writes_total").unwrap(), "0");

    // What was applied a moment ago is applied again, because times are whole seconds.
    quiet(&plane, &first, Duration::from_secs(6)).await;
    let before = cr.get().await.unwrap();
    let since = Timestamp::now();
    let status = first.process().stop(SOON).unwrap();
    assert!(status.success(), "{status}");
    // An operator that ends releases the lease, so the next need not wait until it expires.
    assert!(!holder(&plane).starts_with("first"), "{}", holder(&plane));
    leads(&second).await;
    asks_for_everything_once(&plane, &second, since).await;
    let after = cr.get().await.unwrap();
    assert_eq!(after.resource_version(), before.resource_version());
    repairs(&plane).await;

    let first = replica(&plane, "third").await;
    second.process().kill().unwrap();
    assert!(holder(&plane).starts_with("second"));
    leads(&first).await;
    repairs(&plane).await;
    cr.delete(SOON).await.unwrap();
}

async fn replica(plane: &ControlPlane, name: &str) -> Operator {
    let options = Options {
        pod_name: name.into(),
        ..Options::default()
    };
    Operator::start_with(plane, options).await.unwrap()
}

async fn leads(operator: &Operator) {
    wait_until("the operator to lead", SOON, || async {
        match metric(operator, "leader")?.as_str() {
            "1" => Ok(()),
            other => Err(Error::Unexpected(format!("leader: {other}"))),
        }
    })
    .await
    .unwrap();
}

/// A new leader does not know what was applied before it. It asks for everything once, and as nothing differs, it writes
/// nothing.
async fn asks_for_everything_once(plane: &ControlPlane, operator: &Operator, since: Timestamp) {
    wait_until("the new leader to ask for everything", SOON, || async {
        let mut events = plane.audit().by(operator.user(), since).unwrap();
        events.retain(|event| event.verb == "patch" && !event.is_write());
        match events.len() {
            many if many > 20 => Ok(()),
            few => Err(format!("{few} dry runs")),
        }
    })
    .await
    .unwrap();
    quiet(plane, operator, QUIET).await;
    let written = object_writes(plane, operator, since);
    assert!(written.is_empty(), "{written:?}");
}

/// Who has the lease, or nothing.
fn holder(plane: &ControlPlane) -> String {
    let lease = ["lease", "istio-operator", "-n=istio-operator"];
    let holder = "-o=jsonpath={.spec.holderIdentity}";
    let get = ["get", holder].into_iter().chain(lease);
    plane.kubectl(get).unwrap()
}

async fn repairs(plane: &ControlPlane) {
    let client = plane.client().await.unwrap();
    let items = plane.inventory().await.unwrap().owned().await.unwrap();
    let service = items
        .iter()
        .find(|item| item.resource.kind == "Service")
        .unwrap();
    damage(&client, service, Damage::Delete, SOON)
        .await
        .unwrap();
}

/// The value of a metric without labels.
fn metric(operator: &Operator, name: &str) -> Result<String, Error> {
    let text = probe::get(operator.port(), "/metrics")?;
    let prefix = format!("istio_operator_{name} ");
    let value = text.lines().find_map(|line| line.strip_prefix(&prefix));
    value.map(String::from).ok_or(Error::Unexpected(text))
}
