//! How far each component is, from the verdicts on its objects and from what the cluster shows of them.

use std::collections::BTreeMap;

use crate::api::{
    ComponentKind, ComponentStatus, GatewayStatus, InstallState, IstioOperatorStatus,
};
use crate::apply::{Applied, AppliedComponent, Class, Verdict};
use crate::cluster::{Live, ManagingTool};
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
    /// What it lacks, worst first.
    pub problems: Vec<Problem>,
}

/// One thing that a component lacks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// The object and what is wrong with it.
    pub text: String,
}

/// How bad a lack is, worst first.
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
    /// It is applied and not ready.
    RollingOut,
    /// Something else has to come first.
    Waiting,
}

impl Health {
    /// Judges every component.
    pub fn of(applied: &Applied, live: &Live) -> Self {
        let components = applied.components.iter();
        Self {
            components: components
                .map(|component| ComponentHealth::of(component, live))
                .collect(),
        }
    }

    /// Everything that is lacking, worst first.
    pub fn problems(&self) -> Vec<&Problem> {
        let mut problems: Vec<_> = self
            .components
            .iter()
            .flat_map(|component| &component.problems)
            .collect();
        problems.sort_by_key(|problem| problem.severity);
        problems
    }

    /// `componentStatus`: one entry per kind of component, as bad as its worst one.
    pub fn component_status(
        &self,
        version: &str,
        before: &IstioOperatorStatus,
        overdue: bool,
    ) -> BTreeMap<String, ComponentStatus> {
        let mut statuses: BTreeMap<String, ComponentStatus> = BTreeMap::new();
        for kind in ComponentKind::ALL {
            let of_kind: Vec<_> = self
                .components
                .iter()
                .filter(|component| component.kind == kind)
                .collect();
            if of_kind.is_empty() {
                continue;
            }
            let worst = of_kind
                .iter()
                .filter_map(|component| component.problems.first())
                .min();
            let state = worst.map_or(InstallState::Healthy, |problem| {
                problem.severity.state(overdue)
            });
            let before = before.component_status.get(kind.as_str());
            let installed = match state {
                InstallState::Healthy => Some(version.to_owned()),
                _ => before.and_then(|before| before.version.clone()),
            };
            let status = ComponentStatus {
                status: Some(state),
                error: worst.map(|problem| problem.text.clone()),
                version: installed,
            };
            statuses.insert(kind.as_str().to_owned(), status);
        }
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

impl ComponentHealth {
    fn of(component: &AppliedComponent, live: &Live) -> Self {
        let AppliedComponent {
            kind,
            name,
            objects,
        } = component;
        let problems = objects
            .iter()
            .filter_map(|(key, verdict)| problem(*kind, key, verdict, live));
        let mut problems: Vec<_> = problems.collect();
        problems.sort();
        let is_gateway = matches!(
            kind,
            ComponentKind::IngressGateways | ComponentKind::EgressGateways
        );
        let gateway = is_gateway.then(|| {
            let mut keys = objects.iter().map(|(key, _)| key);
            let addresses = keys.clone().flat_map(|key| live.addresses(key));
            GatewayStatus {
                name: name.clone(),
                ready: problems.is_empty(),
                addresses: addresses.cloned().collect(),
                namespace: keys
                    .find_map(|key| key.namespace.clone())
                    .unwrap_or_default(),
            }
        });
        Self {
            kind: *kind,
            gateway,
            problems,
        }
    }
}

impl Severity {
    /// The state of a component whose worst lack this is. What takes too long needs a person.
    const fn state(self, overdue: bool) -> InstallState {
        match self {
            Self::ManagedBy(_) | Self::OwnedByAnother | Self::Conflict | Self::Refused => {
                InstallState::Error
            }
            Self::Retrying | Self::RollingOut if overdue => InstallState::Error,
            Self::Retrying | Self::RollingOut | Self::Waiting => InstallState::Reconciling,
        }
    }
}

fn problem(
    component: ComponentKind,
    key: &ObjectKey,
    verdict: &Verdict,
    live: &Live,
) -> Option<Problem> {
    let (severity, why) = match verdict {
        Verdict::Conflict(text) => (Severity::Conflict, text.clone()),
        Verdict::ManagedBy(tool) => (
            Severity::ManagedBy(*tool),
            format!("{tool} manages it, and the annotation install.istio.io/adopt is not \"true\""),
        ),
        Verdict::Refused(error) => match error.class() {
            Class::Permanent => (Severity::Refused, error.to_string()),
            Class::Retry | Class::Wait => (Severity::Retrying, error.to_string()),
        },
        Verdict::Waiting(why) => {
            return Some(Problem {
                severity: Severity::Waiting,
                text: format!("waiting: {why}"),
            });
        }
        // Several revisions share one base.
        Verdict::OwnedByOther(owner) if component != ComponentKind::Base => (
            Severity::OwnedByAnother,
            format!("belongs to IstioOperator {owner}"),
        ),
        Verdict::TagElsewhere => return None,
        Verdict::Unchanged | Verdict::Applied | Verdict::OwnedByOther(_) => {
            (Severity::RollingOut, live.unready_reason(key)?)
        }
    };
    Some(Problem {
        severity,
        text: format!("{key}: {why}"),
    })
}
