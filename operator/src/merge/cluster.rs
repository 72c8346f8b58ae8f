//! What a CR means that depends on the cluster it is for.

use serde_json::Value;

use super::tree::set;
use crate::catalogue::Version;
use crate::charts::tree::at;

/// What is known of the cluster that a CR is for. By default nothing: without a cluster, `istioctl manifest generate`
/// assumes nothing either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Its Kubernetes minor: the 36 of `v1.36.3`.
    pub kubernetes: Option<u16>,
    /// Whether it is one of Google's (GKE), whose nodes keep CNI plugins in a place of their own.
    pub is_gke: bool,
    /// Whether a CR gets the settings that upstream lays beneath it on such a cluster.
    pub is_adapted_to: bool,
}

impl Cluster {
    /// Reads what an API server says of its version, such as `v1.36.3-gke.1020000`, as upstream does.
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

    /// Lays over a profile what upstream's `istioctl install` sets on such a cluster: the CNI agent goes where its
    /// priority class may be used without a quota.
    ///
    /// Upstream names the namespace of a component that nobody wrote, too, which turns it on (its issue 54972).
    pub(super) fn lay_settings(self, profile: &mut Value, user: &Value, version: Version) {
        if !self.is_gke || !self.is_adapted_to {
            return;
        }
        let cni = ["components", "cni"];
        let is_written = [&*profile, user]
            .iter()
            .any(|spec| at(spec, &cni).is_some_and(Value::is_object));
        if is_written {
            let [components, cni] = cni;
            set(
                profile,
                &[components, cni, "namespace"],
                "kube-system".into(),
            );
        }
        if version.minor >= 26 {
            set(profile, &["values", "global", "platform"], "gke".into());
            let quotas = ["values", "cni", "resourceQuotas", "enabled"];
            set(profile, &quotas, false.into());
        }
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
