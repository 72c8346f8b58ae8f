//! `istioctl kube-inject` with what an install configures.

pub mod engine;
pub mod gateways;
pub mod pods;

use std::{
    env, fs,
    path::PathBuf,
    process::{self, Command, Output},
    sync::atomic::{AtomicUsize, Ordering},
};

use e2e::{
    host::go_programs::Bundle,
    istio::istioctl,
    yaml::{documents, stream},
};
use istio_operator::{
    api::{ComponentKind, IstioOperator},
    charts::Charts,
    merge::{Cluster, merge},
    render::render,
};
use serde_json::Value;

/// The three texts that injection depends on, in files. They are gone when this is dropped.
pub struct Injector {
    dir: PathBuf,
}

static COUNT: AtomicUsize = AtomicUsize::new(0);

/// What our charts of this minor give for istiod in a CR.
pub fn ours(charts: &Charts, cr: &Value, minor: &str) -> Vec<Value> {
    let cr: IstioOperator = serde_json::from_value(cr.clone()).unwrap();
    let mut merged = merge(&cr, Some(minor), Cluster::default(), charts).unwrap();
    merged
        .components
        .retain(|component| component.kind == ComponentKind::Pilot);
    let rendered = render(&merged, charts).unwrap();
    let objects = rendered.components.iter().flat_map(|c| &c.objects);
    objects.map(|object| object.body.value()).collect()
}

/// What the istioctl of the local control plane gives for a CR, with upstream's charts, or its
/// complaint.
pub fn upstream(cr: &Value) -> Result<Vec<Value>, String> {
    istioctl::generate(cr).unwrap()
}

impl Injector {
    /// With what an install's objects say.
    pub fn new(objects: &[Value]) -> Self {
        let text = |prefix: &str, key: &str| {
            let is_it = |object: &&Value| {
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                object["kind"] == "ConfigMap"
                    && name.starts_with(prefix)
                    && !object["data"][key].is_null()
            };
            let map = objects.iter().find(is_it).unwrap();
            map["data"][key].as_str().unwrap().to_owned()
        };
        let dir = fresh_dir();
        fs::write(dir.join("mesh"), text("istio", "mesh")).unwrap();
        fs::write(dir.join("config"), text("istio-sidecar-injector", "config")).unwrap();
        fs::write(dir.join("values"), text("istio-sidecar-injector", "values")).unwrap();
        Self { dir }
    }

    /// The objects with a sidecar or whatever else their annotations ask for, in the same order.
    pub fn inject(&self, objects: &[Value]) -> Vec<Value> {
        self.try_inject(objects).unwrap()
    }

    /// The same, or what istioctl complains about.
    pub fn try_inject(&self, objects: &[Value]) -> Result<Vec<Value>, String> {
        fs::write(self.dir.join("pods.yaml"), stream(objects)).unwrap();
        let mut command = Command::new(Bundle::Istio.dir().unwrap().join("istioctl"));
        // Never the cluster that the developer works with.
        command.env("KUBECONFIG", "/nonexistent");
        // "default" stands for no revision; without the flag, it would ask a cluster.
        command.args(["kube-inject", "--revision", "default"]);
        for (flag, file) in [
            ("--injectConfigFile", "config"),
            ("--meshConfigFile", "mesh"),
            ("--valuesFile", "values"),
            ("--filename", "pods.yaml"),
        ] {
            command.arg(flag).arg(self.dir.join(file));
        }
        let injected = documents("istioctl", &succeed(command.output().unwrap())?).unwrap();
        assert_eq!(injected.len(), objects.len());
        Ok(injected)
    }
}

impl Drop for Injector {
    fn drop(&mut self) {
        // What cannot be removed lies in the system's own directory for such files.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// What a program printed, or its complaint.
fn succeed(output: Output) -> Result<String, String> {
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn fresh_dir() -> PathBuf {
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let dir = env::temp_dir().join(format!("injection-{}-{number}", process::id()));
    fs::create_dir_all(&dir).unwrap();
    dir
}
