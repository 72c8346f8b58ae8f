//! Waiting for something to become true.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use tokio::time::{sleep, timeout};

use crate::error::Error;

/// The deadline of everything that tests wait for. It is longer than anything takes on a slow and busy machine, because it
/// only has to end waits for what never happens.
pub const SOON: Duration = Duration::from_mins(5);

/// Between two probes: short enough for times in seconds, long enough not to load the API server.
const PAUSE: Duration = Duration::from_millis(50);

/// Asks `probe` again and again until it answers `Ok`, for at most `deadline`.
///
/// `probe` answers `Err` with what it saw instead; the last such answer becomes part of
/// [`Error::TimedOut`], next to `what`, which reads well after "waited 10 s for".
///
/// ```no_run
/// # use std::time::Duration;
/// # async fn example() -> Result<(), e2e::error::Error> {
/// let lines = e2e::wait::wait_until("three lines", Duration::from_secs(10), || async {
///     let count = 2;
///     if count == 3 { Ok(count) } else { Err(format!("there are {count}")) }
/// })
/// .await?;
/// # Ok(()) }
/// ```
pub async fn wait_until<T, E, F>(
    what: &str,
    deadline: Duration,
    mut probe: impl FnMut() -> F,
) -> Result<T, Error>
where
    F: Future<Output = Result<T, E>>,
    E: ToString,
{
    let started = Instant::now();
    loop {
        // The last probe still gets one pause, so that a deadline of zero asks once.
        let left = deadline.saturating_sub(started.elapsed()) + PAUSE;
        let last = match timeout(left, probe()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(last)) => last.to_string(),
            Err(_) => "no answer".into(),
        };
        if started.elapsed() >= deadline {
            return Err(Error::TimedOut {
                what: what.into(),
                waited: deadline,
                last,
            });
        }
        sleep(PAUSE).await;
    }
}
