//! `istio-operator completion`: prints what a shell needs to complete commands.

use clap::CommandFactory;
use clap_complete::Shell;

use super::output::print;
use super::{Cli, Failure};

/// Print the script by which a shell completes the commands and their flags.
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

pub(super) fn completion(args: &Args) -> Result<(), Failure> {
    let mut script = Vec::new();
    let mut command = Cli::command();
    clap_complete::generate(args.shell, &mut command, "istio-operator", &mut script);
    print(&[String::from_utf8_lossy(&script).into_owned()])
}
