//! A kustomization that installs the operator, to be a base of others.

use std::path::Path;

use super::{Failure, write_file};

const FILE: &str = "operator.yaml";

/// Writes the objects and the file that lists them.
pub(super) fn write(dir: &Path, objects: &[String], namespace: &str) -> Result<(), Failure> {
    let list = format!(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n\
         # Every object below names this namespace; another one here moves them all.\n\
         namespace: {namespace}\nresources:\n  - {FILE}\n"
    );
    write_file(&dir.join(FILE), &objects.concat())?;
    write_file(&dir.join("kustomization.yaml"), &list)
}
