//! Looks, before the version of an installation changes, whether the step is a safe one.
//!
//! Only the CR, the catalogue and what watches tell is asked. What they do not tell is reported as not checked, never as
//! passed. Facts: upstream's documentation of upgrades and its issues, by number at each check.

mod disruption;
mod mesh;
mod proxies;
mod step_notes;
mod surroundings;

use kube::ResourceExt;

use crate::api::{
    Annotations, CheckResult, CheckStatus, ComponentKind, IstioOperator, UpgradeStatus,
};
use crate::catalogue::{Catalogue, Mended, ProxyFloor, Version};
use crate::cluster::{Live, LiveObject, revision_label};
use crate::dataplane::ServedProxies;
use crate::merge::Merged;
use crate::render::ObjectKey;
use proxies::{data_plane, gateways, node_agents};
use step_notes::StepNotes;
pub use surroundings::{EnvoyFilter, Surroundings};

/// A change of the version, and what the checks say of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Precheck {
    /// The oldest version that may run; none if it cannot be told.
    from: Option<Version>,
    /// The version that was applied last, which is rendered while the change is refused.
    pub applied: Option<Version>,
    /// The version that is asked for.
    to: Version,
    checks: Vec<CheckStatus>,
    notes: Vec<String>,
}

impl Precheck {
    /// Does what [`Precheck::of`] does with what the status and the annotations of a CR say.
    #[must_use]
    pub fn of_cr(
        cr: &IstioOperator,
        merged: &Merged,
        live: &Live,
        catalogue: &Catalogue,
        proxies: &ServedProxies,
    ) -> Option<Self> {
        let revision = revision_label(&merged.revision);
        let status = cr.status.as_ref();
        // A new revision is installed beside the old one.
        let status = status.filter(|status| status.revision.as_deref() == Some(revision));
        let installed = status.and_then(|status| Version::parse(status.version.as_ref()?));
        let skipped = Annotations::read(cr.annotations()).skipped_checks;
        Self::of(merged, live, catalogue, installed, proxies, &skipped)
    }

    /// Checks a CR whose control plane runs in another version than it asks for; none if it runs in this one, or not at all.
    ///
    /// `installed` is the last version in which everything was healthy. It is taken for the one that runs while istiod is
    /// not there, and while the newest istiod is not ready, because older ones serve. `proxies` are those that the CR does
    /// not bring along itself. Failed checks that `skipped` names count as skipped.
    #[must_use]
    pub fn of(
        merged: &Merged,
        live: &Live,
        catalogue: &Catalogue,
        installed: Option<Version>,
        proxies: &ServedProxies,
        skipped: &[String],
    ) -> Option<Self> {
        let pilot = merged
            .components
            .iter()
            .find(|component| component.kind == ComponentKind::Pilot)?;
        let istiod = live.get(&workload("Deployment", &pilot.namespace, &pilot.name));
        let applied = istiod.and_then(LiveObject::istio_version).or(installed);
        let is_ready = istiod.is_some_and(|istiod| istiod.unready_reason().is_none());
        let from = if is_ready {
            applied
        } else {
            installed.or(applied)
        };
        let to = merged.version;
        let is_new = from.is_none() && istiod.is_none();
        if from == Some(to) || is_new {
            return None;
        }
        let asked = Asked {
            merged,
            live,
            catalogue,
            proxies,
            from,
        };
        let notes = asked.notes();
        let mut checks = vec![version_step(from, to, catalogue), replicas(istiod)];
        checks.extend(asked.checks(&notes));
        Some(Self {
            from,
            applied,
            to,
            checks: with_skipped(checks, skipped),
            notes: notes.told(),
        })
    }

    /// Checks a control plane that is installed beside the one of the version `from` and takes its place. `proxies` are
    /// those that it serves already.
    #[must_use]
    pub fn of_canary(
        merged: &Merged,
        from: Version,
        live: &Live,
        catalogue: &Catalogue,
        proxies: &ServedProxies,
        skipped: &[String],
    ) -> Self {
        let to = merged.version;
        let asked = Asked {
            merged,
            live,
            catalogue,
            proxies,
            from: Some(from),
        };
        let notes = asked.notes();
        let mut checks = vec![canary_step(from, to)];
        checks.extend(image_tag(merged));
        checks.extend(asked.checks(&notes));
        Self {
            from: Some(from),
            applied: Some(from),
            to,
            checks: with_skipped(checks, skipped),
            notes: notes.told(),
        }
    }

