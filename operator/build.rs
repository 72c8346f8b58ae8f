//! Rebuilds the crate when a chart file is added or removed; `include_dir` notices only changed ones.

fn main() {
    // Cargo reads its instructions from standard output.
    let instruction = "cargo::rerun-if-changed=../charts\n";
    if std::io::Write::write_all(&mut std::io::stdout(), instruction.as_bytes()).is_err() {
        std::process::exit(1);
    }
}
