//! What commands of the operator print.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;

use super::binary;
use crate::{control_plane::ControlPlane, error::Error, yaml};

/// What `istio-operator manifests` prints.
pub fn manifests() -> Result<String, Error> {
    manifests_with(&[])
}

/// What `istio-operator manifests` prints with these flags.
pub fn manifests_with(flags: &[&str]) -> Result<String, Error> {
    printed(&[&["manifests"], flags].concat(), "")
}

/// What `istio-operator manifests --restart-workloads` adds: the rights to restart workloads.
pub fn restart_rights() -> Result<String, Error> {
    let all = manifests_with(&["--restart-workloads"])?;
    let mut rights = yaml::documents("istio-operator manifests", &all)?;
    rights.retain(|object| object["metadata"]["name"] == "istio-operator-restarts");
    Ok(yaml::stream(&rights))
}

/// What `istio-operator plan -o json` prints for an administrator of this cluster: of a CR that the cluster has, or of
/// the one in `file`.
pub fn plan(plane: &ControlPlane, cr: Option<&str>, file: &str) -> Result<Value, Error> {
    let arguments = match cr {
        Some(cr) => ["plan", "-o=json", cr].to_vec(),
        None => ["plan", "-o=json", "-f", "-"].to_vec(),
    };
    run(&plane.kubeconfig(), &arguments, file)?.json()
}

/// The objects that `istio-operator render` prints for an IstioOperator.
pub fn render(cr: &str) -> Result<Vec<Value>, Error> {
    yaml::documents(
        "istio-operator render",
        &printed(&["render", "-f", "-"], cr)?,
    )
}

/// What a command of the operator said.
#[derive(Clone, Debug)]
pub struct Said {
    /// Its exit code; -1 if a signal ended it.
    pub code: i32,
    /// What it printed.
    pub output: String,
    /// What it told on standard error.
    pub errors: String,
}

impl Said {
    /// What it printed as JSON.
    pub fn json(&self) -> Result<Value, Error> {
        serde_json::from_str(&self.output)
            .map_err(|error| Error::Unexpected(format!("{error}: {self:?}")))
    }
}

/// Runs a command of the operator as the user of a kubeconfig, with `input` as its standard input.
pub fn run(kubeconfig: &Path, arguments: &[&str], input: &str) -> Result<Said, Error> {
    let command = format!("istio-operator {}", arguments.join(" "));
    let mut child = Command::new(binary()?)
        .args(arguments)
        .env("KUBECONFIG", kubeconfig)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(Error::io(&command))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command need not read its input.
        let _ = stdin.write_all(input.as_bytes());
    }
    let said = child.wait_with_output().map_err(Error::io(&command))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Said {
        code: said.status.code().unwrap_or(-1),
        output: text(&said.stdout),
        errors: text(&said.stderr),
    })
}

/// What the operator prints for `arguments`, with `input` as its standard input. It asks no cluster.
fn printed(arguments: &[&str], input: &str) -> Result<String, Error> {
    let said = run(Path::new("/nonexistent"), arguments, input)?;
    if said.code == 0 {
        return Ok(said.output);
    }
    Err(Error::Command {
        command: format!("istio-operator {}", arguments.join(" ")),
        message: said.errors,
    })
}
