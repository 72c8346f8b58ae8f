//! `istio-operator wait`: waits until an installation is healthy, or gone.

use std::time::{Duration, Instant};

use clap::ValueEnum;
use istio_operator::api::{InstallState, StoredCr};
use istio_operator::cluster::CrKey;
use kube::api::Api;

use super::Failure;
use super::completion::names_of_crs;
use super::connection::{ClusterArgs, Connection, block_on};
use super::observed::{Observed, said};
use super::output::complain;

/// Wait until an IstioOperator is healthy, and say what it waits for meanwhile.
///
/// It ends at once with an error if the operator says that somebody has to act.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  istio-operator wait
  istio-operator wait istio-system/istio --timeout 10m
  istio-operator wait --until gone")]
pub(super) struct Args {
    /// The IstioOperator, as NAME or NAMESPACE/NAME; needed where there are several.
    #[arg(value_name = "CR", add = names_of_crs())]
    cr: Option<String>,
    /// What to wait for.
    #[arg(long, value_enum, default_value_t = Until::Healthy)]
    until: Until,
    #[command(flatten)]
    timeout: Timeout,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Until {
    /// The operator says HEALTHY of the present spec.
    Healthy,
    /// The IstioOperator and what it installed are gone.
    Gone,
}

/// How long a command may wait.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(super) struct Timeout {
    /// How long to wait, such as 90s, 5m or 1h.
    #[arg(long = "timeout", value_name = "TIME", default_value = "5m", value_parser = duration)]
    limit: Duration,
}

/// How often it is looked.
const INTERVAL: Duration = Duration::from_millis(500);

impl Timeout {
    /// The moment when waiting ends.
    pub(super) fn deadline(self) -> Deadline {
        Deadline {
            at: Instant::now() + self.limit,
            limit: self.limit,
        }
    }
}

/// When waiting ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    at: Instant,
    limit: Duration,
}

impl Deadline {
    /// Waits until it is time to look again; fails if there is no time left, with what was seen last.
    pub(super) async fn pause(self, what: &str, last: &str) -> Result<(), Failure> {
        if Instant::now() + INTERVAL > self.at {
            let limit = self.limit.as_secs();
            return Err(Failure::input(format_args!(
                "{what} within {limit} s: {last}"
            )));
        }
        tokio::time::sleep(INTERVAL).await;
        Ok(())
    }
}

/// Reads a time such as `90s`, `5m` or `1h`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time such as 90s, 5m or 1h");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    Ok(Duration::from_secs(number.saturating_mul(seconds)))
}

pub(super) fn wait(args: &Args) -> Result<(), Failure> {
    block_on(async {
        let connection = args.cluster.connect().await?;
        let observed = Observed::of_crs(&connection).await;
        if args.until == Until::Gone && observed.crs.is_empty() && observed.unknown.is_empty() {
            return Ok(());
        }
        let key = CrKey::of(observed.cr(args.cr.as_deref(), &connection)?);
        until(&connection, &key, args.until, args.timeout.deadline()).await
    })
}

/// Waits, and tells on standard error what for.
pub(super) async fn until(
    connection: &Connection,
    key: &CrKey,
    until: Until,
    deadline: Deadline,
) -> Result<(), Failure> {
    let api: Api<StoredCr> = Api::namespaced(connection.client.clone(), &key.namespace);
    let mut told = String::new();
    loop {
        let cr = api.get_opt(&key.name).await;
        let cr = cr.map_err(|error| Failure::input(format_args!("{key}: {}", said(&error))))?;
        let Some(cr) = cr else {
            return match until {
                Until::Gone => Ok(()),
                Until::Healthy => Err(Failure::input(format_args!("{key} is gone"))),
            };
        };
        let status = cr.status.as_ref();
        let seen = status.filter(|status| status.observed_generation == cr.metadata.generation);
        let message = seen
            .and_then(|status| status.message.clone())
            .unwrap_or_default();
        let now = match seen {
            None => "the operator has not seen it yet".to_owned(),
            Some(_) if message.is_empty() => "the operator is at work".to_owned(),
            Some(_) => message.clone(),
        };
        let state = seen.and_then(|status| status.status);
        match (until, state) {
            (Until::Healthy, Some(InstallState::Healthy)) => return Ok(()),
            (Until::Healthy, Some(InstallState::Error)) => {
                return Err(Failure::input(format_args!("{key}: {message}")));
            }
            _ => {}
        }
        if told != now {
            complain(&format_args!("{key}: {now}"));
            told.clone_from(&now);
        }
        let what = match until {
            Until::Healthy => format!("{key} is not healthy"),
            Until::Gone => format!("{key} is not gone"),
        };
        deadline.pause(&what, &now).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let seconds = |text| duration(text).map(|time| time.as_secs());
        assert_eq!(seconds("90s"), Ok(90));
        assert_eq!(seconds("5m"), Ok(300));
        assert_eq!(seconds("1h"), Ok(3600));
        for wrong in ["", "5", "m", "5d", "-1s", "1.5m"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
