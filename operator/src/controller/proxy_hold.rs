//! `updateStrategy.dataPlane.image: Hold`: proxies get the image from before an update in place until the new control plane
//! was healthy for a while, so that the update can be taken back until then.
//!
//! The status says which image is held, before anything of the update is done.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::rendering::RenderedSpec;
use crate::api::{HeldProxyStatus, IstioOperator};
use crate::catalogue::Version;
use crate::charts::Charts;
use crate::merge::{Cluster, ControlPlane, merge_spec, pinned};
use crate::plan::Precheck;

/// The image that the status says proxies are held at on the way to `asked`, unless they may go on.
pub(super) fn shown(
    cr: &IstioOperator,
    asked: Version,
    now: Timestamp,
) -> Option<&HeldProxyStatus> {
    cr.update_strategy().holds_proxies()?;
    let shown = cr.status.as_ref()?.held_proxy.as_ref();
    let shown = shown.filter(|shown| shown.to == asked.to_string())?;
    (!is_over(cr, now)).then_some(shown)
}

/// How long proxies are held for after a status; none if they are not, or nobody knows yet.
pub(super) fn remaining(cr: &IstioOperator, now: Timestamp) -> Option<Duration> {
    let soak = cr.update_strategy().holds_proxies().unwrap_or_default();
    let held = cr.status.as_ref()?.held_proxy.as_ref()?;
    let since: Timestamp = held.healthy_since.as_ref()?.parse().ok()?;
    let soaked = now.duration_since(since).unsigned_abs();
    Some(soak.saturating_sub(soaked))
}

/// Whether proxies were held for long enough.
pub(super) fn is_over(cr: &IstioOperator, now: Timestamp) -> bool {
    remaining(cr, now).is_some_and(|remaining| remaining.is_zero())
}

/// The image that an update holds proxies at which begins now.
pub(super) fn begin(
    cr: &IstioOperator,
    asked: &RenderedSpec,
    upgrade: &Precheck,
    (cluster, charts): (Cluster, &Charts),
) -> Option<HeldProxyStatus> {
    cr.update_strategy().holds_proxies()?;
    let (to, from) = (asked.merged.version, upgrade.applied?);
    if from >= to || !charts.catalogue().knows(from) {
        return None;
    }
    let before = ControlPlane {
        version: from,
        revision: asked.merged.named_revision.clone(),
    };
    let before = merge_spec(&pinned(&cr.spec.0, to, &before), None, cluster, charts).ok()?;
    Some(HeldProxyStatus {
        image: before.whole_proxy_image()?,
        to: to.to_string(),
        healthy_since: None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const ASKED: Version = Version {
        minor: 31,
        patch: 1,
    };

    fn cr(data_plane: &Value, held: &Value) -> IstioOperator {
        let cr = json!({
            "metadata": {"name": "a"},
            "spec": {"updateStrategy": {"dataPlane": data_plane}},
            "status": {"heldProxy": held},
        });
        serde_json::from_value(cr).unwrap()
    }

    #[test]
    fn an_image_is_held_until_the_control_plane_was_healthy_for_a_while() {
        let now: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        let hold = json!({"image": "Hold", "soak": "10m"});
        let status = |since: Value| json!({"image": "a:1", "to": "1.31.1", "healthySince": since});
        for (data_plane, since, is_held) in [
            (&hold, json!(null), true),
            (&hold, json!("2026-01-01T11:55:00Z"), true),
            (&hold, json!("2026-01-01T11:50:00Z"), false),
            (
                &json!({"image": "Hold"}),
                json!("2026-01-01T12:00:00Z"),
                false,
            ),
            (&json!({"image": "Hold"}), json!(null), true),
            // Its author does not want it any more.
            (&json!({"image": "Follow"}), json!(null), false),
        ] {
            let cr = cr(data_plane, &status(since.clone()));
            assert_eq!(
                shown(&cr, ASKED, now).is_some(),
                is_held,
                "{data_plane} {since}"
            );
        }
        let cr = cr(&hold, &status(json!("2026-01-01T11:55:00Z")));
        assert_eq!(remaining(&cr, now), Some(Duration::from_mins(5)));
        let back = Version {
            minor: 30,
            patch: 5,
        };
        assert_eq!(shown(&cr, back, now), None);
    }
}
