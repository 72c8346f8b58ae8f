//! Where things are: the repository, its target directory, and the locks that keep parallel tests apart.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
};

use crate::error::Error;

/// The root of the repository, where `samples/` and `charts/` are.
#[must_use]
pub fn root() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package)
}

/// `target/control-plane`, which holds all that the control plane writes. Cargo's own override of
/// the target directory moves it too.
#[must_use]
pub fn state_dir() -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    root().join(target).join("control-plane")
}

/// An exclusive lock among all processes that use this target directory; freed when dropped, and
/// by the kernel if the process dies.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "an open file holds the lock")] File);

/// Waits for the lock called `name`.
pub fn lock(name: &str) -> Result<Lock, Error> {
    let dir = state_dir();
    create_dir(&dir)?;
    let path = dir.join(format!("{name}.lock"));
    let file = File::create(&path).map_err(Error::io(path.display().to_string()))?;
    file.lock().map_err(Error::io(path.display().to_string()))?;
    Ok(Lock(file))
}

/// Creates a directory with its parents.
pub(crate) fn create_dir(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(Error::io(path.display().to_string()))
}

/// Writes a file.
pub(crate) fn write(path: &Path, text: impl AsRef<[u8]>) -> Result<(), Error> {
    fs::write(path, text).map_err(Error::io(path.display().to_string()))
}

/// What a directory holds, sorted by name.
pub fn entries(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let failed = || Error::io(dir.display().to_string());
    let entries = fs::read_dir(dir).map_err(failed())?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let mut paths: Vec<_> = paths.collect::<Result<_, _>>().map_err(failed())?;
    paths.sort();
    Ok(paths)
}

/// Reads a text file.
pub(crate) fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(Error::io(path.display().to_string()))
}
