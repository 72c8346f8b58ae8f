//! Istio's own charts.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    error::Error,
    host::{
        go_programs::Bundle,
        workspace::{create_dir, entries, read, write},
    },
};

/// The version that the charts have in Istio's source tree; a release replaces it.
const OF_SOURCE: &str = "ersion: 1.0.0";

/// Copies Istio's charts and profiles into `dir`, with the version in them that a release of that version has. Gives the directory that
/// `istioctl --manifests` takes; the charts are in `charts` in there.
pub fn of_release(version: &str, dir: &Path) -> Result<PathBuf, Error> {
    let from = Bundle::Istio.source("istio.io/istio")?.join("manifests");
    let to = dir.join("manifests");
    copy(&from, &to, version)?;
    Ok(to)
}

fn copy(from: &Path, to: &Path, version: &str) -> Result<(), Error> {
    create_dir(to)?;
    for from in entries(from)? {
        let to = to.join(from.file_name().unwrap_or_default());
        if from.is_dir() {
            copy(&from, &to, version)?;
        } else if from.ends_with("Chart.yaml") {
            let text = read(&from)?;
            write(&to, text.replace(OF_SOURCE, &format!("ersion: {version}")))?;
        } else {
            // Copied without their rights: files of Go's module cache cannot be written.
            let content = fs::read(&from).map_err(Error::io(from.display().to_string()))?;
            write(&to, content)?;
        }
    }
    Ok(())
}
