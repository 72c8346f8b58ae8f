//! The real Helm. It is built with Istio's programs, whose module pins it.

use std::ffi::OsStr;

use crate::{control_plane::ControlPlane, error::Error, host::go_programs::Bundle};

/// Runs Helm with full access to a control plane and returns what it prints. Builds it if it is missing.
pub fn run<A: AsRef<OsStr>>(
    plane: &ControlPlane,
    args: impl IntoIterator<Item = A>,
) -> Result<String, Error> {
    plane.run("helm", &Bundle::Istio.dir()?.join("helm"), args)
}
