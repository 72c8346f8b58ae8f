//! The real Kubernetes and Istio programs: built by Go on first use, then kept under `target/`.
//!
//! Which programs, and of which version, is written in `control-plane/<bundle>/go.mod`. The built
//! files are found again by the content of go.mod and go.sum, so that Go is needed only once.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    error::Error,
    host::{
        progress::Progress,
        watchdog,
        workspace::{create_dir, entries, lock, read, state_dir, write},
    },
};

/// A go.mod with the programs it pins. Each project has its own, because they pin different versions of the modules they
/// share.
#[derive(Clone, Copy, Debug)]
pub enum Bundle {
    /// etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubectl and kwok.
    Kubernetes,
    /// pilot-discovery, pilot-agent and istioctl, and helm, which the module of Istio pins.
    Istio,
    /// pilot-discovery and pilot-agent of the minor before, from which meshes are upgraded.
    IstioPrevious,
    /// prometheus and promtool.
    Prometheus,
    /// dashboard-check, a program of our own around the schema of Grafana.
    Grafana,
    /// health-check, a program of our own around Argo CD's script for IstioOperators and the code of kstatus.
    Gitops,
    /// gitops-agent, a program of our own around Argo CD's engine.
    ArgoCd,
    /// source-controller and kustomize-controller.
    Flux,
}

/// How much of a failed build's output is worth showing.
const TAIL_LINES: usize = 20;

