//! What a CR means that depends on the cluster it is for.

/// What is known of the cluster that a CR is for. By default nothing: without a cluster, `istioctl manifest generate`
/// assumes nothing either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Its Kubernetes minor: the 36 of `v1.36.3`.
    pub kubernetes: Option<u16>,
}

impl Cluster {
    /// Reads what an API server says of its version, such as `v1.36.3-gke.1020000`.
    #[must_use]
    pub fn read(git_version: &str) -> Self {
        let minor = git_version
            .strip_prefix("v1.")
            .and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
        Self {
            kubernetes: minor.and_then(|digits| digits.parse().ok()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_providers_write_them() {
        for (text, kubernetes) in [
            ("v1.36.3", Some(36)),
            ("v1.32.9-gke.1020000", Some(32)),
            ("v1.31.0+k3s1", Some(31)),
            ("v1.30+", Some(30)),
            ("v2.0.0", None),
            ("", None),
        ] {
            assert_eq!(Cluster::read(text).kubernetes, kubernetes, "{text}");
        }
    }
}
