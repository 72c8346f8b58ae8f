//! `istio-operator manifests`: prints the objects that install the operator itself, or writes them as a Helm chart or a
//! kustomization.

mod helm;
mod kustomization;

use std::fs;
use std::iter;
use std::path::{Path, PathBuf};

use istio_operator::charts::Charts;
use istio_operator::charts::yaml::Manifest;
use istio_operator::render::{operator, operator_values};
use serde_json::Value;

use super::output::print;
use super::{Failure, crd};

/// The image of the same release as this binary.
const IMAGE: &str = concat!("istio-operator:", env!("CARGO_PKG_VERSION"));

/// Print the objects that install the operator.
///
/// They are the CRD, a namespace, an account with its rights, a Deployment, a Service and a disruption budget.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  istio-operator manifests | kubectl apply -f -
  istio-operator manifests --image registry.example.com/istio-operator:1.2.3 | kubectl apply -f -
  istio-operator manifests --helm chart
  helm install istio-operator chart --create-namespace -n istio-operator
  istio-operator manifests --kustomize base")]
pub(super) struct Args {
    /// The namespace of the operator. The IstioOperator names that of Istio.
    #[arg(
        long,
        value_name = "NAME",
        default_value = "istio-operator",
        conflicts_with = "helm"
    )]
    namespace: String,
    /// The image of the operator, with a tag or a digest.
    #[arg(long, value_name = "IMAGE", default_value = IMAGE)]
    image: String,
    /// Write a Helm chart into this directory instead; the image is the default of its values.
    #[arg(long, value_name = "DIR", conflicts_with = "kustomize")]
    helm: Option<PathBuf>,
    /// Write a kustomization into this directory instead.
    #[arg(long, value_name = "DIR")]
    kustomize: Option<PathBuf>,
    /// Add the rights to restart workloads, which spec.updateStrategy.dataPlane.restart needs.
    #[arg(long)]
    restart_workloads: bool,
}

pub(super) fn manifests(args: &Args, charts: &Charts) -> Result<(), Failure> {
    let crd = crd()?;
    let mut values = operator_values(charts).map_err(Failure::input)?;
    values["image"] = args.image.as_str().into();
    values["workloadRestarts"]["enabled"] = args.restart_workloads.into();
    if let Some(dir) = &args.helm {
        return helm::write(dir, &values, crd, charts);
    }
    let texts = objects(args, &values, &crd, charts)?;
    match &args.kustomize {
        Some(dir) => kustomization::write(dir, &texts, &args.namespace),
        None => print(&texts),
    }
}

/// Everything that is applied, one YAML document each.
fn objects(
    args: &Args,
    values: &Value,
    crd: &Value,
    charts: &Charts,
) -> Result<Vec<String>, Failure> {
    let crd = Manifest::from(crd);
    let objects = operator(&args.namespace, values, charts).map_err(Failure::input)?;
    let bodies = objects.iter().map(|object| &object.body);
    Ok(iter::once(&crd)
        .chain(bodies)
        .map(Manifest::to_yaml)
        .collect())
}

/// Writes a file and the directories above it.
fn write_file(path: &Path, text: &str) -> Result<(), Failure> {
    let failed = |error| Failure::input(format!("{}: {error}", path.display()));
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    fs::write(path, text).map_err(failed)
}
