//! How far each component is, from the verdicts on its objects and from what the cluster shows of them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::history::{Before, Dip, History, Wait};
use crate::api::condition::reason;
use crate::api::{
    ComponentKind, ComponentStatus, GatewayStatus, InstallState, IstioOperatorStatus, NodePort,
};
use crate::apply::{Applied, AppliedComponent, ApplyError, Verdict};
use crate::cluster::{Exposure, Live, ManagingTool};
use crate::render::ObjectKey;

/// How far an installation is.
pub struct Health {
    /// Every component, in render order.
    pub components: Vec<ComponentHealth>,
}

/// How far one component is.
pub struct ComponentHealth {
    kind: ComponentKind,
    gateway: Option<GatewayStatus>,
    addon: Option<AddonHealth>,
    /// Its problems, worst first.
    pub problems: Vec<Problem>,
}

/// What the status tells of an addon beside its problems.
struct AddonHealth {
    image: Option<String>,
    service_type: Option<String>,
    node_ports: Vec<NodePort>,
}

/// The entry of `componentStatus` for all addons together, as Istio's own operator had it.
const ADDONS: &str = "AddonComponents";

/// One problem of a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// The object and what is wrong with it.
    pub text: String,
    /// Whether it lasts longer than such a problem may.
    pub is_overdue: bool,
    /// The object that waits, if it does nothing else.
    waiting: Option<ObjectKey>,
}

/// How bad a problem is, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Another tool manages it, so nothing of the whole CR was sent.
    ManagedBy(ManagingTool),
    /// It belongs to another CR, so nothing of it was sent.
    OwnedByAnother,
    /// Another writer insists on its own value.
    Conflict,
    /// The API server refuses it for good.
    Refused,
    /// The API server could not take it now.
    Retrying,
    /// Less of it is available than before.
    Degraded,
    /// It is applied and not ready.
    RollingOut,
    /// Something else has to come first.
    Waiting,
}

impl Health {
    /// Judges every component. An addon is judged by its own last status, because a healthy mesh says nothing of addons.
    pub fn of(applied: &Applied, status: &IstioOperatorStatus, judge: &mut Judge<'_>) -> Self {
        let (of_mesh, unproven) = (judge.before, judge.unproven);
        // A canary stands behind the control plane that serves.
        let is_pilot = |component: &AppliedComponent| component.kind == ComponentKind::Pilot;
        let newest = applied.components.iter().rposition(is_pilot);
        let mut components = Vec::new();
        for (index, component) in applied.components.iter().enumerate() {
            judge.unproven = unproven.filter(|_| newest == Some(index));
            judge.before = of_mesh;
            if component.kind.is_addon() {
                let last = status.component_status.get(component.kind.as_str());
                judge.before = match last.and_then(|last| last.status) {
                    Some(InstallState::Healthy) => of_mesh,
                    Some(InstallState::Error) if of_mesh == Before::Stalled => of_mesh,
                    _ => Before::Other,
                };
            }
            components.push(ComponentHealth::of(component, judge));
        }
        judge.before = of_mesh;
        let mut health = Self { components };
        health.time_waits(judge);
        health
    }

    /// What waits for something that takes its time has no clock of its own.
    fn time_waits(&mut self, judge: &mut Judge<'_>) {
        let mut problems: Vec<_> = self
            .components
            .iter_mut()
            .flat_map(|component| &mut component.problems)
            .collect();
        if problems.iter().any(|problem| problem.waiting.is_none()) {
            return;
        }
        for problem in &mut problems {
            if let Some(key) = &problem.waiting {
                problem.is_overdue = judge.is_overdue(key, problem.severity, judge.timeout);
            }
        }
    }

    /// The component that an installation has come to: the first that is not as it should be, and why. One that is at work
    /// comes before those that wait for it.
    pub fn step(&self) -> Option<(ComponentKind, &Problem)> {
        let problems = self.components.iter().flat_map(|component| {
            let problems = component.problems.iter();
            problems.map(|problem| (component.kind, problem))
        });
        problems.min_by_key(|(kind, problem)| (problem.waiting.is_some(), kind.apply_rank()))
    }

