//! Asks the API server, before anything of a rollout is written, whether it would take all of it.
//!
//! A change that is refused in part would leave half an installation. So unless every object would be taken, nothing of the
//! rollout is sent, and what runs goes on running. Repairs of what was applied before are sent all the same.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, stream};
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use super::send::as_sent;
use super::{Answer, Applied, ApplyError, Class, PARALLEL, Sender, Verdict};
use crate::cluster::{ApplyReason, LiveObject, Upkeep};
use crate::plan::ObjectToApply;
use crate::render::ObjectKey;

/// Why objects wait that the API server would take.
const HELD_BACK: &str = "nothing of this change is applied before the API server takes";

/// How old the last apply has to be, in seconds, before its time proves that a dry run changed nothing. Times are whole
/// seconds, and clocks differ a little.
const CERTAIN_AGE: i64 = 5;

/// What the API server said of the objects of a rollout.
pub(super) struct Verification(BTreeMap<ObjectKey, Answered>);

/// The selector that a workload has in the cluster, and that nobody can change.
#[derive(Clone, Debug)]
pub(super) struct FixedSelector {
    pub(super) key: ObjectKey,
    pub(super) uid: String,
    pub(super) selector: Value,
}

/// What a dry run of one object says.
enum Answered {
    /// It would be taken, or nobody can tell before something else is there. Asking again would not tell more.
    Accepted,
    /// The cluster holds it as it is rendered. After a restart that is not known otherwise.
    UpToDate(Box<LiveObject>),
    /// It would not be taken, or the API server cannot tell now.
    Refused(ApplyError),
    Fixed(FixedSelector),
}

/// Asks for a dry run of each object of which the answer is not known, except those in namespaces that do not exist yet.
pub(super) async fn verify(
    sender: &Sender,
    objects: impl Iterator<Item = &ObjectToApply>,
    absent_namespaces: &BTreeSet<String>,
) -> Verification {
    let is_absent = |name: &String| absent_namespaces.contains(name);
    let mut calls = Vec::new();
    for object in objects {
        if !object.is_verified && !object.key.namespace.as_ref().is_some_and(is_absent) {
            calls.push(async move { (object.key.clone(), ask(sender, object).await) });
        }
    }
    let answers = stream::iter(calls).buffer_unordered(PARALLEL);
    Verification(answers.collect().await)
}

async fn ask(sender: &Sender, object: &ObjectToApply) -> Answered {
    if object.kind.upkeep == Upkeep::CreatedOnly {
        return match sender.create(object, true).await {
            Ok(true) => Answered::Accepted,
            Ok(false) => Answered::UpToDate(Box::new(as_sent(object))),
            Err(error) => failed(error),
        };
    }
    let error = match sender.dry_run(object).await {
        Ok(live) if is_unchanged(object, &live) => return Answered::UpToDate(Box::new(live)),
        Ok(_) => return Answered::Accepted,
        Err(error) => error,
    };
    if let ApplyError::Immutable(_) = error {
        match sender.selector(object).await {
            Ok(Some((uid, selector))) if object.body.field("spec")["selector"] != selector => {
                let key = object.key.clone();
                return Answered::Fixed(FixedSelector { key, uid, selector });
            }
            Ok(_) => {}
            Err(unread) => return Answered::Refused(unread),
        }
    }
    failed(error)
}

/// What follows from a dry run that failed.
fn failed(error: ApplyError) -> Answered {
    match error.class() {
        Class::Refusal | Class::Permanent | Class::Retry => Answered::Refused(error),
        Class::Wait => Answered::Accepted,
    }
}

/// Whether an apply would change nothing: then the API server leaves the time of our last apply as it is.
fn is_unchanged(object: &ObjectToApply, answer: &LiveObject) -> bool {
    let is_old = |at: Timestamp| Timestamp::now().as_second() - at.as_second() >= CERTAIN_AGE;
    answer.applied_at == object.applied_at && object.applied_at.is_some_and(is_old)
}

impl Verification {
    /// Why nothing of the rollout is sent, if something stands against it. The answers are in the order of their keys.
    fn held_back_by(&self) -> Option<String> {
        let answers = || self.0.iter();
        let refused = answers().find(|(_, answer)| matches!(answer, Answered::Refused(_)));
        let fixed = answers().find(|(_, answer)| matches!(answer, Answered::Fixed(_)));
        match (refused, fixed) {
            (Some((key, _)), _) => Some(format!("{HELD_BACK} {key}")),
            (None, Some((key, _))) => Some(format!("the selector of {key} cannot be changed")),
            (None, None) => None,
        }
    }