    /// Whether a check stands against the change.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        !self.named(CheckResult::Failed).is_empty()
    }

    /// Why the version may not change, and what to do about it.
    #[must_use]
    pub fn refusal(&self) -> Option<String> {
        let failed = self.named(CheckResult::Failed);
        if failed.is_empty() {
            return None;
        }
        let problems: Vec<_> = failed
            .iter()
            .map(|check| format!("{}: {}", check.name, check.message))
            .collect();
        let names: Vec<_> = failed.iter().map(|check| check.name.as_str()).collect();
        Some(format!(
            "what runs stays, because the step from Istio {} to {} is refused: {}; the annotation \
             install.istio.io/skip-checks: {} takes it all the same",
            told(self.from),
            self.to,
            problems.join("; "),
            names.join(","),
        ))
    }

    /// The failed checks that the user skips, in words.
    #[must_use]
    pub fn skipped(&self) -> Option<String> {
        let skipped = self.named(CheckResult::Skipped);
        let parts: Vec<_> = skipped
            .iter()
            .map(|check| format!("{}: {}", check.name, check.message))
            .collect();
        let (from, to) = (told(self.from), self.to);
        let text = format!("from {from} to {to} although {}", parts.join("; "));
        (!parts.is_empty()).then_some(text)
    }

    /// What the status shows.
    #[must_use]
    pub fn status(&self) -> UpgradeStatus {
        UpgradeStatus {
            from: told(self.from),
            to: self.to.to_string(),
            progress: None,
            rollback: None,
            checks: self.checks.clone(),
            notes: self.notes.clone(),
        }
    }

    /// Whether a status shows this step already, whatever its checks said.
    #[must_use]
    pub fn is_step_of(&self, shown: &UpgradeStatus) -> bool {
        shown.from == told(self.from) && shown.to == self.to.to_string()
    }

    fn named(&self, result: CheckResult) -> Vec<&CheckStatus> {
        let checks = self.checks.iter();
        checks.filter(|check| check.result == result).collect()
    }
}

/// A step that is asked for, and what is known around it.
#[derive(Clone, Copy)]
struct Asked<'a> {
    merged: &'a Merged,
    live: &'a Live,
    catalogue: &'a Catalogue,
    proxies: &'a ServedProxies,
    /// The oldest version that may run.
    from: Option<Version>,
}

impl<'a> Asked<'a> {
    /// What is told of the step beside its checks.
    fn notes(self) -> StepNotes<'a> {
        let mut components = self.merged.components.iter();
        let pilot = components.find(|component| component.kind == ComponentKind::Pilot);
        let notes = pilot.map(|pilot| StepNotes::of(self.merged, pilot, self.from, self.catalogue));
        notes.unwrap_or_default()
    }

    /// The checks of every step, in place or by a canary.
    fn checks(self, notes: &StepNotes<'_>) -> Vec<CheckStatus> {
        let Self {
            merged,
            live,
            catalogue,
            proxies,
            from,
        } = self;
        let to = merged.version;
        let oldest = from.into_iter().chain(proxies.oldest()).min();
        vec![
            kubernetes(merged, catalogue),
            patch(oldest, to, catalogue, &notes.unmended),
            disruption::own_budgets(merged, live),
            node_agents(merged, live),
            data_plane(to, proxies),
            gateways(to, proxies),
            mesh::gateway_api(from, to, catalogue, proxies),
            mesh::hub(merged, from, to, catalogue),
            mesh::settings(&notes.changes),
            mesh::behavior(&notes.changes),
        ]
    }
}

/// Failed checks that `skipped` names count as skipped.
fn with_skipped(mut checks: Vec<CheckStatus>, skipped: &[String]) -> Vec<CheckStatus> {
    for check in &mut checks {
        if check.result == CheckResult::Failed && skipped.contains(&check.name) {
            check.result = CheckResult::Skipped;
        }
    }
    checks
}

/// A version in words.
fn told(version: Option<Version>) -> String {
    version.map_or_else(|| "unknown".to_owned(), |version| version.to_string())
}

fn workload(kind: &str, namespace: &str, name: &str) -> ObjectKey {
    ObjectKey {
        group: "apps".to_owned(),
        kind: kind.to_owned(),
        namespace: Some(namespace.to_owned()),
        name: name.to_owned(),
    }
}

fn check(name: &str, result: CheckResult, message: impl Into<String>) -> CheckStatus {
    CheckStatus {
        name: name.to_owned(),
        result,
        message: message.into(),
    }
}

/// In place, Istio supports one minor up at a time, and one back.
fn version_step(from: Option<Version>, to: Version, catalogue: &Catalogue) -> CheckStatus {
    let name = "version-step";
    let Some(from) = from else {
        let why = "istiod does not tell its version by a label";
        return check(name, CheckResult::NotChecked, why);
    };
    let up = to.minor.saturating_sub(from.minor);
    let down = from.minor.saturating_sub(to.minor);
    // The next minor, or with the installer that made it the first one that is known here.
    let remedy = |next: u16| match catalogue.release(next) {
        Some(_) => format!("set spec.version to \"{}\" first", minor(next)),
        None => format!(
            "take it to one of {} with its own installer first",
            catalogue.known()
        ),
    };
    match (up, down) {
        (0 | 1, 0) => check(name, CheckResult::Passed, format!("{from} to {to}")),
        (0, 1) => {
            let why = "one minor back works only while no proxy is newer than istiod";
            check(name, CheckResult::Warning, why)
        }
        (0, _) => {
            let remedy = remedy(from.minor - 1);
            let why = format!(
                "{to} is {down} minors older, and Istio supports a step back of one; {remedy}"
            );
            check(name, CheckResult::Failed, why)
        }
        _ => {
            let why = format!(
                "in place, Istio supports one minor at a time; {}, or install {to} beside it{}",
                remedy(from.minor + 1),
                if up == 2 {
                    ", with spec.updateStrategy.type: Canary"
                } else {
                    " by a second IstioOperator with a spec.revision"
                }
            );
            check(name, CheckResult::Failed, why)
        }
    }
}

