//! The command line: the commands, their arguments, output and exit codes.
//!
//! Results go to standard output, everything else to standard error, one error on a line. The exit code is 0 for
//! success, 1 for input that is wrong and 2 for a cluster that cannot be reached.

mod manifests;
mod plan;
mod render;
mod versions;

use std::fmt::Display;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use istio_operator::charts::{Charts, yaml};
use istio_operator::settings::Settings;
use istio_operator::{api, controller};
use serde_json::Value;

/// Installs Istio from IstioOperator resources and keeps it installed as they say.
#[derive(Parser)]
#[command(
    name = "istio-operator",
    version,
    after_help = "Examples:
  istio-operator manifests | kubectl apply -f -
  istio-operator run --watch-namespaces istio-system
  istio-operator render -f istio.yaml | kubectl diff -f -

Exit codes: 0 success, 1 wrong input, 2 the cluster cannot be reached."
)]
struct Cli {
    /// Use the charts in DIR instead of those in the binary.
    #[arg(long, global = true, value_name = "DIR")]
    charts: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the operator: install Istio as the IstioOperators of a cluster say, and repair changes.
    Run(Settings),
    Render(render::Args),
    Plan(plan::Args),
    /// Print the CRD of the IstioOperator resource.
    Crd,
    Manifests(manifests::Args),
    Versions(versions::Args),
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The input is wrong: one line for each error.
    #[error("{}", .0.join("\n"))]
    Input(Vec<String>),
    /// The operator ended with an error.
    #[error(transparent)]
    Run(#[from] controller::Error),
    /// Standard output cannot be written.
    #[error("cannot write the result: {0}")]
    Output(#[from] io::Error),
}

impl Failure {
    fn input(error: impl Display) -> Self {
        Self::Input(vec![error.to_string()])
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            // The reader of the output, such as `head`, has closed it.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            Self::Run(error) => error.exit_code(),
            Self::Input(_) | Self::Output(_) => ExitCode::FAILURE,
        }
    }
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(answer) => return usage(&answer),
    };
    let Err(failure) = cli.execute() else {
        return ExitCode::SUCCESS;
    };
    let code = failure.exit_code();
    if code != ExitCode::SUCCESS {
        complain(&failure);
    }
    code
}

/// Prints help, or what is wrong with the arguments. clap's own exit code of 2 means an unreachable cluster here, so it is
/// not used.
fn usage(answer: &clap::Error) -> ExitCode {
    let printed = answer.print();
    if answer.use_stderr() || printed.is_err_and(|e| e.kind() != io::ErrorKind::BrokenPipe) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

impl Cli {
    fn execute(self) -> Result<(), Failure> {
        let charts = match &self.charts {
            Some(dir) => Charts::from_dir(dir),
            None => Charts::embedded(),
        };
        let charts = charts.map_err(Failure::input)?;
        match self.command {
            Command::Run(settings) => Ok(controller::run(settings, charts)?),
            // The process ends with this command, so freeing the charts would only cost time.
            Command::Render(args) => render::render(&args, Box::leak(Box::new(charts))),
            Command::Plan(args) => plan::plan(&args, &charts),
            Command::Crd => print(&[yaml::write(&crd()?)]),
            Command::Manifests(args) => manifests::manifests(&args, &charts),
            Command::Versions(args) => versions::versions(&args, charts.catalogue()),
        }
    }
}

fn crd() -> Result<Value, Failure> {
    serde_json::to_value(api::crd()).map_err(Failure::input)
}

/// Writes the parts of a result to standard output.
fn print(parts: &[String]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    for part in parts {
        out.write_all(part.as_bytes())?;
    }
    Ok(out.flush()?)
}

/// Writes a line to standard error. If that fails too, there is nowhere left to report it.
fn complain(line: &dyn Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
