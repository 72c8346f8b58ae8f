//! The command line: the commands, their arguments, output and exit codes.
//!
//! Results go to standard output, everything else to standard error, one error on a line. The exit code is 0 for
//! success, 1 for input that is wrong or a request that is refused, 2 for a cluster that cannot be reached, and 3 where a
//! command was asked to tell whether there are differences, and there are some.

mod adopt;
mod apply;
mod check;
mod completion;
mod connection;
mod cr;
mod diff;
mod fields;
mod injection;
mod input;
mod list;
mod manifests;
mod migrate;
mod namespaces;
mod observed;
mod operator;
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

use std::ffi::OsString;
use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use istio_operator::charts::{Charts, yaml};
use istio_operator::settings::Settings;
use istio_operator::{api, controller};
use serde_json::Value;

use output::{complain, print};

/// The name of the program.
const NAME: &str = "istio-operator";

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
    Injection(injection::Args),
    Wait(wait::Args),
    Apply(apply::Args),
    Adopt(adopt::Args),
    Uninstall(uninstall::Args),
    #[command(subcommand)]
    Profile(profile::Command),
    Values(values::Args),
    Versions(versions::Args),
    /// Print the CRD of the IstioOperator resource.
    Crd,
    Manifests(manifests::Args),
    #[command(subcommand)]
    Operator(operator::Command),
    Migrate(migrate::Args),
    Completion(completion::Args),
    Man(completion::ManArgs),
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
    match completion::is_answered() {
        Ok(true) => return ExitCode::SUCCESS,
        Ok(false) => {}
        Err(answer) => return usage(&answer),
    }
    let arguments = std::env::args_os().collect::<Vec<_>>();
    let name = called_as(arguments.first());
    let matches = named(command(), &name).try_get_matches_from(arguments);
    let cli = match matches.and_then(|matches| Cli::from_arg_matches(&matches)) {
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

/// The commands, with everything that their help says.
fn command() -> clap::Command {
    Cli::command()
}

/// How people call this program: by its name, or as a plugin of kubectl, whose file is called `kubectl-istio_operator`.
fn called_as(path: Option<&OsString>) -> String {
    let file = path.and_then(|path| Path::new(path).file_stem());
    let file = file.map(|name| name.to_string_lossy());
    match file
        .as_deref()
        .and_then(|name| name.strip_prefix("kubectl-"))
    {
        Some(plugin) => format!("kubectl {}", plugin.replace('_', "-")),
        None => NAME.to_owned(),
    }
}

/// A command whose help calls the program so.
fn named(command: clap::Command, name: &str) -> clap::Command {
    if name == NAME {
        return command;
    }
    let examples = command.get_after_help().map(|text| {
        let text = text.to_string();
        text.replace(&format!("  {NAME} "), &format!("  {name} "))
    });
    let command = match examples {
        Some(examples) => command.after_help(examples),
        None => command,
    };
    let is_whole = command.get_name() == NAME;
    let command = if is_whole {
        command.bin_name(name)
    } else {
        command
    };
    command.mut_subcommands(|command| named(command, name))
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
            Command::Injection(args) => injection::injection(&args),
            Command::Completion(args) => completion::completion(&args),
            Command::Man(args) => completion::man(&args),
            Command::Wait(args) => wait::wait(&args),
            Command::Adopt(args) => adopt::adopt(&args, &charts),
            Command::Apply(args) => apply::apply(&args, &charts),
            Command::Uninstall(args) => uninstall::uninstall(&args, &charts),
            Command::Crd => print(&[yaml::write(&crd()?)]),
            Command::Profile(command) => profile::profile(&command, &charts),
            Command::Values(args) => values::values(&args, &charts),
            Command::Migrate(args) => migrate::migrate(&args, &charts),
            Command::Operator(command) => operator::operator(&command, &charts),
            Command::Manifests(args) => manifests::manifests(&args, &charts),
            Command::Versions(args) => versions::versions(&args, charts.catalogue()),
        }
    }
}

fn crd() -> Result<Value, Failure> {
    serde_saphyr::from_str(api::CRD).map_err(Failure::input)
}
