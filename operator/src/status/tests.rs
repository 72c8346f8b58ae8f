//! Every transition, as Argo CD's check and as kstatus judge it.

mod canary;
mod exposed;
mod story;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::conditions::find;
use super::*;
use crate::api::ComponentKind;
use crate::apply::{AppliedComponent, Verdict};
use crate::cluster::{Injector, LiveObject, Readiness, key};
use story::{
    DONE, FAILED, INSTALLED, Judged, PROGRESSING, Story, TIMEOUT, argo, istiod, kstatus, progress,
};

/// Argo CD keeps changing an object.
fn contested() -> Verdict {
    Verdict::Conflict {
        manager: Some("argocd".into()),
        what: "argocd keeps changing spec.type".into(),
    }
}

#[test]
fn a_new_cr_becomes_healthy() {
    let mut story = Story::new();
    assert_eq!(
        (argo(&story.status), kstatus(1, &story.status)),
        PROGRESSING
    );
    assert_eq!(story.mark_reconciling(), PROGRESSING);
    assert_eq!(story.status.status, Some(InstallState::Reconciling));
    story.istiod(1);
    assert_eq!(story.progress(istiod(Verdict::Applied)), PROGRESSING);
    assert_eq!(
        story.status.message.as_deref(),
        Some("Deployment istio-system/istiod: 1 of 2 replicas are available")
    );
    story.istiod(2);
    assert_eq!(story.progress(istiod(Verdict::Unchanged)), DONE);
    assert_eq!(story.status.version.as_deref(), Some("1.31.1"));
    assert_eq!(
        story.status.component_status["Pilot"].version.as_deref(),
        Some("1.31.1")
    );
    assert!(find(&story.status.conditions, "Reconciling").is_none());
}

#[test]
fn a_healthy_cr_that_lost_a_pod_is_degraded_after_half_a_minute_and_stalls_after_ten_minutes() {
    let mut story = Story::new();
    story.mark_reconciling();
    story.istiod(2);
    story.progress(istiod(Verdict::Unchanged));
    story.istiod(1);
    assert_eq!(story.progress(istiod(Verdict::Unchanged)), DONE);
    assert_eq!(story.next_change, Some(DIP_PATIENCE));
    story.second = 30;
    assert_eq!(story.progress(istiod(Verdict::Unchanged)), PROGRESSING);
    let ready = find(&story.status.conditions, "Ready").unwrap();
    assert_eq!(ready.reason, reason::SCALING_OR_ROLLING_OUT);
    assert_eq!(story.next_change, Some(TIMEOUT));
    story.minute = 9;
    assert_eq!(story.progress(istiod(Verdict::Unchanged)), PROGRESSING);
    story.minute = 10;
    assert_eq!(story.progress(istiod(Verdict::Unchanged)), FAILED);
    assert_eq!(
        story.status.component_status["Pilot"].status,
        Some(InstallState::Error)
    );
    assert_eq!(story.next_change, None);
    story.istiod(2);
    assert_eq!(story.progress(istiod(Verdict::Unchanged)), DONE);
}

#[test]
fn a_workload_without_any_pod_is_told_at_once() {
    let mut story = Story::new();
    story.mark_reconciling();
    story.istiod(2);
    story.progress(istiod(Verdict::Unchanged));
    story.istiod(0);
    assert_eq!(story.progress(istiod(Verdict::Unchanged)), PROGRESSING);
}

#[test]
fn a_rollout_after_an_hour_of_other_trouble_gets_its_ten_minutes() {
    let mut story = Story::new();
    story.mark_reconciling();
    let unavailable = ApplyError::Unavailable {
        code: 503,
        text: "busy".into(),
    };
    let refused = istiod(Verdict::Refused(unavailable));
    assert_eq!(story.progress(refused.clone()), PROGRESSING);
    story.minute = 60;
    assert_eq!(story.progress(refused), FAILED);
    story.istiod(1);
    assert_eq!(story.progress(istiod(Verdict::Unchanged)), PROGRESSING);
    story.minute = 69;
    assert_eq!(story.progress(istiod(Verdict::Unchanged)), PROGRESSING);
    story.minute = 70;
    assert_eq!(story.progress(istiod(Verdict::Unchanged)), FAILED);
}

