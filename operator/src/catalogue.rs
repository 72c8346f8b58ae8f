//! The Istio minors that this binary knows, read from `charts/versions.yaml`.

mod bundle;
mod change;

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

pub use bundle::{Bundle, BundleRange};
pub use change::{Change, Concerned, Mended, ProxyFloor, WhenKept};

/// An Istio version: a minor of the catalogue and the patch release for labels and image tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Version {
    /// The 30 of `1.30.3`; Istio's major is 1.
    pub minor: u16,
    /// The 3 of `1.30.3`.
    pub patch: u16,
}

impl Version {
    /// Reads a version such as `1.30.3`, as labels of objects have it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (minor, patch) = text.rsplit_once('.')?;
        Some(Self {
            minor: parse_minor(minor)?,
            patch: patch.parse().ok()?,
        })
    }

    /// Reads the version that an image tag names, such as `v1.30.3-distroless`.
    #[must_use]
    pub fn of_tag(tag: &str) -> Option<Self> {
        let number = tag.strip_prefix('v').unwrap_or(tag);
        Self::parse(number.split('-').next()?)
    }

    /// Reads the version that the tag of an image names. A digest behind it changes nothing.
    #[must_use]
    pub fn of_image(image: &str) -> Option<Self> {
        let (name, _digest) = image.split_once('@').unwrap_or((image, ""));
        // The port of a registry stands before a slash.
        let (_, name) = name.rsplit_once('/').unwrap_or(("", name));
        Self::of_tag(name.split_once(':')?.1)
    }

    /// The minor as users write it, such as `1.30`.
    #[must_use]
    pub fn minor_text(self) -> String {
        format!("1.{}", self.minor)
    }
}

impl TryFrom<String> for Version {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("{text:?} is not a version such as 1.30.3"))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1.{}.{}", self.minor, self.patch)
    }
}

/// Reads a minor such as `1.30`; none if the text is anything else, such as a patch release.
#[must_use]
pub fn parse_minor(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("1.")?;
    let plain = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
    digits.parse().ok().filter(|_| plain)
}

/// One minor of the catalogue.
#[derive(Clone, Debug)]
pub struct Release {
    /// The minor with the newest patch release that was seen.
    pub version: Version,
    /// The registry path of this minor's images, without a tag.
    pub hub: String,
    /// The day of the minor's first release, as `YYYY-MM-DD`.
    pub released: String,
    /// The last day of upstream's support, as `YYYY-MM-DD`; absent until the minor after the next one is released.
    pub end_of_life: Option<String>,
    /// The oldest supported Kubernetes minor: the 32 of `1.32`.
    pub kubernetes: u16,
    /// The oldest and the newest Kubernetes minor that upstream tested.
    pub tested: (u16, u16),
    /// The values of `spec.compatibilityVersion` that this minor accepts, oldest first.
    pub compatibility: Vec<String>,
    /// What the step to this minor changes for a mesh that runs.
    pub changes: Vec<Change>,
    /// The bundles of Gateway API's CRDs that istiod reads, by the plural of the kind; others are ignored.
    pub gateway_api: BTreeMap<String, BundleRange>,
    /// The proxies that refuse what its first patch releases send.
    pub proxy_floor: Option<ProxyFloor>,
    /// What its first patch releases have that later ones mend.
    pub mended: Vec<Mended>,
}

/// What differs by the minor beside the charts. `versions.yaml` describes each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Behavior {
    /// Replicas of `k8s` blocks reach the charts.
    ChartsSeeReplicas,
    /// The CPU of `k8s.resources` reaches the charts.
    ChartsSeeCpu,
    /// A `credentialName` may name a `ConfigMap`.
    KnowsConfigMapCredentials,
    /// The component `istiodRemote` is ignored.
    IgnoresIstiodRemote,
}

/// Some minors, both ends included.
#[derive(Clone, Copy, Debug)]
struct Minors {
    since: u16,
    until: Option<u16>,
}

impl Minors {
    fn contain(self, minor: u16) -> bool {
        self.since <= minor && self.until.is_none_or(|until| minor <= until)
    }
}

/// The image of an addon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddonImage<'a> {
    /// The registry path.
    pub hub: &'a str,
    /// The name below it.
    pub image: &'a str,
    /// The tag.
    pub tag: &'a str,
}

/// The images of one addon.
#[derive(Clone, Debug)]
struct AddonImages {
    hub: String,
    image: String,
    /// Each tag by the minor from which on it holds.
    tags: BTreeMap<u16, String>,
}

