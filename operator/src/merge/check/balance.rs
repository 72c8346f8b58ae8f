//! Checks the mesh settings of load balancing: localities, zones, and the default traffic policy.

use serde_json::Value;

use super::Findings;
use crate::api::Path;
use crate::charts::tree::at;

/// The labels of a node's region, zone and subzone.
const TOPOLOGY: [&str; 3] = [
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "topology.istio.io/subzone",
];

/// Checks the settings of load balancing in `mesh`, which is at `path`.
pub(super) fn check(mesh: &Value, path: &Path, findings: &mut Findings) {
    localities(mesh, path, findings);
    zones(mesh, path, findings);
    traffic(mesh, path, findings);
}

fn refuse(path: Path, problem: &str, findings: &mut Findings) {
    findings.error(path, problem);
}

fn list<'v>(tree: &'v Value, keys: &[&str]) -> &'v [Value] {
    at(tree, keys)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// Whether the list at `keys` names a label of [`TOPOLOGY`]; Istio compares these by itself.
fn names_topology(mesh: &Value, keys: &[&str]) -> bool {
    let mut labels = list(mesh, keys).iter().filter_map(Value::as_str);
    labels.any(|label| TOPOLOGY.contains(&label))
}

fn localities(mesh: &Value, path: &Path, findings: &mut Findings) {
    let key = "localityLbSetting";
    let path = path.key(key);
    let shares = list(mesh, &[key, "distribute"]);
    let moves = list(mesh, &[key, "failover"]);
    if !shares.is_empty() && !moves.is_empty() {
        return refuse(
            path.key("failover"),
            "cannot be set beside distribute",
            findings,
        );
    }
    if !moves.is_empty() && names_topology(mesh, &[key, "failoverPriority"]) {
        let problem = "cannot name a region, zone or subzone beside failover";
        return refuse(path.key("failoverPriority"), problem, findings);
    }
    let from = |share: &Value| share["from"].as_str().unwrap_or_default().to_owned();
    let sources: Vec<String> = shares.iter().map(from).collect();
    let path_of_shares = path.key("distribute");
    for (index, share) in shares.iter().enumerate() {
        distribution(share, &path_of_shares.index(index).key("to"), findings);
    }
    check_localities(&sources, &path_of_shares, findings);
    failovers(moves, &path.key("failover"), findings);
}

/// Checks the shares of one distribution: percentages that add up to all of its traffic.
fn distribution(share: &Value, path: &Path, findings: &mut Findings) {
    let to = share["to"].as_object();
    let targets: Vec<String> = to
        .into_iter()
        .flatten()
        .map(|(place, _)| place.clone())
        .collect();
    let weights = to.into_iter().flatten();
    let weights: Vec<i64> = weights
        .map(|(_, weight)| crate::api::format::number(weight).unwrap_or(0))
        .collect();
    if weights.iter().any(|weight| !(1..=100).contains(weight))
        || weights.iter().sum::<i64>() != 100
    {
        return refuse(
            path.clone(),
            "expected shares from 1 to 100 that add up to 100",
            findings,
        );
    }
    check_localities(&targets, path, findings);
}

/// Checks localities, written as region/zone/subzone: a `*` only at the end, no empty part, and no two that overlap.
fn check_localities(all: &[String], path: &Path, findings: &mut Findings) {
    for (index, place) in all.iter().enumerate() {
        let parts: Vec<&str> = place.splitn(3, '/').collect();
        let earlier = all[..index].iter();
        let problem = if place.trim_end_matches('*').contains('*') || place.ends_with("**") {
            "has a * elsewhere than at its end"
        } else if parts.iter().any(|part| part.is_empty()) {
            "has an empty region, zone or subzone"
        } else if earlier
            .map(|other| other.splitn(3, '/').collect())
            .any(|other: Vec<&str>| covers(&other, &parts))
        {
            "overlaps with another one"
        } else {
            continue;
        };
        refuse(path.clone(), &format!("{place:?} {problem}"), findings);
    }
}

/// Whether one of two localities contains the other.
fn covers(earlier: &[&str], later: &[&str]) -> bool {
    let same = earlier
        .iter()
        .zip(later)
        .take_while(|(a, b)| a == b)
        .count();
    earlier.get(same).is_none_or(|part| *part == "*") || later.get(same).is_none()
}

/// Checks failovers: from one region to another one.
fn failovers(all: &[Value], path: &Path, findings: &mut Findings) {
    for (index, failover) in all.iter().enumerate() {
        let side = |key: &str| failover[key].as_str().unwrap_or_default();
        let sides = [side("from"), side("to")];
        if sides[0] == sides[1] || sides.iter().any(|region| region.contains(['/', '*'])) {
            let problem =
                "expected two different regions in from and to, without zones and without *";
            refuse(path.index(index), problem, findings);
        }
    }
}

fn zones(mesh: &Value, path: &Path, findings: &mut Findings) {
    let key = "zoneAwareLbSetting";
    let path = path.key(key);
    if names_topology(mesh, &[key, "failoverPriority"]) {
        let problem = "cannot name a region, zone or subzone, because Istio always compares these";
        refuse(path.key("failoverPriority"), problem, findings);
    }
    failovers(
        list(mesh, &[key, "failover"]),
        &path.key("failover"),
        findings,
    );
}

/// Checks rules of the default traffic policy that concern more than one field.
fn traffic(mesh: &Value, path: &Path, findings: &mut Findings) {
    let policy = &mesh["defaultTrafficPolicy"];
    let path = path.key("defaultTrafficPolicy");
    let (pool, outliers) = (&policy["connectionPool"], &policy["outlierDetection"]);
    if pool.is_object() && pool["http"].is_null() && pool["tcp"].is_null() {
        refuse(
            path.key("connectionPool"),
            "expected http or tcp, found neither",
            findings,
        );
    }
    let http = &pool["http"];
    if http["h2UpgradePolicy"] == "UPGRADE" && http["useClientProtocol"] == true {
        let path = path
            .key("connectionPool")
            .key("http")
            .key("useClientProtocol");
        refuse(
            path,
            "cannot be true where h2UpgradePolicy is UPGRADE",
            findings,
        );
    }
    let key = "consecutiveLocalOriginFailures";
    let counted = crate::api::format::number(&outliers[key]).is_some_and(|count| count > 0);
    if counted && outliers["splitExternalLocalOriginErrors"] != true {
        let path = path.key("outlierDetection").key(key);
        refuse(path, "needs splitExternalLocalOriginErrors: true", findings);
    }
}