impl Bundle {
    /// The directory with the programs of this bundle; builds them if they are missing. Takes
    /// minutes then, shows progress, and makes parallel callers wait for the one that builds.
    pub fn dir(self) -> Result<PathBuf, Error> {
        let module = self.module();
        let go_mod = read(&module.join("go.mod"))?;
        let flags = self.link_flags(&go_mod)?;
        let mut hasher = DefaultHasher::new();
        let mut how = flags.clone() + self.tags() + self.compiler_flags();
        if let Some(program) = self.own_program() {
            how += &sources(&module.join(program))?;
        }
        (&go_mod, read(&module.join("go.sum"))?, how).hash(&mut hasher);
        let built = state_dir().join(format!("bin/{}-{:016x}", self.name(), hasher.finish()));
        if built.exists() {
            return Ok(built);
        }
        let _lock = lock(self.name())?;
        if !built.exists() {
            self.build(&flags, &built)?;
        }
        Ok(built)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Kubernetes => "kubernetes",
            Self::Istio => "istio",
            Self::IstioPrevious => "istio-previous",
            Self::Prometheus => "prometheus",
            Self::Grafana => "grafana",
            Self::Gitops => "gitops",
            Self::ArgoCd => "argo-cd",
            Self::Flux => "flux",
        }
    }

    /// The program of our own in this bundle, whose source is part of what is built.
    fn own_program(self) -> Option<&'static str> {
        match self {
            Self::Grafana => Some("dashboard-check"),
            Self::Gitops => Some("health-check"),
            Self::ArgoCd => Some("gitops-agent"),
            Self::Kubernetes
            | Self::Istio
            | Self::IstioPrevious
            | Self::Prometheus
            | Self::Flux => None,
        }
    }

    /// Build tags. Of the many ways to discover what to scrape, only Kubernetes' counts here.
    fn tags(self) -> &'static str {
        match self {
            Self::Prometheus => "remove_all_sd,enable_kubernetes_sd",
            _ => "",
        }
    }

    /// Flags of the compiler. Without inlining it takes a third less time, which counts more than how fast the programs are,
    /// except for those of Kubernetes: most of the time of the tests is spent in the API server. Argo CD's agent has a third of
    /// its packages from Kubernetes, and they are compiled already.
    fn compiler_flags(self) -> &'static str {
        match self {
            Self::Kubernetes | Self::ArgoCd | Self::Flux => "",
            Self::Istio | Self::IstioPrevious | Self::Prometheus | Self::Grafana | Self::Gitops => {
                "-l"
            }
        }
    }

    fn module(self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("control-plane")
            .join(self.name())
    }

    /// What the release builds of the projects stamp into their programs; without it the API
    /// server would call itself v0.0.0 and istiod "unknown".
    fn link_flags(self, go_mod: &str) -> Result<String, Error> {
        let stamps = match self {
            Self::Kubernetes => {
                let version = required_version(go_mod, "k8s.io/kubernetes")?;
                let mut numbers = version.trim_start_matches('v').split('.');
                let (major, minor) = (numbers.next(), numbers.next());
                vec![
                    (
                        "k8s.io/component-base/version.gitVersion",
                        version.to_string(),
                    ),
                    (
                        "k8s.io/component-base/version.gitMajor",
                        major.unwrap_or("0").into(),
                    ),
                    (
                        "k8s.io/component-base/version.gitMinor",
                        minor.unwrap_or("0").into(),
                    ),
                    ("k8s.io/component-base/version.gitTreeState", "clean".into()),
                ]
            }
            Self::Istio | Self::IstioPrevious => {
                // Istio's own module has no release tag in Go's sense; its API module does, and
                // both are released together.
                let version = required_version(go_mod, "istio.io/api")?.trim_start_matches('v');
                vec![
                    (
                        "istio.io/istio/pkg/version.buildVersion",
                        version.to_string(),
                    ),
                    ("istio.io/istio/pkg/version.buildTag", version.to_string()),
                    ("istio.io/istio/pkg/version.buildStatus", "Clean".into()),
                    (
                        "istio.io/istio/pkg/version.buildHub",
                        "registry.istio.io/release".into(),
                    ),
                ]
            }
            Self::Prometheus | Self::Grafana | Self::Gitops | Self::ArgoCd | Self::Flux => {
                Vec::new()
            }
        };
        let stamps = stamps.into_iter();
        let stamps: Vec<_> = stamps
            .map(|(name, value)| format!("-X {name}={value}"))
            .collect();
        Ok(format!("-s -w {}", stamps.join(" ")))
    }

    /// Builds into a directory beside `built` and renames it when it is whole, so that an
    /// interrupted build leaves nothing that looks finished.
    fn build(self, flags: &str, built: &Path) -> Result<(), Error> {
        let title = format!(
            "building {} for the local control plane (once)",
            self.name()
        );
        let mut progress = Progress::new(title);
        progress.update("counting packages");
        let packages = self
            .go(&["list", "-tags", self.tags(), "-deps", "tool"])?
            .lines()
            .count();
        let partial = built.with_extension("partial");
        create_dir(&partial)?;
        self.install(flags, &partial, packages, &mut progress)?;
        match self {
            Self::Kubernetes => self.rename_and_add_stages(&partial)?,
            Self::Istio | Self::IstioPrevious => self.add_bootstrap_template(&partial)?,
            Self::Prometheus | Self::Grafana | Self::Gitops | Self::ArgoCd | Self::Flux => {}
        }
        remove_older(self.name(), built)?;
        fs::rename(&partial, built).map_err(Error::io(built.display().to_string()))?;
        progress.done();
        Ok(())
    }

    fn install(
        self,
        flags: &str,
        into: &Path,
        packages: usize,
        progress: &mut Progress,
    ) -> Result<(), Error> {
        let compiler_flags = format!("-gcflags=all={}", self.compiler_flags());
        let args = [
            "install",
            "-v",
            "-trimpath",
            "-buildvcs=false",
            "-tags",
            self.tags(),
            &compiler_flags,
            "-ldflags",
            flags,
            "tool",
        ];
        let mut child = self
            .go_command(&args)
            .env("GOBIN", into)
            // The compiler allocates much and ends soon, so it saves a seventh of its time by collecting less garbage.
            .env("GOGC", "400")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(go_error)?;
        let _watched = watchdog::watch(&child)?;
        let said = match child.stderr.take() {
            Some(output) => follow(output, packages, progress).map_err(Error::io("go install"))?,
            None => Vec::new(),
        };
        if child.wait().map_err(Error::io("go install"))?.success() {
            return Ok(());
        }
        let tail = said[said.len().saturating_sub(TAIL_LINES)..].join("\n");
        Err(Error::Build {
            what: format!("the {} programs", self.name()),
            tail,
        })
    }

    /// etcd's package is called `server`; kwok's behavior is data that lies in its module.
    fn rename_and_add_stages(self, dir: &Path) -> Result<(), Error> {
        let (from, to) = (dir.join("server"), dir.join("etcd"));
        fs::rename(&from, &to).map_err(Error::io(from.display().to_string()))?;
        let kwok = self.go(&["list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/kwok"])?;
        let stages = Path::new(kwok.trim()).join("kustomize/stage");
        let mut text = String::new();
        for stage in [
            "node/fast/node-initialize.yaml",
            "node/heartbeat-with-lease/node-heartbeat-with-lease.yaml",
            "pod/fast/pod-ready.yaml",
            "pod/fast/pod-complete.yaml",
            "pod/fast/pod-delete.yaml",
        ] {
            text += &read(&stages.join(stage))?;
            text += "\n---\n";
        }
        write(&dir.join("stages.yaml"), text)
    }

    /// pilot-agent makes Envoy's first configuration from a file that lies in Istio's module.
    fn add_bootstrap_template(self, dir: &Path) -> Result<(), Error> {
        let istio = self.go(&["list", "-m", "-f", "{{.Dir}}", "istio.io/istio"])?;
        let template = Path::new(istio.trim()).join("tools/packaging/common/envoy_bootstrap.json");
        write(&dir.join("envoy_bootstrap.json"), read(&template)?)
    }

    /// The directory with the source of a module that this bundle requires; fetches it if it is missing.
    pub fn source(self, module: &str) -> Result<PathBuf, Error> {
        self.go(&["mod", "download", module])?;
        let dir = self.go(&["list", "-m", "-f", "{{.Dir}}", module])?;
        Ok(PathBuf::from(dir.trim()))
    }

    /// Runs Go in this bundle's module and returns what it prints.
    fn go(self, args: &[&str]) -> Result<String, Error> {
        let output = self.go_command(args).output().map_err(go_error)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let tail = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(Error::Build {
            what: format!("the {} programs", self.name()),
            tail,
        })
    }

    fn go_command(self, args: &[&str]) -> Command {
        let mut command = Command::new("go");
        // A workspace or flags of the user's other projects must not change what is built here.
        let own = [("CGO_ENABLED", "0"), ("GOWORK", "off"), ("GOFLAGS", "")];
        command
            .args(args)
            .current_dir(self.module())
            .envs(own)
            .stdin(Stdio::null());
        command
    }
}

