//! What people do to an installation, and what the operator's metrics and alerts make of it.

use e2e::{
    actions::cr::{Cr, manifest},
    addons::prometheus::Prometheus,
    control_plane::ControlPlane,
    error::Error,
    wait::{SOON, wait_until},
};
use serde_json::{Value, json};

use crate::{ensure, say};

/// The field manager that insists on other values.
const VANDAL: &str = "vandal";

/// So often the operator repairs an edit before it lets the editor have it.
const REPAIRS: usize = 3;

/// What Prometheus finds when all of this has happened, with what it stands for.
const TOLD: [(&str, &str); 8] = [
    (
        "a deleted Service that came back",
        "istio_operator_repairs_total{kind=\"Service\"} >= 1",
    ),
    (
        "an edited autoscaler that was set back",
        "istio_operator_repairs_total{kind=\"HorizontalPodAutoscaler\"} >= 3",
    ),
    (
        "an autoscaler that is left to its editor",
        "istio_operator_cr_conflicts{manager=\"vandal\"} == 1",
    ),
    (
        "the condition for that",
        "istio_operator_cr_condition{name=\"mesh\", type=\"Conflict\"} == 1",
    ),
    (
        "the alert for that, which waits for its five minutes",
        "ALERTS{alertname=\"IstioOperatorConflict\", alertstate=\"pending\", name=\"mesh\"}",
    ),
    (
        "a Deployment of an addon that was switched off",
        "istio_operator_prunes_total{kind=\"Deployment\"} >= 1",
    ),
    (
        "a Service that the cluster refuses",
        "istio_operator_refusals_total >= 1",
    ),
    (
        "the alert for that, which waits for its ten minutes",
        "ALERTS{alertname=\"IstioOperatorNotHealthy\", alertstate=\"pending\", name=\"refused\"}",
    ),
];

/// Does all of it to the installation of `cr` in `namespace`, and waits until Prometheus knows, whose rules are
/// all in order. `addon` is switched off meanwhile.
pub async fn is_told(
    plane: &ControlPlane,
    prometheus: &Prometheus,
    cr: &Cr,
    namespace: &str,
    addon: &str,
) -> Result<(), Error> {
    let here = format!("--namespace={namespace}");
    a_service_is_deleted(plane, &here).await?;
    let off = json!({"spec": {"addonComponents": {addon: {"enabled": false}}}});
    cr.patch(&off).await?;
    wait_until("the addon to go", SOON, || async {
        let left = plane.kubectl(["get", "deployment", addon, "--ignore-not-found", &here])?;
        ensure(left.is_empty(), left)
    })
    .await?;
    a_taken_port_is_wanted(plane, &here).await?;
    // At last, because nothing is pruned while somebody insists on another value.
    an_autoscaler_is_edited(plane, &here).await?;
    cr.wait_for_condition("Conflict", "True", None, SOON)
        .await?;
    for (what, query) in TOLD {
        wait_until(what, SOON, || async {
            let series = prometheus.query(query).await?;
            ensure(!series.is_empty(), query)
        })
        .await?;
        say(&format!("Prometheus knows of {what}"))?;
    }
    let rules = prometheus.rules().await?;
    let is_ill = |rule: &&Value| rule["health"] != "ok";
    let ill: Vec<_> = rules.iter().filter(is_ill).collect();
    ensure(!rules.is_empty() && ill.is_empty(), format!("{ill:?}"))?;
    say(&format!("Prometheus judges by {} alerts", rules.len()))
}

async fn a_service_is_deleted(plane: &ControlPlane, here: &str) -> Result<(), Error> {
    let identity = || {
        let path = "-o=jsonpath={.metadata.uid}";
        let get = ["get", "service", "prometheus", path, here];
        plane.kubectl(get)
    };
    let before = identity()?;
    plane.kubectl(["delete", "service", "prometheus", here])?;
    wait_until("the Service to be back", SOON, || async {
        let now = identity()?;
        ensure(now != before, "it is not deleted yet")
    })
    .await
}

async fn an_autoscaler_is_edited(plane: &ControlPlane, here: &str) -> Result<(), Error> {
    let maximum = || {
        let path = "-o=jsonpath={.spec.maxReplicas}";
        plane.kubectl(["get", "hpa", "istiod", path, here])
    };
    let edit = || {
        let patch = "--patch={\"spec\":{\"maxReplicas\":9}}";
        let manager = format!("--field-manager={VANDAL}");
        plane.kubectl(["patch", "hpa", "istiod", patch, &manager, here])
    };
    let wanted = maximum()?;
    for _ in 0..REPAIRS {
        edit()?;
        wait_until("the autoscaler to be set back", SOON, || async {
            let now = maximum()?;
            ensure(now == wanted, now)
        })
        .await?;
    }
    edit().map(drop)
}

/// Another `IstioOperator` wants the port of the nodes that the gateway has.
async fn a_taken_port_is_wanted(plane: &ControlPlane, here: &str) -> Result<(), Error> {
    let path = "-o=jsonpath={.spec.ports[0].nodePort}";
    let taken = plane.kubectl(["get", "service", "istio-ingressgateway", path, here])?;
    let taken: u16 = taken
        .parse()
        .map_err(|_| Error::Unexpected(format!("the gateway has the port {taken:?}")))?;
    let ports = json!([{"name": "http-metrics", "port": 3100, "nodePort": taken}]);
    let service = json!({"type": "NodePort", "ports": ports});
    let loki = json!({"namespace": "logs", "k8s": {"service": service}});
    let spec = json!({"profile": "empty", "addonComponents": {"loki": loki}});
    let cr = Cr::apply(plane, &manifest("refused", &spec).to_string()).await?;
    cr.wait_for("ERROR", SOON).await.map(drop)
}