/// Every minor that the charts can render, oldest first, and the images of addons.
#[derive(Clone, Debug)]
pub struct Catalogue {
    releases: Vec<Release>,
    default: Version,
    behaviors: BTreeMap<Behavior, Vec<Minors>>,
    addons: BTreeMap<String, AddonImages>,
}

/// The content of `versions.yaml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    default: String,
    versions: Vec<Entry>,
    #[serde(default)]
    behaviors: BTreeMap<Behavior, Vec<MinorsEntry>>,
    #[serde(default)]
    addons: BTreeMap<String, AddonEntry>,
}

/// One range of minors in `behaviors` of `versions.yaml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MinorsEntry {
    since: String,
    until: Option<String>,
}

/// One entry of `addons` in `versions.yaml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AddonEntry {
    hub: String,
    image: String,
    tags: BTreeMap<String, String>,
}

/// One entry of `versions.yaml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Entry {
    minor: String,
    patch: u16,
    hub: String,
    released: String,
    end_of_life: Option<String>,
    kubernetes: Kubernetes,
    compatibility: Vec<String>,
    #[serde(default)]
    changes: Vec<Change>,
    #[serde(default)]
    gateway_api: BTreeMap<String, BundleRange>,
    proxy_floor: Option<ProxyFloor>,
    #[serde(default)]
    mended: Vec<Mended>,
}

/// The Kubernetes minors of one entry.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Kubernetes {
    oldest: String,
    tested: (String, String),
}

impl Catalogue {
    /// Reads `versions.yaml`; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let file: File = serde_saphyr::from_str(text).map_err(|e| e.to_string())?;
        let mut releases = file
            .versions
            .into_iter()
            .map(release)
            .collect::<Result<Vec<_>, _>>()?;
        releases.sort_by_key(|r| r.version);
        let minor = parse_minor(&file.default);
        let default = releases
            .iter()
            .map(|r| r.version)
            .find(|v| Some(v.minor) == minor);
        let default = default.ok_or_else(|| format!("default {:?} is not listed", file.default))?;
        let behaviors = file.behaviors.into_iter();
        let behaviors = behaviors.map(|(behavior, ranges)| {
            let ranges = ranges.iter().map(minors).collect::<Result<_, _>>()?;
            Ok((behavior, ranges))
        });
        let behaviors = behaviors.collect::<Result<_, String>>()?;
        let addons = file.addons.into_iter();
        let addons = addons.map(|(name, entry)| Ok((name, images(entry)?)));
        let addons = addons.collect::<Result<_, String>>()?;
        Ok(Self {
            releases,
            default,
            behaviors,
            addons,
        })
    }

    /// Whether a minor behaves so.
    #[must_use]
    pub fn has(&self, behavior: Behavior, minor: u16) -> bool {
        let mut ranges = self.behaviors.get(&behavior).into_iter().flatten();
        ranges.any(|minors| minors.contain(minor))
    }

    /// The image of an addon in a minor.
    #[must_use]
    pub fn addon_image(&self, addon: &str, minor: u16) -> Option<AddonImage<'_>> {
        let AddonImages { hub, image, tags } = self.addons.get(addon)?;
        let (_, tag) = tags.range(..=minor).next_back()?;
        Some(AddonImage { hub, image, tag })
    }

    /// The version that is installed when neither `spec.version` nor `spec.tag` chooses one.
    #[must_use]
    pub fn default_version(&self) -> Version {
        self.default
    }

    /// Every release, oldest first.
    #[must_use]
    pub fn releases(&self) -> &[Release] {
        &self.releases
    }

    /// Whether the minor of a version is known.
    #[must_use]
    pub fn knows(&self, version: Version) -> bool {
        self.release(version.minor).is_some()
    }

    /// The catalogue's entry for a minor: the 30 of `1.30`.
    #[must_use]
    pub fn release(&self, minor: u16) -> Option<&Release> {
        self.releases.iter().find(|r| r.version.minor == minor)
    }

    /// Reads a version that a user wrote: `1.30` gives the newest known patch release, `1.30.3` exactly that one. The suffix of
    /// an image tag such as `-distroless` is ignored. None for an unknown minor.
    #[must_use]
    pub fn version(&self, text: &str) -> Option<Version> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let number = text.split_once('-').map_or(text, |(number, _)| number);
        if let Some(version) = Version::parse(number) {
            return self.release(version.minor).map(|_| version);
        }
        self.release(parse_minor(number)?)
            .map(|known| known.version)
    }

    /// The known minors for an error text: `1.24, 1.25, 1.26`.
    #[must_use]
    pub fn known(&self) -> String {
        let minors: Vec<String> = self
            .releases
            .iter()
            .map(|r| r.version.minor_text())
            .collect();
        minors.join(", ")
    }
}