#[test]
fn a_refusal_that_may_pass_stalls_after_a_minute() {
    for error in [
        ApplyError::Forbidden("quota".into()),
        ApplyError::Denied("policy".into()),
        ApplyError::WebhookUnavailable("webhook".into()),
        ApplyError::NamespaceTerminating("namespace".into()),
    ] {
        let mut story = Story::new();
        story.mark_reconciling();
        let refused = istiod(Verdict::Refused(error));
        assert_eq!(story.progress(refused.clone()), PROGRESSING);
        let ready = find(&story.status.conditions, "Ready").unwrap();
        assert_eq!(ready.reason, reason::RETRYING);
        story.second = 59;
        assert_eq!(story.progress(refused.clone()), PROGRESSING);
        story.second = 60;
        assert_eq!(story.progress(refused.clone()), FAILED);
        let ready = find(&story.status.conditions, "Ready").unwrap();
        assert_eq!(ready.reason, reason::APPLY_REFUSED);
        story.istiod(2);
        assert_eq!(story.progress(istiod(Verdict::Unchanged)), DONE);
    }
}

#[test]
fn a_refusal_after_an_outage_has_its_own_minute() {
    let mut story = Story::new();
    story.mark_reconciling();
    let outage = istiod(Verdict::Refused(ApplyError::TimedOut));
    story.progress(outage.clone());
    story.minute = 5;
    assert_eq!(story.progress(outage), PROGRESSING);
    let refused = istiod(Verdict::Refused(ApplyError::Forbidden("x".into())));
    assert_eq!(story.progress(refused.clone()), PROGRESSING);
    assert_eq!(story.next_change, Some(Duration::from_mins(1)));
    story.minute = 6;
    assert_eq!(story.progress(refused), FAILED);
}

#[test]
fn nothing_is_waited_for_while_the_cr_is_paused() {
    let mut story = Story::new();
    story.mark_reconciling();
    story.istiod(1);
    story.progress(istiod(Verdict::Unchanged));
    story.step(&PassResult::Paused);
    story.minute = 60;
    assert_eq!(story.progress(istiod(Verdict::Unchanged)), PROGRESSING);
    assert_eq!(story.next_change, Some(TIMEOUT));
}

/// A spec that came while the CR is paused is neither installed nor wrong.
#[test]
fn a_change_of_a_paused_cr_is_on_its_way() {
    let mut story = Story::new();
    story.mark_reconciling();
    story.istiod(2);
    assert_eq!(story.progress(istiod(Verdict::Unchanged)), DONE);
    assert_eq!(story.step(&PassResult::Paused), DONE);
    story.generation += 1;
    for _ in 0..2 {
        story.step(&PassResult::Paused);
        assert_eq!(story.status.observed_generation, Some(1));
        assert_eq!(story.status.status, Some(InstallState::Reconciling));
    }
    story.mark_reconciling();
    assert_eq!(story.progress(istiod(Verdict::Unchanged)), DONE);
}

#[test]
fn a_process_that_starts_says_what_the_last_one_said() {
    let mut story = Story::new();
    story.mark_reconciling();
    story.istiod(1);
    story.progress(istiod(Verdict::Unchanged));
    story.minute = 10;
    assert_eq!(story.progress(istiod(Verdict::Unchanged)), FAILED);
    story.history = History::default();
    assert_eq!(story.progress(istiod(Verdict::Unchanged)), FAILED);
    story.istiod(2);
    assert_eq!(story.progress(istiod(Verdict::Unchanged)), DONE);
    story.history = History::default();
    story.istiod(1);
    assert_eq!(story.progress(istiod(Verdict::Unchanged)), DONE);
}

#[test]
fn a_fix_clears_a_stale_error_before_anything_is_rendered() {
    let mut story = Story::new();
    let errors = vec![
        "spec.hub: expected text".to_owned(),
        "spec.foo: unknown".to_owned(),
    ];
    assert_eq!(
        story.step(&PassResult::Rejected {
            reason: reason::INVALID_SPEC,
            errors,
            request: None,
        }),
        FAILED
    );
    assert_eq!(
        story.status.message.as_deref(),
        Some("spec.hub: expected text; spec.foo: unknown")
    );
    story.generation = 2;
    assert_eq!(kstatus(2, &story.status), "InProgress");
    assert_eq!(story.mark_reconciling(), PROGRESSING);
}

