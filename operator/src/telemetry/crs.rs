//! What the metrics tell of each CR: its conditions, its state, and the versions of its control plane and its proxies.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use crate::api::{InstallState, IstioOperatorStatus, ProxyCount, StoredCr, condition};
use crate::cluster::CrKey;

/// The CRs as they were told last. A scrape reads their statuses at once, so it never sees one half new and half old.
#[derive(Debug, Default)]
pub struct Crs(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    crs: Vec<Arc<StoredCr>>,
    /// How many objects of a CR are left to whom.
    conflicts: BTreeMap<CrKey, BTreeMap<String, i64>>,
}

/// Names of labels, and what they are for one sample.
type Labels<'a> = Vec<(&'static str, &'a str)>;

impl Crs {
    /// These are all CRs.
    pub fn tell(&self, crs: Vec<Arc<StoredCr>>) {
        let mut told = self.lock();
        let exists = |key: &CrKey| crs.iter().any(|cr| CrKey::of(cr.as_ref()) == *key);
        told.conflicts.retain(|key, _| exists(key));
        told.crs = crs;
    }

    /// So many objects of a CR are left alone, by the field manager that keeps changing them.
    pub fn tell_conflicts(&self, cr: &CrKey, managers: BTreeMap<String, i64>) {
        self.lock().conflicts.insert(cr.clone(), managers);
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for Crs {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let told = self.lock();
        let statuses = told.crs.iter().map(|cr| {
            let metadata = &cr.metadata;
            let namespace = metadata.namespace.as_deref().unwrap_or_default();
            let name = metadata.name.as_deref().unwrap_or_default();
            (
                vec![("namespace", namespace), ("name", name)],
                cr.status.as_ref(),
            )
        });
        let statuses: Vec<_> = statuses.collect();
        let count = |of: usize| vec![(Labels::new(), i64::try_from(of).unwrap_or(i64::MAX))];
        let is_healthy =
            |status: &IstioOperatorStatus| status.status == Some(InstallState::Healthy);
        let healthy = statuses
            .iter()
            .filter(|(_, status)| status.is_some_and(is_healthy));
        let mut gauge = |name: &str, help: &str, samples: Vec<(Labels<'_>, i64)>| {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (labels, value) in samples {
                if labels.is_empty() {
                    family.encode_gauge(&value)?;
                } else {
                    family.encode_family(&labels)?.encode_gauge(&value)?;
                }
            }
            Ok::<(), fmt::Error>(())
        };
        gauge("crs", "IstioOperators that exist", count(statuses.len()))?;
        gauge(
            "healthy_crs",
            "IstioOperators that are healthy",
            count(healthy.count()),
        )?;
        let mut each = |name: &str, help: &str, samples: Samples| {
            let of_all = statuses.iter().flat_map(|(cr, status)| {
                let status = status.iter().flat_map(|status| samples(status));
                status.map(|(labels, value)| ([cr.clone(), labels].concat(), value))
            });
            gauge(name, help, of_all.collect())
        };
        each(
            "cr_condition",
            "Whether a condition of an IstioOperator is True",
            conditions,
        )?;
        each(
            "cr_status",
            "The state of an IstioOperator, which is the label",
            state,
        )?;
        each(
            "cr_info",
            "Revision and Istio version of the control plane of an IstioOperator",
            control_plane,
        )?;
        each(
            "cr_upgrading",
            "Whether the Istio version of an IstioOperator changes",
            upgrading,
        )?;
        each("cr_proxies", "Proxies of a control plane", proxies)?;
        let conflicts = told.conflicts.iter().flat_map(|(cr, managers)| {
            managers.iter().map(|(manager, objects)| {
                let labels = vec![
                    ("namespace", cr.namespace.as_str()),
                    ("name", cr.name.as_str()),
                    ("manager", manager.as_str()),
                ];
                (labels, *objects)
            })
        });
        let help = "Objects that are left alone because a field manager keeps changing them";
        gauge("cr_conflicts", help, conflicts.collect())
    }
}

