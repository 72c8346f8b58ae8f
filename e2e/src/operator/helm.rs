//! The real Helm. It is built with Istio's programs, whose module pins it.

use std::{ffi::OsStr, process::Command};

use crate::{control_plane::ControlPlane, error::Error, host::go_programs::Bundle};

/// Runs Helm with full access to a control plane and returns what it prints. Builds it if it is missing.
pub fn run<A: AsRef<OsStr>>(
    plane: &ControlPlane,
    args: impl IntoIterator<Item = A>,
) -> Result<String, Error> {
    let mut command = Command::new(Bundle::Istio.dir()?.join("helm"));
    command
        .args(args)
        .current_dir(plane.dir())
        .env("HOME", plane.dir())
        .env("KUBECONFIG", plane.kubeconfig());
    let output = command.output().map_err(Error::io("helm"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let args: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
    Err(Error::Command {
        command: format!("helm {}", args.join(" ")),
        message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}