#[test]
fn an_update_says_so() {
    let mut story = Story::new();
    story.mark_reconciling();
    story.istiod(2);
    story.progress(istiod(Verdict::Unchanged));
    story.generation = 2;
    let next = Version {
        minor: 32,
        patch: 0,
    };
    story.start(next, None);
    assert_eq!(story.status.status, Some(InstallState::Updating));
}

#[test]
fn trouble_that_may_pass_is_progress_and_the_rest_is_not() {
    let unavailable = ApplyError::Unavailable {
        code: 503,
        text: "busy".into(),
    };
    let cases = [
        (Verdict::Refused(unavailable), PROGRESSING),
        (
            Verdict::Refused(ApplyError::NamespaceTerminating("x".into())),
            PROGRESSING,
        ),
        (
            Verdict::Waiting("Base is not applied yet".into()),
            PROGRESSING,
        ),
        (
            Verdict::Refused(ApplyError::Forbidden("x".into())),
            PROGRESSING,
        ),
        (Verdict::Refused(ApplyError::Invalid("x".into())), FAILED),
        (Verdict::Refused(ApplyError::Immutable("x".into())), FAILED),
        (contested(), FAILED),
    ];
    for (verdict, expected) in cases {
        let mut story = Story::new();
        story.mark_reconciling();
        assert_eq!(
            story.progress(istiod(verdict.clone())),
            expected,
            "{verdict:?}"
        );
    }
}

#[test]
fn a_fight_names_the_other_writer() {
    let mut story = Story::new();
    story.mark_reconciling();
    let before = story.status.clone();
    story.progress(istiod(contested()));
    assert_eq!(status_events(&before, &story.status).len(), 1);
    let conflict = find(&story.status.conditions, condition::CONFLICT).unwrap();
    assert_eq!(
        conflict.message,
        "Deployment istio-system/istiod: argocd keeps changing spec.type"
    );
    story.istiod(2);
    story.progress(istiod(Verdict::Unchanged));
    assert!(find(&story.status.conditions, condition::CONFLICT).is_none());
}

#[test]
fn nothing_enabled_is_healthy() {
    let mut story = Story::new();
    story.mark_reconciling();
    assert_eq!(story.step(&progress(Applied::default())), DONE);
    assert_eq!(
        story.status.message.as_deref(),
        Some("no components are enabled")
    );
}

#[test]
fn a_paused_cr_keeps_its_health() {
    let mut story = Story::new();
    story.mark_reconciling();
    story.istiod(2);
    story.progress(istiod(Verdict::Unchanged));
    assert_eq!(story.step(&PassResult::Paused), DONE);
    assert!(conditions::holds(&story.status.conditions, condition::SUSPENDED).is_some());
    story.mark_reconciling();
    assert!(find(&story.status.conditions, condition::SUSPENDED).is_none());
}

#[test]
fn a_deletion_says_what_is_left_and_what_blocks_it() {
    let mut story = Story::new();
    story.mark_reconciling();
    let remaining: Vec<_> = (0..7).map(|n| key("Service", &format!("s{n}"))).collect();
    let refused = vec![(remaining[0].clone(), ApplyError::Forbidden("no".into()))];
    let deletion = DeletionProgress {
        remaining,
        refused,
        blocked_by: None,
    };
    assert_eq!(story.step(&PassResult::Deleting(deletion)), PROGRESSING);
    let message = story.status.message.clone().unwrap();
    assert!(message.starts_with("Service istio-system/s0: the operator may not write it: no; "));
    assert!(
        message.ends_with("Service istio-system/s4 and 2 more"),
        "{message}"
    );
}

