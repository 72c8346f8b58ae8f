//! The Istio whose programs run.

use std::path::PathBuf;

use crate::{
    error::Error,
    host::{envoy, go_programs::Bundle},
};

/// A minor of Istio whose programs are built here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Release {
    /// Istio 1.30: a build of its sources from before its release, which has all that 1.30 changes and nothing that 1.31 does.
    Previous,
    /// Istio 1.31.
    Current,
}

impl Release {
    /// The release of an image, by its tag.
    pub fn of_image(image: &str) -> Result<Self, Error> {
        let (_, tag) = image.rsplit_once(':').unwrap_or_default();
        let all = [Self::Previous, Self::Current];
        let found = all
            .into_iter()
            .find(|release| tag.starts_with(&format!("{}.", release.minor())));
        found.ok_or_else(|| Error::Unexpected(format!("no program stands for the image {image}")))
    }

    /// Its minor, as `spec.version` has it.
    #[must_use]
    pub fn minor(self) -> &'static str {
        match self {
            Self::Previous => "1.30",
            Self::Current => "1.31",
        }
    }

    /// The directory with pilot-discovery and pilot-agent; builds them if they are missing.
    pub fn programs(self) -> Result<PathBuf, Error> {
        match self {
            Self::Previous => Bundle::IstioPrevious.dir(),
            Self::Current => Bundle::Istio.dir(),
        }
    }

    /// The path of the stock Envoy that belongs to it; fetches it if it is missing.
    pub fn envoy(self) -> Result<PathBuf, Error> {
        match self {
            Self::Previous => envoy::previous_path(),
            Self::Current => envoy::path(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_of_an_image_tells_the_release() {
        let of_tag = |tag: &str| {
            let image = format!("registry.example.com:5000/release/pilot{tag}");
            Release::of_image(&image).map_err(|error| error.to_string())
        };
        assert_eq!(of_tag(":1.30.5"), Ok(Release::Previous));
        assert_eq!(of_tag(":1.31.1-distroless"), Ok(Release::Current));
        assert!(of_tag(":1.3.0").is_err());
        assert!(of_tag("").is_err());
    }
}
