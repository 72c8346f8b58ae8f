//! The cluster in tables, as kubectl prints them.

use std::fmt::Write;

use e2e::{actions::cr::Cr, control_plane::ControlPlane, error::Error};

use crate::say;

/// Where addons that do not serve the root have their pages.
const PATHS: [(&str, &str); 2] = [("Jaeger", "/jaeger"), ("Kiali", "/kiali")];

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

/// Prints the URL of every addon that has a port on the nodes, as the status of the CRs (namespace and name of each) tells it.
pub async fn print_addons(plane: &ControlPlane, crs: &[(String, String)]) -> Result<(), Error> {
    let address = "-o=jsonpath={.items[0].status.addresses[?(@.type==\"InternalIP\")].address}";
    let node = plane.kubectl(["get", "nodes", address])?;
    let node = if node.is_empty() { "NODE" } else { &node };
    let mut lines = String::new();
    for (namespace, name) in crs {
        let cr = Cr::of(plane.client().await?, namespace, name).get().await?;
        let components = cr.data["status"]["componentStatus"].as_object();
        for (name, status) in components.into_iter().flatten() {
            if let Some(port) = status["nodePorts"][0]["nodePort"].as_i64() {
                let path = PATHS.iter().find(|(addon, _)| addon == name);
                let path = path.map_or("/", |(_, path)| path);
                let state = status["status"].as_str().unwrap_or("-");
                // Writing to a string never fails.
                let _ = writeln!(lines, "{name:<12} {state:<12} http://{node}:{port}{path}");
            }
        }
    }
    if lines.is_empty() {
        return Ok(());
    }
    say(&format!("{:<12} {:<12} URL\n{lines}", "ADDON", "STATUS"))
}
