//! Telling that somebody applied objects under the name of our own field manager.

use super::publish::StatusEvent;
use super::{MAX_NAMES, bounded};
use crate::api::condition::reason;
use crate::apply::Applied;
use crate::cluster::MANAGER;

/// The Event that tells which objects somebody else had applied as field manager `istio-operator`, which `istioctl`
/// uses too, and when; `None` if there are none. Each of them was applied again.
#[must_use]
pub fn overwrite_event(applied: &Applied) -> Option<StatusEvent> {
    let newest = applied.overwritten.iter().map(|(_, at)| *at).max()?;
    let names = applied.overwritten.iter().map(|(key, _)| key.to_string());
    let names: Vec<_> = names.take(MAX_NAMES).collect();
    let more = match applied.overwritten.len().saturating_sub(MAX_NAMES) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let at = newest.map_or_else(String::new, |at| format!(" at {at}"));
    Some(StatusEvent {
        is_warning: true,
        reason: reason::OVERWRITTEN.to_owned(),
        note: bounded(format!(
            "field manager {MANAGER} (operation Apply), whose name istioctl uses too, wrote {}{more}{at}; what this \
             IstioOperator renders was applied again",
            names.join(", ")
        )),
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;

    use super::*;
    use crate::cluster::key;

    #[test]
    fn one_event_names_manager_operation_time_and_objects() {
        let mut applied = Applied::default();
        assert_eq!(overwrite_event(&applied), None);
        for second in 0..7 {
            let key = key("ConfigMap", &format!("map-{second}"));
            let at = Timestamp::from_second(second).ok();
            applied.overwritten.push((key, at));
        }
        let note = overwrite_event(&applied).unwrap().note;
        for part in [
            "istio-operator (operation Apply)",
            "1970-01-01T00:00:06Z",
            "ConfigMap istio-system/map-0",
            "and 2 more",
        ] {
            assert!(note.contains(part), "{note}");
        }
    }
}
