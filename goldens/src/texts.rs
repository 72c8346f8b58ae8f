//! The texts of what upstream makes, which lie outside the repository.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::rendering::{Answer, Rendering, user_templates};

/// Names another directory of the texts.
const VARIABLE: &str = "GOLDEN_TEXTS";
const BESIDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/goldens");

/// A directory with the texts.
pub struct Texts {
    directory: PathBuf,
}

impl Texts {
    /// Those that `GOLDEN_TEXTS` names, or else those in `../shared/goldens` beside the checkout; none if they are not
    /// there. They only explain a difference that the digests have shown.
    #[must_use]
    pub fn find() -> Option<Self> {
        let named = std::env::var_os(VARIABLE);
        let directory = named.map_or_else(|| PathBuf::from(BESIDE), PathBuf::from);
        directory.is_dir().then_some(Self { directory })
    }

    /// Where they lie.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The minors, oldest first.
    #[must_use]
    pub fn minors(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.directory).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut minors: Vec<String> = names.filter(|name| name.starts_with("1.")).collect();
        minors.sort_by_key(|minor| minor[2..].parse::<u16>().unwrap());
        minors
    }

    /// What upstream makes of an input.
    pub fn case(&self, minor: &str, case: &str) -> Answer {
        let golden = self.read(&format!("{minor}/cases/{case}.json"));
        if let Some(error) = golden.get("error") {
            return Err(error.to_string());
        }
        let input = fs::read_to_string(self.directory.join(format!("inputs/{case}.yaml")));
        let input: Value = serde_saphyr::from_str(&input.unwrap()).unwrap();
        let list = |key: &str| golden[key].as_array().unwrap().iter();
        let crds = list("crds").map(|name| name.as_str().unwrap().to_owned());
        let objects = list("objects").cloned().collect();
        Ok(Rendering::new(
            objects,
            crds.collect(),
            &user_templates(&input),
        ))
    }

    /// The names of the cases whose `ConfigMaps` pods were injected with in one minor.
    #[must_use]
    pub fn installs(&self, minor: &str) -> Vec<String> {
        let directory = self.directory.join(minor).join("injection");
        crate::files(&directory).into_keys().collect()
    }

    /// The pods that upstream injects with the `ConfigMaps` of a case, by name.
    #[must_use]
    pub fn injected(&self, minor: &str, install: &str) -> BTreeMap<String, Value> {
        let pods = self.read(&format!("{minor}/injection/{install}.json"));
        serde_json::from_value(pods).unwrap()
    }

    /// Istio's CRDs without descriptions, by name.
    #[must_use]
    pub fn crds(&self, minor: &str) -> BTreeMap<String, Value> {
        serde_json::from_value(self.read(&format!("{minor}/crds.json"))).unwrap()
    }

    fn read(&self, file: &str) -> Value {
        let path = self.directory.join(file);
        let text = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_json::from_slice(&text).unwrap()
    }
}