/// What a metric tells of one status.
type Samples = for<'a> fn(&'a IstioOperatorStatus) -> Vec<(Labels<'a>, i64)>;

fn conditions(status: &IstioOperatorStatus) -> Vec<(Labels<'_>, i64)> {
    let is_true = |kind: &str| {
        let holds = |condition: &Condition| condition.type_ == kind && condition.status == "True";
        i64::from(status.conditions.iter().any(holds))
    };
    let all = condition::ALL.iter();
    all.map(|rule| (vec![("type", rule.name)], is_true(rule.name)))
        .collect()
}

fn state(status: &IstioOperatorStatus) -> Vec<(Labels<'_>, i64)> {
    let state = status.status.map(InstallState::as_str);
    state
        .map(|state| (vec![("status", state)], 1))
        .into_iter()
        .collect()
}

fn control_plane(status: &IstioOperatorStatus) -> Vec<(Labels<'_>, i64)> {
    let revision = status.revision.as_deref();
    let told = revision.zip(status.version.as_deref());
    let labels = told.map(|(revision, version)| vec![("revision", revision), ("version", version)]);
    labels.map(|labels| (labels, 1)).into_iter().collect()
}

fn upgrading(status: &IstioOperatorStatus) -> Vec<(Labels<'_>, i64)> {
    vec![(Labels::new(), i64::from(status.upgrade.is_some()))]
}

fn proxies(status: &IstioOperatorStatus) -> Vec<(Labels<'_>, i64)> {
    let mut samples = Vec::new();
    for revision in &status.revisions {
        for proxies in &revision.proxies {
            let ProxyCount {
                version,
                sidecars,
                gateways,
                waypoints,
                ztunnels,
            } = proxies;
            let kinds = [
                ("sidecar", sidecars),
                ("gateway", gateways),
                ("waypoint", waypoints),
                ("ztunnel", ztunnels),
            ];
            for (kind, count) in kinds.into_iter().filter(|(_, count)| **count > 0) {
                let labels = vec![
                    ("revision", revision.name.as_str()),
                    ("version", version.as_str()),
                    ("kind", kind),
                ];
                samples.push((labels, i64::from(*count)));
            }
        }
    }
    samples
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Metrics;
    use super::*;

    fn cr(name: &str, status: &serde_json::Value) -> Arc<StoredCr> {
        let metadata = json!({"namespace": "mesh", "name": name});
        let cr = json!({"metadata": metadata, "spec": {}, "status": status});
        Arc::new(serde_json::from_value(cr).unwrap())
    }

    #[test]
    fn the_status_of_each_cr_is_told() {
        let metrics = Metrics::default();
        let condition = |kind: &str, status: &str| {
            let since = "2026-01-01T00:00:00Z";
            json!({"type": kind, "status": status, "reason": "r", "message": "", "lastTransitionTime": since})
        };
        let revision = json!({"name": "canary", "proxies": [{"version": "1.30.3", "sidecars": 7, "gateways": 1}]});
        let status = json!({
            "status": "ERROR",
            "version": "1.30.3",
            "revision": "canary",
            "conditions": [condition("Ready", "False"), condition("Stalled", "True")],
            "revisions": [revision],
            "upgrade": {"from": "1.30.3", "to": "1.31.1"},
        });
        metrics
            .crs
            .tell(vec![cr("one", &status), cr("new", &json!(null))]);
        let key = CrKey::of(cr("one", &json!(null)).as_ref());
        metrics
            .crs
            .tell_conflicts(&key, BTreeMap::from([("kubectl".into(), 2)]));
        let text = metrics.text();
        let one = r#"namespace="mesh",name="one""#;
        for line in [
            "istio_operator_crs 2".into(),
            "istio_operator_healthy_crs 0".into(),
            format!("istio_operator_cr_condition{{{one},type=\"Ready\"}} 0"),
            format!("istio_operator_cr_condition{{{one},type=\"Stalled\"}} 1"),
            format!("istio_operator_cr_status{{{one},status=\"ERROR\"}} 1"),
            format!("istio_operator_cr_info{{{one},revision=\"canary\",version=\"1.30.3\"}} 1"),
            format!("istio_operator_cr_upgrading{{{one}}} 1"),
            format!(
                "istio_operator_cr_proxies{{{one},revision=\"canary\",version=\"1.30.3\",kind=\"sidecar\"}} 7"
            ),
            format!("istio_operator_cr_conflicts{{{one},manager=\"kubectl\"}} 2"),
        ] {
            assert!(text.contains(&line), "{line} is not in {text}");
        }
        assert!(!text.contains("waypoint"), "{text}");
        metrics.crs.tell(vec![]);
        assert!(
            !metrics.text().contains("kubectl"),
            "a CR that is gone has no conflicts"
        );
    }
}