/// The text of all Go files of a program.
fn sources(program: &Path) -> Result<String, Error> {
    entries(program)?.iter().map(|file| read(file)).collect()
}

/// Turns what `go install -v` says into progress; returns what is not progress: the complaints.
fn follow(
    output: impl io::Read,
    packages: usize,
    progress: &mut Progress,
) -> io::Result<Vec<String>> {
    let mut said = Vec::new();
    let mut compiled = 0;
    for line in BufReader::new(output).lines() {
        let line = line?;
        if let Some(module) = line.strip_prefix("go: downloading ") {
            progress.update(&format!("downloading {module}"));
        } else if line.contains(' ') || line.starts_with('#') {
            said.push(line);
        } else {
            compiled += 1;
            progress.update(&format!(
                "{compiled} of at most {packages} packages ({line})"
            ));
        }
    }
    Ok(said)
}

/// The version that a go.mod requires of `module`.
fn required_version<'a>(go_mod: &'a str, module: &str) -> Result<&'a str, Error> {
    go_mod
        .lines()
        .filter_map(|line| line.trim().strip_prefix(module)?.strip_prefix(' '))
        .find_map(|rest| {
            rest.split(' ')
                .next()
                .filter(|version| version.starts_with('v'))
        })
        .ok_or_else(|| Error::Unexpected(format!("go.mod does not require {module}")))
}

/// Removes the programs of earlier versions; the files of those still running live on until they end.
fn remove_older(name: &str, built: &Path) -> Result<(), Error> {
    let Some(dir) = built.parent() else {
        return Ok(());
    };
    for entry in fs::read_dir(dir).map_err(Error::io(dir.display().to_string()))? {
        let entry = entry.map_err(Error::io(dir.display().to_string()))?;
        let file_name = entry.file_name().to_string_lossy().into_owned();
        // The name of one bundle may begin with that of another.
        let is_of_bundle = file_name.rsplit_once('-').is_some_and(|(of, _)| of == name);
        if is_of_bundle && !file_name.ends_with(".partial") {
            let path = entry.path();
            fs::remove_dir_all(&path).map_err(Error::io(path.display().to_string()))?;
        }
    }
    Ok(())
}

fn go_error(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => Error::NoGo,
        _ => Error::io("go")(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GO_MOD: &str = "tool k8s.io/kubernetes/cmd/kubectl\n\nrequire (\n\tk8s.io/api v0.36.3\n\t\
        k8s.io/kubernetes v1.36.3 // indirect\n)\nreplace k8s.io/api => k8s.io/api v0.36.4\n";

    #[test]
    fn versions_come_from_the_require_lines() {
        assert_eq!(
            required_version(GO_MOD, "k8s.io/kubernetes").unwrap(),
            "v1.36.3"
        );
        assert_eq!(required_version(GO_MOD, "k8s.io/api").unwrap(), "v0.36.3");
        let error = required_version(GO_MOD, "istio.io/api")
            .unwrap_err()
            .to_string();
        assert_eq!(error, "go.mod does not require istio.io/api");
    }

    #[test]
    fn complaints_of_go_are_told_from_its_progress() {
        let output = "go: downloading k8s.io/api v0.36.3\nk8s.io/api/core/v1\n\
            # k8s.io/api/core/v1\ntypes.go:1:1: expected 'package'\n";
        let mut progress = Progress::new("test");
        let said = follow(output.as_bytes(), 2, &mut progress).unwrap();
        assert_eq!(
            said,
            ["# k8s.io/api/core/v1", "types.go:1:1: expected 'package'"]
        );
    }
}
