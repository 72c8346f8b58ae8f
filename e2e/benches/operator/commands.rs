//! How long the commands for people take on an installation, beside those of istioctl that do the same.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use e2e::{control_plane::ControlPlane, host::go_programs::Bundle, operator};

use super::{
    SAMPLE, median, path_of,
    table::{Row, milliseconds, row},
    times,
};

/// Runs of which the median is taken.
const RUNS: usize = 10;

/// A command, and what istioctl has for the same question, if it has something.
struct Timed {
    what: &'static str,
    ours: &'static [&'static str],
    /// Whether it is about the sample.
    takes_file: bool,
    budget: &'static str,
    theirs: Option<&'static [&'static str]>,
}

const COMMANDS: [Timed; 10] = [
    timed("diff as a process", &["diff"], "<= 2 s", None),
    timed("plan as a process", &["plan"], "<= 2 s", None),
    timed("adopt as a process", &["adopt"], "<= 2 s", None),
    timed(
        "status as a process",
        &["status"],
        "<= 1 s",
        Some(&["version"]),
    ),
    timed(
        "check --pre as a process",
        &["check", "--pre"],
        "<= 1 s",
        Some(&["x", "precheck"]),
    ),
    timed(
        "namespaces as a process",
        &["namespaces"],
        "<= 0.5 s",
        Some(&["tag", "list"]),
    ),
    timed(
        "why as a process",
        &["why", "Deployment/istiod.spec.strategy"],
        "<= 5 s",
        None,
    ),
    timed(
        "values as a process",
        &["values", "--search", "trace"],
        "<= 0.3 s",
        None,
    ),
    timed(
        "profile dump as a process",
        &["profile", "dump", "demo"],
        "<= 0.3 s",
        None,
    ),
    Timed {
        what: "migrate as a process",
        ours: &["migrate"],
        takes_file: true,
        budget: "<= 0.5 s",
        theirs: None,
    },
];

const fn timed(
    what: &'static str,
    ours: &'static [&'static str],
    budget: &'static str,
    theirs: Option<&'static [&'static str]>,
) -> Timed {
    Timed {
        what,
        ours,
        takes_file: false,
        budget,
        theirs,
    }
}

/// The commands on a cluster with one installation.
pub fn asking(plane: &ControlPlane) -> Vec<Row> {
    let ours = operator::binary().unwrap();
    let theirs = Bundle::Istio.dir().unwrap().join("istioctl");
    let kubeconfig = plane.kubeconfig();
    let sample = path_of(SAMPLE).display().to_string();
    let time = |program: &Path, args: &[&str]| {
        milliseconds(median(&times(RUNS, || run(program, args, &kubeconfig))))
    };
    let rows = COMMANDS.iter().map(|command| {
        let file = command.takes_file.then_some(sample.as_str());
        let args: Vec<_> = command.ours.iter().copied().chain(file).collect();
        let upstream = command.theirs.map_or_else(
            || "-".to_owned(),
            |args| format!("istioctl {}, now: {}", args.join(" "), time(&theirs, args)),
        );
        row(command.what, time(&ours, &args), command.budget, &upstream)
    });
    rows.collect()
}

fn run(program: &Path, args: &[&str], kubeconfig: &Path) {
    let status = Command::new(program)
        .args(args)
        .env("KUBECONFIG", kubeconfig)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "{} {args:?}: {status}", program.display());
}
