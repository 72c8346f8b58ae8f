//! The real kubectl.

use std::{
    env,
    ffi::OsStr,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use crate::error::Error;

/// Runs the kubectl at `path` with a kubeconfig and returns what it prints. Of the caller's
/// environment it sees only `PATH`; its cache lies beside the kubeconfig.
pub(crate) fn run<A: AsRef<OsStr>>(
    path: &Path,
    kubeconfig: &Path,
    args: impl IntoIterator<Item = A>,
    input: &str,
) -> Result<String, Error> {
    let mut command = Command::new(path);
    command
        .args(args)
        .env_clear()
        .env("PATH", env::var_os("PATH").unwrap_or_default())
        .env("HOME", kubeconfig.parent().unwrap_or(kubeconfig))
        .env("KUBECONFIG", kubeconfig)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().map_err(Error::io("kubectl"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // kubectl may refuse before it has read all; its own message says why.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(Error::io("kubectl"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let args: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
    let message = String::from_utf8_lossy(&output.stderr).trim().to_string();
    Err(Error::Command {
        command: format!("kubectl {}", args.join(" ")),
        message,
    })
}