    /// Everything that the mesh lacks, worst first. An addon that was applied and comes up does not hold up the mesh; one
    /// that fails counts.
    pub fn problems(&self) -> Vec<&Problem> {
        let counts = |component: &ComponentHealth, problem: &Problem| {
            !component.kind.is_addon() || !problem.comes_up()
        };
        let mut problems: Vec<_> = self
            .components
            .iter()
            .flat_map(|component| {
                let problems = component.problems.iter();
                problems.filter(|problem| counts(component, problem))
            })
            .collect();
        problems.sort_by_key(|problem| problem.rank());
        problems
    }

    /// `componentStatus`: one entry per kind of component, as bad as its worst one, and one for all addons.
    pub fn component_status(
        &self,
        version: &str,
        before: &IstioOperatorStatus,
    ) -> BTreeMap<String, ComponentStatus> {
        let mut statuses: BTreeMap<String, ComponentStatus> = BTreeMap::new();
        for kind in ComponentKind::ALL {
            let of_kind: Vec<_> = self
                .components
                .iter()
                .filter(|component| component.kind == kind)
                .collect();
            let before = before.component_status.get(kind.as_str());
            if let Some(mut status) = status_of(&of_kind, version, before) {
                if let Some(addon) = of_kind
                    .iter()
                    .find_map(|component| component.addon.as_ref())
                {
                    status.image.clone_from(&addon.image);
                    status.service_type.clone_from(&addon.service_type);
                    status.node_ports.clone_from(&addon.node_ports);
                }
                statuses.insert(kind.as_str().to_owned(), status);
            }
        }
        let addons = self.components.iter();
        let addons: Vec<_> = addons
            .filter(|component| component.kind.is_addon())
            .collect();
        let before = before.component_status.get(ADDONS);
        let all = status_of(&addons, version, before);
        statuses.extend(all.map(|status| (ADDONS.to_owned(), status)));
        statuses
    }

    /// `gateways`: one entry per gateway.
    pub fn gateways(&self) -> Vec<GatewayStatus> {
        self.components
            .iter()
            .filter_map(|component| component.gateway.clone())
            .collect()
    }
}

/// The status of some components together, as bad as the worst one; none if there are none.
fn status_of(
    components: &[&ComponentHealth],
    version: &str,
    before: Option<&ComponentStatus>,
) -> Option<ComponentStatus> {
    if components.is_empty() {
        return None;
    }
    let worst = components
        .iter()
        .filter_map(|component| component.problems.first())
        .min_by_key(|problem| problem.rank());
    let state = worst.map_or(InstallState::Healthy, Problem::state);
    let installed = match state {
        InstallState::Healthy => Some(version.to_owned()),
        _ => before.and_then(|before| before.version.clone()),
    };
    Some(ComponentStatus {
        status: Some(state),
        error: worst.map(|problem| problem.text.clone()),
        version: installed,
        ..ComponentStatus::default()
    })
}

impl Problem {
    /// Whether it passes when pods that were created are available.
    fn comes_up(&self) -> bool {
        matches!(self.severity, Severity::RollingOut | Severity::Degraded) && !self.is_overdue
    }

    fn new(severity: Severity, text: String) -> Self {
        Self {
            severity,
            text,
            is_overdue: false,
            waiting: None,
        }
    }

    /// Why an installation is stalled by it, if it is.
    pub const fn stalled_reason(&self) -> Option<&'static str> {
        match self.severity {
            Severity::ManagedBy(tool) => Some(tool.reason()),
            Severity::OwnedByAnother => Some(reason::OWNED_BY_ANOTHER),
            Severity::Conflict => Some(reason::OTHER_WRITER),
            Severity::Refused => Some(reason::APPLY_REFUSED),
            _ if self.is_overdue => Some(reason::DEADLINE_EXCEEDED),
            Severity::Retrying | Severity::Degraded | Severity::RollingOut | Severity::Waiting => {
                None
            }
        }
    }

    /// Problems that need a person come first, then the worst ones.
    pub fn rank(&self) -> (bool, Severity) {
        (self.state() != InstallState::Error, self.severity)
    }
}

