//! How the operator's cost grows with the gateways of one CR, and with the number of CRs.

use std::{
    collections::BTreeMap,
    env, fs,
    time::{Duration, Instant},
};

use e2e::{
    actions::cr::{Cr, manifest, resource, state},
    control_plane::{ControlPlane, Options},
    operator::{self, Operator},
    wait::wait_until,
    yaml,
};
use k8s_openapi::jiff::Timestamp;
use kube::{
    Api,
    api::{DynamicObject, ListParams},
};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    healthy_after, median, render_in_process, run,
    table::{mebibytes, memory, milliseconds, print_growth},
    times,
};

/// Sizes that are measured, separated by commas; `GROWTH=1,5` makes a short run.
const SIZES: &str = "GROWTH";
const USUAL_SIZES: &str = "1,50,500";

/// A node holds 1,000 pods, and an autoscaler may give a gateway a second one.
const GATEWAYS_PER_NODE: usize = 400;

/// Enough for every size; what takes longer failed.
const LIMIT: Duration = Duration::from_mins(15);

/// What an installation sets off comes to rest within this time.
const SETTLING: Duration = Duration::from_secs(5);

/// For how long requests at rest are counted.
const REST: Duration = Duration::from_secs(20);

/// Measures every size and prints a table for gateways and one for CRs.
pub async fn measure() {
    let sizes = sizes();
    let mut rows = Vec::new();
    for gateways in &sizes {
        rows.push(with_gateways(*gateways).await);
    }
    // What 500 gateways may cost.
    let budget = ["budget of 500", "-", "300 ms", "-", "-", "-", "64 MiB"];
    rows.push(budget.map(String::from));
    let head = [
        "gateways of one CR",
        "first render in process",
        "next ones",
        "render as a process",
        "applied to HEALTHY",
        "requests",
        "peak memory",
    ];
    print_growth(head, &rows);

    let mut rows = Vec::new();
    for crs in &sizes {
        rows.push(with_crs(*crs).await);
    }
    let head = [
        "CRs",
        "start to a status of all",
        "requests until then",
        "requests at rest",
        "CPU at rest",
        "memory",
    ];
    print_growth(head, &rows);
}

fn sizes() -> Vec<usize> {
    let text = env::var(SIZES).unwrap_or_else(|_| USUAL_SIZES.into());
    let sizes = text.split(',').map(|size| size.trim().parse());
    sizes.collect::<Result<_, _>>().unwrap()
}

/// An installation with this many ingress gateways, on a control plane of its own.
async fn with_gateways(count: usize) -> [String; 7] {
    let gateway = |number| json!({"name": format!("gateway-{number}"), "enabled": true});
    let gateways: Vec<_> = (0..count).map(gateway).collect();
    let spec = json!({"profile": "minimal", "components": {"ingressGateways": gateways}});
    let cr = manifest("gateways", &spec);
    let first = median(&times(1, || render_in_process(&cr)));
    let next = median(&times(5, || render_in_process(&cr)));

    let options = Options {
        nodes: 1 + count / GATEWAYS_PER_NODE,
        ..Options::default()
    };
    let plane = ControlPlane::start_with(options).await.unwrap();
    let file = plane.dir().join("gateways.yaml");
    fs::write(&file, cr.to_string()).unwrap();
    let binary = operator::binary().unwrap();
    let as_process = median(&times(5, || run(&binary, &["render"], &file)));

    let mut operator = Operator::start(&plane).await.unwrap();
    let since = Timestamp::now();
    let installed = Cr::apply(&plane, &cr.to_string()).await.unwrap();
    installed.wait_for("HEALTHY", LIMIT).await.unwrap();
    let healthy = healthy_after(&plane, &operator, since).await;
    sleep(SETTLING).await;
    [
        count.to_string(),
        milliseconds(first),
        milliseconds(next),
        milliseconds(as_process),
        milliseconds(healthy),
        requests(&plane, &operator, since),
        mebibytes(operator.process().usage().unwrap().peak),
    ]
}

/// An operator that starts where this many CRs are, each of its own revision and without components, so that nothing but
/// the CRs themselves costs anything.
async fn with_crs(count: usize) -> [String; 6] {
    let plane = ControlPlane::start().await.unwrap();
    // It brings the CRD.
    let mut operator = Operator::start(&plane).await.unwrap();
    operator.process().stop(LIMIT).unwrap();
    plane.create_namespace("istio-system").unwrap();
    let crs: Vec<_> = (0..count).map(empty).collect();
    let create = ["create", "--filename=-"];
    plane
        .kubectl_with_input(create, &yaml::stream(&crs))
        .unwrap();

    let (since, started) = (Timestamp::now(), Instant::now());
    operator.process().restart().unwrap();
    all_have_a_status(&plane, count).await;
    let took = started.elapsed();
    sleep(SETTLING).await;
    let requests_until_then = requests(&plane, &operator, since);

    let (since, before) = (Timestamp::now(), operator.process().usage().unwrap().cpu);
    sleep(REST).await;
    let usage = operator.process().usage().unwrap();
    let cpu = usage.cpu.saturating_sub(before).as_secs_f64() * 1000.0 / REST.as_secs_f64();
    [
        count.to_string(),
        milliseconds(took),
        requests_until_then,
        requests(&plane, &operator, since),
        format!("{cpu:.1} mCPU"),
        memory(usage),
    ]
}

fn empty(number: usize) -> Value {
    let spec = json!({"profile": "empty", "revision": format!("r{number}")});
    manifest(&format!("mesh-{number}"), &spec)
}

async fn all_have_a_status(plane: &ControlPlane, count: usize) {
    let client = plane.client().await.unwrap();
    let crs: Api<DynamicObject> = Api::all_with(client, &resource());
    wait_until("a status of all CRs", LIMIT, || async {
        let crs = crs.list(&ListParams::default()).await;
        let crs = crs.map_err(|error| error.to_string())?;
        let mut states: BTreeMap<&str, usize> = BTreeMap::new();
        for cr in &crs {
            *states.entry(state(cr)).or_default() += 1;
        }
        match states.get("HEALTHY") {
            Some(healthy) if *healthy == count => Ok(()),
            _ => Err(format!("{states:?}")),
        }
    })
    .await
    .unwrap();
}

/// What the operator asked since then, leases and watches aside.
fn requests(plane: &ControlPlane, operator: &Operator, since: Timestamp) -> String {
    let mut events = plane.audit().by(operator.user(), since).unwrap();
    events.retain(|event| event.object_ref.resource != "leases" && event.verb != "watch");
    let writes = events.iter().filter(|event| event.is_write()).count();
    format!("{}, {writes} of them writes", events.len())
}
