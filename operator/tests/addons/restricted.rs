//! The pod security standard `restricted`, and what we promise beyond it.

use serde_json::{Value, json};

/// Says what is wrong with the pod of a Deployment.
pub fn check(deployment: &Value) -> Result<(), String> {
    let pod = &deployment["spec"]["template"]["spec"];
    let mut wrong = Vec::new();
    let mut expect = |what: &str, found: &Value, expected: Value| {
        if *found != expected {
            wrong.push(format!("{what} is {found} instead of {expected}"));
        }
    };
    let security = &pod["securityContext"];
    expect("runAsNonRoot", &security["runAsNonRoot"], json!(true));
    expect(
        "seccompProfile",
        &security["seccompProfile"],
        json!({"type": "RuntimeDefault"}),
    );
    expect("hostNetwork", &pod["hostNetwork"], Value::Null);
    for container in pod["containers"].as_array().unwrap() {
        let expected = json!({
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        });
        expect("securityContext", &container["securityContext"], expected);
        for side in [
            "/resources/requests/cpu",
            "/resources/requests/memory",
            "/resources/limits/memory",
        ] {
            let is_set = container.pointer(side).is_some_and(Value::is_string);
            expect(side, &is_set.into(), json!(true));
        }
    }
    for volume in pod["volumes"].as_array().into_iter().flatten() {
        if let Some(directory) = volume.get("emptyDir") {
            expect(
                "a size limit",
                &directory["sizeLimit"].is_string().into(),
                json!(true),
            );
        } else {
            let is_allowed = ["configMap", "secret", "persistentVolumeClaim"]
                .iter()
                .any(|kind| volume.get(kind).is_some());
            expect("a volume that is allowed", &is_allowed.into(), json!(true));
        }
    }
    let name = deployment["metadata"]["name"].as_str().unwrap();
    expect(
        "serviceAccountName",
        &pod["serviceAccountName"],
        json!(name),
    );
    let talks = ["prometheus", "kiali"].contains(&name);
    expect(
        "automountServiceAccountToken",
        &pod["automountServiceAccountToken"],
        json!(talks),
    );
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.join("; "))
    }
}
