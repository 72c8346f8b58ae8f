//! Clients of an API server.

use std::path::Path;

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

use crate::error::Error;

/// A client for the current context of a kubeconfig. A client belongs to the async runtime in which
/// it is used first, so tests that share a control plane make one each.
pub async fn from_kubeconfig(path: &Path) -> Result<Client, Error> {
    let failed = |error| Error::Kubeconfig(path.into(), error);
    let kubeconfig = Kubeconfig::read_from(path).map_err(failed)?;
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .map_err(failed)?;
    Ok(Client::try_from(config)?)
}