fn minor(text: &str) -> Result<u16, String> {
    parse_minor(text).ok_or_else(|| format!("{text:?} is not a minor"))
}

fn minors(entry: &MinorsEntry) -> Result<Minors, String> {
    Ok(Minors {
        since: minor(&entry.since)?,
        until: entry.until.as_deref().map(minor).transpose()?,
    })
}

fn images(entry: AddonEntry) -> Result<AddonImages, String> {
    let tags = entry.tags.into_iter();
    let tags = tags.map(|(since, tag)| Ok((minor(&since)?, tag)));
    Ok(AddonImages {
        hub: entry.hub,
        image: entry.image,
        tags: tags.collect::<Result<_, String>>()?,
    })
}

fn release(entry: Entry) -> Result<Release, String> {
    Ok(Release {
        version: Version {
            minor: minor(&entry.minor)?,
            patch: entry.patch,
        },
        hub: entry.hub,
        released: entry.released,
        end_of_life: entry.end_of_life,
        kubernetes: minor(&entry.kubernetes.oldest)?,
        tested: (
            minor(&entry.kubernetes.tested.0)?,
            minor(&entry.kubernetes.tested.1)?,
        ),
        compatibility: entry.compatibility,
        changes: entry.changes,
        gateway_api: entry.gateway_api,
        proxy_floor: entry.proxy_floor,
        mended: entry.mended,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalogue() -> Catalogue {
        Catalogue::parse(include_str!("../../charts/versions.yaml")).unwrap()
    }

    #[test]
    fn versions_are_found_as_users_write_them() {
        let c = catalogue();
        let text = |s: &str| c.version(s).map(|v| v.to_string());
        assert_eq!(text("1.30").as_deref(), Some("1.30.5"));
        assert_eq!(text("1.30.1").as_deref(), Some("1.30.1"));
        assert_eq!(text("v1.26.8-distroless").as_deref(), Some("1.26.8"));
        for unknown in [
            "1.23", "1.99", "2.30", "latest", "1", "", "1.030", "1.30.x", "1.30.1.2",
        ] {
            assert_eq!(text(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn an_image_tells_its_version_by_its_tag() {
        let version = |image: &str| Version::of_image(image).map(|version| version.to_string());
        for (image, told) in [
            ("docker.io/istio/proxyv2:1.30.3", Some("1.30.3")),
            ("proxyv2:v1.30.3-distroless", Some("1.30.3")),
            ("registry:5000/proxyv2:1.30.3@sha256:1", Some("1.30.3")),
            ("registry:5000/proxyv2", None),
            ("proxyv2@sha256:1.30.3", None),
            ("proxyv2:1.30", None),
            ("proxyv2:latest", None),
            ("auto", None),
        ] {
            assert_eq!(version(image).as_deref(), told, "{image}");
        }
    }

    #[test]
    fn the_default_is_the_newest_minor() {
        let c = catalogue();
        let newest = c.releases().last().unwrap().version;
        assert_eq!(c.default_version(), newest);
        assert!(c.known().ends_with(&format!(", {}", newest.minor_text())));
    }

    #[test]
    fn every_minor_has_an_image_of_every_addon() {
        let c = catalogue();
        let tag = |addon: &str, minor| c.addon_image(addon, minor).map(|image| image.tag);
        for release in c.releases() {
            for addon in c.addons.keys() {
                assert!(tag(addon, release.version.minor).is_some(), "{addon}");
            }
        }
        assert_eq!(tag("grafana", 26), Some("11.3.1"));
        assert_eq!(tag("grafana", 27), Some("12.0.1"));
        assert_eq!(tag("nonesuch", 27), None);
    }

    #[test]
    fn every_behavior_tells_minors_apart() {
        let c = catalogue();
        for behavior in [
            Behavior::ChartsSeeReplicas,
            Behavior::ChartsSeeCpu,
            Behavior::KnowsConfigMapCredentials,
            Behavior::IgnoresIstiodRemote,
        ] {
            let minors = c.releases().iter().map(|release| release.version.minor);
            let (with, without): (Vec<_>, Vec<_>) = minors.partition(|m| c.has(behavior, *m));
            assert!(!with.is_empty() && !without.is_empty(), "{behavior:?}");
        }
        let sees_replicas = |minor| c.has(Behavior::ChartsSeeReplicas, minor);
        let found = [27, 28, 29, 31, 32].map(sees_replicas);
        assert_eq!(found, [false, true, false, true, true]);
    }

    #[test]
    fn a_default_that_is_not_listed_is_an_error() {
        assert!(Catalogue::parse("default: '1.3'\nversions: []").is_err());
    }
}
