//! `updateStrategy.rollback: Automatic`: a change of the version that stopped at a component is taken back.
//!
//! The status remembers it for the generation of the spec, so that it is not tried again and again. An edit of the spec tries
//! it anew.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::approval::precheck;
use super::ctx::Ctx;
use super::rendering::{RenderedCanary, RenderedSpec, Wanted};
use crate::api::condition::{self, reason};
use crate::api::{IstioOperator, RollbackStatus, StoredCr};
use crate::catalogue::Version;
use crate::plan::{ControlPlanes, Precheck};

/// A change of the version that is taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rollback {
    /// The version that comes back: the last one in which everything was healthy.
    pub(super) version: Version,
    /// What the status remembers.
    pub(super) status: RollbackStatus,
}

/// Whether the change to the version `asked` stopped and is taken back.
pub(super) fn due(cr: &IstioOperator, asked: Version) -> Option<Rollback> {
    let generation = cr.metadata.generation?;
    let status = cr.status.as_ref()?;
    let upgrade = status.upgrade.as_ref()?;
    let version = Version::parse(status.version.as_ref()?)?;
    if !cr.update_strategy().rolls_back() || upgrade.to != asked.to_string() || version == asked {
        return None;
    }
    let is_of_generation = |rollback: &&RollbackStatus| rollback.generation == generation;
    let shown = upgrade.rollback.as_ref().filter(is_of_generation);
    let is_stop = |condition: &&Condition| {
        condition.type_ == condition::STALLED
            && condition.status == "True"
            && condition.reason == reason::DEADLINE_EXCEEDED
            && condition.observed_generation == Some(generation)
    };
    let status = match shown {
        Some(shown) => shown.clone(),
        None => RollbackStatus {
            generation,
            reason: status.conditions.iter().find(is_stop)?.message.clone(),
        },
    };
    Some(Rollback { version, status })
}

/// Renders the last healthy version, if the change to what is `asked` for stopped, is to be taken back, and may be.
pub(super) async fn rolled_back(
    ctx: &Ctx,
    cr: &Arc<StoredCr>,
    asked: &RenderedSpec,
) -> Option<RenderedSpec> {
    let version = asked.asked().version;
    let rollback = due(cr, version)?;
    let healthy = ctx.state().healthy(cr);
    let rendering = match (&asked.canary, healthy) {
        (Some(RenderedCanary { canary, .. }), _) => {
            let wanted = Wanted::Plane(canary.from.clone(), version);
            ctx.render_thread.render(Arc::clone(cr), wanted)
        }
        (None, Some(healthy)) => {
            let planes = ControlPlanes::default();
            ctx.render_thread.render(healthy, Wanted::Spec(planes))
        }
        (None, None) => {
            let wanted = Wanted::Version(rollback.version);
            ctx.render_thread.render(Arc::clone(cr), wanted)
        }
    };
    let mut back = rendering.await.ok()?;
    let step = precheck(cr, &back, &ctx.state(), ctx.charts.catalogue());
    if let Some(why) = step.as_ref().and_then(Precheck::refusal) {
        tracing::warn!(why, "a change of the version cannot be taken back");
        return None;
    }
    back.rollback = Some(rollback.status);
    Some(back)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const ASKED: Version = Version {
        minor: 31,
        patch: 1,
    };

    fn cr(rollback: &str, generation: i64, reason: &str, shown: &Value) -> IstioOperator {
        let condition = json!({"type": "Stalled", "status": "True", "reason": reason,
            "message": "istiod is not ready", "observedGeneration": 2,
            "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let cr = json!({
            "metadata": {"name": "a", "generation": generation},
            "spec": {"updateStrategy": {"rollback": rollback}},
            "status": {
                "version": "1.30.5",
                "conditions": [condition],
                "upgrade": {"from": "1.30.5", "to": "1.31.1", "rollback": shown},
            },
        });
        serde_json::from_value(cr).unwrap()
    }

    fn is_due(rollback: &str, generation: i64, reason: &str, shown: &Value) -> bool {
        due(&cr(rollback, generation, reason, shown), ASKED).is_some()
    }

    #[test]
    fn a_change_that_stopped_is_taken_back_until_the_spec_changes() {
        let none = Value::Null;
        let shown = json!({"generation": 2, "reason": "istiod was not ready"});
        let stopped = "DeadlineExceeded";
        assert!(is_due("Automatic", 2, stopped, &none));
        assert!(is_due("Automatic", 2, "RolledBack", &shown));
        for (rollback, generation, reason, shown) in [
            ("Never", 2, stopped, &none),
            ("Automatic", 3, stopped, &none),
            ("Automatic", 3, "RolledBack", &shown),
            ("Automatic", 2, "ApplyRefused", &none),
        ] {
            assert!(
                !is_due(rollback, generation, reason, shown),
                "{rollback} {generation} {reason}"
            );
        }
        let cr = cr("Automatic", 2, stopped, &none);
        let back = due(&cr, ASKED).unwrap();
        assert_eq!((back.version.minor, back.version.patch), (30, 5));
        assert_eq!(back.status.reason, "istiod is not ready");
        assert_eq!(due(&cr, back.version), None);
    }
}
