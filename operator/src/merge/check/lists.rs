//! Checks lists of the `k8s` block whose elements are told apart by name.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Checked, Findings, elements, written_components};
use crate::api::Path;
use crate::charts::tree::at;

/// The lists, and what an element of each is called.
const NAMED: [(&[&str], &str); 2] = [
    (&["k8s", "env"], "variable"),
    (&["k8s", "service", "ports"], "port"),
];

pub(super) fn check(checked: &Checked, findings: &mut Findings) {
    for (path, component) in written_components(checked.user) {
        for (keys, what) in NAMED {
            unique_names(at(component, keys), what, &path.keys(keys), findings);
        }
    }
}

/// Checks that no two elements of a list have the same name. Kubernetes keeps one of two variables, and refuses two ports.
fn unique_names(list: Option<&Value>, what: &str, path: &Path, findings: &mut Findings) {
    let mut seen = BTreeSet::new();
    for (path, element) in elements(list, path) {
        let name = element.get("name").and_then(Value::as_str);
        if let Some(name) = name.filter(|name| !name.is_empty() && !seen.insert(*name)) {
            findings.error(
                path.key("name"),
                format!("another {what} is called {name} too"),
            );
        }
    }
}
