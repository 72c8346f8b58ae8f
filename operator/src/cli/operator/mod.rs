//! `istio-operator operator`: installs, upgrades and removes the operator itself, and shows what it does.

mod dump;
mod install;
mod logs;
mod remove;

use istio_operator::charts::Charts;
use kube::ResourceExt;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams};
use serde_json::Value;

use super::Failure;
use super::connection::Connection;
use super::observed::said;

/// Install, upgrade or remove the operator itself, and look at its logs.
#[derive(clap::Subcommand)]
#[command(after_help = "Examples:
  istio-operator operator install --image registry.example.com/istio-operator:1.2.3 --wait
  istio-operator operator upgrade --wait
  istio-operator operator logs --follow
  istio-operator operator dump operator-dump
  istio-operator operator remove --dry-run")]
pub(super) enum Command {
    Install(install::Args),
    Upgrade(install::UpgradeArgs),
    Remove(remove::Args),
    Logs(logs::Args),
    Dump(dump::Args),
}

pub(super) fn operator(command: &Command, charts: &Charts) -> Result<(), Failure> {
    match command {
        Command::Install(args) => install::install(args, charts),
        Command::Upgrade(args) => install::upgrade(args, charts),
        Command::Remove(args) => remove::remove(args, charts),
        Command::Logs(args) => logs::logs(args),
        Command::Dump(args) => dump::dump(args),
    }
}

/// Where the operator is.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Home {
    /// The namespace of the operator.
    #[arg(long, value_name = "NAME", default_value = "istio-operator")]
    operator_namespace: String,
}

/// The label of the operator's Deployment and pods.
const LABEL: &str = "app.kubernetes.io/name=istio-operator";
/// The name of its Deployment.
const NAME: &str = "istio-operator";

/// The objects of a kind by which a manifest is applied, read or deleted.
fn api_of(connection: &Connection, manifest: &Value) -> Api<DynamicObject> {
    let text = |pointer: &str| manifest.pointer(pointer).and_then(Value::as_str);
    let version = text("/apiVersion").unwrap_or_default();
    let (group, version) = version.rsplit_once('/').unwrap_or(("", version));
    let kind = text("/kind").unwrap_or_default();
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    match text("/metadata/namespace") {
        Some(namespace) => Api::namespaced_with(connection.client.clone(), namespace, &resource),
        None => Api::all_with(connection.client.clone(), &resource),
    }
}

/// What people call the object of a manifest, such as `Deployment istio-operator/istio-operator`.
fn title(manifest: &Value) -> String {
    let text = |pointer: &str| {
        let value = manifest.pointer(pointer).and_then(Value::as_str);
        value.unwrap_or_default().to_owned()
    };
    let (kind, name) = (text("/kind"), text("/metadata/name"));
    match text("/metadata/namespace") {
        namespace if namespace.is_empty() => format!("{kind} {name}"),
        namespace => format!("{kind} {namespace}/{name}"),
    }
}

/// The objects of a kind in the namespace of the operator that carry its label.
async fn labeled(
    connection: &Connection,
    home: &Home,
    (group, version, kind): (&str, &str, &str),
) -> Result<Vec<DynamicObject>, String> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    let client = connection.client.clone();
    let api: Api<DynamicObject> = Api::namespaced_with(client, &home.operator_namespace, &resource);
    let listed = api.list(&ListParams::default().labels(LABEL)).await;
    Ok(listed.map_err(|error| said(&error))?.items)
}

const DEPLOYMENT: (&str, &str, &str) = ("apps", "v1", "Deployment");
const POD: (&str, &str, &str) = ("", "v1", "Pod");

/// The Deployment of the operator, if it is there.
async fn deployment(
    connection: &Connection,
    home: &Home,
) -> Result<Option<DynamicObject>, Failure> {
    let found = labeled(connection, home, DEPLOYMENT).await;
    let found = found.map_err(Failure::input)?;
    Ok(found.into_iter().find(|found| found.name_any() == NAME))
}

/// What is said where there is no operator.
fn absent(home: &Home) -> Failure {
    Failure::input(format_args!(
        "there is no operator in the namespace {}; istio-operator operator install installs it, and --operator-namespace \
         names another namespace",
        home.operator_namespace
    ))
}
