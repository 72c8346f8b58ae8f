//! What the status tells of a canary, from its first pass until the control plane before it is gone.

use super::story::{INSTALLED, Story, applied, istiod, progress};
use super::*;
use crate::api::CanaryStep;
use crate::apply::Verdict;
use crate::merge::ControlPlane;
use crate::plan::{Canary, Finding};

fn canary(is_promoted: bool, awaits: Option<&str>) -> CanaryProgress {
    let old = Version {
        minor: 29,
        patch: 8,
    };
    let plane = |version, revision: &str| ControlPlane {
        version,
        revision: revision.to_owned(),
    };
    CanaryProgress {
        canary: Canary {
            from: plane(old, ""),
            to: plane(INSTALLED, "1-31-1"),
            is_promoted,
        },
        awaits: awaits.map(str::to_owned),
    }
}

impl Story {
    /// A pass with a canary, and with an old control plane that stays where `is_old`.
    fn pass(&mut self, canary: Option<CanaryProgress>, is_old: bool) -> Option<CanaryStep> {
        let mut applied = applied(istiod(Verdict::Unchanged));
        applied.findings.extend(is_old.then(|| Finding {
            condition: condition::OLD_REVISION,
            reason: reason::IN_USE,
            text: "used by pods".to_owned(),
        }));
        let PassResult::Applied(mut progress) = progress(applied) else {
            panic!("a pass was applied");
        };
        if canary.as_ref().is_some_and(CanaryProgress::is_unpromoted) {
            progress.version = canary.as_ref().unwrap().canary.from.version;
        }
        progress.canary = canary;
        self.step(&PassResult::Applied(progress));
        self.status.canary.as_ref().map(|canary| canary.step)
    }
}

#[test]
fn a_canary_is_told_from_its_first_pass_until_the_old_one_is_gone() {
    let mut story = Story::new();
    story.istiod(2);
    assert_eq!(story.pass(None, false), None);
    story.status.version = Some("1.29.8".to_owned());
    story.istiod(0);
    assert_eq!(
        story.pass(Some(canary(false, None)), false),
        Some(CanaryStep::Installing)
    );
    assert_eq!(story.status.status, Some(InstallState::Updating));
    story.istiod(2);
    let waits = canary(false, Some("approve it"));
    assert_eq!(
        story.pass(Some(waits), false),
        Some(CanaryStep::AwaitingApproval)
    );
    assert_eq!(argo(&story.status), "Progressing");
    assert_eq!(story.status.version.as_deref(), Some("1.29.8"));
    let approval = find(&story.status.conditions, condition::APPROVAL_REQUIRED);
    assert_eq!(approval.unwrap().message, "approve it");
    story.start(INSTALLED, Some(canary(true, None)));
    assert_eq!(
        story.status.canary.as_ref().unwrap().step,
        CanaryStep::Promoting
    );
    assert_eq!(
        story.pass(Some(canary(true, None)), true),
        Some(CanaryStep::Retiring)
    );
    assert_eq!(argo(&story.status), "Healthy");
    assert_eq!(story.pass(None, true), Some(CanaryStep::Retiring));
    assert_eq!(story.pass(None, false), None);
}

#[test]
fn a_canary_that_is_taken_back_is_told_no_more() {
    let mut story = Story::new();
    story.istiod(2);
    story.pass(Some(canary(false, None)), false);
    let before = story.status.clone();
    assert_eq!(story.pass(None, true), None);
    let told = status_events(&before, &story.status);
    let step = told
        .iter()
        .find(|event| event.reason == reason::CANARY_STEP);
    assert!(step.unwrap().note.contains("is taken back"), "{told:?}");
}
