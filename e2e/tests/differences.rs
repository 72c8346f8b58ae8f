//! What upstream does where we chose to differ: the other half of the table that `operator/tests/surprises.rs` reads.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on may stop anywhere"
)]

#[path = "../../operator/tests/surprises/expected.rs"]
mod expected;

use std::fs;

use e2e::{istio::istioctl, yaml::documents};
use expected::differing;
use serde_json::{Value, json};

const TABLE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../operator/tests/surprises/differences.yaml"
);

#[test]
fn upstream_does_what_the_table_of_differences_says() {
    let mut wrong = Vec::new();
    for row in documents(TABLE, &fs::read_to_string(TABLE).unwrap()).unwrap()[0]
        .as_array()
        .unwrap()
    {
        let expected = &row["upstream"];
        if expected.is_null() {
            continue;
        }
        let cr = json!({
            "apiVersion": "install.istio.io/v1alpha1",
            "kind": "IstioOperator",
            "metadata": {"name": "different"},
            "spec": row["spec"],
        });
        let problems = match (expected.as_str(), istioctl::generate(&cr).unwrap()) {
            (Some(complaint), Err(said)) if said.contains(complaint) => Vec::new(),
            (None, Ok(objects)) => unlike(&expected["expect"], &objects),
            (_, Err(said)) => vec![format!("is refused: {said}")],
            (_, Ok(_)) => vec!["is accepted".to_owned()],
        };
        wrong.extend(
            problems
                .into_iter()
                .map(|p| format!("{}: {p}", row["fact"])),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `operator/tests/cli.rs` shows how our command reads files; this shows upstream's.
#[test]
fn upstream_reads_files_as_the_readme_says() {
    let generate = |text: &str| istioctl::generate(&text).unwrap();
    let named =
        "apiVersion: install.istio.io/v1alpha1\nkind: IstioOperator\nspec: {profile: empty}\n";
    assert!(generate("# nothing\n").unwrap().len() > 30);
    assert!(
        generate(&format!("{named}spec: {{profile: minimal}}\n"))
            .unwrap()
            .len()
            > 10
    );
    let other = named.replace("install.istio.io/v1alpha1", "operator.istio.io/v1");
    let other = other.replace("IstioOperator", "IstioOperators");
    assert!(generate(&other).is_ok());
    let refusal = generate(&format!("{named}values: {{}}\n")).unwrap_err();
    assert!(refusal.contains("unknown field \"values\""), "{refusal}");
    let refusal = generate(&format!("{named}status: {{}}\n")).unwrap_err();
    assert!(refusal.contains("unknown field \"status\""), "{refusal}");
}

/// The fields that are not as expected. `expected` names objects by kind and name, and their fields by JSON pointer.
fn unlike(expected: &Value, objects: &[Value]) -> Vec<String> {
    assert!(expected.is_object(), "{expected}");
    differing(expected, |name, pointer| {
        let object = objects.iter().find(|object| title(object) == name)?;
        object.pointer(pointer).cloned()
    })
}

/// Kind and name. Upstream may render a name that is no text.
fn title(object: &Value) -> String {
    let name = &object["metadata"]["name"];
    let name = name
        .as_str()
        .map_or_else(|| name.to_string(), str::to_owned);
    format!("{} {name}", object["kind"].as_str().unwrap_or_default())
}
