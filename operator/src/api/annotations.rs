//! Annotations by which users tell the operator what to do with a CR.

use std::collections::BTreeMap;

/// `true`: leave the CR alone. Istio's own operator had the same annotation.
const PAUSE: &str = "install.istio.io/ignoreReconcile";
/// Names the old revision whose objects may be deleted.
const PRUNE_REVISION: &str = "install.istio.io/prune-revision";
/// `true`: take over objects that belong to another tool, or to a CR in a namespace that is not watched.
const ADOPT: &str = "install.istio.io/adopt";
/// Names the digest of the plan that may be carried out.
const APPROVE: &str = "install.istio.io/approve";
/// Names the checks, separated by commas, that do not hold up a change of the version.
const SKIP_CHECKS: &str = "install.istio.io/skip-checks";

/// Another value than before: make a pass now. `status.lastHandledReconcileAt` answers with the value.
const REQUESTED_AT: &str = "reconcile.istio-operator.io/requestedAt";
/// Another value than before: go on with restarts that stopped.
const RESUME_RESTARTS: &str = "install.istio.io/resume-restarts";

/// What the annotations of a CR ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Annotations {
    /// The CR is left alone.
    pub is_paused: bool,
    /// The old revision whose objects may be deleted, as labels call it.
    pub prune_revision: Option<String>,
    /// Objects of other tools, and of CRs in namespaces that are not watched, may be taken over.
    pub may_adopt: bool,
    /// The checks that do not hold up a change of the version.
    pub skipped_checks: Vec<String>,
    /// The digest of the plan that may be carried out.
    pub approved_plan: Option<String>,
    /// Goes on with restarts that stopped while it had another value.
    pub resume_restarts: Option<String>,
    /// The request for a pass.
    pub requested_at: Option<String>,
}

impl Annotations {
    /// Reads the annotations of a CR.
    #[must_use]
    pub fn read(annotations: &BTreeMap<String, String>) -> Self {
        let is_true = |key: &str| annotations.get(key).is_some_and(|value| value == "true");
        Self {
            is_paused: is_true(PAUSE),
            prune_revision: annotations.get(PRUNE_REVISION).cloned(),
            may_adopt: is_true(ADOPT),
            resume_restarts: annotations.get(RESUME_RESTARTS).cloned(),
            requested_at: annotations.get(REQUESTED_AT).cloned(),
            skipped_checks: names(annotations.get(SKIP_CHECKS)),
            approved_plan: annotations.get(APPROVE).cloned(),
        }
    }
}

/// The names in a list that is separated by commas.
fn names(list: Option<&String>) -> Vec<String> {
    let names = list.into_iter().flat_map(|list| list.split(','));
    let names = names.map(str::trim).filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}
