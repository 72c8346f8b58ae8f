//! The cluster that a command asks: where it is, who asks, and what the API server refuses.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use istio_operator::apply::Sender;
use istio_operator::merge::Cluster;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::time::timeout;

use super::Failure;
use super::completion::names_of_contexts;

/// How long the API server has for its first answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Which cluster a command asks.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Cluster")]
pub(super) struct ClusterArgs {
    /// The kubeconfig file, instead of that in KUBECONFIG, in ~/.kube, or of the pod that this runs in.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig, instead of the current one.
    #[arg(long, value_name = "NAME", add = names_of_contexts())]
    context: Option<String>,
    /// The namespace of the IstioOperator, instead of that of the context.
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
}

/// A cluster that has answered.
pub(super) struct Connection {
    pub(super) client: Client,
    /// The version that the API server reports.
    pub(super) git_version: String,
    /// The namespace that was asked for.
    pub(super) namespace: Option<String>,
    /// The namespace of what names none.
    pub(super) default_namespace: String,
}

impl ClusterArgs {
    /// Connects to the cluster.
    pub(super) async fn connect(&self) -> Result<Connection, Failure> {
        let mut config = self.config().await.map_err(Failure::Unreachable)?;
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        let default_namespace = self.namespace.clone();
        let default_namespace = default_namespace.unwrap_or(config.default_namespace.clone());
        let client = Client::try_from(config);
        let client = client.map_err(|error| Failure::Unreachable(error.to_string()))?;
        let version = timeout(CONNECT_TIMEOUT, client.apiserver_version()).await;
        let version = match version {
            Ok(Ok(version)) => version,
            Ok(Err(error)) => return Err(Failure::Unreachable(error.to_string())),
            Err(_) => {
                let why = "the API server does not answer".to_owned();
                return Err(Failure::Unreachable(why));
            }
        };
        Ok(Connection {
            client,
            git_version: version.git_version,
            namespace: self.namespace.clone(),
            default_namespace,
        })
    }

    /// The contexts of the kubeconfig; none if it cannot be read.
    pub(super) fn contexts(&self) -> Vec<String> {
        let read = match &self.kubeconfig {
            Some(file) => Kubeconfig::read_from(file),
            None => Kubeconfig::read(),
        };
        let contexts = read.map(|kubeconfig| kubeconfig.contexts);
        let contexts = contexts.unwrap_or_default().into_iter();
        contexts.map(|context| context.name).collect()
    }

    async fn config(&self) -> Result<Config, String> {
        let options = KubeConfigOptions {
            context: self.context.clone(),
            ..KubeConfigOptions::default()
        };
        let read = match &self.kubeconfig {
            Some(file) => match Kubeconfig::read_from(file) {
                Ok(kubeconfig) => Config::from_custom_kubeconfig(kubeconfig, &options).await,
                Err(error) => Err(error),
            },
            None if self.context.is_some() => Config::from_kubeconfig(&options).await,
            None => return Config::infer().await.map_err(|error| error.to_string()),
        };
        read.map_err(|error| error.to_string())
    }
}

impl Connection {
    /// What is known of the cluster.
    pub(super) fn cluster(&self) -> Cluster {
        Cluster::read(&self.git_version)
    }

    /// The date that the API server has, as its answers say.
    pub(super) async fn date(&self) -> Result<String, String> {
        let request = http::Request::get("/version").body(kube::client::Body::empty());
        let request = request.map_err(|error| error.to_string())?;
        let answer = self
            .client
            .send(request)
            .await
            .map_err(|error| error.to_string())?;
        let date = answer.headers().get(http::header::DATE);
        let date = date.and_then(|date| date.to_str().ok());
        date.map(str::to_owned)
            .ok_or_else(|| "the API server tells no date".to_owned())
    }

    /// What requests to the API server go through.
    pub(super) fn sender(&self) -> Sender {
        // No lease limits how long a person may write.
        Sender::new(self.client.clone(), Arc::new(|| Duration::MAX))
    }
}

/// Runs what asks a cluster to its end.
pub(super) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::input)?;
    let done = runtime.block_on(work);
    runtime.shutdown_background();
    done
}
