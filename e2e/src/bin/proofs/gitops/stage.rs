//! A cluster, a repository, and a tool that keeps the one as the other says.

use std::fmt;

use e2e::{
    actions::cr::Cr,
    control_plane::ControlPlane,
    error::Error,
    gitops::{argo_cd::ArgoCd, flux::Flux, repository::Repository},
    istio::istiod::Istiod,
    operator::Operator,
    wait::{SOON, wait_until},
};
use k8s_openapi::jiff::Timestamp;

use crate::gitops::writes::Writes;

/// The `IstioOperator` with the control plane, and the one with the gateways.
pub const ISTIO: &str = "istio";
pub const GATEWAYS: &str = "gateways";

/// What keeps a cluster as a repository says.
#[derive(Clone, Copy, Debug)]
pub enum Tool {
    ArgoCd,
    Flux,
}

impl fmt::Display for Tool {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::ArgoCd => "Argo CD",
            Self::Flux => "Flux",
        })
    }
}

/// The programs of the tool.
enum Engine {
    ArgoCd(ArgoCd),
    Flux(Flux),
}

/// All of it.
pub struct Stage<'p> {
    pub tool: Tool,
    // Fields are dropped in this order: clients before what they talk to.
    engine: Engine,
    _istiod: Istiod,
    operator: Operator,
    pub repository: Repository,
    pub plane: &'p ControlPlane,
    since: Timestamp,
}

/// The Kustomizations of Flux but for that of the operator, in the order in which they are removed.
const KUSTOMIZATIONS: [&str; 4] = ["apps", "mesh", "istio-gateways", "istio"];

impl<'p> Stage<'p> {
    /// A repository with the samples, in which `version` is `before`, and a tool that has just heard of it; with its revision.
    pub async fn set(
        tool: Tool,
        plane: &'p ControlPlane,
        version: &str,
        before: &str,
    ) -> Result<(Self, String), Error> {
        let repository = Repository::start(&plane.dir().join("mesh")).await?;
        for file in ["control-plane/istio.yaml", "gateways/gateways.yaml"] {
            repository.replace(file, version, before)?;
        }
        let revision = repository.commit("A mesh")?;
        let since = Timestamp::now();
        let engine = match tool {
            Tool::ArgoCd => Engine::ArgoCd(ArgoCd::start(plane, &repository).await?),
            Tool::Flux => Engine::Flux(Flux::start(plane, &repository).await?),
        };
        // From here on, what the tool installs is played by processes.
        let operator = Operator::start_installed(plane, "istio-operator").await?;
        let istiod = wait_until("the Deployment of istiod", SOON, || async {
            plane.kubectl(["get", "deployment", "istiod", "-n=istio-system"])
        });
        istiod.await?;
        let istiod = Istiod::start(plane, "istio-system", "istiod").await?;
        let stage = Self {
            tool,
            engine,
            _istiod: istiod,
            operator,
            repository,
            plane,
            since,
        };
        Ok((stage, revision))
    }

    /// When the tool heard of the repository.
    pub fn since(&self) -> Timestamp {
        self.since
    }

    /// Waits until the tool says that the cluster is as this revision wants it, and healthy.
    pub async fn wait_until_synced(&mut self, revision: &str) -> Result<(), Error> {
        let what = format!("{} to have synced {revision}", self.tool);
        let synced = wait_until(&what, SOON, || {
            let said = match &mut self.engine {
                Engine::ArgoCd(argo_cd) => argo_cd.synced(revision),
                Engine::Flux(flux) => flux.synced(self.plane, revision),
            };
            // An error will not go away by waiting.
            async move { said.map_or_else(|error| Ok(Err(error)), |said| said.map(Ok)) }
        });
        synced.await?
    }

    /// What was written since.
    pub fn writes(&self, since: Timestamp) -> Writes {
        let tool = match self.tool {
            Tool::ArgoCd => vec![ArgoCd::user()],
            Tool::Flux => Flux::users(),
        };
        Writes {
            audit: self.plane.audit(),
            tool,
            operator: self.operator.user().into(),
            since,
        }
    }

    /// How often the tool looked whether the cluster is as the repository wants it: Argo CD in its memory of the cluster, and
    /// Flux by dry runs.
    pub fn looks(&self, since: Timestamp) -> Result<usize, Error> {
        match &self.engine {
            Engine::ArgoCd(argo_cd) => argo_cd.comparisons(),
            Engine::Flux(_) => {
                let audit = self.plane.audit();
                let mut count = 0;
                for user in Flux::users() {
                    let events = audit.by(&user, since)?;
                    let is_dry_run = |uri: &str| uri.contains("dryRun=All");
                    count += events
                        .iter()
                        .filter(|event| is_dry_run(&event.request_uri))
                        .count();
                }
                Ok(count)
            }
        }
    }

    /// The `IstioOperator` with the control plane.
    pub async fn istio(&self) -> Result<Cr, Error> {
        Ok(Cr::of(self.plane.client().await?, "istio-system", ISTIO))
    }

    /// Removes all but the operator as the samples say: with Argo CD by a commit, and with Flux by deleting what it was told.
    pub async fn remove_mesh(&mut self) -> Result<(), Error> {
        match self.engine {
            Engine::ArgoCd(_) => {
                let file = "argocd/kustomization.yaml";
                for directory in ["control-plane", "gateways", "mesh", "apps"] {
                    let line = format!("  - ../{directory}\n");
                    self.repository.replace(file, &line, "")?;
                }
                let revision = self.repository.commit("Remove the mesh")?;
                self.wait_until_synced(&revision).await
            }
            Engine::Flux(_) => {
                for name in KUSTOMIZATIONS {
                    let delete = ["delete", "kustomization", name, "-n=flux-system"];
                    self.plane.kubectl(delete)?;
                }
                Ok(())
            }
        }
    }
}
