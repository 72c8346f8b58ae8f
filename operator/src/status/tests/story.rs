//! A CR whose status is taken through transitions, judged as Argo CD and kstatus do.

use super::super::conditions::find;
use super::super::*;
use crate::api::ComponentKind;
use crate::apply::{AppliedComponent, Verdict};
use crate::cluster::{LiveObject, Readiness, Workload, key};

/// How long a component may take to become ready.
pub(super) const TIMEOUT: Duration = Duration::from_mins(10);

/// What Argo CD 3.x makes of a live IstioOperator: it reads `status.status` and nothing else.
pub(super) fn argo(status: &IstioOperatorStatus) -> &'static str {
    match status.status {
        Some(InstallState::None) => "Unknown",
        Some(InstallState::Healthy) => "Healthy",
        Some(InstallState::Error) => "Degraded",
        _ => "Progressing",
    }
}

/// What kstatus makes of a live object of a kind that it does not know.
pub(super) fn kstatus(generation: i64, status: &IstioOperatorStatus) -> &'static str {
    if status
        .observed_generation
        .is_some_and(|observed| observed != generation)
    {
        return "InProgress";
    }
    for condition in status
        .conditions
        .iter()
        .filter(|condition| condition.status == "True")
    {
        match condition.type_.as_str() {
            "Reconciling" => return "InProgress",
            "Stalled" => return "Failed",
            _ => {}
        }
    }
    match find(&status.conditions, "Ready") {
        Some(ready) if ready.status != "True" => "InProgress",
        _ => "Current",
    }
}

pub(super) const INSTALLED: Version = Version {
    minor: 31,
    patch: 1,
};

/// A CR whose status is taken through transitions; every one is checked for what must always hold.
pub(super) struct Story {
    pub(super) generation: i64,
    pub(super) status: IstioOperatorStatus,
    pub(super) live: Live,
    pub(super) minute: i64,
    pub(super) second: u64,
    pub(super) start: Instant,
    pub(super) history: History,
    pub(super) next_change: Option<Duration>,
    pub(super) outdated: Vec<Warning>,
}

/// A pass that applied istiod alone, with these verdicts.
pub(super) fn applied(objects: Vec<(ObjectKey, Verdict)>) -> Applied {
    let mut applied = Applied::default();
    applied.components.push(AppliedComponent {
        kind: ComponentKind::Pilot,
        name: "istiod".into(),
        image: None,
        objects,
    });
    applied
}

impl Story {
    pub(super) fn new() -> Self {
        let status = IstioOperatorStatus {
            observed_generation: Some(-1),
            ..Default::default()
        };
        Self {
            generation: 1,
            status,
            live: Live::default(),
            minute: 0,
            second: 0,
            start: Instant::now(),
            history: History::default(),
            next_change: None,
            outdated: Vec::new(),
        }
    }

    pub(super) fn instant(&self) -> Instant {
        self.start + Duration::from_secs(self.minute.unsigned_abs() * 60 + self.second)
    }

    pub(super) fn now(&self) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + self.minute * 60).unwrap()
    }

    pub(super) fn step(&mut self, result: &PassResult) -> (&'static str, &'static str) {
        let subject = StatusInput {
            generation: self.generation,
            before: &self.status,
            now: self.now(),
            instant: self.instant(),
            outdated: &self.outdated,
        };
        let Computed {
            status: after,
            next_change,
        } = of(subject, result, &self.live, &mut self.history);
        self.next_change = next_change;
        // Nothing is done of a spec that came while the CR is paused.
        let is_seen = after.observed_generation == Some(self.generation);
        assert!(is_seen || matches!(result, PassResult::Paused));
        let both = ["Reconciling", "Stalled"];
        assert!(
            both.iter()
                .any(|kind| find(&after.conditions, kind).is_none()),
            "never both"
        );
        for condition in &after.conditions {
            assert!(!condition.reason.is_empty());
        }
        let again = of(
            StatusInput {
                before: &after,
                now: Timestamp::MAX,
                ..subject
            },
            result,
            &self.live,
            &mut self.history,
        );
        let changed = patch(&after, &again.status);
        assert_eq!(changed, None, "a clock that jumps changes nothing");
        self.status = after;
        (argo(&self.status), kstatus(self.generation, &self.status))
    }

    pub(super) fn mark_reconciling(&mut self) -> (&'static str, &'static str) {
        self.start(INSTALLED, None)
    }

    /// The first status of a generation.
    pub(super) fn start(
        &mut self,
        version: Version,
        canary: Option<CanaryProgress>,
    ) -> (&'static str, &'static str) {
        self.step(&PassResult::Started(Box::new(InstallStart {
            version,
            upgrade: None,
            plan: None,
            rollback: None,
            canary,
            held_proxy: None,
        })))
    }

    pub(super) fn progress(
        &mut self,
        verdicts: Vec<(ObjectKey, Verdict)>,
    ) -> (&'static str, &'static str) {
        self.step(&progress(applied(verdicts)))
    }

    pub(super) fn istiod(&mut self, available: i64) {
        let workload = Workload {
            desired: 2,
            current: 2,
            updated: 2,
            available,
            ..Workload::default()
        };
        let object = LiveObject {
            readiness: Some(Readiness::Workload(workload)),
            ..LiveObject::default()
        };
        self.live.put(key("Deployment", "istiod"), object);
    }
}

pub(super) fn progress(applied: Applied) -> PassResult {
    PassResult::Applied(Box::new(InstallProgress {
        upgrade: None,
        plan: None,
        held_by: None,
        rollback: None,
        canary: None,
        held_proxy: None,
        unproven: None,
        request: None,
        timeout: TIMEOUT,
        version: INSTALLED,
        revision: "default".into(),
        warnings: Vec::new(),
        applied,
    }))
}

pub(super) fn istiod(verdict: Verdict) -> Vec<(ObjectKey, Verdict)> {
    vec![(key("Deployment", "istiod"), verdict)]
}

/// What Argo CD and kstatus say.
pub(super) type Judged = (&'static str, &'static str);

pub(super) const PROGRESSING: (&str, &str) = ("Progressing", "InProgress");
pub(super) const FAILED: (&str, &str) = ("Degraded", "Failed");
pub(super) const DONE: (&str, &str) = ("Healthy", "Current");
