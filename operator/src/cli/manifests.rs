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
pub(super) const IMAGE: &str = concat!("istio-operator:", env!("CARGO_PKG_VERSION"));

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
    let values = values(&args.image, args.restart_workloads, charts)?;
    if let Some(dir) = &args.helm {
        return helm::write(dir, &values, crd()?, charts);
    }
    let objects = objects(&args.namespace, &values, charts)?;
    let texts: Vec<_> = objects.iter().map(Manifest::to_yaml).collect();
    match &args.kustomize {
        Some(dir) => kustomization::write(dir, &texts, &args.namespace),
        None => print(&texts),
    }
}

/// What the chart of the operator is rendered with.
fn values(image: &str, restart_workloads: bool, charts: &Charts) -> Result<Value, Failure> {
    let mut values = operator_values(charts).map_err(Failure::input)?;
    values["image"] = image.into();
    values["workloadRestarts"]["enabled"] = restart_workloads.into();
    Ok(values)
}

/// Everything that is applied, the CRD first.
fn objects(namespace: &str, values: &Value, charts: &Charts) -> Result<Vec<Manifest>, Failure> {
    let objects = operator(namespace, values, charts).map_err(Failure::input)?;
    let bodies = objects.into_iter().map(|object| object.body);
    Ok(iter::once(Manifest::from(&crd()?)).chain(bodies).collect())
}

/// The same for this image, as values.
pub(super) fn bodies(
    namespace: &str,
    image: &str,
    restart_workloads: bool,
    charts: &Charts,
) -> Result<Vec<Value>, Failure> {
    let values = values(image, restart_workloads, charts)?;
    let objects = objects(namespace, &values, charts)?;
    Ok(objects.iter().map(Manifest::value).collect())
}

/// Writes a file and the directories above it.
fn write_file(path: &Path, text: &str) -> Result<(), Failure> {
    let failed = |error| Failure::input(format!("{}: {error}", path.display()));
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    fs::write(path, text).map_err(failed)
}
