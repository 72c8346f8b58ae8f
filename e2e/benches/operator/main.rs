//! What the operator costs, beside the budgets and beside upstream, on the local control plane.
//!
//! `cargo bench --package e2e --bench operator` prints a table of costs and two of growth; `-- costs` and `-- growth` print
//! the one or the other, and `GROWTH=1,50` chooses other sizes than 1, 50 and 500. Run it on a machine that does nothing
//! else.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints, and may stop anywhere"
)]

mod commands;
mod crowd;
mod growth;
mod repair;
mod table;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::LazyLock,
    time::{Duration, Instant},
};

use e2e::{
    actions::cr::Cr,
    control_plane::{ControlPlane, Options},
    host::{go_programs::Bundle, workspace::root},
    observe::audit::Event,
    operator::{self, Operator},
    wait::wait_until,
};
use istio_operator::{
    api::IstioOperator,
    charts::Charts,
    merge::{Cluster, merge},
    render::render,
};
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;
use table::{Row, mebibytes, memory, milliseconds, print, row};
use tokio::time::sleep;

/// Enough for anything here; what takes longer failed.
const LIMIT: Duration = Duration::from_mins(1);

/// What is installed: an installation as people have it.
const SAMPLE: &str = "acceptance.yaml";

/// Installations of which the median is taken.
const INSTALLS: usize = 5;

/// For how long an idle operator is watched.
const IDLE: Duration = Duration::from_mins(1);

#[tokio::main]
async fn main() {
    // Cargo itself adds the flag `--bench`.
    let chosen: Vec<_> = env::args().skip(1).filter(|one| one != "--bench").collect();
    let is_chosen = |name: &str| chosen.is_empty() || chosen.iter().any(|one| one == name);
    assert!(
        chosen
            .iter()
            .all(|one| ["costs", "growth"].contains(&&**one)),
        "there are costs and growth, not {chosen:?}"
    );
    if is_chosen("costs") {
        costs().await;
    }
    if is_chosen("growth") {
        growth::measure().await;
    }
}

/// What an installation as people have it costs.
async fn costs() {
    let mut rows = Vec::new();
    rows.extend(rendering(
        "default.yaml",
        "render the default profile in process",
        "render the default profile as a process",
    ));
    rows.extend(rendering(
        SAMPLE,
        "render the acceptance sample in process",
        "render the acceptance sample as a process",
    ));
    let options = Options {
        nodes: crowd::NODES,
        ..Options::default()
    };
    let plane = ControlPlane::start_with(options).await.unwrap();
    let mut operator = Operator::start(&plane).await.unwrap();
    rows.extend(installing(&plane, &mut operator).await);
    rows.extend(commands::asking(&plane));
    rows.extend(repair::repairing(&plane, &operator).await);
    rows.extend(idling(&plane, &mut operator).await);
    rows.push(crowd::crowding(&plane, &mut operator).await);
    let size = fs::metadata(operator::binary().unwrap()).unwrap().len();
    rows.push(row(
        "binary, and so the image",
        mebibytes(size),
        "<= 15 MiB",
        "91 MB",
    ));
    print(&rows);
}

/// A sample: in process, again and after a change, as a process, and by istioctl.
fn rendering(sample: &str, in_process: &'static str, as_process: &'static str) -> [Row; 3] {
    let mut crs = e2e::yaml::documents(sample, &text_of(sample)).unwrap();
    let calls = times(200, || render_in_process(&crs[0]));
    // Charts remember what they gave last, so every other setting makes them render again.
    crs.push(crs[0].clone());
    crs[1]["spec"]["values"]["global"]["logging"]["level"] = "default:debug".into();
    let mut turns = crs.iter().cycle();
    let changed = times(200, || render_in_process(turns.next().unwrap()));
    let file = path_of(sample);
    let binary = operator::binary().unwrap();
    let ours = times(50, || run(&binary, &["render"], &file));
    let istioctl = Bundle::Istio.dir().unwrap().join("istioctl");
    let theirs = times(7, || run(&istioctl, &["manifest", "generate"], &file));
    let upstream = format!("istioctl, now: {}", milliseconds(median(&theirs)));
    let [calls, changed, ours] = [calls, changed, ours].map(|times| milliseconds(median(&times)));
    [
        row(in_process, calls, "<= 4 ms", "-"),
        row("- after a change of its settings", changed, "-", "-"),
        row(as_process, ours, "<= a tenth of istioctl's", &upstream),
    ]
}

fn render_in_process(cr: &Value) {
    static CHARTS: LazyLock<Charts> = LazyLock::new(|| Charts::embedded().unwrap());
    let cr: IstioOperator = serde_json::from_value(cr.clone()).unwrap();
    let merged = merge(&cr, None, Cluster::default(), &CHARTS).unwrap();
    let rendered = render(&merged, &CHARTS).unwrap();
    assert!(!rendered.components.is_empty());
}

