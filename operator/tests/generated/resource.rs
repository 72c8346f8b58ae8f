//! The CRD, and the schema of `spec` that the operator reads.

use istio_operator::api::{documented_schema, generated_crd};
use serde_json::{Value, json};

use super::{is_current, undescribed};

#[test]
fn checked_in_crd_is_current() {
    let value = serde_json::to_value(generated_crd()).unwrap();
    let yaml = serde_saphyr::to_string(&value).unwrap();
    is_current("../crds/install.istio.io_istiooperators.yaml", &yaml);
    assert!(yaml.len() < 256 * 1024, "the CRD has {} bytes", yaml.len());
}

#[test]
fn checked_in_schema_is_current() {
    let mut schema = documented_schema();
    undescribed(&mut schema);
    // One line for each type, so that changes can be read.
    let mut lines = Vec::new();
    for (name, definition) in schema["$defs"].as_object().unwrap() {
        lines.push(format!("{}: {definition}", json!(name)));
    }
    schema["$defs"] = json!({});
    let types = format!("\"$defs\":{{\n{}\n}}", lines.join(",\n"));
    let text = schema.to_string().replacen("\"$defs\":{}", &types, 1) + "\n";
    assert_eq!(
        serde_json::from_str::<Value>(&text).unwrap()["properties"],
        schema["properties"]
    );
    is_current("src/api/spec.schema.json", &text);
}
