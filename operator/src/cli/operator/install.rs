//! Applies the objects of the operator, for the first time or over those of another version.

use istio_operator::charts::Charts;
use istio_operator::cluster::ManagingTool;
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::{Home, NAME, absent, api_of, deployment, title};
use crate::cli::Failure;
use crate::cli::connection::{ClusterArgs, Connection, block_on};
use crate::cli::manifests::{IMAGE, bodies};
use crate::cli::observed::said;
use crate::cli::output::{Format, complain, table};
use crate::cli::wait::{Deadline, Timeout};
use crate::cli::writes;

/// Install the operator: its CRD, a namespace, an account with its rights, a Deployment, a Service and a disruption budget.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  istio-operator operator install --image registry.example.com/istio-operator:1.2.3 --wait
  istio-operator operator install --restart-workloads --dry-run")]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    how: How,
}

/// Upgrade the operator to the version of this program. What it installed goes on running meanwhile.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  istio-operator operator upgrade --wait
  istio-operator operator upgrade --image registry.example.com/istio-operator:1.2.4")]
pub(in crate::cli) struct UpgradeArgs {
    #[command(flatten)]
    how: How,
}

#[derive(clap::Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag")]
struct How {
    /// The image of the operator, with a tag or a digest.
    #[arg(long, value_name = "IMAGE", default_value = IMAGE)]
    image: String,
    /// Add the rights to restart workloads, which spec.updateStrategy.dataPlane.restart needs.
    #[arg(long)]
    restart_workloads: bool,
    /// Ask the API server what it would do, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Wait until the operator runs.
    #[arg(short, long)]
    wait: bool,
    #[command(flatten)]
    timeout: Timeout,
    /// Take over fields that another tool applied, such as kubectl.
    #[arg(long)]
    force_conflicts: bool,
    #[command(flatten)]
    home: Home,
    /// How to print what was done.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
    #[command(flatten)]
    cluster: ClusterArgs,
}

pub(in crate::cli) fn install(args: &Args, charts: &Charts) -> Result<(), Failure> {
    let how = &args.how;
    block_on(async {
        let connection = how.cluster.connect().await?;
        if let Some(found) = deployment(&connection, &how.home).await? {
            let image = &found.data["spec"]["template"]["spec"]["containers"][0]["image"];
            let image = image.as_str().unwrap_or_default();
            return Err(Failure::input(format_args!(
                "the operator is installed already, with the image {image}; istio-operator operator upgrade changes it"
            )));
        }
        how.apply(&connection, charts).await
    })
}

pub(in crate::cli) fn upgrade(args: &UpgradeArgs, charts: &Charts) -> Result<(), Failure> {
    let how = &args.how;
    block_on(async {
        let connection = how.cluster.connect().await?;
        let found = deployment(&connection, &how.home).await?;
        let found = found.ok_or_else(|| absent(&how.home))?;
        unmanaged(&found)?;
        how.apply(&connection, charts).await
    })
}

/// Fails if another tool manages the operator, which would take a change back.
pub(super) fn unmanaged(found: &DynamicObject) -> Result<(), Failure> {
    let Some(tool) = ManagingTool::read(&found.metadata) else {
        return Ok(());
    };
    Err(Failure::input(format_args!(
        "{tool} manages the operator, so change it there; istio-operator manifests prints what is applied, and --helm and \
         --kustomize write it"
    )))
}

impl How {
    async fn apply(&self, connection: &Connection, charts: &Charts) -> Result<(), Failure> {
        let namespace = &self.home.operator_namespace;
        let bodies = bodies(namespace, &self.image, self.restart_workloads, charts)?;
        let mut results = Vec::new();
        for body in &bodies {
            results.push((title(body), self.apply_one(connection, body).await?));
        }
        let row = |(object, result): &(String, &'static str)| [object.clone(), (*result).into()];
        let value = |(object, result): &(String, &str)| json!({"object": object, "result": result});
        self.output.print(
            || table(["OBJECT", "RESULT"], results.iter().map(row).collect()),
            || results.iter().map(value).collect(),
        )?;
        if self.wait && !self.dry_run {
            until_available(connection, &self.home, self.timeout.deadline()).await?;
            complain(&format_args!("{namespace}/{NAME}: available"));
        }
        Ok(())
    }

    /// Applies an object; gives what became of it.
    async fn apply_one(
        &self,
        connection: &Connection,
        body: &Value,
    ) -> Result<&'static str, Failure> {
        let api = api_of(connection, body);
        let name = body["metadata"]["name"].as_str().unwrap_or_default();
        let failed =
            |error: kube::Error| Failure::input(format_args!("{}: {}", title(body), said(&error)));
        let before = api.get_opt(name).await.map_err(failed)?;
        let before = before.map(|found| found.resource_version());
        let applied = writes::apply_object(&api, name, body, self.force_conflicts, self.dry_run);
        let applied = match applied.await {
            // In a dry run, the namespace of the others is not there.
            Err(kube::Error::Api(status)) if self.dry_run && status.code == 404 => {
                return Ok("created");
            }
            applied => applied.map_err(failed)?,
        };
        Ok(match before {
            None => "created",
            Some(before) if before == applied.resource_version() => "unchanged",
            Some(_) => "changed",
        })
    }
}

/// Waits until every pod of the operator is available in its newest form.
async fn until_available(
    connection: &Connection,
    home: &Home,
    deadline: Deadline,
) -> Result<(), Failure> {
    loop {
        let found = deployment(connection, home).await?;
        let found = found.ok_or_else(|| absent(home))?;
        let number = |pointer: &str| found.data.pointer(pointer).and_then(Value::as_i64);
        let wanted = number("/spec/replicas").unwrap_or(1);
        let updated = number("/status/updatedReplicas").unwrap_or(0);
        let available = number("/status/availableReplicas").unwrap_or(0);
        let is_seen = number("/status/observedGeneration") == found.metadata.generation;
        if is_seen && updated >= wanted && available >= wanted {
            return Ok(());
        }
        let now = format!("{updated} of {wanted} pods are new, and {available} are available");
        deadline
            .pause("the operator is not available", &now)
            .await?;
    }
}
