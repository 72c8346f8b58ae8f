//! Prints the logs of the operator's pods.

use futures::{AsyncBufReadExt, StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, LogParams};

use super::{Home, POD, absent, labeled};
use crate::cli::Failure;
use crate::cli::connection::{ClusterArgs, block_on};
use crate::cli::observed::said;
use crate::cli::output::{complain, print};

/// Print the logs of the operator, each line with its pod where there are several.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  istio-operator operator logs
  istio-operator operator logs --follow --tail 20
  istio-operator operator logs --previous")]
pub(in crate::cli) struct Args {
    /// Go on printing.
    #[arg(long, conflicts_with = "previous")]
    follow: bool,
    /// The last lines of each pod only.
    #[arg(long, value_name = "LINES")]
    tail: Option<i64>,
    /// The logs of the containers that ran before.
    #[arg(long)]
    previous: bool,
    #[command(flatten)]
    home: Home,
    #[command(flatten)]
    cluster: ClusterArgs,
}

pub(in crate::cli) fn logs(args: &Args) -> Result<(), Failure> {
    block_on(async {
        let connection = args.cluster.connect().await?;
        let pods = labeled(&connection, &args.home, POD).await;
        let pods = pods.map_err(Failure::input)?;
        if pods.is_empty() {
            return Err(absent(&args.home));
        }
        let api: Api<Pod> =
            Api::namespaced(connection.client.clone(), &args.home.operator_namespace);
        let params = LogParams {
            follow: args.follow,
            tail_lines: args.tail,
            previous: args.previous,
            ..LogParams::default()
        };
        let names: Vec<_> = pods.iter().map(ResourceExt::name_any).collect();
        let (mut streams, mut refused) = (Vec::new(), Vec::new());
        for name in &names {
            let prefix = if names.len() > 1 {
                format!("{name}: ")
            } else {
                String::new()
            };
            match api.log_stream(name, &params).await {
                Ok(log) => {
                    streams.push(log.lines().map_ok(move |line| format!("{prefix}{line}\n")));
                }
                Err(error) => refused.push(format!("{name}: {}", said(&error))),
            }
        }
        if streams.is_empty() {
            return Err(Failure::Input(refused));
        }
        for why in &refused {
            complain(why);
        }
        if args.follow {
            // Each line as it comes.
            let mut lines = stream::select_all(streams.into_iter().map(StreamExt::boxed_local));
            while let Some(line) = lines.next().await {
                print(&[line?])?;
            }
            return Ok(());
        }
        for mut lines in streams.into_iter().map(StreamExt::boxed_local) {
            while let Some(line) = lines.next().await {
                print(&[line?])?;
            }
        }
        Ok(())
    })
}
