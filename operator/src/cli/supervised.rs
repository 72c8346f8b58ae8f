//! Installs and removes without an operator: the same stages, repeated until nothing is left to do.

use std::time::Instant;

use istio_operator::api::{Annotations, IstioOperator, UpdateStrategy, condition};
use istio_operator::apply::{
    Applied, Class, Sender, Verdict, apply, apply_deletion, preview, probe_injection,
};
use istio_operator::charts::Charts;
use istio_operator::cluster::{CrKey, LastApplied};
use istio_operator::controller::{RenderedSpec, render_promoted};
use istio_operator::plan::{
    INJECTION, Injection, InjectionProbe, PlanInput, Precheck, Preview, deletion_step, plan,
    target_of,
};
use istio_operator::render::ObjectKey;
use kube::ResourceExt;

use super::Failure;
use super::connection::Connection;
use super::diff::step;
use super::observed::Observed;
use super::output::complain;
use super::wait::Deadline;

/// How far one run came.
pub(super) enum Reached {
    /// Everything is installed that the IstioOperator says.
    Everything,
    /// A canary works, and this is why it is not promoted.
    Canary(String),
}

/// Installs what an IstioOperator says and waits until everything runs, or, if it need not run, until everything is applied.
///
/// A canary is installed beside the control plane that serves, and takes its place once it works and the change is agreed to.
pub(super) async fn install(
    cr: &IstioOperator,
    connection: &Connection,
    charts: &Charts,
    (must_run, deadline): (bool, Deadline),
) -> Result<Reached, Failure> {
    let (key, annotations) = (CrKey::of(cr), Annotations::read(cr.annotations()));
    let mut observed = Observed::read(connection, charts).await?;
    if !observed.unknown.is_empty() {
        // What is not known could be taken from somebody else.
        return Err(Failure::Input(observed.unknown));
    }
    // Nobody keeps the status up to date, so what is there tells which control plane serves.
    let untold = IstioOperator {
        status: None,
        ..cr.clone()
    };
    let cluster = connection.cluster();
    let spec = observed.rendered(&untold, cluster, charts)?;
    let promoted = render_promoted(&untold, &spec, cluster, charts).map_err(Failure::Input)?;
    observed.expect(&key, &spec);
    let step = step(cr, &spec, &observed, charts);
    if let Some(refusal) = step.as_ref().and_then(Precheck::refusal) {
        return Err(Failure::input(refusal));
    }
    follow_without_an_operator(&cr.update_strategy(), step.is_some())?;
    let is_injection_skipped = annotations.skipped_checks.iter().any(|it| it == INJECTION);
    let has_to_inject = step.is_some() && !is_injection_skipped;
    let mut run = Run {
        key,
        annotations,
        connection,
        sender: connection.sender(),
        deadline,
        observed,
        last_applied: LastApplied::default(),
        told: String::new(),
    };
    let is_manual = cr.update_strategy().is_manual();
    let Some(promoted) = promoted else {
        if is_manual && let Some(why) = run.awaited(&spec, step.as_ref()).await? {
            return Err(Failure::input(format_args!("nothing was written: {why}")));
        }
        run.carry_out(&spec, has_to_inject, must_run).await?;
        return Ok(Reached::Everything);
    };
    run.carry_out(&spec, has_to_inject, true).await?;
    run.observed.expect(&run.key, &promoted);
    if is_manual && let Some(why) = run.awaited(&promoted, step.as_ref()).await? {
        let works = works_beside(&spec);
        return Ok(Reached::Canary(format!("{works}; {why}")));
    }
    run.carry_out(&promoted, false, must_run).await?;
    Ok(Reached::Everything)
}

