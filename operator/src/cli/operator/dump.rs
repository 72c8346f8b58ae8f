//! Writes down what helps to find out what goes wrong.

use std::fs;
use std::path::{Path, PathBuf};

use istio_operator::api::IstioOperator;
use istio_operator::charts::yaml;
use istio_operator::cluster::CrKey;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::ResourceExt;
use kube::api::{Api, DynamicObject, ListParams, LogParams};
use serde_json::{Value, json};

use super::{DEPLOYMENT, Home, POD, labeled};
use crate::cli::Failure;
use crate::cli::connection::{ClusterArgs, Connection, block_on};
use crate::cli::observed::{Observed, said};
use crate::cli::output::{Format, complain};

/// Write what helps to find a fault into a directory: versions, IstioOperators with their statuses and Events, what is
/// installed, and the operator with its logs.
///
/// No Secret is read. IstioOperators are written as they are, so look at them before you hand the files on.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  istio-operator operator dump operator-dump
  istio-operator operator dump operator-dump --operator-namespace mesh-system -o json")]
pub(in crate::cli) struct Args {
    /// The directory to write into; it must not exist.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    #[command(flatten)]
    home: Home,
    /// How to print which files were written.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Files to write, and what could not be looked at.
#[derive(Default)]
struct Dump {
    files: Vec<(String, String)>,
    unknown: Vec<String>,
}

pub(in crate::cli) fn dump(args: &Args) -> Result<(), Failure> {
    let dump = block_on(async {
        let connection = args.cluster.connect().await?;
        let mut dump = Dump::default();
        dump.installations(&connection).await;
        dump.operator(&connection, &args.home).await;
        let versions = json!({
            "program": env!("CARGO_PKG_VERSION"),
            "kubernetes": connection.git_version,
            "unknown": dump.unknown,
        });
        dump.add("versions.yaml", &versions);
        Ok(dump)
    })?;
    dump.unknown
        .iter()
        .for_each(|unknown| complain(&format_args!("not looked at: {unknown}")));
    let names = dump.write(&args.dir)?;
    args.output
        .print(|| names.join("\n") + "\n", || json!(names))
}

impl Dump {
    fn add(&mut self, name: &str, value: &Value) {
        self.files.push((name.to_owned(), yaml::write(value)));
    }

    /// The IstioOperators, their Events, and the objects that they own.
    async fn installations(&mut self, connection: &Connection) {
        let observed = Observed::look(connection).await;
        self.unknown.extend(observed.unknown.iter().cloned());
        for cr in &observed.crs {
            let key = CrKey::of(cr);
            let file = format!("istiooperators/{}/{}.yaml", key.namespace, key.name);
            let cr: &IstioOperator = cr;
            match serde_json::to_value(cr) {
                Ok(value) => self.add(&file, &value),
                Err(error) => self.unknown.push(format!("{key}: {error}")),
            }
            self.events(connection, &key).await;
        }
        let mut objects: Vec<_> = observed
            .live
            .iter()
            .map(|(key, object)| {
                let owner = object.owner_labels.owner.as_ref();
                json!({
                    "object": key.to_string(),
                    "istioOperator": owner.map(ToString::to_string),
                    "version": object.owner_labels.version,
                    "revision": object.owner_labels.revision,
                    "managedBy": object.managed_by.map(|tool| tool.to_string()),
                    "unready": object.unready_reason(),
                })
            })
            .collect();
        objects.sort_by_key(ToString::to_string);
        self.add("objects.yaml", &objects.into());
    }

    async fn events(&mut self, connection: &Connection, cr: &CrKey) {
        let api: Api<Event> = Api::namespaced(connection.client.clone(), &cr.namespace);
        let of_cr = format!(
            "involvedObject.kind=IstioOperator,involvedObject.name={}",
            cr.name
        );
        match api.list(&ListParams::default().fields(&of_cr)).await {
            Ok(events) => {
                let event = |event: &Event| json!({"reason": event.reason, "message": event.message, "count": event.count, "last": event.last_timestamp});
                let events: Vec<_> = events.iter().map(event).collect();
                let file = format!("istiooperators/{}/{}-events.yaml", cr.namespace, cr.name);
                self.add(&file, &events.into());
            }
            Err(error) => self
                .unknown
                .push(format!("events of {cr}: {}", said(&error))),
        }
    }

    /// The Deployment and the pods of the operator, and their logs.
    async fn operator(&mut self, connection: &Connection, home: &Home) {
        let mut objects = Vec::new();
        for kind in [DEPLOYMENT, POD] {
            match labeled(connection, home, kind).await {
                Ok(found) => objects.extend(found),
                Err(why) => self.unknown.push(why),
            }
        }
        let is_pod = |object: &&DynamicObject| object.data["spec"]["containers"].is_array();
        let pods: Vec<_> = objects
            .iter()
            .filter(is_pod)
            .map(ResourceExt::name_any)
            .collect();
        let values: Vec<_> = objects
            .iter()
            .map(|object| serde_json::to_value(object).unwrap_or_default())
            .collect();
        self.add("operator/objects.yaml", &values.into());
        let api: Api<Pod> = Api::namespaced(connection.client.clone(), &home.operator_namespace);
        for pod in pods {
            match api.logs(&pod, &LogParams::default()).await {
                Ok(log) => self.files.push((format!("operator/{pod}.log"), log)),
                Err(error) => self.unknown.push(format!("log of {pod}: {}", said(&error))),
            }
        }
    }

    /// Writes the files; gives their names.
    fn write(self, dir: &Path) -> Result<Vec<String>, Failure> {
        let failed =
            |file: &Path, error| Failure::input(format_args!("{}: {error}", file.display()));
        fs::create_dir(dir).map_err(|error| failed(dir, error))?;
        let mut names = Vec::new();
        for (name, text) in self.files {
            let file = dir.join(&name);
            if let Some(parent) = file.parent() {
                fs::create_dir_all(parent).map_err(|error| failed(parent, error))?;
            }
            fs::write(&file, text).map_err(|error| failed(&file, error))?;
            names.push(name);
        }
        names.sort();
        Ok(names)
    }
}
