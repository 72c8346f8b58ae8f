//! `istio-operator completion` and `istio-operator man`: what shells and man need to know of the commands.

use std::path::PathBuf;
use std::time::Duration;
use std::{env, fs};

use clap::{ArgMatches, FromArgMatches, ValueEnum};
use clap_complete::CompleteEnv;
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use clap_complete::env::{Bash, EnvCompleter, Fish, Powershell, Zsh};
use istio_operator::cluster::CrKey;
use tokio::time::timeout;

use super::connection::{ClusterArgs, block_on};
use super::observed::Observed;
use super::output::print;
use super::{Failure, NAME, command};

/// Print the script by which a shell completes the commands, their flags and the names of IstioOperators.
///
/// The shell asks this program, which asks the cluster for names: that of the current context, or of the flags before the cursor.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  istio-operator completion bash > istio-operator.bash
  istio-operator completion zsh > _istio-operator
  istio-operator completion fish > istio-operator.fish")]
pub(super) struct Args {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Clone, Copy, ValueEnum)]
enum Shell {
    Bash,
    Fish,
    Powershell,
    Zsh,
}

/// Write a man page for each command.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  istio-operator man man/man1
  MANPATH=man: man istio-operator-diff")]
pub(super) struct ManArgs {
    /// The directory to write into.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

/// The variable by which a shell asks for completions.
const ASKED_BY: &str = "COMPLETE";
/// How long a shell may wait for names.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) fn completion(args: &Args) -> Result<(), Failure> {
    let shell: &dyn EnvCompleter = match args.shell {
        Shell::Bash => &Bash,
        Shell::Fish => &Fish,
        Shell::Powershell => &Powershell,
        Shell::Zsh => &Zsh,
    };
    let mut script = Vec::new();
    shell.write_registration(ASKED_BY, NAME, NAME, NAME, &mut script)?;
    print(&[String::from_utf8_lossy(&script).into_owned()])
}

/// Answers a shell that asks for completions; gives whether one does.
pub(super) fn is_answered() -> Result<bool, clap::Error> {
    CompleteEnv::with_factory(command)
        .var(ASKED_BY)
        .try_complete(env::args_os(), None)
}

pub(super) fn man(args: &ManArgs) -> Result<(), Failure> {
    let dir = &args.dir;
    fs::create_dir_all(dir)
        .and_then(|()| clap_mangen::generate_to(command(), dir))
        .map_err(|error| Failure::input(format_args!("{}: {error}", dir.display())))
}

/// Completes the name of an `IstioOperator`.
pub(super) fn names_of_crs() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let names = block_on(async {
            let looked = timeout(PATIENCE, async {
                let connection = typed_cluster().connect().await?;
                Ok::<_, Failure>(Observed::of_crs(&connection).await.crs)
            });
            // Nothing can be said while a command is being typed.
            let crs = looked.await.unwrap_or_else(|_| Ok(Vec::new()));
            Ok(crs?.iter().map(|cr| CrKey::of(cr).to_string()).collect())
        });
        let names: Vec<String> = names.unwrap_or_default();
        names.into_iter().map(CompletionCandidate::new).collect()
    })
}

/// Completes the name of a context.
pub(super) fn names_of_contexts() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let names = typed_cluster().contexts().into_iter();
        names.map(CompletionCandidate::new).collect()
    })
}

/// The cluster that the words before the cursor name.
fn typed_cluster() -> ClusterArgs {
    // The shell gives them behind `--`.
    let words = env::args_os().skip_while(|word| word != "--").skip(1);
    let matches = command().ignore_errors(true).try_get_matches_from(words);
    let mut matches: ArgMatches = matches.unwrap_or_default();
    while let Some((_, below)) = matches.remove_subcommand() {
        matches = below;
    }
    ClusterArgs::from_arg_matches(&matches).unwrap_or_default()
}
