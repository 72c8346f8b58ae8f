//! What was counted, as a table.

use std::{
    collections::BTreeMap,
    fmt::{self, Display, Formatter},
    time::Duration,
};

use e2e::host::load::Sample;
use tokio::time::Instant;

use super::newcomers::NewPod;

/// A part of the time; the next one ends it.
pub struct Phase {
    pub name: String,
    pub from: Instant,
    /// Whether requests between sidecars have to fail in it, which shows that failures are seen.
    pub is_control: bool,
}

/// All that was counted, from the first phase on.
pub struct Counted {
    pub phases: Vec<Phase>,
    pub gateway: Vec<Sample>,
    pub sidecars: Vec<Sample>,
    pub pods: Vec<NewPod>,
}

/// Requests of one kind in one phase.
struct Requests {
    failed: usize,
    /// Sorted.
    times: Vec<Duration>,
}

/// How many kinds of failures are printed.
const SHOWN: usize = 10;

impl Counted {
    /// Nothing failed, and everything was tried in each phase; in a control, something failed.
    pub fn is_flawless(&self) -> bool {
        self.phases.iter().enumerate().all(|(number, phase)| {
            let (gateway, sidecars) = self.requests(number);
            if phase.is_control {
                return sidecars.failed > 0;
            }
            let (pods, refused) = self.pods(number);
            let is_asked = |requests: &Requests| !requests.times.is_empty();
            let failed = gateway.failed + sidecars.failed + refused;
            failed == 0 && is_asked(&gateway) && is_asked(&sidecars) && pods > 0
        })
    }

    /// Through the gateway and between sidecars.
    fn requests(&self, phase: usize) -> (Requests, Requests) {
        let of_phase = |samples: &[Sample]| {
            let samples = samples.iter();
            let samples: Vec<_> = samples.filter(|it| self.is_in(phase, it.at)).collect();
            let mut times: Vec<_> = samples.iter().map(|sample| sample.took).collect();
            times.sort_unstable();
            let failed = samples.iter().filter(|it| it.failure.is_some()).count();
            Requests { failed, times }
        };
        (of_phase(&self.gateway), of_phase(&self.sidecars))
    }

    /// How many there were, and how many of them were refused.
    fn pods(&self, phase: usize) -> (usize, usize) {
        let pods = self.pods.iter();
        let pods: Vec<_> = pods.filter(|pod| self.is_in(phase, pod.at)).collect();
        let refused = pods.iter().filter(|pod| pod.refused.is_some()).count();
        (pods.len(), refused)
    }

    fn is_in(&self, phase: usize, at: Instant) -> bool {
        let next = self.phases.get(phase + 1);
        self.phases[phase].from <= at && next.is_none_or(|next| at < next.from)
    }

    /// Each failure with how often it was seen, and in which second of its phase first.
    fn failures(&self) -> BTreeMap<String, usize> {
        let mut failures = BTreeMap::new();
        let requests = [("gateway", &self.gateway), ("sidecars", &self.sidecars)];
        let requests = requests.into_iter().flat_map(|(kind, samples)| {
            let failed = samples
                .iter()
                .filter_map(|it| Some((it.at, it.failure.as_ref()?)));
            failed.map(move |(at, why)| (kind, at, why))
        });
        let pods = self.pods.iter();
        let pods = pods.filter_map(|pod| Some(("new pod", pod.at, pod.refused.as_ref()?)));
        for (kind, at, why) in requests.chain(pods) {
            let number = (0..self.phases.len()).find(|number| self.is_in(*number, at));
            let phase = number.map(|number| &self.phases[number]);
            let Some(phase) = phase.filter(|phase| !phase.is_control) else {
                continue;
            };
            let second = at.duration_since(phase.from).as_secs();
            let text = format!("{kind}, second {second} of \"{}\": {why}", phase.name);
            *failures.entry(text).or_default() += 1;
        }
        failures
    }
}

impl Display for Counted {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let headings = ["requests", "failed", "p50 ms", "p99 ms"];
        let headings = headings.map(|heading| format!("{heading:>9}")).concat();
        writeln!(
            f,
            "{:<24}{:^36} {:^36}",
            "", "THROUGH THE GATEWAY", "BETWEEN SIDECARS"
        )?;
        writeln!(
            f,
            "{:<24}{headings} {headings} {:>9}{:>9}",
            "PHASE", "new pods", "refused"
        )?;
        let mut all = [0; 6];
        for (number, phase) in self.phases.iter().enumerate() {
            let (gateway, sidecars) = self.requests(number);
            let (pods, refused) = self.pods(number);
            let name = &phase.name;
            writeln!(f, "{name:<24}{gateway} {sidecars} {pods:>9}{refused:>9}")?;
            if phase.is_control {
                continue;
            }
            let counts = [
                gateway.times.len(),
                gateway.failed,
                sidecars.times.len(),
                sidecars.failed,
                pods,
                refused,
            ];
            for (sum, count) in all.iter_mut().zip(counts) {
                *sum += count;
            }
        }
        let [
            asked,
            failed,
            asked_sidecars,
            failed_sidecars,
            pods,
            refused,
        ] = all;
        let total = format!(
            "{asked:>9}{failed:>9}{:18} {asked_sidecars:>9}{failed_sidecars:>9}",
            ""
        );
        writeln!(f, "{:<24}{total}{:18} {pods:>9}{refused:>9}", "all", "")?;
        for (failure, count) in self.failures().into_iter().take(SHOWN) {
            writeln!(f, "{count} × {failure}")?;
        }
        Ok(())
    }
}

impl Display for Requests {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let last = self.times.len().saturating_sub(1);
        let at = |part: usize| {
            let time = self.times.get(last * part / 100);
            time.map_or(0.0, |time| time.as_secs_f64() * 1000.0)
        };
        let (asked, failed) = (self.times.len(), self.failed);
        write!(f, "{asked:>9}{failed:>9}{:>9.1}{:>9.1}", at(50), at(99))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One phase with a request of each kind and a pod, of which these fail.
    fn counted(gateway: Option<&str>, pod: Option<&str>) -> Counted {
        let from = Instant::now();
        let sample = |failure: Option<&str>| Sample {
            at: from,
            took: Duration::from_millis(3),
            failure: failure.map(str::to_owned),
        };
        Counted {
            phases: vec![Phase {
                name: "quiet".into(),
                from,
                is_control: false,
            }],
            gateway: vec![sample(None), sample(gateway)],
            sidecars: vec![sample(None)],
            pods: vec![NewPod {
                at: from,
                refused: pod.map(str::to_owned),
            }],
        }
    }

    #[test]
    fn one_failure_is_too_much_and_is_told() {
        assert!(counted(None, None).is_flawless());
        for counted in [counted(Some("503"), None), counted(None, Some("503"))] {
            assert!(!counted.is_flawless());
            let table = counted.to_string();
            assert!(table.contains("second 0 of \"quiet\": 503"), "{table}");
        }
    }

    #[test]
    fn a_phase_in_which_nothing_was_asked_proves_nothing() {
        let mut counted = counted(None, None);
        let later = Phase {
            name: "later".into(),
            from: Instant::now() + Duration::from_secs(1),
            is_control: false,
        };
        counted.phases.push(later);
        assert!(!counted.is_flawless());
    }

    #[test]
    fn a_control_without_failures_shows_that_they_are_not_seen() {
        let mut counted = counted(None, None);
        counted.phases[0].is_control = true;
        assert!(!counted.is_flawless());
        counted.sidecars[0].failure = Some("503".into());
        assert!(counted.is_flawless());
        assert!(!counted.to_string().contains("second 0"), "{counted}");
    }
}
