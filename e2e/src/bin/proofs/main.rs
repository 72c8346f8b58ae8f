//! `cargo proofs NAME`: what takes too long for every run of the tests, shown with real programs.

mod addons;
mod dashboards;
mod files;
mod gitops;
mod meddling;
mod silence;
mod tutorials;
mod upgrade;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::{Parser, ValueEnum};
use e2e::error::Error;

/// Shows with real programs what the tests only show in part.
///
/// The first run builds and fetches the programs, which takes some minutes. A
/// proof that does not hold ends with exit code 1.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo proofs", verbatim_doc_comment)]
struct Args {
    /// What is shown
    proof: Proof,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Proof {
    /// Prometheus scrapes istiod, gateways and the operator; dashboards find data; Zipkin gets traces of Envoy.
    Addons,
    /// Argo CD and Flux install, upgrade, prune and remove a mesh in waves, and nobody writes in turns with the operator.
    Gitops,
    /// Each file of samples/bookinfo does what it says, as real requests show.
    Tutorials,
    /// No request fails and no new pod is refused while Istio 1.30 becomes 1.31, in place and by a canary that is also taken back.
    Upgrade,
}

fn main() -> ExitCode {
    let proof = match Args::parse().proof {
        Proof::Addons => addons::prove(),
        Proof::Gitops => gitops::prove(),
        Proof::Tutorials => tutorials::prove(),
        Proof::Upgrade => upgrade::prove(),
    };
    match proof {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If standard error is closed, the message is lost.
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a proof whose programs are built.
fn run(proof: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // kubectl blocks the thread that runs it, and requests must not wait for that.
        .worker_threads(8)
        .enable_all()
        .build();
    runtime.map_err(Error::io("tokio"))?.block_on(proof)
}

fn say(line: &str) -> Result<(), Error> {
    writeln!(io::stdout(), "{line}").map_err(Error::io("standard output"))
}

/// What has to be so; otherwise the proof ends with `why`.
fn ensure(holds: bool, why: impl Into<String>) -> Result<(), Error> {
    if holds {
        Ok(())
    } else {
        Err(Error::Unexpected(why.into()))
    }
}
