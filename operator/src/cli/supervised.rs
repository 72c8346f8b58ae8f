//! Installs and removes without an operator: the same stages, repeated until nothing is left to do.

use std::time::Instant;

use istio_operator::api::{Annotations, ComponentKind, IstioOperator};
use istio_operator::apply::{Applied, Class, Verdict, apply, apply_deletion};
use istio_operator::charts::Charts;
use istio_operator::cluster::{CrKey, LastApplied};
use istio_operator::plan::{Precheck, deletion_step, plan};
use istio_operator::render::{ObjectKey, RenderedComponent};
use kube::ResourceExt;

use super::Failure;
use super::connection::Connection;
use super::diff::step;
use super::observed::Observed;
use super::output::complain;
use super::wait::Deadline;

/// Installs what an IstioOperator says and waits until everything runs, or, if it need not run, until everything is applied.
pub(super) async fn install(
    cr: &IstioOperator,
    connection: &Connection,
    charts: &Charts,
    (must_run, deadline): (bool, Deadline),
) -> Result<(), Failure> {
    let (key, annotations) = (CrKey::of(cr), Annotations::read(cr.annotations()));
    let mut observed = Observed::read(connection, charts).await?;
    if !observed.unknown.is_empty() {
        // What is not known could be taken from somebody else.
        return Err(Failure::Input(observed.unknown));
    }
    let (merged, objects) = observed.rendered(cr, connection.cluster(), charts)?;
    let is_pilot = |component: &&RenderedComponent| component.kind == ComponentKind::Pilot;
    if objects.components.iter().filter(is_pilot).count() > 1 {
        let problem = "a canary is promoted by the operator, and can be installed by nothing else";
        return Err(Failure::input(problem));
    }
    observed.expect(&key, &merged, &objects);
    if let Some(refusal) =
        step(cr, &merged, &observed, charts).and_then(|step| Precheck::refusal(&step))
    {
        return Err(Failure::input(refusal));
    }
    let sender = connection.sender();
    let mut last_applied = LastApplied::default();
    let mut told = String::new();
    loop {
        let input = observed.plan_input(&key, &annotations, &last_applied);
        let mut applied = apply(&sender, plan(&merged, objects.clone(), input)).await;
        applied.remember(&mut observed.live, &mut last_applied, Instant::now());
        fail_if_refused(&applied)?;
        let unready = unready(&applied, &observed);
        let is_applied = !applied
            .objects()
            .any(|(_, verdict)| matches!(verdict, Verdict::Waiting(_)));
        if applied.is_in_sync || is_applied && !must_run && applied.writes == 0 {
            return Ok(());
        }
        let now = unready.unwrap_or_else(|| "applying".to_owned());
        if told != now {
            complain(&format_args!("{key}: {now}"));
            told.clone_from(&now);
        }
        deadline
            .pause(&format!("{key} is not installed"), &now)
            .await?;
        observed.list(&connection.client).await;
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
