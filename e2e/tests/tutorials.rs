//! The tutorials of `samples/README.md`: each file does what it says, as real requests show.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on may stop anywhere, and says what it measured"
)]

use std::process::Command;

/// Issue 11 row 2. The proof is a program of its own, so that people see what it prints for each file.
#[test]
fn every_file_does_what_it_says() {
    let proof = Command::new(env!("CARGO_BIN_EXE_proofs"))
        .arg("tutorials")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&proof.stdout);
    println!("{said}");
    let error = String::from_utf8_lossy(&proof.stderr);
    assert!(proof.status.success(), "{said}\n{error}");
}