    /// Takes what is up to date, or may not be sent, out of the waves, and gives it a verdict.
    pub(super) fn settle(
        mut self,
        applied: &mut Applied,
        waves: &mut [Vec<ObjectToApply>],
        postponed: &[ObjectToApply],
    ) {
        let why = self.held_back_by();
        let mut verdict_of = |object: &ObjectToApply, applied: &mut Applied| {
            if object.reason != ApplyReason::Rollout {
                return None;
            }
            let key = object.key.clone();
            match self.0.remove(&key) {
                Some(Answered::UpToDate(live)) => {
                    applied.has_news = true;
                    applied.answers.push(Answer {
                        key,
                        digests: object.digests,
                        reason: ApplyReason::Rollout,
                        live: *live,
                    });
                    return Some(Verdict::Unchanged);
                }
                Some(Answered::Refused(error)) => return Some(Verdict::Refused(error)),
                Some(Answered::Fixed(selector)) => {
                    applied.has_news = true;
                    applied.selectors.push(selector);
                }
                Some(Answered::Accepted) => applied.verified.push((key, object.digests)),
                None => {}
            }
            why.clone().map(Verdict::Waiting)
        };
        for wave in waves {
            wave.retain(|object| match verdict_of(object, applied) {
                None => true,
                Some(verdict) => {
                    let objects = &mut applied.components[object.component].objects;
                    objects.push((object.key.clone(), verdict));
                    false
                }
            });
        }
        for object in postponed {
            let Some(verdict @ (Verdict::Unchanged | Verdict::Refused(_))) =
                verdict_of(object, applied)
            else {
                continue;
            };
            let objects = &mut applied.components[object.component].objects;
            if let Some((_, waiting)) = objects.iter_mut().find(|(key, _)| *key == object.key) {
                *waiting = verdict;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use serde_json::json;

    use super::super::apply;
    use super::super::fake_api_server::{Answer, FakeApiServer, plan_of, to_apply};
    use super::*;
    use crate::charts::yaml::Manifest;
    use crate::cluster::{LastApplied, Live, key};
    use crate::plan::{Decision, Plan};

    fn object(kind: &str, reason: ApplyReason) -> ObjectToApply {
        ObjectToApply {
            body: Manifest::from(&json!({"spec": {"selector": {"matchLabels": {"a": "new"}}}})),
            is_verified: reason != ApplyReason::Rollout,
            applied_at: Some("2026-01-01T00:00:00Z".parse().unwrap()),
            ..to_apply(key(kind, "istiod"), reason)
        }
    }

    fn plan(waves: Vec<Vec<ObjectToApply>>, postponed: Vec<ObjectToApply>) -> Plan {
        let waiting = postponed.iter().map(|object| {
            let decision = Decision::Waiting("its parent".into());
            (object.key.clone(), decision)
        });
        let waiting = waiting.collect();
        Plan {
            postponed,
            ..plan_of(waiting, waves)
        }
    }

    fn accepted() -> Answer {
        Answer::Object(json!({"metadata": {"name": "istiod", "uid": "1"}}))
    }

    fn is_dry(path: &str) -> bool {
        path.contains("dryRun=All")
    }

    #[tokio::test]
    async fn nothing_of_a_rollout_is_sent_if_what_comes_later_is_refused() {
        let denied = Answer::Failure(403, "admission webhook \"x\" denied the request");
        let api = FakeApiServer::answering([accepted(), denied, accepted()]);
        let role = object("ClusterRole", ApplyReason::Rollout);
        let repaired = object("Service", ApplyReason::Restore);
        let later = object("Deployment", ApplyReason::Rollout);
        let plan = plan(vec![vec![role], vec![repaired]], vec![later]);
        let mut applied = apply(&api.sender(), plan).await;
        let calls = api.calls();
        let dry: Vec<_> = calls.iter().map(|call| is_dry(&call.path)).collect();
        assert_eq!(dry, [true, true, false]);
        assert!(
            calls[2].path.contains("/services/istiod"),
            "{}",
            calls[2].path
        );
        let verdicts: Vec<_> = applied
            .objects()
            .map(|(_, verdict)| verdict.clone())
            .collect();
        let held_back = format!("{HELD_BACK} Deployment istio-system/istiod");
        assert!(matches!(
            verdicts[0],
            Verdict::Refused(ApplyError::Denied(_))
        ));
        assert_eq!(
            verdicts[1..],
            [Verdict::Waiting(held_back), Verdict::Applied]
        );

        let (mut live, mut last_applied) = (Live::default(), LastApplied::default());
        applied.remember(&mut live, &mut last_applied, Instant::now());
        let digests = object("ClusterRole", ApplyReason::Rollout).digests;
        assert!(last_applied.is_verified(&key("ClusterRole", "istiod"), digests));
        assert!(!last_applied.is_verified(&key("Deployment", "istiod"), digests));
    }

    #[tokio::test]
    async fn what_cannot_be_asked_is_sent() {
        let silent = Answer::Failure(400, "admission webhook \"x\" does not support dry run");
        let missing = Answer::Failure(404, "clusterroles \"istiod\" not found");
        for unknown in [silent, missing] {
            let api = FakeApiServer::answering([unknown, accepted()]);
            let role = object("ClusterRole", ApplyReason::Rollout);
            let applied = apply(&api.sender(), plan(vec![vec![role]], Vec::new())).await;
            assert_eq!((applied.writes, api.calls().len()), (1, 2));
        }
    }

    #[tokio::test]
    async fn nothing_is_sent_while_the_api_server_cannot_tell() {
        let busy = Answer::Failure(429, "too many requests");
        let immutable = Answer::Failure(422, "spec.selector: field is immutable");
        for (answers, kind) in [
            (vec![busy.clone()], "ClusterRole"),
            (vec![immutable, busy], "Deployment"),
        ] {
            let count = answers.len();
            let api = FakeApiServer::answering(answers);
            let waves = vec![vec![object(kind, ApplyReason::Rollout)]];
            let applied = apply(&api.sender(), plan(waves, Vec::new())).await;
            assert_eq!((applied.writes, api.calls().len()), (0, count), "{kind}");
            let class = applied.refusals().map(|(_, error)| error.class()).max();
            assert_eq!(class, Some(Class::Retry), "{kind}");
        }
    }

    #[tokio::test]
    async fn what_a_dry_run_leaves_unchanged_is_not_sent() {
        let entry =
            |time: &str| json!({"manager": "istio-operator", "operation": "Apply", "time": time});
        for (time, writes) in [("2026-01-01T00:00:00Z", 0), ("2026-01-02T00:00:00Z", 1)] {
            let metadata = json!({"name": "istiod", "uid": "1", "managedFields": [entry(time)]});
            let live = Answer::Object(json!({"metadata": metadata}));
            let api = FakeApiServer::answering([live, accepted()]);
            let role = object("ClusterRole", ApplyReason::Rollout);
            let applied = apply(&api.sender(), plan(vec![vec![role]], Vec::new())).await;
            assert_eq!((applied.writes, applied.has_news), (writes, true), "{time}");
        }
    }

    #[tokio::test]
    async fn a_secret_that_is_there_is_not_sent() {
        let there = || Answer::Failure(409, "secrets \"istiod\" already exists");
        for (answers, writes) in [(vec![there()], 0), (vec![accepted(), accepted()], 1)] {
            let api = FakeApiServer::answering(answers);
            let secret = object("Secret", ApplyReason::Rollout);
            let applied = apply(&api.sender(), plan(vec![vec![secret]], Vec::new())).await;
            assert_eq!((applied.writes, api.calls().len()), (writes, writes + 1));
            assert_eq!(applied.refusals().count(), 0);
        }
    }

    #[tokio::test]
    async fn a_selector_that_cannot_change_is_learned() {
        let immutable = "Deployment.apps \"istiod\" is invalid: spec.selector: field is immutable";
        let old = json!({"matchLabels": {"a": "old"}});
        let read = json!({"metadata": {"name": "istiod", "uid": "1"}, "spec": {"selector": old}});
        let api = FakeApiServer::answering([Answer::Failure(422, immutable), Answer::Object(read)]);
        let workload = object("Deployment", ApplyReason::Rollout);
        let mut applied = apply(&api.sender(), plan(vec![vec![workload]], Vec::new())).await;
        assert_eq!((applied.writes, applied.has_news), (0, true));
        assert_eq!(applied.refusals().count(), 0);
        let mut live = Live::default();
        let found = LiveObject {
            uid: "1".into(),
            ..LiveObject::default()
        };
        live.put(key("Deployment", "istiod"), found);
        applied.remember(&mut live, &mut LastApplied::default(), Instant::now());
        let known = live.fixed_selector(&key("Deployment", "istiod"));
        assert_eq!(known, Some(&old));
    }
}
