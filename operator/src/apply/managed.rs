//! Objects that another tool manages: they are found before the first write, and then nothing is written.

use std::collections::BTreeMap;

use futures::{StreamExt, stream};

use super::{Applied, ApplyError, PARALLEL, Sender, Verdict};
use crate::api::condition;
use crate::cluster::{Kind, ManagingTool};
use crate::plan::{Finding, ObjectToApply};
use crate::render::ObjectKey;

/// Why objects wait that no other tool manages.
const HELD_BACK: &str =
    "nothing is written while another tool manages objects that this IstioOperator renders";
/// Objects that a message names.
const MAX_NAMES: usize = 10;

/// Reads which tools manage `objects`.
pub(super) async fn read_tools(
    sender: &Sender,
    objects: Vec<ObjectKey>,
) -> BTreeMap<ObjectKey, Result<Option<ManagingTool>, ApplyError>> {
    let calls = objects.into_iter().map(|key| async move {
        let tool = match Kind::of(&key) {
            Some(kind) => sender.managing_tool(kind, &key).await,
            None => Err(ApplyError::UnknownKind),
        };
        (key, tool)
    });
    stream::iter(calls)
        .buffer_unordered(PARALLEL)
        .collect()
        .await
}

/// Whether another tool manages an object of the plan, or that cannot be found out.
pub(super) fn must_hold_back(applied: &Applied) -> bool {
    let is_managed = |verdict: &Verdict| matches!(verdict, Verdict::ManagedBy(_));
    applied.tools.values().any(|tool| *tool != Ok(None))
        || applied.objects().any(|(_, verdict)| is_managed(verdict))
}

/// Gives every object that was to be sent, or has to wait, the verdict that follows, and tells which tools manage what.
pub(super) fn hold_back(applied: &mut Applied, waves: Vec<Vec<ObjectToApply>>) {
    applied.is_in_sync = false;
    let Applied {
        components, tools, ..
    } = applied;
    let verdict = |key: &ObjectKey| match tools.get(key) {
        Some(Ok(Some(tool))) => Verdict::ManagedBy(*tool),
        Some(Err(error)) => Verdict::Refused(error.clone()),
        Some(Ok(None)) | None => Verdict::Waiting(HELD_BACK.to_owned()),
    };
    for component in &mut *components {
        for (key, found) in &mut component.objects {
            if matches!(found, Verdict::Waiting(_)) {
                *found = verdict(key);
            }
        }
    }
    for object in waves.into_iter().flatten() {
        let verdict = verdict(&object.key);
        components[object.component]
            .objects
            .push((object.key, verdict));
    }
    let findings = findings(applied);
    applied.findings.extend(findings);
}

/// Tells which tools manage what, and how that ends. One condition names all of them; its reason is the first one.
fn findings(applied: &Applied) -> Option<Finding> {
    let mut by_tool: BTreeMap<ManagingTool, Vec<&ObjectKey>> = BTreeMap::new();
    for (key, verdict) in applied.objects() {
        if let Verdict::ManagedBy(tool) = verdict {
            by_tool.entry(*tool).or_default().push(key);
        }
    }
    let reason = by_tool.keys().next()?.reason();
    let parts: Vec<_> = by_tool
        .into_iter()
        .map(|(tool, keys)| {
            let names: Vec<_> = keys
                .iter()
                .take(MAX_NAMES)
                .map(ToString::to_string)
                .collect();
            let more = match keys.len().saturating_sub(MAX_NAMES) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            format!("{tool} manages {}{more}", names.join(", "))
        })
        .collect();
    Some(Finding {
        condition: condition::OWNERSHIP_CONFLICT,
        reason,
        text: format!(
            "{}; nothing is written, and none of them is deleted with this IstioOperator, unless its annotation \
             install.istio.io/adopt is \"true\"",
            parts.join("; ")
        ),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use serde_json::json;

    use super::super::apply;
    use super::super::fake_api_server::{Answer, FakeApiServer, plan_of, to_apply};
    use crate::api::condition;
    use crate::cluster::{ApplyReason, LastApplied, Live, ManagingTool, key};
    use crate::plan::{Decision, ObjectToApply, Plan};

    /// A plan that is to send a role and to look at istiod first.
    fn plan() -> Plan {
        let (role, istiod) = (key("ClusterRole", "istiod"), key("Deployment", "istiod"));
        let object = ObjectToApply {
            is_new: true,
            ..to_apply(role, ApplyReason::Rollout)
        };
        let waiting = vec![(istiod.clone(), Decision::Waiting("its parent".into()))];
        Plan {
            unseen: vec![istiod],
            ..plan_of(waiting, vec![vec![object]])
        }
    }

    #[tokio::test]
    async fn nothing_is_written_while_another_tool_manages_one_object() {
        let helm = json!({"metadata": {"annotations": {"meta.helm.sh/release-name": "istiod"}}});
        let api = FakeApiServer::answering([Answer::Object(helm)]);
        let mut applied = apply(&api.sender(), plan()).await;
        assert_eq!(api.calls().len(), 1, "one read");
        assert_eq!(applied.writes, 0);
        let [finding] = &applied.findings[..] else {
            panic!("{:?}", applied.findings)
        };
        assert_eq!(finding.condition, condition::OWNERSHIP_CONFLICT);
        assert_eq!(finding.reason, "ManagedByHelm");
        let names = "Helm manages Deployment istio-system/istiod;";
        assert!(finding.text.starts_with(names), "{}", finding.text);
        let (mut live, mut last_applied) = (Live::default(), LastApplied::default());
        applied.remember(&mut live, &mut last_applied, Instant::now());
        let tool = live.managing_tool(&key("Deployment", "istiod"));
        assert_eq!(tool, Some(ManagingTool::Helm));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_written_while_that_is_not_known() {
        let busy = Answer::Failure(500, "etcdserver: leader changed");
        let api = FakeApiServer::answering([busy]);
        let applied = apply(&api.sender(), plan()).await;
        assert_eq!((applied.writes, api.calls().len()), (0, 1));
        assert_eq!(applied.refusals().count(), 1);
    }

    #[tokio::test]
    async fn what_nobody_manages_is_written() {
        let gone = Answer::Failure(404, "deployments.apps \"istiod\" not found");
        let role = json!({"metadata": {"name": "istiod", "uid": "1"}});
        let api = FakeApiServer::answering([gone, Answer::Object(role)]);
        let applied = apply(&api.sender(), plan()).await;
        assert_eq!((applied.writes, api.calls().len()), (1, 2));
    }
}
