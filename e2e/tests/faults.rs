//! The faults that scenarios inject: they meet the requests that they name and no others, and they end.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on may stop anywhere"
)]

use std::{fs, time::Duration};

use e2e::{
    actions::{
        admission_policy::{AdmissionPolicy, Requests},
        api_proxy::{ApiProxy, Fault},
    },
    control_plane::ControlPlane,
    wait::SOON,
};
use futures::{StreamExt, pin_mut};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, Config,
    api::{PostParams, WatchEvent, WatchParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};
use tokio::time::timeout;

/// Nothing that may still come takes longer.
const QUIET: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chosen_requests_meet_their_fault() {
    let plane = ControlPlane::start().await.unwrap();
    refuses_and_breaks(&plane).await;
    admission_policies_begin_and_end(&plane).await;
}

async fn refuses_and_breaks(plane: &ControlPlane) {
    let proxy = ApiProxy::start(&plane.kubeconfig()).await.unwrap();
    let maps: Api<ConfigMap> = Api::default_namespaced(by_way_of(&proxy, plane).await);
    let events = maps.watch(&WatchParams::default(), "0").await.unwrap();
    pin_mut!(events);
    create(&maps, "before").await.unwrap();
    while !is_added(&events.next().await.unwrap().unwrap(), "before") {}

    let writes = |call: &e2e::actions::api_proxy::Call| call.is_write();
    proxy.inject(Fault::refuse(422), writes);
    let refused = create(&maps, "refused").await.unwrap_err();
    assert!(
        matches!(&refused, kube::Error::Api(status) if status.code == 422 && status.reason == "Invalid"),
        "{refused:?}"
    );
    // What the watch still has to say comes before the silence; it does not break.
    while let Ok(event) = timeout(QUIET, events.next()).await {
        event.unwrap().unwrap();
    }
    maps.get("before").await.unwrap();

    proxy.inject(Fault::refuse(500), |call| {
        call.is_watch() && call.is_about("configmaps")
    });
    let end = timeout(SOON, events.next()).await.unwrap();
    assert!(end.is_none_or(|event| event.is_err()), "the watch breaks");
    let again = maps.watch(&WatchParams::default(), "0").await;
    assert!(again.is_err(), "it cannot begin again");

    proxy.clear_faults();
    create(&maps, "after").await.unwrap();
    proxy.inject(Fault::Hang, writes);
    assert!(timeout(QUIET, create(&maps, "late")).await.is_err());
}

async fn admission_policies_begin_and_end(plane: &ControlPlane) {
    let maps: Api<ConfigMap> = Api::default_namespaced(plane.client().await.unwrap());
    let requests = Requests {
        api_group: "",
        resource: "configmaps",
        operations: &["CREATE"],
        condition: "object.metadata.name == 'chosen'",
    };
    let policy = AdmissionPolicy::refuse(plane, "chosen", requests, "not this one");
    let policy = policy.await.unwrap();
    let refused = create(&maps, "chosen").await.unwrap_err().to_string();
    assert!(refused.contains("not this one"), "{refused}");
    create(&maps, "other").await.unwrap();
    policy.lift().await.unwrap();
    create(&maps, "chosen").await.unwrap();

    let requests = Requests {
        resource: "secrets",
        condition: "true",
        ..requests
    };
    let policy = AdmissionPolicy::refuse(plane, "secrets", requests, "no secrets");
    let _policy = policy.await.unwrap();
    create(&maps, "not-meant").await.unwrap();
    let secret = ["create", "secret", "generic", "meant"];
    assert!(plane.kubectl(secret).is_err());
}

async fn create(maps: &Api<ConfigMap>, name: &str) -> kube::Result<ConfigMap> {
    let map = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    maps.create(&PostParams::default(), &map).await
}

fn is_added(event: &WatchEvent<ConfigMap>, name: &str) -> bool {
    matches!(event, WatchEvent::Added(map) if map.metadata.name.as_deref() == Some(name))
}

/// A client of the administrator that asks the proxy.
async fn by_way_of(proxy: &ApiProxy, plane: &ControlPlane) -> Client {
    let text = fs::read_to_string(plane.kubeconfig()).unwrap();
    let mut kubeconfig: Value = serde_json::from_str(&text).unwrap();
    kubeconfig["clusters"][0]["cluster"] = json!({"server": proxy.url()});
    let kubeconfig = Kubeconfig::from_yaml(&kubeconfig.to_string()).unwrap();
    let options = KubeConfigOptions::default();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .unwrap();
    config.default_retry = false;
    Client::try_from(config).unwrap()
}
