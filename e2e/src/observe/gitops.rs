//! What Argo CD and Flux make of an IstioOperator, by their own code.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::{
    error::Error,
    host::go_programs::Bundle,
    observe::health::{ArgoHealth, Kstatus},
};

/// What both say.
pub type Judgement = (ArgoHealth, Kstatus);

/// What Argo CD's script and kstatus say of each of these states of an IstioOperator. Builds the program that runs them if it is
/// missing.
pub fn judge(states: &[Value]) -> Result<Vec<Judgement>, Error> {
    let program = Bundle::Gitops.dir()?.join("health-check");
    let mut child = Command::new(&program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(Error::io("health-check"))?;
    let lines: Vec<_> = states.iter().map(Value::to_string).collect();
    let input = lines.join("\n");
    let stdin = child.stdin.take();
    // It answers while it still reads, so nobody may wait for the other one.
    let writer = std::thread::spawn(move || stdin.map(|mut to| to.write_all(input.as_bytes())));
    let output = child
        .wait_with_output()
        .map_err(Error::io("health-check"))?;
    // What it did not read, it tells of by itself.
    let _ = writer.join();
    if !output.status.success() {
        return Err(Error::Command {
            command: "health-check".into(),
            message: String::from_utf8_lossy(&output.stderr).into_owned(),
        });
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let judgements = text.lines().map(read).collect::<Result<Vec<_>, _>>()?;
    if judgements.len() == states.len() {
        Ok(judgements)
    } else {
        Err(Error::Unexpected(format!(
            "{} verdicts about {} states",
            judgements.len(),
            states.len()
        )))
    }
}

fn read(line: &str) -> Result<Judgement, Error> {
    let said: Value = serde_json::from_str(line).unwrap_or_default();
    let argo = match said["argo"].as_str() {
        Some("Unknown") => ArgoHealth::Unknown,
        Some("Progressing") => ArgoHealth::Progressing,
        Some("Healthy") => ArgoHealth::Healthy,
        Some("Degraded") => ArgoHealth::Degraded,
        _ => return Err(Error::Unexpected(line.into())),
    };
    let flux = match said["flux"].as_str() {
        Some("InProgress") => Kstatus::InProgress,
        Some("Current") => Kstatus::Current,
        Some("Failed") => Kstatus::Failed,
        Some("Terminating") => Kstatus::Terminating,
        _ => return Err(Error::Unexpected(line.into())),
    };
    Ok((argo, flux))
}
