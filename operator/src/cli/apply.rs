//! `istio-operator apply`: gives an IstioOperator to the operator of a cluster, or carries it out without one.

use istio_operator::charts::Charts;
use istio_operator::cluster::CrKey;

use super::Failure;
use super::connection::{ClusterArgs, Connection, block_on};
use super::cr::of_files;
use super::input::{Input, written};
use super::observed::Observed;
use super::output::complain;
use super::render::{warn, warn_of};
use super::supervised::{self, Reached};
use super::wait::{Timeout, Until, until};
use super::writes;

/// Apply an IstioOperator. Its errors are told before anything is written.
///
/// The operator of the cluster carries it out. With --no-operator, this command does, once: it installs, waits, and says what
/// stands against it; an operator that is installed later takes the objects over. A canary is installed beside the control plane
/// that serves, and takes its place once it works. Where spec.updateStrategy.approval is Manual, a change waits until the
/// annotation install.istio.io/approve names its plan.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  istio-operator apply -f istio.yaml --wait
  istio-operator apply -f istio.yaml --set values.pilot.traceSampling=5 --wait --timeout 10m
  istio-operator apply -f istio.yaml --no-operator")]
pub(super) struct Args {
    #[command(flatten)]
    input: Input,
    /// Wait until everything runs.
    #[arg(short, long)]
    wait: bool,
    #[command(flatten)]
    timeout: Timeout,
    /// Do it without an operator. Nothing is repaired afterwards.
    #[arg(long)]
    no_operator: bool,
    /// Take over fields of the IstioOperator that another tool applied, such as Argo CD, which may take them back.
    #[arg(long)]
    force_conflicts: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
}

pub(super) fn apply(args: &Args, charts: &Charts) -> Result<(), Failure> {
    if args.input.is_without_files() {
        return Err(Failure::usage("apply", "-f FILE"));
    }
    block_on(async {
        let connection = args.cluster.connect().await?;
        let deadline = args.timeout.deadline();
        let observed = Observed::of_crs(&connection).await;
        let cr = of_files(&args.input, &observed, &connection)?;
        let key = CrKey::of(&cr);
        let spec = observed.rendered(&cr, connection.cluster(), charts)?;
        warn_of(&spec.merged, charts);
        spec.rendered.warnings.iter().for_each(warn);
        if args.no_operator {
            match supervised::install(&cr, &connection, charts, (args.wait, deadline)).await? {
                Reached::Everything => {
                    complain(&format_args!(
                        "{key}: installed Istio {}",
                        spec.asked().version
                    ));
                }
                Reached::Canary(told) => complain(&format_args!("{key}: {told}")),
            }
            return Ok(());
        }
        is_served(&connection).await?;
        if writes::ensure_namespace(&connection, &key.namespace).await? {
            complain(&format_args!("created namespace {}", key.namespace));
        }
        let body = written(&cr)?;
        writes::apply_cr(&connection, &key, &body, args.force_conflicts).await?;
        complain(&format_args!("applied IstioOperator {key}"));
        if args.wait {
            until(&connection, &key, Until::Healthy, deadline).await?;
            complain(&format_args!("{key}: healthy"));
        }
        Ok(())
    })
}

/// Fails if the cluster knows no IstioOperators, with the way out.
async fn is_served(connection: &Connection) -> Result<(), Failure> {
    let served = Observed::serves_crs(connection).await;
    if served {
        return Ok(());
    }
    Err(Failure::input(
        "this cluster has no IstioOperators: install the operator (istio-operator manifests | kubectl apply -f -), or \
         apply with --no-operator",
    ))
}
