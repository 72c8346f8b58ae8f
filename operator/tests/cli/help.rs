//! What `--help` says of each command, and that its examples work.

use std::fs;
use std::process::Command;

use super::run::{succeed, text};

/// The commands and their subcommands, as `--help` lists them.
pub fn commands() -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut next = vec![Vec::new()];
    while let Some(command) = next.pop() {
        let help = help(&command);
        let listed = help.split("\nCommands:\n").nth(1).unwrap_or_default();
        let lines = listed.lines().take_while(|line| !line.is_empty());
        let names = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
        for name in names.filter_map(|line| line.split_whitespace().next()) {
            if name != "help" {
                next.push([&command[..], &[name.to_owned()]].concat());
            }
        }
        found.push(command);
    }
    found
}

fn help(command: &[String]) -> String {
    let args = command.iter().map(String::as_str).chain(["--help"]);
    succeed(&args.collect::<Vec<_>>())
}

#[test]
fn help_fits_a_terminal_and_names_every_command() {
    let commands = commands();
    assert!(commands.len() > 8, "{commands:?}");
    let own = help(&[]);
    assert!(
        own.contains("\nExamples:\n") && own.contains("\nExit codes: "),
        "{own}"
    );
    for command in commands {
        let help = help(&command);
        let usage = ["Usage: istio-operator".to_owned(), command.join(" ")].join(" ");
        assert!(help.contains(usage.trim_end()), "{help}");
        let longest = help.lines().map(str::len).max();
        assert!(longest <= Some(110), "{longest:?} {help}");
    }
}

/// The examples run in a directory with the files that they name. Those that ask a cluster find none, which shows that their
/// arguments are right.
#[test]
fn examples_work() {
    let dir = std::env::temp_dir().join(format!("istio-operator-examples-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let cr =
        "apiVersion: install.istio.io/v1alpha1\nkind: IstioOperator\nmetadata: {name: istio}\n";
    for file in ["istio.yaml", "base.yaml", "production.yaml"] {
        fs::write(dir.join(file), cr).unwrap();
    }
    let unreachable = r#"{"apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}], "users": [{"name": "c", "user": {}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}]}"#;
    fs::write(dir.join("config"), unreachable).unwrap();
    let mut tried = 0;
    for command in commands() {
        let help = help(&command);
        let examples = help.split("\nExamples:\n").nth(1).unwrap_or_default();
        let mut whole: Vec<String> = Vec::new();
        // A long example takes several lines.
        for line in examples.lines().take_while(|line| !line.is_empty()) {
            let line = line.trim();
            let begins = ["istio-operator ", "kubectl ", "helm "]
                .iter()
                .any(|start| line.starts_with(start));
            match whole.last_mut().filter(|_| !begins) {
                Some(last) => *last = format!("{last} {line}"),
                None => whole.push(line.to_owned()),
            }
        }
        for example in whole {
            tried += usize::from(run(&example, &dir));
        }
    }
    fs::remove_dir_all(&dir).unwrap();
    assert!(tried > 15, "{tried}");
}

/// Runs the part of a line that is ours, if there is one; what kubectl would print comes from a file.
fn run(example: &str, dir: &std::path::Path) -> bool {
    let mut parts = example.split(" | ");
    let Some(ours) = parts.find(|part| part.starts_with("istio-operator ")) else {
        return false;
    };
    let ours = ours.replacen("istio-operator", env!("CARGO_BIN_EXE_istio-operator"), 1);
    let output = Command::new("sh")
        .args(["-c", &format!("{ours} < istio.yaml")])
        .current_dir(dir)
        .env("KUBECONFIG", dir.join("config"))
        .output()
        .unwrap();
    let code = output.status.code();
    assert!(
        matches!(code, Some(0 | 2)),
        "{example}: {code:?} {}",
        text(&output.stderr)
    );
    true
}

/// kubectl runs a plugin by another name.
#[test]
fn the_program_may_have_the_name_of_a_plugin() {
    let dir = std::env::temp_dir().join(format!("istio-operator-plugin-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let plugin = dir.join("kubectl-istio_operator");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_istio-operator"), &plugin).unwrap();
    let output = Command::new(&plugin).arg("versions").output().unwrap();
    fs::remove_dir_all(&dir).unwrap();
    assert_eq!(text(&output.stdout), succeed(&["versions"]));
}
