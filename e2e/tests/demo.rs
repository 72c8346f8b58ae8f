//! The demo as a user meets it: its help, its refusals, and the first sample from nothing to HEALTHY.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on may stop anywhere"
)]

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Command, Output},
};

fn demo() -> Command {
    Command::new(env!("CARGO_BIN_EXE_demo"))
}

/// Standard error of a demo that has to fail.
fn refusal(output: Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn help_fits_a_terminal() {
    let output = demo().arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    assert!(help.contains("Usage: cargo demo [OPTIONS]"), "{help}");
    assert!(
        help.lines().all(|line| line.chars().count() <= 80),
        "{help}"
    );
}

#[test]
fn a_missing_go_gives_one_clear_sentence() {
    let empty = Path::new(env!("CARGO_TARGET_TMPDIR")).join("without-go");
    fs::create_dir_all(&empty).unwrap();
    let output = demo()
        .env("PATH", &empty)
        .env("CARGO_TARGET_DIR", &empty)
        .output()
        .unwrap();
    let said = refusal(output);
    let sentence = said
        .lines()
        .find(|line| line.starts_with("error: "))
        .unwrap();
    assert!(sentence.contains("install Go 1.26 or newer"), "{said}");
}

#[test]
fn a_taken_port_gives_one_clear_sentence() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let said = refusal(demo().args(["--port", &port.to_string()]).output().unwrap());
    assert!(
        said.starts_with(&format!("error: port {port} on 127.0.0.1 is taken")),
        "{said}"
    );
}

#[test]
fn a_file_without_an_istio_operator_is_refused() {
    let said = refusal(demo().args(["-f", "Cargo.lock.yaml"]).output().unwrap());
    assert!(said.starts_with("error: Cargo.lock.yaml: "), "{said}");
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("namespace.yaml");
    fs::write(
        &file,
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: istio-system}\n",
    )
    .unwrap();
    let said = refusal(demo().arg("-f").arg(&file).output().unwrap());
    assert!(
        said.ends_with("there is no IstioOperator in it\n"),
        "{said}"
    );
}

#[test]
fn the_first_sample_becomes_healthy() {
    // The time limit is only for a hang.
    let output = demo().args(["--exit", "--timeout=600"]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let complaints = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}\n{complaints}");

    let table = |resource: &str| -> Vec<&str> {
        let command = format!("$ kubectl get {resource} --all-namespaces");
        let lines = said.lines().skip_while(|line| *line != command).skip(2);
        lines.take_while(|line| !line.is_empty()).collect()
    };
    let pods = table("pods");
    let running = |name: &str| {
        let is_one = |line: &&&str| line.contains(name) && line.contains("1/1     Running");
        pods.iter().filter(is_one).count()
    };
    assert_eq!(
        (running(" istiod-"), running(" istio-ingressgateway-")),
        (2, 2),
        "{said}"
    );
    let services = table("services");
    let gateway = services
        .iter()
        .find(|line| line.contains(" istio-ingressgateway "))
        .unwrap();
    assert!(gateway.contains(" NodePort "), "{said}");
    assert!(
        gateway.contains(" 15020:30520/TCP,80:30080/TCP,443:30443/TCP "),
        "{said}"
    );
    let hpas = table("hpa");
    let bounds = |line: &&str| {
        line.split_whitespace()
            .rev()
            .skip(1)
            .take(3)
            .eq(["2", "5", "2"])
    };
    assert_eq!(
        (hpas.len(), hpas.iter().filter(|line| bounds(line)).count()),
        (2, 2),
        "{said}"
    );
    assert!(said.contains("\nHEALTHY "), "{said}");
    let request = "$ curl --include http://127.0.0.1:30080/productpage\n200 OK\n";
    assert!(said.contains(request), "{said}\n{complaints}");
    assert!(said.contains("\nserver: istio-envoy\n"), "{said}");
    let served = said
        .lines()
        .find(|line| line.starts_with("It came through Envoy 1."));
    assert!(served.unwrap().contains(", router~10.244."), "{said}");
    let crs = table("iop");
    assert!(crs.len() == 1 && crs[0].contains(" HEALTHY "), "{said}");
}
