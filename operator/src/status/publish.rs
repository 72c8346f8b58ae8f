//! One patch of the status subresource, and the Events that go with it.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{Api, ObjectMeta, Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use serde_json::{Map, Value, json};

use super::canary::canary_event;
use super::conditions::{find, holds};
use super::upgrade::{held_proxy_event, step_event};
use crate::api::condition::{self, EventRule, reason};
use crate::api::{IstioOperator, IstioOperatorStatus, StoredCr};
use crate::apply::{ApplyError, Sender};

/// The field manager of the status; another one than for objects, so that each shows who wrote what.
const STATUS_MANAGER: &str = "istio-operator-status";
/// The longest note of an Event in bytes, a rule of Kubernetes.
const MAX_NOTE: usize = 1024;

/// Something worth an Event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusEvent {
    /// Whether somebody should look at it.
    pub is_warning: bool,
    /// The reason of the condition that it comes from.
    pub reason: String,
    /// The message of that condition.
    pub note: String,
}

/// Sends statuses and Events.
#[derive(Clone, Debug)]
pub struct Publisher {
    sender: Sender,
    instance: String,
}

impl Publisher {
    /// A publisher whose Events name this instance of the operator.
    #[must_use]
    pub const fn new(sender: Sender, instance: String) -> Self {
        Self { sender, instance }
    }

