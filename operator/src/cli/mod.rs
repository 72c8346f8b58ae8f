//! The command line: the commands, their arguments, output and exit codes.
//!
//! Results go to standard output, everything else to standard error, one error on a line. The exit code is 0 for
//! success, 1 for input that is wrong or a request that is refused, 2 for a cluster that cannot be reached, and 3 where a
//! command was asked to tell whether there are differences, and there are some.

mod apply;
mod check;
mod completion;
mod connection;
mod diff;
mod fields;
mod input;
mod manifests;
mod namespaces;
mod observed;
mod output;
mod plan;
mod profile;
mod read_only;
mod render;
mod set;
mod status;
mod supervised;
mod uninstall;
mod values;
mod versions;
mod wait;
mod why;
mod writes;

use std::fmt::Display;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use istio_operator::charts::{Charts, yaml};
use istio_operator::settings::Settings;
use istio_operator::{api, controller};
use serde_json::Value;

use output::{complain, print};

/// Installs Istio from IstioOperator resources and keeps it installed as they say.
#[derive(Parser)]
#[command(
    name = "istio-operator",
    version,
    after_help = "Examples:
  istio-operator manifests | kubectl apply -f -
  istio-operator run --watch-namespaces istio-system
  istio-operator render -f istio.yaml | kubectl diff -f -

Exit codes: 0 success, 1 wrong input or a refusal, 2 the cluster cannot be reached, 3 differences (with --exit-code)."
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
    Diff(diff::Args),
    Why(why::Args),
    Status(status::Args),
    Check(check::Args),
    Namespaces(namespaces::Args),
    Wait(wait::Args),
    Apply(apply::Args),
    Uninstall(uninstall::Args),
    #[command(subcommand)]
    Profile(profile::Command),
    Values(values::Args),
    Versions(versions::Args),
    /// Print the CRD of the IstioOperator resource.
    Crd,
    Manifests(manifests::Args),
    Completion(completion::Args),
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The input is wrong, or a request is refused: one line for each error.
    #[error("{}", .0.join("\n"))]
    Input(Vec<String>),
    /// The cluster does not answer.
    #[error("the cluster cannot be reached: {0}")]
    Unreachable(String),
    /// There are differences, and the result tells which.
    #[error("there are differences")]
    Differences,
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

    /// What a command lacks.
    fn usage(command: &str, lacking: &str) -> Self {
        Self::input(format_args!(
            "{lacking} is missing; see istio-operator {command} --help"
        ))
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            // The reader of the output, such as `head`, has closed it.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            Self::Run(error) => error.exit_code(),
            Self::Unreachable(_) => ExitCode::from(2),
            Self::Differences => ExitCode::from(3),
            Self::Input(_) | Self::Output(_) => ExitCode::FAILURE,
        }
    }

    /// Whether the result has said everything.
    fn is_silent(&self) -> bool {
        matches!(self, Self::Differences) || self.exit_code() == ExitCode::SUCCESS
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
    if !failure.is_silent() {
        complain(&failure);
    }
    failure.exit_code()
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
            Command::Diff(args) => diff::diff(&args, &charts),
            Command::Why(args) => why::why(&args, &charts),
            Command::Status(args) => status::status(&args),
            Command::Check(args) => check::check(&args, &charts),
            Command::Namespaces(args) => namespaces::namespaces(&args),
            Command::Completion(args) => completion::completion(&args),
            Command::Wait(args) => wait::wait(&args),
            Command::Apply(args) => apply::apply(&args, &charts),
            Command::Uninstall(args) => uninstall::uninstall(&args, &charts),
            Command::Crd => print(&[yaml::write(&crd()?)]),
            Command::Profile(command) => profile::profile(&command, &charts),
            Command::Values(args) => values::values(&args, &charts),
            Command::Manifests(args) => manifests::manifests(&args, &charts),
            Command::Versions(args) => versions::versions(&args, charts.catalogue()),
        }
    }
}

fn crd() -> Result<Value, Failure> {
    serde_saphyr::from_str(api::CRD).map_err(Failure::input)
}
