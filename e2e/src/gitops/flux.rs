//! Flux's source-controller and kustomize-controller, with the resources of the samples.

use std::path::Path;

use serde_json::Value;

use crate::{
    control_plane::ControlPlane,
    error::Error,
    gitops::{administrator, repository::Repository},
    host::{
        go_programs::Bundle,
        ports,
        process::{Process, Program},
        workspace::create_dir,
    },
};

const NAMESPACE: &str = "flux-system";
const CONTROLLERS: [&str; 2] = ["source-controller", "kustomize-controller"];
const RESOURCES: [&str; 2] = ["flux/source.yaml", "flux/kustomizations.yaml"];

/// Running controllers; they end when dropped.
#[derive(Debug)]
pub struct Flux {
    processes: Vec<Process>,
}

impl Flux {
    /// Installs the CRDs of both controllers, starts them with the rights that they have, and applies what the samples have for
    /// Flux, with an interval of seconds. Builds them if they are missing.
    pub async fn start(plane: &ControlPlane, repository: &Repository) -> Result<Self, Error> {
        let mut processes = Vec::new();
        for controller in CONTROLLERS {
            let module = format!("github.com/fluxcd/{controller}");
            let crds = Bundle::Flux.source(&module)?.join("config/crd/bases");
            let crds = format!("--filename={}", crds.display());
            plane.kubectl(["apply", "--server-side", &crds])?;
            let kubeconfig = administrator(plane, NAMESPACE, controller).await?;
            processes.push(start(plane, controller, &kubeconfig)?);
        }
        for resource in ["gitrepositories", "kustomizations"] {
            plane.wait_until_served(resource).await?;
        }
        for file in RESOURCES {
            plane.apply(&with_short_intervals(&repository.with_url(file)?))?;
        }
        Ok(Self { processes })
    }

    /// Nothing, once every Kustomization is ready in this revision; else what one says instead.
    pub fn synced(
        &mut self,
        plane: &ControlPlane,
        revision: &str,
    ) -> Result<Result<(), String>, Error> {
        self.processes.iter_mut().try_for_each(Process::check)?;
        let get = ["get", "kustomizations", "--namespace", NAMESPACE, "-o=json"];
        let list: Value = serde_json::from_str(&plane.kubectl(get)?).unwrap_or_default();
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let is_ready = |item: &Value| {
            let status = &item["status"];
            let applied = status["lastAppliedRevision"].as_str().unwrap_or_default();
            let conditions = status["conditions"].as_array();
            let mut conditions = conditions.into_iter().flatten();
            applied.ends_with(revision)
                && status["observedGeneration"] == item["metadata"]["generation"]
                && conditions.any(|is| is["type"] == "Ready" && is["status"] == "True")
        };
        if items.is_empty() {
            return Err(Error::Unexpected("there are no Kustomizations".into()));
        }
        let waiting = items.iter().find(|item| !is_ready(item));
        Ok(waiting.map_or(Ok(()), |item| {
            Err(format!("{}: {}", item["metadata"]["name"], item["status"]))
        }))
    }

    /// Their user names in the audit log.
    #[must_use]
    pub fn users() -> Vec<String> {
        let user = |name| format!("system:serviceaccount:{NAMESPACE}:{name}");
        CONTROLLERS.map(user).to_vec()
    }
}

fn start(plane: &ControlPlane, controller: &str, kubeconfig: &Path) -> Result<Process, Error> {
    let dir = plane.dir().join(controller);
    create_dir(&dir)?;
    let mut args = vec![
        "--watch-all-namespaces=true".into(),
        "--metrics-addr=0".into(),
        "--health-addr=0".into(),
        // Instead of 30 s, until a Kustomization looks again at what it depends on.
        "--requeue-dependency=2s".into(),
    ];
    if controller == "source-controller" {
        let address = format!("127.0.0.1:{}", ports::free()?);
        args.push(format!("--storage-addr={address}"));
        args.push(format!("--storage-adv-addr={address}"));
        args.push(format!("--storage-path={}", dir.display()));
    }
    Process::start(Program {
        name: controller.into(),
        path: Bundle::Flux.dir()?.join(controller),
        args,
        env: vec![
            ("KUBECONFIG".into(), kubeconfig.display().to_string()),
            ("RUNTIME_NAMESPACE".into(), NAMESPACE.into()),
        ],
        dir,
        log: plane.dir().join(format!("{controller}.log")),
    })
}

/// The same resources, looked at every few seconds instead of minutes.
fn with_short_intervals(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let (key, _) = line.split_once(':').unwrap_or((line, ""));
        if key.trim().to_lowercase().ends_with("interval") {
            format!("{key}: 5s\n")
        } else {
            format!("{line}\n")
        }
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_shortened() {
        let text = "spec:\n  interval: 10m\n  retryInterval: 1m\n  timeout: 10m\n";
        assert_eq!(
            with_short_intervals(text),
            "spec:\n  interval: 5s\n  retryInterval: 5s\n  timeout: 10m\n"
        );
    }
}