/// Installations of the acceptance sample, one after the other.
async fn installing(plane: &ControlPlane, operator: &mut Operator) -> Vec<Row> {
    let (mut to_healthy, mut cpu) = (Vec::new(), Vec::new());
    let (mut requests, mut writes) = (0, 0);
    for round in 0..INSTALLS {
        let since = Timestamp::now();
        let before = operator.process().usage().unwrap().cpu;
        let cr = Cr::apply(plane, &text_of(SAMPLE)).await.unwrap();
        cr.wait_for("HEALTHY", LIMIT).await.unwrap();
        to_healthy.push(healthy_after(plane, operator, since).await);
        sleep(Duration::from_secs(2)).await;
        cpu.push(
            operator
                .process()
                .usage()
                .unwrap()
                .cpu
                .saturating_sub(before),
        );
        let mut events = plane.audit().by(operator.user(), since).unwrap();
        events.retain(|event| event.object_ref.resource != "leases");
        requests = events.len();
        writes = events.iter().filter(|event| event.is_write()).count();
        if round + 1 < INSTALLS {
            cr.delete(LIMIT).await.unwrap();
        }
    }
    let usage = operator.process().usage().unwrap();
    vec![
        row(
            "CR applied to HEALTHY",
            milliseconds(median(&to_healthy)),
            "<= 4 s",
            "operator 1.23.6: 19.6 s",
        ),
        row(
            "CPU of one install",
            milliseconds(median(&cpu)),
            "<= 0.3 s",
            "operator 1.23.6: 4 s",
        ),
        row(
            "requests of one install",
            format!("{requests}, {writes} of them writes"),
            "-",
            "-",
        ),
        row(
            "resident memory, one CR",
            memory(usage),
            "<= 25 MiB",
            "operator 1.23.6: 131 MB",
        ),
    ]
}

/// By the API server's own clock: from the CR's arrival to the status that says HEALTHY.
async fn healthy_after(plane: &ControlPlane, operator: &Operator, since: Timestamp) -> Duration {
    wait_until("the audit log", LIMIT, || async {
        let is_cr = |event: &&Event| event.object_ref.resource == "istiooperators";
        let events = plane
            .audit()
            .by("admin", since)
            .map_err(|error| error.to_string())?;
        let applied = events.iter().filter(is_cr).find(|event| event.is_write());
        let events = plane
            .audit()
            .by(operator.user(), since)
            .map_err(|error| error.to_string())?;
        let says = |event: &&Event| {
            event
                .request_object
                .pointer("/status/status")
                .is_some_and(|state| state == "HEALTHY")
        };
        let healthy = events.iter().filter(is_cr).find(says);
        match (applied, healthy) {
            (Some(applied), Some(healthy)) => {
                let took = healthy.completed.duration_since(applied.received);
                Duration::try_from(took).map_err(|error| error.to_string())
            }
            _ => Err("not all is recorded yet".to_string()),
        }
    })
    .await
    .unwrap()
}

/// Nothing happens for a minute.
async fn idling(plane: &ControlPlane, operator: &mut Operator) -> Vec<Row> {
    // The last writes of the repairs are done by then.
    sleep(Duration::from_secs(10)).await;
    let since = Timestamp::now();
    let before = operator.process().usage().unwrap().cpu;
    sleep(IDLE).await;
    let cpu = operator
        .process()
        .usage()
        .unwrap()
        .cpu
        .saturating_sub(before);
    let events = plane.audit().by(operator.user(), since).unwrap();
    let of = |resource: &str| {
        events
            .iter()
            .filter(|event| event.object_ref.resource == resource)
            .count()
    };
    let watches = events.iter().filter(|event| event.verb == "watch").count();
    let others = events.len() - watches - of("leases");
    let measured = format!("{others}, and {} for the lease", of("leases"));
    let share = cpu.as_secs_f64() * 1000.0 / IDLE.as_secs_f64();
    vec![
        row(
            "idle: requests besides watches in a minute",
            measured,
            "0",
            "-",
        ),
        row("idle: CPU", format!("{share:.1} mCPU"), "<= 1 mCPU", "-"),
    ]
}

fn path_of(sample: &str) -> PathBuf {
    root().join("samples").join(sample)
}

fn text_of(sample: &str) -> String {
    fs::read_to_string(path_of(sample)).unwrap()
}

fn run(program: &PathBuf, args: &[&str], file: &Path) {
    let status = Command::new(program)
        .args(args)
        .arg("-f")
        .arg(file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "{} {args:?}: {status}", program.display());
}

/// How long each of `count` calls took, sorted.
fn times(count: usize, mut call: impl FnMut()) -> Vec<Duration> {
    let time = |_| {
        let started = Instant::now();
        call();
        started.elapsed()
    };
    let mut times: Vec<_> = (0..count).map(time).collect();
    times.sort();
    times
}

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    times[times.len() / 2]
}
