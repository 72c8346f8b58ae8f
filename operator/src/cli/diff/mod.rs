//! `istio-operator diff`: what an apply would change in the cluster.

mod report;

use istio_operator::api::IstioOperator;
use istio_operator::charts::Charts;
use istio_operator::controller::RenderedSpec;
use istio_operator::dataplane::ServedProxies;
use istio_operator::plan::Precheck;

use super::Failure;
use super::connection::{ClusterArgs, block_on};
use super::cr::CrArgs;
use super::observed::Observed;
use super::output::{Format, Paint, complain};
pub(super) use report::{Change, Report, report};

/// Print what applying an IstioOperator would change in the cluster, object by object and field by field.
///
/// The API server is asked by dry runs under the operator's name, so defaults and fields of others do not count. Nothing is
/// changed. Who may only read gets the comparison of the fields that the operator sets.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  istio-operator diff -f istio.yaml
  istio-operator diff istio-system/istio --set values.pilot.traceSampling=5
  istio-operator diff -f istio.yaml --exit-code -o json")]
pub(super) struct Args {
    #[command(flatten)]
    cr: CrArgs,
    /// End with exit code 3 if there are differences.
    #[arg(long)]
    exit_code: bool,
    /// How to print them.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
    #[command(flatten)]
    cluster: ClusterArgs,
}

pub(super) fn diff(args: &Args, charts: &Charts) -> Result<(), Failure> {
    let report = block_on(async {
        let connection = args.cluster.connect().await?;
        let mut observed = Observed::read(&connection, charts).await?;
        let cr = args.cr.read(&observed, &connection)?;
        let report = report(&cr, &mut observed, &connection, charts).await?;
        tell_limits(&report, &observed);
        Ok(report)
    })?;
    let paint = Paint::for_stdout();
    args.output
        .print(|| report.lines(paint), || report.value())?;
    if args.exit_code && report.has_differences() {
        return Err(Failure::Differences);
    }
    Ok(())
}

/// The change of the version that an IstioOperator asks for, if it asks for one.
pub(super) fn step(
    cr: &IstioOperator,
    spec: &RenderedSpec,
    observed: &Observed,
    charts: &Charts,
) -> Option<Precheck> {
    // A person cannot wait for all pods of a cluster to be read.
    let proxies = ServedProxies {
        gaps: vec!["the command line does not look at pods".to_owned()],
        gateway_api_gaps: vec!["this command does not look at CRDs of Gateway API".to_owned()],
        ..ServedProxies::default()
    };
    spec.precheck(cr, &observed.live, charts.catalogue(), &proxies)
}

/// Tells what to look at, what was not looked at, and what could not be asked.
pub(super) fn tell_limits(report: &Report, observed: &Observed) {
    for warning in &report.warnings {
        complain(&format_args!("warning: {warning}"));
    }
    for unknown in &observed.unknown {
        complain(&format_args!("not looked at: {unknown}"));
    }
    if report.compared_by_fields > 0 {
        complain(&format_args!(
            "{} objects were compared by the fields that the operator sets, because you may not ask for dry runs (the verb patch)",
            report.compared_by_fields
        ));
    }
}
