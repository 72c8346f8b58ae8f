//! What `--help` says of each command, and that its examples work.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::json;

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

/// Calls `work` in a directory with the files that examples name, and a kubeconfig of a cluster that does not answer.
pub fn with_files(work: impl FnOnce(&Path)) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("istio-operator-examples-{}-{number}", std::process::id());
    let dir = std::env::temp_dir().join(name);
    fs::create_dir_all(&dir).unwrap();
    let cr =
        "apiVersion: install.istio.io/v1alpha1\nkind: IstioOperator\nmetadata: {name: istio}\n";
    for file in FILES {
        fs::write(dir.join(file), cr).unwrap();
    }
    for file in ["pod.yaml", "deployment.yaml"] {
        fs::write(
            dir.join(file),
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n",
        )
        .unwrap();
    }
    let context =
        |name: &str| format!(r#"{{"name": "{name}", "context": {{"cluster": "c", "user": "c"}}}}"#);
    let contexts = ["c", "production", "east", "west"].map(context).join(", ");
    let unreachable = format!(
        r#"{{"apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{{"name": "c", "cluster": {{"server": "https://127.0.0.1:1"}}}}],
        "users": [{{"name": "c", "user": {{}}}}], "contexts": [{contexts}]}}"#
    );
    fs::write(dir.join("config"), unreachable).unwrap();
    work(&dir);
    fs::remove_dir_all(&dir).unwrap();
}

const FILES: [&str; 6] = [
    "istio.yaml",
    "base.yaml",
    "production.yaml",
    "canary.yaml",
    "east.yaml",
    "west.yaml",
];

/// Those that ask a cluster find none, which shows that their arguments are right.
#[test]
fn examples_work() {
    let mut tried = 0;
    with_files(|dir| {
        for command in commands() {
            let help = help(&command);
            let examples = help.split("\nExamples:\n").nth(1).unwrap_or_default();
            let mut whole: Vec<String> = Vec::new();
            // A long example takes several lines.
            for line in examples.lines().take_while(|line| !line.is_empty()) {
                let line = line.trim();
                let begins = ["istio-operator ", "kubectl ", "helm ", "MANPATH"]
                    .iter()
                    .any(|start| line.starts_with(start));
                match whole.last_mut().filter(|_| !begins) {
                    Some(last) => *last = format!("{last} {line}"),
                    None => whole.push(line.to_owned()),
                }
            }
            for example in whole {
                tried += usize::from(run_example(&example, dir));
            }
        }
    });
    assert!(tried > 40, "{tried}");
}

/// Runs the part of a line that is ours, if there is one; what kubectl would print comes from a file.
pub fn run_example(example: &str, dir: &Path) -> bool {
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
    let printed = |args: &[&str]| {
        let output = Command::new(&plugin).args(args).output().unwrap();
        text(&output.stdout)
    };
    assert_eq!(printed(&["versions"]), succeed(&["versions"]));
    let help = printed(&["diff", "--help"]);
    assert!(
        help.contains("Usage: kubectl istio-operator diff"),
        "{help}"
    );
    assert!(
        help.contains("\n  kubectl istio-operator diff -f istio.yaml\n"),
        "{help}"
    );
    fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn every_command_has_a_man_page() {
    let dir = std::env::temp_dir().join(format!("istio-operator-man-{}", std::process::id()));
    succeed(&["man", dir.to_str().unwrap()]);
    for command in commands() {
        let name = [&["istio-operator".to_owned()], &command[..]]
            .concat()
            .join("-");
        let page = fs::read_to_string(dir.join(format!("{name}.1"))).unwrap();
        assert!(page.contains(".SH NAME"), "{page}");
    }
    fs::remove_dir_all(&dir).unwrap();
}

/// The shell asks the program itself.
#[test]
fn shells_complete_commands_and_flags() {
    for (shell, word) in [
        ("bash", "complete "),
        ("zsh", "compdef"),
        ("fish", "complete "),
        ("powershell", "Register-ArgumentCompleter"),
    ] {
        let script = succeed(&["completion", shell]);
        assert!(
            script.contains(word) && script.contains("COMPLETE"),
            "{script}"
        );
    }
    assert!(completed(&["sta"]).starts_with("status"));
}

/// What fish is offered for the last of these words.
fn completed(words: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_istio-operator"))
        .args(["--", "istio-operator"])
        .args(words)
        .envs([("COMPLETE", "fish"), ("KUBECONFIG", "/nonexistent")])
        .output()
        .unwrap();
    text(&output.stdout)
}

/// Names come from the kubeconfig that stands before the cursor.
#[test]
fn shells_complete_contexts_of_the_kubeconfig_that_was_typed() {
    let file = std::env::temp_dir().join(format!("contexts-{}.yaml", std::process::id()));
    let contexts = ["here", "there"].map(|name| json!({"name": name, "context": null}));
    let kubeconfig = json!({"apiVersion": "v1", "kind": "Config", "contexts": contexts});
    fs::write(&file, kubeconfig.to_string()).unwrap();
    let path = file.to_str().unwrap();
    let offered = completed(&["status", "--kubeconfig", path, "--context", ""]);
    let equals = format!("--kubeconfig={path}");
    let of_word = completed(&["wait", &equals, "--context", "th"]);
    fs::remove_file(&file).unwrap();
    assert_eq!(offered, "here\nthere\n");
    assert_eq!(of_word, "there\n");
    assert_eq!(completed(&["status", "--context", ""]), "");
}