impl ComponentHealth {
    fn of(component: &AppliedComponent, judge: &mut Judge<'_>) -> Self {
        let AppliedComponent {
            kind,
            name,
            image,
            objects,
        } = component;
        let problems = objects
            .iter()
            .filter_map(|(key, verdict)| judge.problem(*kind, key, verdict));
        let mut problems: Vec<_> = problems.collect();
        problems.sort_by(|a, b| (a.rank(), &a.text).cmp(&(b.rank(), &b.text)));
        if let Some(why) = judge.unproven.filter(|_| problems.is_empty()) {
            problems.push(Problem {
                waiting: objects.first().map(|(key, _)| key.clone()),
                ..Problem::new(Severity::Waiting, why.to_owned())
            });
        }
        let gateway = kind.gateway_key().map(|_| {
            let mut keys = objects.iter().map(|(key, _)| key);
            let exposures = keys.clone().filter_map(|key| judge.live.exposure(key));
            GatewayStatus {
                name: name.clone(),
                ready: problems.is_empty(),
                addresses: exposures.flat_map(Exposure::reached_at).collect(),
                // Its pods are known to who watches them.
                version: None,
                namespace: keys
                    .find_map(|key| key.namespace.clone())
                    .unwrap_or_default(),
            }
        });
        let addon = kind.is_addon().then(|| {
            let workload = kind.info().workload;
            let service = workload
                .and_then(|workload| workload.service)
                .unwrap_or(name);
            let is_service = |key: &&ObjectKey| key.kind == "Service" && key.name == service;
            let mut keys = objects.iter().map(|(key, _)| key);
            let service = keys
                .find(is_service)
                .filter(|key| judge.live.get(key).is_some());
            let exposure = service.and_then(|key| judge.live.exposure(key));
            let of = |exposure: &Exposure| exposure.service_type.clone();
            AddonHealth {
                image: image.clone(),
                service_type: service.map(|_| exposure.map_or_else(|| "ClusterIP".into(), of)),
                node_ports: exposure.map_or_else(Vec::new, |exposure| exposure.node_ports.clone()),
            }
        });
        Self {
            kind: *kind,
            gateway,
            addon,
            problems,
        }
    }
}

impl Severity {
    /// Why an installation goes on.
    pub const fn progress_reason(self) -> &'static str {
        match self {
            Self::Retrying => reason::RETRYING,
            Self::Degraded => reason::SCALING_OR_ROLLING_OUT,
            Self::RollingOut => reason::ROLLING_OUT,
            _ => reason::PROGRESSING,
        }
    }

    /// The kind of problem, as a word by which waits are told apart.
    const fn as_str(self) -> &'static str {
        match self {
            Self::ManagedBy(_) => "ManagedByOtherTool",
            Self::OwnedByAnother => "OwnedByAnother",
            Self::Conflict => "Conflict",
            Self::Refused => "Refused",
            Self::Retrying => "Retrying",
            Self::Degraded => "Degraded",
            Self::RollingOut => "RollingOut",
            Self::Waiting => "Waiting",
        }
    }
}

impl Problem {
    /// The state of a component whose worst problem this is. What takes too long needs a person.
    fn state(&self) -> InstallState {
        match self.severity {
            Severity::ManagedBy(_)
            | Severity::OwnedByAnother
            | Severity::Conflict
            | Severity::Refused => InstallState::Error,
            _ if self.is_overdue => InstallState::Error,
            Severity::Retrying | Severity::Degraded | Severity::RollingOut | Severity::Waiting => {
                InstallState::Reconciling
            }
        }
    }
}

