//! The health of a CR as Argo CD and Flux compute it, by their own rules. If both are right, a CR can be kept in Git
//! without customization.

use serde_json::Value;

/// Argo CD's health of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgoHealth {
    /// Not installed; in an application, this outweighs the health of everything else.
    Unknown,
    /// A sync waits.
    Progressing,
    /// The next wave of a sync begins.
    Healthy,
    /// The running sync fails at once.
    Degraded,
}

/// Argo CD's built-in check of an IstioOperator: it reads `status.status` and nothing else, not even
/// the generation. The numbers are those of the enum that Istio's operator once stored.
#[must_use]
pub fn argo(cr: &Value) -> ArgoHealth {
    if !cr["metadata"]["deletionTimestamp"].is_null() {
        return ArgoHealth::Progressing;
    }
    let state = &cr["status"]["status"];
    match (state.as_i64(), state.as_str()) {
        (Some(0), _) | (_, Some("NONE")) => ArgoHealth::Unknown,
        (Some(3), _) | (_, Some("HEALTHY")) => ArgoHealth::Healthy,
        (Some(4), _) | (_, Some("ERROR")) => ArgoHealth::Degraded,
        _ => ArgoHealth::Progressing,
    }
}

/// The status that kstatus, and with it Flux, computes for a custom resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kstatus {
    /// A wait goes on.
    InProgress,
    /// A wait ends well.
    Current,
    /// A wait ends badly.
    Failed,
    /// It is being deleted.
    Terminating,
}

/// kstatus's generic rules, in its order: deletion, generation, the first of `Reconciling` and
/// `Stalled` that is true, then `Ready`; an object that says nothing at all counts as done.
#[must_use]
pub fn kstatus(cr: &Value) -> Kstatus {
    if !cr["metadata"]["deletionTimestamp"].is_null() {
        return Kstatus::Terminating;
    }
    let status = &cr["status"];
    let observed = &status["observedGeneration"];
    if !observed.is_null() && *observed != cr["metadata"]["generation"] {
        return Kstatus::InProgress;
    }
    let conditions = status["conditions"].as_array();
    for condition in conditions.into_iter().flatten() {
        match (condition["type"].as_str(), condition["status"].as_str()) {
            (Some("Reconciling"), Some("True")) => return Kstatus::InProgress,
            (Some("Stalled"), Some("True")) => return Kstatus::Failed,
            _ => {}
        }
    }
    match condition(cr, "Ready")["status"].as_str() {
        Some("True") | None => Kstatus::Current,
        Some(_) => Kstatus::InProgress,
    }
}

/// The condition of this type; null if there is none.
#[must_use]
pub fn condition<'a>(cr: &'a Value, kind: &str) -> &'a Value {
    let conditions = cr["status"]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    conditions
        .find(|condition| condition["type"] == kind)
        .unwrap_or(&Value::Null)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn argo_reads_the_state_as_word_or_number() {
        for (state, health) in [
            (json!("NONE"), ArgoHealth::Unknown),
            (json!(1), ArgoHealth::Progressing),
            (json!("RECONCILING"), ArgoHealth::Progressing),
            (json!("HEALTHY"), ArgoHealth::Healthy),
            (json!(3), ArgoHealth::Healthy),
            (json!("ERROR"), ArgoHealth::Degraded),
            (json!("ACTION_REQUIRED"), ArgoHealth::Progressing),
            (json!(null), ArgoHealth::Progressing),
        ] {
            assert_eq!(
                argo(&json!({"status": {"status": state}})),
                health,
                "{state}"
            );
        }
        let going =
            json!({"metadata": {"deletionTimestamp": "x"}, "status": {"status": "HEALTHY"}});
        assert_eq!(argo(&going), ArgoHealth::Progressing);
    }

    #[test]
    fn kstatus_follows_its_order_of_rules() {
        let cr = |observed: Value, conditions: &[(&str, &str)]| {
            let conditions: Vec<_> = conditions
                .iter()
                .map(|(kind, status)| json!({"type": kind, "status": status}))
                .collect();
            json!({
                "metadata": {"generation": 2},
                "status": {"observedGeneration": observed, "conditions": conditions},
            })
        };
        for (cr, expected) in [
            (json!({"metadata": {"generation": 1}}), Kstatus::Current),
            (cr(json!(-1), &[]), Kstatus::InProgress),
            (cr(json!(1), &[("Ready", "True")]), Kstatus::InProgress),
            (cr(json!(2), &[("Ready", "True")]), Kstatus::Current),
            (cr(json!(2), &[("Ready", "False")]), Kstatus::InProgress),
            (
                cr(json!(2), &[("Ready", "False"), ("Stalled", "True")]),
                Kstatus::Failed,
            ),
            (
                cr(json!(2), &[("Reconciling", "True"), ("Stalled", "True")]),
                Kstatus::InProgress,
            ),
            (
                json!({"metadata": {"deletionTimestamp": "x"}}),
                Kstatus::Terminating,
            ),
        ] {
            assert_eq!(kstatus(&cr), expected, "{cr}");
        }
    }
}