/// Tells what of an update strategy takes an operator that stays in the cluster. A step whose proxies shall be held is none for
/// one run, because nobody would let them go.
fn follow_without_an_operator(strategy: &UpdateStrategy, is_step: bool) -> Result<(), Failure> {
    if is_step && strategy.holds_proxies().is_some() {
        return Err(Failure::input(
            "nothing was written: with spec.updateStrategy.dataPlane.image: Hold, an operator in the cluster gives proxies \
             their new image later; install it, or write Follow",
        ));
    }
    for (is_set, setting) in [
        (strategy.rolls_back(), "rollback: Automatic"),
        (strategy.restarts_workloads(), "dataPlane.restart: Rolling"),
    ] {
        if is_set {
            complain(&format_args!(
                "warning: spec.updateStrategy.{setting}: only an operator in the cluster does that"
            ));
        }
    }
    Ok(())
}

/// What is said of a canary that works.
fn works_beside(spec: &RenderedSpec) -> String {
    let planes = spec.canary.as_ref().map(|canary| canary.canary.status());
    planes.map_or_else(String::new, |(from, to)| {
        format!(
            "revision {} of Istio {} works beside revision {} of Istio {}, which serves",
            to.revision, to.version, from.revision, from.version
        )
    })
}

/// One run, and what it knows.
struct Run<'a> {
    key: CrKey,
    annotations: Annotations,
    connection: &'a Connection,
    sender: Sender,
    deadline: Deadline,
    observed: Observed,
    last_applied: LastApplied,
    told: String,
}

impl Run<'_> {
    /// Why a person has to agree to a change first; none if that is not so, or is done.
    async fn awaited(
        &self,
        spec: &RenderedSpec,
        step: Option<&Precheck>,
    ) -> Result<Option<String>, Failure> {
        // The digest is that of everything, as `plan` has it.
        let nothing = LastApplied::default();
        let input = self
            .observed
            .plan_input(&self.key, &self.annotations, &nothing);
        let draft = plan(&spec.merged, spec.rendered.clone(), input);
        let objects = preview(&self.sender, &draft).await;
        let objects = objects.map_err(|(object, error)| {
            Failure::input(format_args!(
                "what the change does is not known: {object}: {error}"
            ))
        })?;
        let preview = Preview::of(objects, target_of(&spec.rendered), step);
        if !preview.awaits_approval(&self.annotations) {
            return Ok(None);
        }
        Ok(Some(format!(
            "the change waits for its approval: {}; istio-operator plan shows all of it, and with the annotation \
             install.istio.io/approve: {} the same command carries it out",
            preview.summary(),
            preview.digest
        )))
    }

    /// Applies what was rendered until it is there.
    async fn carry_out(
        &mut self,
        spec: &RenderedSpec,
        mut has_to_inject: bool,
        must_run: bool,
    ) -> Result<(), Failure> {
        let key = self.key.clone();
        let mut broken = "no pod was asked for yet".to_owned();
        loop {
            let probe =
                has_to_inject.then(|| InjectionProbe::of(spec.asked(), &self.observed.live));
            let probe = probe.flatten();
            let lacking = probe.as_ref().map(|probe| probe.waiting(&broken));
            let version = probe.as_ref().map(|probe| probe.version);
            let input = PlanInput {
                unproven: version.zip(lacking.as_deref()),
                takes_gateways_in_turn: spec.canary.is_some(),
                ..self
                    .observed
                    .plan_input(&key, &self.annotations, &self.last_applied)
            };
            let plan = plan(&spec.merged, spec.rendered.clone(), input);
            let probe = probe.filter(|_| plan.has_to_prove_injection);
            let mut applied = apply(&self.sender, plan).await;
            let (live, memory) = (&mut self.observed.live, &mut self.last_applied);
            applied.remember(live, memory, Instant::now());
            fail_if_refused(&applied)?;
            let unready = unready(&applied, &self.observed);
            let is_applied = !applied
                .objects()
                .any(|(_, verdict)| matches!(verdict, Verdict::Waiting(_)));
            if applied.is_in_sync || is_applied && !must_run && applied.writes == 0 {
                tell_old_revisions(&applied);
                return Ok(());
            }
            let mut now = unready.unwrap_or_else(|| "applying".to_owned());
            if let Some(probe) = probe {
                match probe_injection(&self.sender, &probe).await {
                    Injection::Broken(why) => {
                        now = probe.waiting(&why);
                        broken = why;
                    }
                    Injection::Works | Injection::Unknown(_) => has_to_inject = false,
                }
            }
            if self.told != now {
                complain(&format_args!("{key}: {now}"));
                self.told.clone_from(&now);
            }
            let what = format!("{key} is not installed");
            self.deadline.pause(&what, &now).await?;
            self.observed.list(&self.connection.client).await;
        }
    }
}

