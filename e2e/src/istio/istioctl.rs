//! The real istioctl.

use std::{
    ffi::OsStr,
    fmt::Display,
    io::Write,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::{
    control_plane::ControlPlane, error::Error, host::go_programs::Bundle, yaml::documents,
};

/// What `istioctl manifest generate` prints for a CR, as JSON or YAML, without asking any cluster. Builds it if it is missing.
///
/// The inner error is what istioctl complains about.
pub fn generate(cr: &impl Display) -> Result<Result<Vec<Value>, String>, Error> {
    let mut command = Command::new(Bundle::Istio.dir()?.join("istioctl"));
    command
        .args(["manifest", "generate", "--filename", "-"])
        // Never the cluster that the developer works with.
        .env("KUBECONFIG", "/nonexistent")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let failed = |error| Error::io("istioctl")(error);
    let mut child = command.spawn().map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // If istioctl ended without reading, its own message says why.
        let _ = stdin.write_all(cr.to_string().as_bytes());
    }
    let output = child.wait_with_output().map_err(failed)?;
    if !output.status.success() {
        return Ok(Err(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    documents("istioctl", &String::from_utf8_lossy(&output.stdout)).map(Ok)
}

/// Runs istioctl with full access to a control plane and returns what it prints. Builds it if it is missing.
pub fn run<A: AsRef<OsStr>>(
    plane: &ControlPlane,
    args: impl IntoIterator<Item = A>,
) -> Result<String, Error> {
    let mut command = Command::new(Bundle::Istio.dir()?.join("istioctl"));
    command
        .args(args)
        .current_dir(plane.dir())
        .env("HOME", plane.dir())
        .env("KUBECONFIG", plane.kubeconfig());
    let output = command.output().map_err(Error::io("istioctl"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let args: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
    Err(Error::Command {
        command: format!("istioctl {}", args.join(" ")),
        message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}
