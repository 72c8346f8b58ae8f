//! The operator's binary.

use std::{
    env,
    fs::File,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::{
    error::Error,
    host::{
        progress::Progress,
        watchdog,
        workspace::{lock, read, root, state_dir},
    },
};

/// Names another operator to run than the release build, as a path from the root of the repository.
const OPERATOR_BINARY: &str = "OPERATOR_BINARY";

/// The release binary, built if its sources changed since the last time.
///
/// If the environment variable `OPERATOR_BINARY` names a file, that is used instead and nothing is built. With
/// `cargo build -p istio-operator`, `OPERATOR_BINARY=target/debug/istio-operator cargo test -p e2e --test scenarios NAME`
/// tries a change in seconds; figures of a debug build mean nothing.
pub fn binary() -> Result<PathBuf, Error> {
    if let Some(path) = env::var_os(OPERATOR_BINARY) {
        let path = root().join(path);
        if path.is_file() {
            return Ok(path);
        }
        let path = path.display();
        return Err(Error::Unexpected(format!(
            "{OPERATOR_BINARY}: there is no file {path}"
        )));
    }
    let _lock = lock("operator")?;
    let mut progress = Progress::new("building the operator (release)");
    let log = state_dir().join("operator-build.log");
    let errors = File::create(&log).map_err(Error::io(log.display().to_string()))?;
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // Cargo tells us about our own package; told on, that would look to build scripts like a change
    // of theirs, and compile half of the dependencies again.
    let ours = [
        "CARGO_PKG_",
        "CARGO_MANIFEST_",
        "CARGO_BIN_",
        "CARGO_CRATE_",
        "CARGO_PRIMARY_",
    ];
    for (name, _) in env::vars_os() {
        if ours
            .iter()
            .any(|prefix| name.to_string_lossy().starts_with(prefix))
        {
            command.env_remove(name);
        }
    }
    let mut child = command
        .args([
            "build",
            "--quiet",
            "--release",
            "--package",
            "istio-operator",
        ])
        .arg("--message-format=json-render-diagnostics")
        .current_dir(root())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(errors)
        .spawn()
        .map_err(Error::io("cargo"))?;
    let _watched = watchdog::watch(&child)?;
    let output = child
        .stdout
        .take()
        .ok_or_else(|| Error::Unexpected("no output".into()))?;
    let mut executable = None;
    for line in BufReader::new(output).lines() {
        let line = line.map_err(Error::io("cargo"))?;
        let message: Value = serde_json::from_str(&line).unwrap_or_default();
        if message["fresh"] == false {
            let name = message["target"]["name"].as_str().unwrap_or_default();
            progress.update(&format!("compiled {name}"));
        }
        executable = message["executable"]
            .as_str()
            .map(PathBuf::from)
            .or(executable);
    }
    let status = child.wait().map_err(Error::io("cargo"))?;
    progress.done();
    executable
        .filter(|_| status.success())
        .ok_or_else(|| Error::Build {
            what: "the operator".into(),
            tail: read(&log).unwrap_or_default(),
        })
}
