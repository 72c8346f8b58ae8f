//! Versions of Gateway API's CRDs, which come in bundles.

use std::fmt;

use serde::Deserialize;

/// The version of a bundle of CRDs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Bundle {
    major: u16,
    minor: u16,
    patch: u16,
}

/// The bundles that some minor of Istio reads, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleRange {
    oldest: Option<Bundle>,
    newest: Option<Bundle>,
}

impl Bundle {
    /// Reads a version such as `v1.4.1` or `1.5`. What is behind a dash does not count.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let number = text.strip_prefix('v').unwrap_or(text).split('-').next()?;
        let mut parts = number.split('.');
        let mut part = || parts.next().map_or(Some(0), |part| part.parse().ok());
        let (major, minor, patch) = (part()?, part()?, part()?);
        Some(Self {
            major,
            minor,
            patch,
        })
    }
}

impl TryFrom<String> for Bundle {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("{text:?} is no version of a bundle"))
    }
}

impl fmt::Display for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl BundleRange {
    /// Whether a bundle is in it.
    #[must_use]
    pub fn contains(&self, bundle: &Bundle) -> bool {
        self.oldest.is_none_or(|oldest| oldest <= *bundle)
            && self.newest.is_none_or(|newest| *bundle <= newest)
    }

    /// Whether some bundle is in both.
    #[must_use]
    pub fn meets(&self, other: &Self) -> bool {
        let is_over = |newest: Option<Bundle>, oldest: Option<Bundle>| {
            newest
                .zip(oldest)
                .is_some_and(|(newest, oldest)| newest < oldest)
        };
        !is_over(self.newest, other.oldest) && !is_over(other.newest, self.oldest)
    }
}

impl fmt::Display for BundleRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.oldest, self.newest) {
            (Some(oldest), Some(newest)) => write!(f, "from {oldest} to {newest}"),
            (Some(oldest), None) => write!(f, "from {oldest} on"),
            (None, Some(newest)) => write!(f, "up to {newest}"),
            (None, None) => f.write_str("of every version"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_compared_by_their_numbers() {
        let bundle = |text| Bundle::parse(text).unwrap();
        assert_eq!(bundle("v1.4.1").to_string(), "1.4.1");
        assert_eq!(bundle("1.5"), bundle("v1.5.0-rc.1"));
        assert!(bundle("1.10") > bundle("1.9.3"));
        assert_eq!(Bundle::parse("main"), None);
    }
}