/// Control planes of two minors that are at most two apart work side by side.
fn canary_step(from: Version, to: Version) -> CheckStatus {
    let name = "version-step";
    let apart = to.minor.abs_diff(from.minor);
    if apart <= 2 {
        return check(
            name,
            CheckResult::Passed,
            format!("{from} to {to}, side by side"),
        );
    }
    let between = if to > from {
        from.minor + 2
    } else {
        from.minor - 2
    };
    let why = format!(
        "side by side, Istio supports control planes that are two minors apart, and these are {apart}; set spec.version to \
         \"{}\" first",
        minor(between)
    );
    check(name, CheckResult::Failed, why)
}

/// While a canary waits for its promotion, the control plane that serves keeps its images, which a tag has to tell by its
/// version.
fn image_tag(merged: &Merged) -> Option<CheckStatus> {
    let tag = merged.unversioned_tag()?;
    let why = format!(
        "the tag {tag} tells no version, so the control plane that serves would get the same images; write the version in \
         front, as in {}-{tag}, or leave it out",
        merged.version
    );
    Some(check("image-tag", CheckResult::Failed, why))
}

fn minor(minor: u16) -> String {
    format!("1.{minor}")
}

/// Each minor needs some Kubernetes, and upstream tested it up to another one.
fn kubernetes(merged: &Merged, catalogue: &Catalogue) -> CheckStatus {
    let name = "kubernetes";
    let release = catalogue.release(merged.version.minor);
    let (Some(found), Some(release)) = (merged.cluster.kubernetes, release) else {
        return check(
            name,
            CheckResult::NotChecked,
            "the version of the cluster is not known",
        );
    };
    let (oldest, newest) = release.tested;
    let range = format!("1.{oldest} to 1.{newest}");
    if found < release.kubernetes {
        let why = format!(
            "it needs Kubernetes 1.{}, and this is 1.{found}",
            release.kubernetes
        );
        check(name, CheckResult::Failed, why)
    } else if found < oldest || found > newest {
        let why = format!("it was tested on Kubernetes {range}, and this is 1.{found}");
        check(name, CheckResult::Warning, why)
    } else {
        check(
            name,
            CheckResult::Passed,
            format!("tested on Kubernetes {range}"),
        )
    }
}

/// Patch releases that are known to break a step from an `oldest` version of istiod or its proxies, or to have what a later one
/// mends.
fn patch(
    oldest: Option<Version>,
    to: Version,
    catalogue: &Catalogue,
    unmended: &[&Mended],
) -> CheckStatus {
    let name = "patch";
    let release = catalogue.release(to.minor);
    let floor = release.and_then(|release| release.proxy_floor);
    if let Some((floor, oldest)) = floor.zip(oldest)
        && floor.refuses(oldest, to)
    {
        let ProxyFloor { until, oldest } = floor;
        let why = format!(
            "proxies older than {oldest} refuse what istiod {to} sends; take {until} or newer"
        );
        return check(name, CheckResult::Failed, why);
    }
    match release.map(|release| release.version) {
        Some(newest) if to < newest => {
            let texts: Vec<_> = unmended.iter().map(|mended| mended.text.as_str()).collect();
            let why = match texts.as_slice() {
                [] => format!("{newest} is newer, and mends what {to} may still have"),
                texts => format!(
                    "{newest} is newer, and mends this of {to}: {}",
                    texts.join("; ")
                ),
            };
            check(name, CheckResult::Warning, why)
        }
        _ => check(name, CheckResult::Passed, "no newer patch release is known"),
    }
}

/// One replica of istiod leaves no other while it is replaced.
fn replicas(istiod: Option<&LiveObject>) -> CheckStatus {
    let name = "replicas";
    match istiod.and_then(LiveObject::replicas) {
        None => check(
            name,
            CheckResult::NotChecked,
            "the replicas of istiod are not known",
        ),
        Some(count) if count < 2 => {
            let why =
                format!("istiod has {count}; with two, one serves while the other is replaced");
            check(name, CheckResult::Warning, why)
        }
        Some(count) => check(name, CheckResult::Passed, format!("istiod has {count}")),
    }
}

#[cfg(test)]
mod tests;
