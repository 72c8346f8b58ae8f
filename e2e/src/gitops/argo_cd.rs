//! Argo CD's engine with the Application of the samples: `gitops-agent`, a program of our own around Argo CD's code.

use serde_json::Value;

use crate::{
    control_plane::ControlPlane,
    error::Error,
    gitops::{administrator, repository::Repository},
    host::{
        go_programs::Bundle,
        process::{Process, Program},
        workspace::{create_dir, read, write},
    },
};

const NAMESPACE: &str = "argocd";
const ACCOUNT: &str = "argocd-application-controller";
const APPLICATION: &str = "argocd/application.yaml";

/// A running engine; ends when dropped.
#[derive(Debug)]
pub struct ArgoCd {
    process: Process,
}

impl ArgoCd {
    /// Starts it as the service account that Argo CD has, with its rights. Builds it if it is missing.
    pub async fn start(plane: &ControlPlane, repository: &Repository) -> Result<Self, Error> {
        let kubeconfig = administrator(plane, NAMESPACE, ACCOUNT).await?;
        let dir = plane.dir().join(NAMESPACE);
        create_dir(&dir)?;
        let application = repository.with_url(APPLICATION)?;
        write(&dir.join("application.yaml"), application)?;
        let process = Process::start(Program {
            name: "gitops-agent".into(),
            path: Bundle::ArgoCd.dir()?.join("gitops-agent"),
            args: vec!["--application=application.yaml".into()],
            env: vec![("KUBECONFIG".into(), kubeconfig.display().to_string())],
            dir,
            log: plane.dir().join("gitops-agent.log"),
        })?;
        Ok(Self { process })
    }

    /// Nothing, once it says that the cluster is as this revision wants it, and healthy; else what it says instead. A sync that
    /// failed is an error of its own.
    pub fn synced(&mut self, revision: &str) -> Result<Result<(), String>, Error> {
        self.process.check()?;
        let reports = self.reports()?;
        let of = |kind: &str| reports.iter().rfind(|report| report["kind"] == kind);
        let operation = of("Operation").filter(|operation| operation["revision"] == revision);
        let Some(operation) = operation else {
            return Ok(Err(format!("no sync of {revision} has ended")));
        };
        if operation["phase"] != "Succeeded" {
            return Err(Error::Unexpected(format!("the sync failed: {operation}")));
        }
        let comparison = of("Comparison").unwrap_or(&Value::Null);
        let is_synced = comparison["revision"] == revision
            && comparison["health"] == "Healthy"
            && comparison["outOfSync"] == Value::Array(Vec::new());
        Ok(is_synced
            .then_some(())
            .ok_or_else(|| comparison.to_string()))
    }

    /// How often it has compared the repository with the cluster so far.
    pub fn comparisons(&self) -> Result<usize, Error> {
        let reports = self.reports()?;
        let comparisons = reports
            .iter()
            .filter(|report| report["kind"] == "Comparison");
        Ok(comparisons.count())
    }

    /// Its user name in the audit log.
    #[must_use]
    pub fn user() -> String {
        format!("system:serviceaccount:{NAMESPACE}:{ACCOUNT}")
    }

    /// What it told so far, between the lines of its log.
    fn reports(&self) -> Result<Vec<Value>, Error> {
        let log = read(self.process.log())?;
        let reports = log.lines().filter(|line| line.starts_with(r#"{"kind":"#));
        Ok(reports
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect())
    }
}
