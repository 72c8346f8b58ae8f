//! The cluster in tables, as kubectl prints them.

use e2e::{control_plane::ControlPlane, error::Error};

use crate::say;

/// Prints pods, services, HPAs and CRs, each with the command that shows it.
pub fn print(plane: &ControlPlane) -> Result<(), Error> {
    for resource in ["pods", "services", "hpa", "iop"] {
        let table = plane.kubectl(["get", resource, "--all-namespaces"])?;
        say(&format!(
            "$ kubectl get {resource} --all-namespaces\n{table}"
        ))?;
    }
    Ok(())
}
