//! The cluster in tables, as kubectl prints them.

use std::fmt::Write;

use e2e::{actions::cr::Cr, control_plane::ControlPlane, error::Error};
use serde_json::Value;

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
        lines += &urls(node, &cr.data["status"]["componentStatus"]);
    }
    if lines.is_empty() {
        return Ok(());
    }
    say(&format!("{:<12} {:<12} URL\n{lines}", "ADDON", "STATUS"))
}

/// A line for each component with a port on the nodes.
fn urls(node: &str, components: &Value) -> String {
    let mut lines = String::new();
    for (name, status) in components.as_object().into_iter().flatten() {
        if let Some(port) = status["nodePorts"][0]["nodePort"].as_i64() {
            let path = PATHS.iter().find(|(addon, _)| addon == name);
            let path = path.map_or("/", |(_, path)| path);
            let state = status["status"].as_str().unwrap_or("-");
            // Writing to a string never fails.
            let _ = writeln!(lines, "{name:<12} {state:<12} http://{node}:{port}{path}");
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn addons_with_a_port_have_a_url() {
        let components = json!({
            "Grafana": {"status": "HEALTHY", "nodePorts": [{"name": "service", "nodePort": 31875}]},
            "Kiali": {"status": "RECONCILING", "nodePorts": [{"name": "http", "nodePort": 31365}]},
            "Prometheus": {"status": "HEALTHY", "serviceType": "ClusterIP"},
        });
        let expected = "Grafana      HEALTHY      http://192.0.2.1:31875/\n\
                        Kiali        RECONCILING  http://192.0.2.1:31365/kiali\n";
        assert_eq!(urls("192.0.2.1", &components), expected);
    }
}