    /// Sends `wanted` if it differs from what `cr` has; returns the CR as it is then, if it was sent.
    ///
    /// The patch replaces the whole list of conditions, so it is bound to the resource version that it was computed from:
    /// a condition that somebody else wrote meanwhile makes it a conflict. A CR that is gone meanwhile is no error.
    pub async fn publish(
        &self,
        cr: &IstioOperator,
        wanted: &IstioOperatorStatus,
    ) -> Result<Option<StoredCr>, ApplyError> {
        let before = cr.status.clone().unwrap_or_default();
        let Some(mut change) = patch(&before, wanted) else {
            return Ok(None);
        };
        // The UID tells the CR from one of the same name that came later.
        let ObjectMeta {
            uid,
            resource_version,
            ..
        } = &cr.metadata;
        change["metadata"] = json!({"uid": uid, "resourceVersion": resource_version});
        let namespace = cr.metadata.namespace.as_deref().unwrap_or_default();
        let name = cr.metadata.name.as_deref().unwrap_or_default();
        let api: Api<StoredCr> = Api::namespaced(self.sender.client().clone(), namespace);
        let params = PatchParams {
            field_manager: Some(STATUS_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let change = Patch::Merge(change);
        let call = async {
            match api.patch_status(name, &params, &change).await {
                Err(error) if ApplyError::is_gone(&error) => Ok(None),
                other => other.map(Some),
            }
        };
        let written = self.sender.write(call).await?;
        if written.is_some() {
            for event in status_events(&before, wanted) {
                self.announce(cr, event).await;
            }
        }
        Ok(written)
    }

    /// The CR as the API server has it now; `None` if it is gone or another one has its name.
    pub async fn read(&self, cr: &IstioOperator) -> Result<Option<StoredCr>, ApplyError> {
        let namespace = cr.metadata.namespace.as_deref().unwrap_or_default();
        let name = cr.metadata.name.as_deref().unwrap_or_default();
        let api: Api<StoredCr> = Api::namespaced(self.sender.client().clone(), namespace);
        let newest = self.sender.read(api.get_opt(name)).await?;
        Ok(newest.filter(|newest| newest.metadata.uid == cr.metadata.uid))
    }

    /// Sends an Event. One that cannot be sent is logged: the status says the same.
    pub async fn announce(&self, cr: &IstioOperator, event: StatusEvent) {
        let StatusEvent {
            is_warning,
            reason,
            note,
        } = event;
        let event = Event {
            type_: if is_warning {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason,
            note: Some(shortened(note)),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        let reporter = Reporter {
            controller: "istio-operator".to_owned(),
            instance: Some(self.instance.clone()),
        };
        // A recorder of its own for each: a shared one repeats the first note of a reason instead of the newest.
        let recorder = Recorder::new(self.sender.client().clone(), reporter);
        let regarding = reference(cr);
        let call = recorder.publish(&event, &regarding);
        if let Err(error) = self.sender.write(call).await {
            tracing::warn!(%error, reason = event.reason, "an Event could not be sent");
        }
    }
}

fn shortened(mut note: String) -> String {
    note.truncate(note.floor_char_boundary(MAX_NOTE));
    note
}

fn reference(cr: &IstioOperator) -> ObjectReference {
    ObjectReference {
        api_version: Some("install.istio.io/v1alpha1".to_owned()),
        kind: Some("IstioOperator".to_owned()),
        name: cr.metadata.name.clone(),
        namespace: cr.metadata.namespace.clone(),
        uid: cr.metadata.uid.clone(),
        ..ObjectReference::default()
    }
}

/// The Events for the step from one status to the next: the next component of an upgrade, becoming installed,
/// trouble, and new trouble.
#[must_use]
pub fn status_events(
    before: &IstioOperatorStatus,
    after: &IstioOperatorStatus,
) -> Vec<StatusEvent> {
    let told = [
        step_event(before, after),
        canary_event(before, after),
        held_proxy_event(before, after),
    ];
    let mut events: Vec<_> = told.into_iter().flatten().collect();
    for rule in &condition::ALL {
        let Some(now) = holds(&after.conditions, rule.name) else {
            continue;
        };
        let is_warning = match rule.event {
            EventRule::Never => continue,
            EventRule::EachMessage => {
                let was = holds(&before.conditions, rule.name);
                let is_known = was
                    .is_some_and(|was| (&was.reason, &was.message) == (&now.reason, &now.message));
                if is_known {
                    continue;
                }
                true
            }
            EventRule::EachReason => {
                let was = find(&before.conditions, rule.name);
                if was.is_some_and(|was| was.reason == now.reason) {
                    continue;
                }
                match now.reason.as_str() {
                    reason::RETRYING | reason::SCALING_OR_ROLLING_OUT | reason::MAY_BE_IN_USE => {
                        true
                    }
                    reason::INSTALLED
                    | reason::NOTHING_ENABLED
                    | reason::DELETING
                    | reason::IN_USE
                    | reason::UNUSED => false,
                    _ => continue,
                }
            }
        };
        let event = StatusEvent {
            is_warning,
            reason: now.reason.clone(),
            note: now.message.clone(),
        };
        // A conflict that stalls everything is told by two conditions, and is one Event.
        if !events.contains(&event) {
            events.push(event);
        }
    }
    events
}

/// The merge patch that turns one status into the other; `None` if they are the same.
#[must_use]
pub fn patch(before: &IstioOperatorStatus, after: &IstioOperatorStatus) -> Option<Value> {
    let before = serde_json::to_value(before).unwrap_or_default();
    let after = serde_json::to_value(after).unwrap_or_default();
    difference(&before, &after).map(|status| json!({"status": status}))
}

/// Whether both statuses tell the same of a rollout, and differ in their texts only, such as how many objects it waits for.
#[must_use]
pub fn is_reworded(before: &IstioOperatorStatus, after: &IstioOperatorStatus) -> bool {
    let without_texts = |status: &IstioOperatorStatus| {
        let mut status = status.clone();
        status.message = None;
        let texts = status.conditions.iter_mut().map(|it| &mut it.message);
        texts.for_each(String::clear);
        let components = status.component_status.values_mut();
        components.for_each(|component| component.error = None);
        status
    };
    let is_rollout = holds(&after.conditions, condition::RECONCILING).is_some();
    is_rollout && without_texts(before) == without_texts(after)
}

fn difference(before: &Value, after: &Value) -> Option<Value> {
    let (Value::Object(old), Value::Object(new)) = (before, after) else {
        return (before != after).then(|| after.clone());
    };
    let removed = old.keys().filter(|key| !new.contains_key(*key));
    let mut change: Map<_, _> = removed.map(|key| (key.clone(), Value::Null)).collect();
    for (key, value) in new {
        let changed = match old.get(key) {
            Some(old) => difference(old, value),
            None => Some(value.clone()),
        };
        change.extend(changed.map(|changed| (key.clone(), changed)));
    }
    (!change.is_empty()).then_some(Value::Object(change))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
    use k8s_openapi::jiff::Timestamp;

    use super::*;
    use crate::apply::fake_api_server::{Answer, Call, FakeApiServer, refusals, told};

    fn object() -> Value {
        json!({
            "apiVersion": "install.istio.io/v1alpha1",
            "kind": "IstioOperator",
            "metadata": {"name": "cr", "namespace": "a", "uid": "1"},
        })
    }

    /// A status that is worth an Event.
    fn installed() -> IstioOperatorStatus {
        let ready = Condition {
            type_: condition::READY.to_owned(),
            status: "True".to_owned(),
            reason: reason::INSTALLED.to_owned(),
            message: "everything runs".to_owned(),
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
            observed_generation: None,
        };
        IstioOperatorStatus {
            conditions: vec![ready],
            ..IstioOperatorStatus::default()
        }
    }

    /// Publishes one status to an API server that answers so; gives the result and the calls.
    async fn publish(answers: Vec<Answer>) -> (Result<Option<StoredCr>, ApplyError>, Vec<Call>) {
        let api = FakeApiServer::answering(answers);
        let publisher = Publisher::new(api.sender(), "istio-operator-0".to_owned());
        let cr = serde_json::from_value(object()).unwrap();
        let result = publisher.publish(&cr, &installed()).await;
        (result, api.calls())
    }

    #[tokio::test]
    async fn a_status_is_written_once_and_announced() {
        let (result, calls) = publish(vec![
            Answer::Object(object()),
            Answer::Failure(403, "events is forbidden"),
        ])
        .await;
        assert!(result.unwrap().is_some(), "an Event is not worth a failure");
        assert!(calls[0].path.contains("/istiooperators/cr/status?"));
        assert_eq!(calls[0].body["metadata"]["uid"], "1");
        assert!(calls[1].path.contains("/events?"), "{}", calls[1].path);
        assert_eq!(calls.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_status_that_is_not_taken_is_left_to_the_next_pass() {
        for (answer, reason, class) in refusals() {
            let (result, calls) = publish(vec![answer]).await;
            assert_eq!(told(&result.unwrap_err()), (reason, class));
            assert_eq!(calls.len(), 1, "what was not written is not announced");
        }
    }

    #[tokio::test]
    async fn a_cr_that_is_gone_is_told_nothing() {
        let (result, calls) = publish(vec![Answer::Failure(404, "\"cr\" not found")]).await;
        assert!(result.unwrap().is_none());
        assert_eq!(calls.len(), 1);
    }

    #[test]
    fn the_patch_removes_what_is_no_longer_said() {
        let status = |value| serde_json::from_value::<IstioOperatorStatus>(value).unwrap();
        let before = status(json!({"message": "a", "componentStatus":
            {"Pilot": {"status": "HEALTHY"}, "Cni": {"status": "ERROR", "error": "x"}}}));
        let after =
            status(json!({"message": "a", "componentStatus": {"Pilot": {"status": "ERROR"}}}));
        let expected =
            json!({"status": {"componentStatus": {"Cni": null, "Pilot": {"status": "ERROR"}}}});
        assert_eq!(patch(&before, &after), Some(expected));
        assert_eq!(patch(&after, &after), None);
    }

    #[test]
    fn other_words_for_the_same_progress_are_no_news() {
        let status = |kind: &str, waits: &str, pilot: &str| IstioOperatorStatus {
            message: Some(waits.to_owned()),
            component_status: serde_json::from_value(
                json!({"Pilot": {"status": pilot, "error": waits}}),
            )
            .unwrap(),
            conditions: vec![Condition {
                type_: kind.to_owned(),
                message: waits.to_owned(),
                ..installed().conditions.remove(0)
            }],
            ..IstioOperatorStatus::default()
        };
        let before = status(condition::RECONCILING, "2 to go", "RECONCILING");
        for (after, expected) in [
            (
                status(condition::RECONCILING, "1 to go", "RECONCILING"),
                true,
            ),
            (status(condition::RECONCILING, "1 to go", "HEALTHY"), false),
            (status(condition::STALLED, "1 to go", "RECONCILING"), false),
        ] {
            assert_eq!(is_reworded(&before, &after), expected, "{after:?}");
        }
        let stalled = status(condition::STALLED, "1 to go", "ERROR");
        assert!(!is_reworded(
            &status(condition::STALLED, "2 to go", "ERROR"),
            &stalled
        ));
    }
}