/// Judges problems by the history of a CR.
pub struct Judge<'a> {
    /// What the cluster holds.
    pub live: &'a Live,
    /// Since when problems last.
    pub history: &'a mut History,
    /// What the last status says.
    pub before: Before,
    /// The present, by the monotonic clock.
    pub now: Instant,
    /// How long one component may take to become ready.
    pub timeout: Duration,
    /// Why it is not proven that the newest istiod injects.
    pub unproven: Option<&'a str>,
}

impl Judge<'_> {
    /// What is wrong with an object after its verdict; `None` if it is as it should be.
    fn problem(
        &mut self,
        component: ComponentKind,
        key: &ObjectKey,
        verdict: &Verdict,
    ) -> Option<Problem> {
        match verdict {
            // Several revisions share one base.
            Verdict::OwnedByOther(owner) if component != ComponentKind::Base => {
                let text = format!("{key}: belongs to IstioOperator {owner}");
                Some(Problem::new(Severity::OwnedByAnother, text))
            }
            Verdict::ManagedBy(tool) => {
                let text = format!(
                    "{key}: {tool} manages it, and the annotation install.istio.io/adopt is not \"true\""
                );
                Some(Problem::new(Severity::ManagedBy(*tool), text))
            }
            Verdict::Conflict { what, .. } => {
                Some(Problem::new(Severity::Conflict, format!("{key}: {what}")))
            }
            Verdict::Refused(error) => Some(self.refusal(key, error, format!("{key}: {error}"))),
            Verdict::Waiting(why) => {
                let text = format!("waiting: {why}");
                Some(Problem {
                    waiting: Some(key.clone()),
                    ..Problem::new(Severity::Waiting, text)
                })
            }
            Verdict::TagElsewhere => None,
            Verdict::Unchanged | Verdict::Applied | Verdict::OwnedByOther(_) => self.unready(key),
        }
    }

    /// A write that the API server did not take.
    pub fn refusal(&mut self, key: &ObjectKey, error: &ApplyError, text: String) -> Problem {
        let patience = error.patience();
        if patience.is_zero() {
            return Problem::new(Severity::Refused, text);
        }
        if !error.is_refusal() {
            return self.timed(key, Severity::Retrying, patience, text);
        }
        // A refusal has a clock of its own: the outage before it was waited for by another one.
        let is_overdue = self.is_overdue(key, Severity::Refused, patience);
        let severity = if is_overdue {
            Severity::Refused
        } else {
            Severity::Retrying
        };
        Problem {
            is_overdue,
            ..Problem::new(severity, text)
        }
    }

    /// The problem of an applied object that is not ready.
    fn unready(&mut self, key: &ObjectKey) -> Option<Problem> {
        let workload = self.live.workload(key).copied();
        let Some(reason) = self.live.unready_reason(key) else {
            if let Some(workload) = workload {
                self.history.set_available(key, &workload);
            }
            return None;
        };
        let dip = workload.map(|workload| self.history.dip(key, &workload, self.now, self.before));
        let severity = match dip {
            Some(Dip::Unnoticed) => return None,
            Some(Dip::Noticed) => Severity::Degraded,
            Some(Dip::RollingOut) | None => Severity::RollingOut,
        };
        let text = format!("{key}: {reason}");
        Some(self.timed(key, severity, self.timeout, text))
    }

    fn timed(
        &mut self,
        key: &ObjectKey,
        severity: Severity,
        patience: Duration,
        text: String,
    ) -> Problem {
        let is_overdue = self.is_overdue(key, severity, patience);
        Problem {
            is_overdue,
            ..Problem::new(severity, text)
        }
    }

    /// Whether this kind of problem with an object lasts longer than `patience`.
    fn is_overdue(&mut self, key: &ObjectKey, severity: Severity, patience: Duration) -> bool {
        let wait = Wait {
            key: key.clone(),
            problem: severity.as_str(),
            generation: self.live.get(key).map_or(0, |object| object.generation),
        };
        self.history
            .is_overdue(wait, patience, self.now, self.before)
    }
}
