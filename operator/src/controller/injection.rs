//! Whether istiod injects sidecars of the version that a CR changes to.

use super::ctx::Ctx;
use super::state::{State, annotations_of};
use crate::api::IstioOperator;
use crate::apply::probe_injection;
use crate::cluster::CrKey;
use crate::merge::Merged;
use crate::plan::{INJECTION, Injection, InjectionProbe};

/// How to prove that istiod injects; none if the version does not change, or it is proven.
pub(super) fn unproven_in_place(
    state: &State,
    cr: &IstioOperator,
    merged: &Merged,
) -> Option<InjectionProbe> {
    let upgrade = cr.status.as_ref()?.upgrade.as_ref()?;
    let changes = upgrade.to == merged.version.to_string();
    changes.then(|| unproven(state, cr, merged))?
}

/// How to prove that istiod injects; none if that is proven, or not to be.
pub(super) fn unproven(
    state: &State,
    cr: &IstioOperator,
    merged: &Merged,
) -> Option<InjectionProbe> {
    let is_skipped = annotations_of(cr)
        .skipped_checks
        .iter()
        .any(|name| name == INJECTION);
    let is_proven = matches!(
        state.proof(&CrKey::of(cr), merged.version),
        Some(Injection::Works | Injection::Unknown(_))
    );
    if is_skipped || is_proven {
        return None;
    }
    InjectionProbe::of(merged, &state.live)
}

/// Asks for a pod in a dry run; gives why its sidecar is not of the version that it should be of.
pub(super) async fn prove(ctx: &Ctx, key: &CrKey, probe: &InjectionProbe) -> Option<String> {
    let injection = probe_injection(&ctx.sender, probe).await;
    let why = match &injection {
        Injection::Works => None,
        Injection::Unknown(why) => {
            tracing::warn!(why, "it cannot be proven that istiod injects");
            None
        }
        Injection::Broken(why) => Some(probe.waiting(why)),
    };
    ctx.state().put_proof(key, probe.version, injection);
    why
}
