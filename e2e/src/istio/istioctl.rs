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
    match generate_with(["--filename", "-"], &cr.to_string())? {
        Ok(printed) => documents("istioctl", &printed).map(Ok),
        Err(complaint) => Ok(Err(complaint)),
    }
}

/// The text that `istioctl manifest generate` prints with these flags and this standard input.
///
/// The inner error is what istioctl complains about.
pub fn generate_with<A: AsRef<OsStr>>(
    flags: impl IntoIterator<Item = A>,
    input: &str,
) -> Result<Result<String, String>, Error> {
    let mut command = Command::new(Bundle::Istio.dir()?.join("istioctl"));
    command
        .args(["manifest", "generate"])
        .args(flags)
        // Never the cluster that the developer works with.
        .env("KUBECONFIG", "/nonexistent")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let failed = |error| Error::io("istioctl")(error);
    let mut child = command.spawn().map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // If istioctl ended without reading, its own message says why.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(failed)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(Ok(text(&output.stdout)))
    } else {
        Ok(Err(text(&output.stderr)))
    }
}

/// Runs istioctl with full access to a control plane and returns what it prints. Builds it if it is missing.
pub fn run<A: AsRef<OsStr>>(
    plane: &ControlPlane,
    args: impl IntoIterator<Item = A>,
) -> Result<String, Error> {
    let path = Bundle::Istio.dir()?.join("istioctl");
    plane.run("istioctl", &path, args)
}