/// Tells which control planes stay although they are not rendered any more, and how they go.
fn tell_old_revisions(applied: &Applied) {
    let findings = applied.findings.iter();
    for finding in findings.filter(|finding| finding.condition == condition::OLD_REVISION) {
        complain(&finding.text);
    }
}

/// Ends a run that somebody has to look at. What may pass by itself is tried again.
fn fail_if_refused(applied: &Applied) -> Result<(), Failure> {
    let last = applied
        .refusals()
        .filter(|(_, error)| error.class() >= Class::Refusal);
    let mut errors: Vec<_> = last.map(|(key, error)| format!("{key}: {error}")).collect();
    for (key, verdict) in applied.objects() {
        match verdict {
            Verdict::ManagedBy(tool) => errors.push(format!(
                "{key}: {tool} manages it; the annotation install.istio.io/adopt: \"true\" takes it over"
            )),
            Verdict::Conflict { what, .. } => errors.push(format!("{key}: {what}")),
            _ => {}
        }
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Failure::Input(errors))
    }
}

/// What the installation waits for.
fn unready(applied: &Applied, observed: &Observed) -> Option<String> {
    let waits = applied.objects().find_map(|(key, verdict)| match verdict {
        Verdict::Waiting(why) => Some(format!("{key}: {why}")),
        _ => None,
    });
    let not_ready = || {
        let mut keys = applied.objects().map(|(key, _)| key);
        keys.find_map(|key| {
            Some(format!(
                "{key}: {}",
                observed.live.get(key)?.unready_reason()?
            ))
        })
    };
    not_ready().or(waits)
}

/// The objects that go with an IstioOperator, in the order in which they do, and what stands against that.
pub(super) fn going(
    cr: &CrKey,
    annotations: &Annotations,
    observed: &mut Observed,
) -> (Vec<ObjectKey>, Option<String>) {
    observed.desired.mark_deleting(cr);
    let step = deletion_step(cr, annotations, &observed.live, &observed.desired);
    (step.remaining, step.blocked_by)
}

/// Removes what an IstioOperator installed, in the reverse order of its coming.
pub(super) async fn remove(
    cr: &CrKey,
    annotations: &Annotations,
    observed: &mut Observed,
    connection: &Connection,
    deadline: Deadline,
) -> Result<(), Failure> {
    let sender = connection.sender();
    observed.desired.mark_deleting(cr);
    loop {
        let step = deletion_step(cr, annotations, &observed.live, &observed.desired);
        if let Some(blocked_by) = step.blocked_by {
            return Err(Failure::input(format_args!("{cr}: {blocked_by}")));
        }
        if step.remaining.is_empty() {
            return Ok(());
        }
        let result = apply_deletion(&sender, &step).await;
        let last = result
            .refused
            .iter()
            .filter(|(_, error)| error.class() >= Class::Refusal);
        let errors: Vec<_> = last.map(|(key, error)| format!("{key}: {error}")).collect();
        if !errors.is_empty() {
            return Err(Failure::Input(errors));
        }
        let left = format!("{} objects are left", step.remaining.len());
        deadline
            .pause(&format!("{cr} is not removed"), &left)
            .await?;
        observed.list(&connection.client).await;
    }
}
