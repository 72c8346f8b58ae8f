//! The `istio-operator` command.

fn main() {}
