//! What runs beside istiod in a version of its own: node agents, sidecars, and the gateways that istiod makes.

use super::{check, minor, workload};
use crate::api::{CheckResult, CheckStatus, ComponentKind};
use crate::catalogue::Version;
use crate::cluster::{Live, LiveObject};
use crate::dataplane::{ServedProxies, listed};
use crate::merge::Merged;

/// The CNI agent and ztunnel work with an istiod of their own minor or of the next one.
pub(super) fn node_agents(merged: &Merged, live: &Live) -> CheckStatus {
    let name = "node-agents";
    let is_agent = |kind| matches!(kind, ComponentKind::Cni | ComponentKind::Ztunnel);
    let components = merged.components.iter();
    let mut agents = components
        .filter(|component| is_agent(component.kind))
        .peekable();
    if agents.peek().is_none() {
        return check(name, CheckResult::Passed, "there are none");
    }
    let mut seen = Vec::new();
    for agent in agents {
        let found = live.get(&workload("DaemonSet", &agent.namespace, &agent.name));
        let Some(version) = found.and_then(LiveObject::istio_version) else {
            let why = format!("the version of {} is not known", agent.kind);
            return check(name, CheckResult::NotChecked, why);
        };
        if version.minor + 1 < merged.version.minor {
            let why = format!(
                "{} still runs {version}, and works with istiod up to {}",
                agent.kind,
                minor(version.minor + 1)
            );
            return check(name, CheckResult::Failed, why);
        }
        if version.minor > merged.version.minor {
            let why = format!(
                "{} {version} would be newer than istiod for a while",
                agent.kind
            );
            return check(name, CheckResult::Warning, why);
        }
        seen.push(format!("{} {version}", agent.kind));
    }
    check(name, CheckResult::Passed, seen.join(", "))
}

/// No proxy may be of a newer minor than istiod, or more than one minor older. Those that the CR renders come along, and
/// istiod takes along those that it made itself.
pub(super) fn data_plane(to: Version, proxies: &ServedProxies) -> CheckStatus {
    let name = "data-plane";
    let oldest = Version {
        minor: to.minor.saturating_sub(1),
        patch: 0,
    };
    if let Some(newer) = proxies.newer_than(to) {
        let why = format!(
            "proxies would be newer than istiod {to}, which cannot serve them: {newer}; restart these pods where an older \
             proxy is injected first, or stay"
        );
        return check(name, CheckResult::Failed, why);
    }
    if let Some(older) = proxies.older_than(oldest) {
        let why = format!(
            "istiod {to} works with proxies from {} on, and there are older ones: {older}; restart these pods first, so \
             that they get the proxy of the istiod that runs",
            oldest.minor_text()
        );
        return check(name, CheckResult::Failed, why);
    }
    if !proxies.gaps.is_empty() {
        return check(name, CheckResult::NotChecked, proxies.gaps.join("; "));
    }
    if let Some(namespaces) = listed("in namespaces", proxies.unknown.clone()) {
        let why = format!(
            "nothing tells the version of proxies {namespaces}: they were injected before this operator was there, or have \
             an image of their own"
        );
        return check(name, CheckResult::NotChecked, why);
    }
    let told = match proxies.oldest() {
        None => "there are no proxies but those that come along".to_owned(),
        Some(oldest) => format!("the oldest proxy is of {oldest}"),
    };
    check(name, CheckResult::Passed, told)
}

/// As soon as istiod owns a Gateway of the Gateway API, or a waypoint, it gives it its own image, all of them at once (issues
/// 59709, 59959). Nobody can hold that up, so it is told.
pub(super) fn gateways(to: Version, proxies: &ServedProxies) -> CheckStatus {
    let name = "gateways";
    if let Some(others) = proxies.managed_but(to) {
        let why = format!(
            "istiod made these gateways and waypoints, and replaces their pods all at once as soon as they are its own: {others}"
        );
        return check(name, CheckResult::Warning, why);
    }
    if !proxies.gaps.is_empty() {
        return check(name, CheckResult::NotChecked, proxies.gaps.join("; "));
    }
    check(
        name,
        CheckResult::Passed,
        "istiod made none of another version",
    )
}