#[test]
fn warnings_are_a_condition_of_their_own() {
    let mut story = Story::new();
    let warned = |text: &str| {
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
            warnings: vec![text.to_owned()],
            applied: Applied::default(),
        }))
    };
    let mut told = Vec::new();
    let mut step = |result: &PassResult| {
        let before = story.status.clone();
        assert_eq!(story.mark_reconciling(), PROGRESSING);
        told.extend(status_events(&before, &story.status));
        let before = story.status.clone();
        assert_eq!(story.step(result), DONE);
        told.extend(status_events(&before, &story.status));
        story.generation += 1;
        story.status.conditions.clone()
    };
    for _ in 0..2 {
        let conditions = step(&warned("one"));
        assert!(conditions::holds(&conditions, condition::WARNINGS).is_some());
    }
    step(&warned("two"));
    assert!(find(&step(&progress(Applied::default())), condition::WARNINGS).is_none());
    told.retain(|event| event.is_warning);
    let told: Vec<_> = told.iter().map(|event| event.note.as_str()).collect();
    assert_eq!(told, ["one", "two"]);
}

#[test]
fn a_status_says_whether_its_revision_has_the_default_tag() {
    let mut story = Story::new();
    story.progress(Vec::new());
    assert_eq!(story.status.default_tag, Some(false));
    let mut tag = |revision: &str| {
        let object = LiveObject {
            injector: Some(Injector::DefaultTag(revision.into())),
            ..LiveObject::default()
        };
        story
            .live
            .put(key("MutatingWebhookConfiguration", "tag"), object);
        story.progress(Vec::new());
        story.status.default_tag
    };
    assert_eq!(tag("canary"), Some(false));
    assert_eq!(tag("default"), Some(true));
}

#[test]
fn what_is_out_of_support_is_healthy_and_told_once() {
    let mut story = Story::new();
    story.istiod(2);
    story.outdated.push(Warning {
        path: crate::api::Path::root("spec"),
        text: "old".into(),
    });
    let steps: [fn(&mut Story) -> Judged; 5] = [
        Story::mark_reconciling,
        |story| story.progress(istiod(Verdict::Unchanged)),
        |story| story.step(&PassResult::Paused),
        |story| {
            story.generation = 2;
            story.mark_reconciling()
        },
        |story| story.progress(istiod(Verdict::Unchanged)),
    ];
    let mut told = 0;
    for step in steps {
        let before = story.status.clone();
        step(&mut story);
        let events = status_events(&before, &story.status);
        told += events
            .iter()
            .filter(|event| event.note == "spec: old")
            .count();
        let outdated = conditions::holds(&story.status.conditions, condition::OUTDATED);
        assert_eq!(outdated.unwrap().reason, reason::OUT_OF_SUPPORT);
    }
    assert_eq!(told, 1);
    assert_eq!(story.status.status, Some(InstallState::Healthy));

    story.outdated.clear();
    assert_eq!(story.progress(istiod(Verdict::Unchanged)), DONE);
    assert!(find(&story.status.conditions, condition::OUTDATED).is_none());
}

#[test]
fn conditions_of_others_stay() {
    let mut story = Story::new();
    story.status.conditions.push(Condition {
        type_: "Approved".into(),
        status: "True".into(),
        reason: "Person".into(),
        message: String::new(),
        observed_generation: None,
        last_transition_time: Time(Timestamp::UNIX_EPOCH),
    });
    story.mark_reconciling();
    assert!(find(&story.status.conditions, "Approved").is_some());
}

#[test]
fn events_tell_of_transitions_once() {
    let mut story = Story::new();
    let errors = vec!["spec.hub: expected text".to_owned()];
    let before = story.status.clone();
    story.step(&PassResult::Rejected {
        reason: reason::INVALID_SPEC,
        errors,
        request: None,
    });
    let sent = status_events(&before, &story.status);
    assert_eq!(sent.len(), 1);
    assert!(sent[0].is_warning && sent[0].note == "spec.hub: expected text");
    assert!(status_events(&story.status, &story.status).is_empty());

    let before = story.status.clone();
    story.istiod(2);
    story.progress(istiod(Verdict::Unchanged));
    let sent = status_events(&before, &story.status);
    assert_eq!(sent.len(), 1);
    assert!(!sent[0].is_warning && sent[0].reason == reason::INSTALLED);
}
