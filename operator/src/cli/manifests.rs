//! `istio-operator manifests`: prints the objects that install the operator itself.

use std::iter;

use istio_operator::charts::Charts;
use istio_operator::charts::yaml::Manifest;
use istio_operator::render::operator;

use super::{Failure, crd, print};

/// The image of the same release as this binary.
const IMAGE: &str = concat!("istio-operator:", env!("CARGO_PKG_VERSION"));

/// Print the objects that install the operator.
///
/// They are the CRD, a namespace, an account with its rights, and a Deployment.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  istio-operator manifests | kubectl apply -f -
  istio-operator manifests --image registry.example.com/istio-operator:1.2.3 | kubectl apply -f -")]
pub(super) struct Args {
    /// The namespace of the operator. The IstioOperator names that of Istio.
    #[arg(long, value_name = "NAME", default_value = "istio-operator")]
    namespace: String,
    /// The image of the operator.
    #[arg(long, value_name = "IMAGE", default_value = IMAGE)]
    image: String,
}

pub(super) fn manifests(args: &Args, charts: &Charts) -> Result<(), Failure> {
    let crd = Manifest::from(&crd()?);
    let objects = operator(&args.namespace, &args.image, charts).map_err(Failure::input)?;
    let bodies = objects.iter().map(|object| &object.body);
    let texts: Vec<_> = iter::once(&crd)
        .chain(bodies)
        .map(Manifest::to_yaml)
        .collect();
    print(&texts)
}
