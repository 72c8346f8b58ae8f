//! The cluster that a CR is for: some settings depend on it.

use serde_json::Value;

use super::tree::set;
use crate::catalogue::Version;
use crate::charts::tree::{at, merge_over};
use crate::charts::{ChartError, Charts};

/// What is known of the cluster that a CR is for. By default nothing: without a cluster, `istioctl manifest generate`
/// assumes nothing either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Its Kubernetes minor: the 36 of `v1.36.3`.
    pub kubernetes: Option<u16>,
    /// Whether it is one of Google's (GKE), whose nodes keep CNI plugins in a directory of their own.
    pub is_gke: bool,
    /// Whether a CR gets the settings that upstream lays beneath it on such a cluster.
    pub is_adapted_to: bool,
}

/// The profile of Google's clusters.
const GKE: &str = "clusters/gke";

impl Cluster {
    /// Reads the version that an API server reports, such as `v1.36.3-gke.1020000`, as upstream does.
    #[must_use]
    pub fn read(git_version: &str) -> Self {
        let minor = git_version
            .strip_prefix("v1.")
            .and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
        Self {
            kubernetes: minor.and_then(|digits| digits.parse().ok()),
            is_gke: git_version.contains("-gke"),
            is_adapted_to: true,
        }
    }

    /// Lays over a profile what upstream's `istioctl install` sets on such a cluster. The CNI agent goes to the namespace
    /// `kube-system`, where its priority class needs no quota.
    ///
    /// Upstream sets that namespace even if neither profile nor CR has the component, which turns it on (its issue 54972).
    pub(super) fn lay_settings(
        self,
        profile: &mut Value,
        user: &Value,
        version: Version,
        charts: &Charts,
    ) -> Result<(), ChartError> {
        if !self.is_gke || !self.is_adapted_to {
            return Ok(());
        }
        let has_cni = [&*profile, user]
            .iter()
            .any(|spec| at(spec, &["components", "cni"]).is_some_and(Value::is_object));
        if has_cni {
            let namespace = ["components", "cni", "namespace"];
            set(profile, &namespace, "kube-system".into());
        }
        let settings = charts.profile(GKE, version.minor)?;
        merge_over(profile, settings.unwrap_or_default());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_providers_write_them() {
        for (text, kubernetes, is_gke) in [
            ("v1.36.3", Some(36), false),
            ("v1.32.9-gke.1020000", Some(32), true),
            ("v1.31.0+k3s1", Some(31), false),
            ("v1.30+", Some(30), false),
            ("v2.0.0", None, false),
            ("", None, false),
        ] {
            let cluster = Cluster::read(text);
            assert_eq!(
                (cluster.kubernetes, cluster.is_gke),
                (kubernetes, is_gke),
                "{text}"
            );
        }
    }
}
