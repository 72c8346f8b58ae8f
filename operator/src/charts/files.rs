//! The files of the charts directory, out of the binary or from a disk.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use include_dir::{Dir, DirEntry, include_dir};

use super::{ChartError, bad};

static EMBEDDED: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../charts");

/// The files of the charts directory by their path in it, with `/` between the parts.
pub(super) type Files = BTreeMap<String, Cow<'static, str>>;

/// The files in the binary.
pub(super) fn embedded() -> Result<Files, ChartError> {
    let mut files = Files::new();
    collect_embedded(&EMBEDDED, &mut files)?;
    Ok(files)
}

/// The files in a directory and below it.
pub(super) fn read(dir: &Path) -> Result<Files, ChartError> {
    let mut files = Files::new();
    collect(dir, dir, &mut files)?;
    Ok(files)
}

/// Whether the name of a file ends with a dot and this suffix.
pub(super) fn has_suffix(file: &str, suffix: &str) -> bool {
    Path::new(file).extension().is_some_and(|e| e == suffix)
}

fn collect_embedded(dir: &'static Dir<'static>, files: &mut Files) -> Result<(), ChartError> {
    for entry in dir.entries() {
        match entry {
            DirEntry::Dir(dir) => collect_embedded(dir, files)?,
            DirEntry::File(file) => {
                let path = file.path().to_string_lossy().replace('\\', "/");
                let text = file
                    .contents_utf8()
                    .ok_or_else(|| bad(&path, "is not UTF-8"))?;
                files.insert(path, Cow::Borrowed(text));
            }
        }
    }
    Ok(())
}

fn collect(root: &Path, dir: &Path, files: &mut Files) -> Result<(), ChartError> {
    let failed = |path: &Path, e: std::io::Error| bad(&path.to_string_lossy(), e.to_string());
    for entry in std::fs::read_dir(dir).map_err(|e| failed(dir, e))? {
        let path = entry.map_err(|e| failed(dir, e))?.path();
        if path.is_dir() {
            collect(root, &path, files)?;
            continue;
        }
        let text = std::fs::read_to_string(&path).map_err(|e| failed(&path, e))?;
        let name = path
            .strip_prefix(root)
            .unwrap_or(&path)
            .to_string_lossy()
            .replace('\\', "/");
        files.insert(name, Cow::Owned(text));
    }
    Ok(())
}
