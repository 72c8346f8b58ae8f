//! The proxies that each control plane serves, in words.

use std::fmt::Write as _;

use istio_operator::api::{ProxyCount, RevisionStatus};

use super::super::output::{Paint, Tone};

/// Users of a revision that are named on its line.
const NAMED: usize = 3;

/// A line for each revision: its proxies by version, and who uses it. Versions other than `wanted` stand out.
pub(super) fn lines(revisions: &[RevisionStatus], wanted: Option<&str>, paint: Paint) -> String {
    let line = |revision: &RevisionStatus| {
        let proxies = revision.proxies.iter();
        let proxies: Vec<_> = proxies
            .map(|count| {
                let text = proxies_of(count);
                if wanted == Some(count.version.as_str()) {
                    text
                } else {
                    paint.text(Tone::Warning, text)
                }
            })
            .collect();
        let proxies = match proxies.as_slice() {
            [] => "no proxies".to_owned(),
            proxies => proxies.join("; "),
        };
        let mut line = format!("  revision {}  {proxies}", revision.name);
        if !revision.used_by.is_empty() {
            let _ = write!(line, "  used by {}", short_list(&revision.used_by));
        }
        if !revision.unknown.is_empty() {
            let _ = write!(line, "  not known: {}", short_list(&revision.unknown));
        }
        line + "\n"
    };
    revisions.iter().map(line).collect()
}

/// The proxies of one version, such as `Istio 1.31.1: 3 sidecars, 1 gateway`.
fn proxies_of(count: &ProxyCount) -> String {
    let kinds = [
        (count.sidecars, "sidecar"),
        (count.gateways, "gateway"),
        (count.waypoints, "waypoint"),
        (count.ztunnels, "ztunnel"),
    ];
    let kinds = kinds.into_iter().filter(|(count, _)| *count > 0);
    let kinds = kinds.map(|(count, kind)| {
        let plural = if count == 1 { "" } else { "s" };
        format!("{count} {kind}{plural}")
    });
    let kinds: Vec<_> = kinds.collect();
    format!("Istio {}: {}", count.version, kinds.join(", "))
}

fn short_list(names: &[String]) -> String {
    let shown: Vec<_> = names.iter().take(NAMED).map(String::as_str).collect();
    match names.len().saturating_sub(NAMED) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_told_by_version() {
        let count = |version: &str, sidecars, gateways| ProxyCount {
            version: version.to_owned(),
            sidecars,
            gateways,
            ..ProxyCount::default()
        };
        let revision = RevisionStatus {
            name: "default".to_owned(),
            proxies: vec![count("1.31.1", 3, 1), count("1.30.5", 1, 0)],
            used_by: ["a", "b", "c", "d"].map(str::to_owned).to_vec(),
            ..RevisionStatus::default()
        };
        let unused = RevisionStatus {
            name: "canary".to_owned(),
            ..RevisionStatus::default()
        };
        assert_eq!(
            lines(&[revision, unused], Some("1.31.1"), Paint::plain()),
            "  revision default  Istio 1.31.1: 3 sidecars, 1 gateway; Istio 1.30.5: 1 sidecar  used by a, b, c and 1 more\n\
             \u{20} revision canary  no proxies\n"
        );
    }
}
