//! Chooses the Istio version that a CR installs.

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use super::{Cluster, scalar_text};
use crate::api::{FieldError, Path, Warning};
use crate::catalogue::{Catalogue, Version};

/// Chooses the version: `flag` (`--istio-version`), else `spec.version`, else the minor of
/// `spec.tag` if that is an Istio version, else the catalogue's default. An unknown one is a
/// error that lists what is known.
pub(super) fn choose(
    spec: &Value,
    flag: Option<&str>,
    catalogue: &Catalogue,
) -> Result<Version, FieldError> {
    let path = Path::root("spec");
    if let Some(flag) = flag {
        return catalogue
            .version(flag)
            .ok_or_else(|| unknown(Path::root("--istio-version"), flag, catalogue));
    }
    if let Some(Value::String(version)) = spec.get("version") {
        return catalogue
            .version(version)
            .ok_or_else(|| unknown(path.key("version"), version, catalogue));
    }
    match spec.get("tag").and_then(scalar_text) {
        Some(tag) if is_version(&tag) => catalogue.version(&tag).ok_or_else(|| {
            let mut error = unknown(path.key("tag"), &tag, catalogue);
            // YAML reads 1.30 without quotes as the number 1.3.
            let whole = format!("{tag}0");
            if !spec["tag"].is_string() && catalogue.version(&whole).is_some() {
                let hint = format!("; if {whole} is meant, put it in quotes: tag: \"{whole}\"");
                error.problem += &hint;
            } else {
                error.problem += "; with another tag, say in spec.version which one its images are";
            }
            error
        }),
        _ => Ok(catalogue.default_version()),
    }
}

/// Warnings of `version` on `cluster`: Istio's support has ended on a day before `now` (UTC), or Kubernetes is older than
/// this Istio supports. Both may work, so neither is an error.
#[must_use]
pub fn out_of_support(
    version: Version,
    cluster: Cluster,
    now: Timestamp,
    catalogue: &Catalogue,
) -> Vec<Warning> {
    let Some(release) = catalogue.release(version.minor) else {
        return Vec::new();
    };
    let minor = version.minor_text();
    let path = Path::root("spec").key("version");
    let mut warnings = Vec::new();
    // Both are written as YYYY-MM-DD, so that text sorts as days do.
    let today = now.strftime("%F").to_string();
    if let Some(day) = release.end_of_life.as_ref().filter(|day| **day < today) {
        let text = format!("support of Istio {minor} ended on {day}");
        warnings.push(Warning::new(path.clone(), text));
    }
    if let Some(found) = cluster
        .kubernetes
        .filter(|found| *found < release.kubernetes)
    {
        let oldest = release.kubernetes;
        let text = format!(
            "Istio {minor} supports Kubernetes from 1.{oldest} on, and this cluster has 1.{found}"
        );
        warnings.push(Warning::new(path, text));
    }
    warnings
}

fn unknown(path: Path, found: &str, catalogue: &Catalogue) -> FieldError {
    let known = catalogue.known();
    let problem = format!("Istio {found} is not known; the known minors are {known}");
    FieldError::new(path, problem)
}

/// Whether an image tag is an Istio version: `1.30`, `1.30.3`, `v1.30.3-distroless`.
fn is_version(tag: &str) -> bool {
    let number = tag.strip_prefix('v').unwrap_or(tag);
    let number = number.split_once('-').map_or(number, |(number, _)| number);
    let parts: Vec<&str> = number.split('.').collect();
    let is_number = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    matches!(parts.len(), 2 | 3) && parts.iter().all(is_number)
}

/// The minor that an image tag names, such as the 30 of `v1.30.3-distroless`; none if the tag is no Istio version.
pub(super) fn minor_of(tag: &str) -> Option<u16> {
    let number = tag.strip_prefix('v').unwrap_or(tag);
    let minor = number.strip_prefix("1.")?.split(['.', '-']).next()?;
    minor.parse().ok().filter(|_| is_version(tag))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::charts::Charts;

    fn chosen(spec: &Value, flag: Option<&str>) -> String {
        let charts = Charts::embedded().unwrap();
        match choose(spec, flag, charts.catalogue()) {
            Ok(version) => version.to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn flag_beats_version_beats_tag_beats_default() {
        let spec = json!({"version": "1.30.1", "tag": "1.26.0"});
        assert_eq!(chosen(&spec, Some("1.28")), "1.28.10");
        assert_eq!(chosen(&spec, None), "1.30.1");
        assert_eq!(chosen(&json!({"tag": "1.26.0-distroless"}), None), "1.26.0");
        let charts = Charts::embedded().unwrap();
        let default = charts.catalogue().default_version().to_string();
        for spec in [
            json!({"tag": "latest"}),
            json!({"tag": "2024-01-01"}),
            json!({}),
        ] {
            assert_eq!(chosen(&spec, None), default, "{spec}");
        }
    }

    #[test]
    fn unknown_versions_list_the_known() {
        let charts = Charts::embedded().unwrap();
        let known = format!("the known minors are {}", charts.catalogue().known());
        assert_eq!(
            chosen(&json!({"version": "1.9"}), None),
            format!("spec.version: Istio 1.9 is not known; {known}")
        );
        assert_eq!(
            chosen(&json!({}), Some("x")),
            format!("--istio-version: Istio x is not known; {known}")
        );
        let tag = chosen(&json!({"tag": 1.5}), None);
        assert!(
            tag.starts_with(&format!("spec.tag: Istio 1.5 is not known; {known}")),
            "{tag}"
        );
    }

    #[test]
    fn support_ends_on_a_day() {
        let charts = Charts::embedded().unwrap();
        let of = |now: &str| {
            let version = charts.catalogue().version("1.24").unwrap();
            out_of_support(
                version,
                Cluster::default(),
                now.parse().unwrap(),
                charts.catalogue(),
            )
        };
        assert_eq!(of("2025-06-19T23:59:59Z"), []);
        assert_eq!(
            of("2025-06-20T00:00:00Z")[0].to_string(),
            "spec.version: support of Istio 1.24 ended on 2025-06-19"
        );
    }

    #[test]
    fn support_begins_with_a_kubernetes_minor() {
        let charts = Charts::embedded().unwrap();
        let on = |git_version| {
            let version = charts.catalogue().version("1.28").unwrap();
            let cluster = Cluster::read(git_version);
            out_of_support(version, cluster, Timestamp::UNIX_EPOCH, charts.catalogue())
        };
        assert_eq!(on("v1.30.0"), []);
        assert_eq!(
            on("v1.29.9-eks-1")[0].to_string(),
            "spec.version: Istio 1.28 supports Kubernetes from 1.30 on, and this cluster has 1.29"
        );
        assert_eq!(on("unreadable"), []);
    }
}
