//! The invariants of `operator/README.md` that the source itself can show.

use std::fs;
use std::path::{Path, PathBuf};

const SRC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src");

/// The modules in the order of the pipeline; each may use those before it.
const ORDER: [&str; 13] = [
    "parallel",
    "api",
    "catalogue",
    "charts",
    "merge",
    "render",
    "plan",
    "apply",
    "status",
    "settings",
    "telemetry",
    "lease",
    "serve",
];

/// What a pure module may not name.
const IMPURE: [&str; 7] = [
    "kube::Client",
    "kube::Api",
    "std::fs",
    "std::env::",
    "Instant::now",
    "SystemTime::now",
    "Timestamp::now",
];

#[test]
fn no_module_uses_one_that_stands_later() {
    for (rank, module) in ORDER.iter().enumerate() {
        let later: Vec<_> = ORDER[rank + 1..].iter().chain(&["controller"]).collect();
        for (path, text) in sources(module) {
            for (number, line) in code(&text) {
                for later in &later {
                    let named = line.contains(&format!("crate::{later}::"));
                    assert!(!named, "{}:{number} uses {later}: {line}", path.display());
                }
            }
        }
    }
}

#[test]
fn pure_modules_touch_nothing() {
    for module in ["parallel", "api", "catalogue", "merge", "render", "plan"] {
        for (path, text) in sources(module) {
            for (number, line) in code(&text) {
                let impure = IMPURE.iter().find(|name| line.contains(*name));
                assert!(impure.is_none(), "{}:{number}: {line}", path.display());
            }
        }
    }
}

#[test]
fn nothing_outside_these_modules_can_write() {
    let writers = ["apply", "status/publish.rs", "controller", "lease.rs"];
    for (path, text) in files(Path::new(SRC)) {
        let place = path.strip_prefix(SRC).unwrap();
        if writers.iter().any(|writer| place.starts_with(writer)) {
            continue;
        }
        for (number, line) in code(&text) {
            let calls = ["PatchParams", "PostParams", "DeleteParams"];
            let call = calls.iter().find(|call| line.contains(*call));
            assert!(call.is_none(), "{}:{number}: {line}", path.display());
        }
    }
}

#[test]
fn files_stay_readable_in_one_sitting() {
    for (path, text) in files(Path::new(SRC)) {
        let lines = text.lines().count();
        assert!(lines <= 500, "{} has {lines} lines", path.display());
    }
}

/// The lines of code above the tests of a file, with their numbers.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line));
    lines
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// The files of a module, without those that hold only tests.
fn sources(module: &str) -> Vec<(PathBuf, String)> {
    let file = Path::new(SRC).join(format!("{module}.rs"));
    let mut found = files(&Path::new(SRC).join(module));
    if let Ok(text) = fs::read_to_string(&file) {
        found.push((file, text));
    }
    assert!(!found.is_empty(), "there is no module {module}");
    found.retain(|(path, _)| path.file_name().is_some_and(|name| name != "tests.rs"));
    found
}

fn files(dir: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.expect("a readable directory").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let text = fs::read_to_string(&path).expect("a readable file");
            found.push((path, text));
        }
    }
    found
}
