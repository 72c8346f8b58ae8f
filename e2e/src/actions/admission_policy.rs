//! Admission policies that refuse chosen requests, as a cluster's own rules may do.

use serde_json::{Value, json};

use crate::{
    control_plane::ControlPlane,
    error::Error,
    wait::{SOON, wait_until},
};

/// A `ValidatingAdmissionPolicy` with its binding.
#[derive(Debug)]
pub struct AdmissionPolicy<'a> {
    plane: &'a ControlPlane,
    name: String,
}

/// Requests that a policy looks at.
#[derive(Clone, Copy, Debug)]
pub struct Requests<'a> {
    /// API group; empty for the core group.
    pub api_group: &'a str,
    /// Plural name, with subresource if that is meant: `istiooperators/status`; `*` for all.
    pub resource: &'a str,
    /// `CREATE`, `UPDATE`, `DELETE`; a patch is one of the first two.
    pub operations: &'a [&'a str],
    /// Which of them are refused, in CEL: `true`, `object.metadata.name == 'istiod'` or
    /// `request.userInfo.username.endsWith(':istio-operator')`. There is no `object` in a deletion, only `oldObject`.
    pub condition: &'a str,
}

impl Requests<'static> {
    /// Every Deployment that is made.
    pub const NEW_DEPLOYMENTS: Self = Self {
        api_group: "apps",
        resource: "deployments",
        operations: &["CREATE"],
        condition: "true",
    };
}

impl<'a> AdmissionPolicy<'a> {
    /// Refuses requests, with 422 and `message`, until [`AdmissionPolicy::lift`]. Waits until the API server does so.
    pub async fn refuse(
        plane: &'a ControlPlane,
        name: &str,
        requests: Requests<'_>,
        message: &str,
    ) -> Result<Self, Error> {
        let name = name.to_owned();
        let policy = Self { plane, name };
        plane.apply(&policy.object(requests, message).to_string())?;
        plane.apply(&policy.binding().to_string())?;
        let what = format!("the admission policy {} to work", policy.name);
        wait_until(&what, SOON, || async {
            match policy.probe() {
                Ok(_) => Err("its probe is admitted".to_owned()),
                Err(refused) if refused.to_string().contains(message) => Ok(()),
                Err(other) => Err(other.to_string()),
            }
        })
        .await?;
        Ok(policy)
    }

    /// Deletes the policy and waits until the API server no longer refuses anything by it.
    pub async fn lift(self) -> Result<(), Error> {
        let binding = "validatingadmissionpolicybindings";
        for kind in [binding, "validatingadmissionpolicies"] {
            self.plane.kubectl(["delete", kind, &self.name])?;
        }
        let what = format!("the admission policy {} to end", self.name);
        wait_until(&what, SOON, || async { self.probe().map(drop) }).await
    }

    /// Tries to create a `ConfigMap` that the policy refuses too, because what it is for must not be tried.
    fn probe(&self) -> Result<String, Error> {
        let object = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": self.probe_name(), "namespace": "default"},
        });
        let create = ["create", "--dry-run=server", "--filename=-"];
        self.plane.kubectl_with_input(create, &object.to_string())
    }

    fn probe_name(&self) -> String {
        format!("probe-of-{}", self.name)
    }

    fn object(&self, requests: Requests<'_>, message: &str) -> Value {
        let rule = |group: &str, resource: &str, operations: &[&str]| {
            json!({
                "apiGroups": [group],
                "apiVersions": ["*"],
                "resources": [resource],
                "operations": operations,
            })
        };
        let is_probe = format!(
            "request.resource.resource == 'configmaps' && request.name == '{}'",
            self.probe_name()
        );
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": self.name},
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {"resourceRules": [
                    rule(requests.api_group, requests.resource, requests.operations),
                    rule("", "configmaps", &["CREATE"]),
                ]},
                "validations": [{
                    "expression": format!("!({is_probe} || {})", requests.in_cel()),
                    "message": message,
                }],
            },
        })
    }

    fn binding(&self) -> Value {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": self.name},
            "spec": {"policyName": self.name, "validationActions": ["Deny"]},
        })
    }
}

impl Requests<'_> {
    /// Chooses the same requests and no others, because the policy also gets those that create `ConfigMap`s.
    fn in_cel(self) -> String {
        let (resource, subresource) = self.resource.split_once('/').unwrap_or((self.resource, ""));
        // The field is absent where there is no subresource.
        let mut parts = vec![if subresource.is_empty() {
            "!has(request.subResource)".to_owned()
        } else {
            format!("has(request.subResource) && request.subResource == '{subresource}'")
        }];
        if resource != "*" {
            parts.push(format!("request.resource.resource == '{resource}'"));
        }
        if self.api_group != "*" {
            parts.push(format!("request.resource.group == '{}'", self.api_group));
        }
        let operations: Vec<_> = self
            .operations
            .iter()
            .map(|one| format!("'{one}'"))
            .collect();
        parts.push(format!("request.operation in [{}]", operations.join(", ")));
        format!("({} && ({}))", parts.join(" && "), self.condition)
    }
}
