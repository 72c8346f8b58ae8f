//! Runs the real binary and looks at what it says.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use istio_operator::charts::yaml;
use serde_json::Value;

pub const SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../samples");
pub const CHARTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts");

pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_istio-operator"));
    command
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

pub fn run(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

/// Runs a command that has to succeed without a complaint.
pub fn succeed(args: &[&str]) -> String {
    let output = run(args);
    assert_eq!(complaints(&output), [""; 0], "{args:?}");
    assert!(output.status.success(), "{args:?}");
    text(&output.stdout)
}

pub fn run_on(input: impl AsRef<[u8]>, args: &[&str]) -> Output {
    let mut child = command(args).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A command may refuse its flags before it reads any input.
    let _ = stdin.write_all(input.as_ref());
    drop(stdin);
    child.wait_with_output().unwrap()
}

/// The lines on standard error without those that depend on the date: one day, every version is out of support.
pub fn complaints(output: &Output) -> Vec<String> {
    let said = text(&output.stderr);
    let lines = said
        .lines()
        .filter(|line| !line.contains(" support of Istio "));
    lines.map(str::to_owned).collect()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What was printed to standard error by a command that refuses its input.
pub fn refusal(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "");
    text(&output.stderr)
}

pub fn documents(stream: &str) -> Vec<Value> {
    // A text inside a document may hold such a line too, but indented.
    let stream = stream.strip_prefix("---\n").unwrap_or(stream);
    let documents = stream.split("\n---\n");
    documents.map(|text| yaml::parse(text).unwrap()).collect()
}
