//! The IstioOperator that a command is about.

use istio_operator::api::StoredCr;
use istio_operator::cluster::CrKey;

use super::Failure;
use super::completion::names_of_crs;
use super::connection::Connection;
use super::input::Input;
use super::observed::Observed;
use super::render::all;

/// Which IstioOperator a command is about: one of the cluster, or one of files.
#[derive(clap::Args)]
pub(super) struct CrArgs {
    /// The IstioOperator of the cluster, as NAME or NAMESPACE/NAME, if no file is given; needed where there are several.
    #[arg(value_name = "CR", add = names_of_crs())]
    pub(super) name: Option<String>,
    #[command(flatten)]
    pub(super) input: Input,
}

impl CrArgs {
    /// The IstioOperator that files and flags make, or the one of the cluster with what flags set.
    pub(super) fn read(
        &self,
        observed: &Observed,
        connection: &Connection,
    ) -> Result<StoredCr, Failure> {
        let Self { name, input } = self;
        if input.is_without_files() {
            let mut cr = observed.cr(name.as_deref(), connection)?.clone();
            if !cr.field_errors().is_empty() {
                return Err(all(cr.field_errors()));
            }
            input.set_fields(&mut cr.spec.0)?;
            return Ok(cr);
        }
        if let Some(name) = name {
            return Err(Failure::input(format_args!(
                "give either {name} or -f, not both"
            )));
        }
        of_files(input, observed, connection)
    }
}

/// The IstioOperator that files and flags make, with the namespace and the status that it has in the cluster.
pub(super) fn of_files(
    input: &Input,
    observed: &Observed,
    connection: &Connection,
) -> Result<StoredCr, Failure> {
    let mut cr = input.read()?;
    if cr.metadata.name.is_none() {
        return Err(Failure::input(
            "metadata.name is missing, which names the IstioOperator",
        ));
    }
    let namespace = cr.metadata.namespace.take();
    cr.metadata.namespace = Some(namespace.unwrap_or_else(|| connection.default_namespace.clone()));
    let known = observed
        .crs
        .iter()
        .find(|known| CrKey::of(known) == CrKey::of(&cr));
    cr.status = known.and_then(|known| known.status.clone());
    Ok(cr.into())
}
