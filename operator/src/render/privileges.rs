//! What a setting reaches that the charts by themselves do not: another object, more rights, the node below a pod, or the requests
//! of other namespaces.
//!
//! Overlays may write anything, and some values and fields of the `k8s` block hold parts of pods. Each is compared with what there was
//! without it. Whether it may reach that far is up to whoever runs the operator, so it is no error here.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Map, Value, json};

use crate::api::{FieldError, Path};
use crate::merge::Component;

/// Where the template of pods stands in a workload.
const POD: &str = "/spec/template/spec";
/// Fields of pods by which they share what is the node's.
const SHARED_WITH_NODE: [&str; 3] = ["hostNetwork", "hostPID", "hostIPC"];
/// Lists of containers of a pod.
pub(crate) const CONTAINERS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];
/// Values of charts that become a part of a pod as they are, and the field of the pod.
const POD_VALUES: [(&str, &str); 3] = [
    ("volumes", "volumes"),
    ("initContainers", "initContainers"),
    ("additionalContainers", "containers"),
];

/// What `after` reaches and `before` does not, in words, if both are states of one object.
pub(super) fn added(before: &Value, after: &Value) -> Vec<String> {
    let (old, new) = (identity(before), identity(after));
    if old != new {
        return vec![format!("makes it {new}")];
    }
    let mut added: Vec<_> = reach(after).difference(&reach(before)).cloned().collect();
    let known = rights(before);
    let rights = rights(after);
    let rights = rights
        .iter()
        .filter(|right| !known.iter().any(|known| known.covers(right)));
    added.extend(rights.map(|right| format!("grants {right}")));
    added
}

/// What the values and the `k8s` block of a component give its pods; `own` are the values that its chart reads.
pub(super) fn of_settings(component: &Component, own: &Value) -> Vec<FieldError> {
    let values = Path::root("spec")
        .key("values")
        .keys(component.kind.info().values_root);
    let parts = POD_VALUES.iter().map(|(value, field)| {
        let pod = json!({ *field: own.get(value) });
        (values.key(value), pod)
    });
    let security = "securityContext";
    let pod = json!({ security: component.k8s.get(security) });
    let path = component.path.key("k8s").key(security);
    let parts = parts.chain([(path, pod)]);
    let told = parts.flat_map(|(path, pod)| {
        let reached = reach_of_pod(&pod).into_iter();
        let told = move |what| FieldError::new(path.clone(), format!("has pods {what}"));
        reached.map(told).collect::<Vec<_>>()
    });
    told.collect()
}

/// What identifies an object, as people write it.
fn identity(object: &Value) -> String {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let api = text("/apiVersion").and_then(|api| api.split_once('/'));
    let kind = text("/kind").unwrap_or_default();
    let kind = api.map_or_else(|| kind.to_owned(), |(group, _)| format!("{kind}.{group}"));
    let name = text("/metadata/name").unwrap_or_default();
    match text("/metadata/namespace") {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    }
}

/// Everything that an object reaches beside rights in rules.
fn reach(object: &Value) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    if let Some(pod) = object.pointer(POD) {
        let told = reach_of_pod(pod).into_iter();
        reached.extend(told.map(|what| format!("has pods {what}")));
        let account = pod
            .get("serviceAccountName")
            .or_else(|| pod.get("serviceAccount"));
        if let Some(account) = account.and_then(Value::as_str) {
            reached.insert(format!("runs pods as the service account {account}"));
        }
    }
    if object.get("aggregationRule").is_some_and(Value::is_object) {
        reached.insert("gathers the rules of other roles (aggregationRule)".to_owned());
    }
    if let Some(role) = object.get("roleRef") {
        reached.insert(format!("binds {}", named(role)));
    }
    for subject in list(object.get("subjects")) {
        reached.insert(format!("gives its role to {}", named(subject)));
    }
    for webhook in list(object.get("webhooks")) {
        reached.extend(reach_of_webhook(webhook));
    }
    reached
}

/// Who gets the requests of a webhook, and what they are about.
fn reach_of_webhook(webhook: &Value) -> Vec<String> {
    let client = &webhook["clientConfig"];
    let receiver = match client["url"].as_str() {
        Some(url) => url.to_owned(),
        None => format!("the Service {}", named(&client["service"])),
    };
    let mut reached = vec![format!("sends requests to {receiver}")];
    for rule in list(webhook.get("rules")) {
        for (group, resource) in pairs(rule, "apiGroups", "resources") {
            reached.push(format!(
                "sends requests about {}",
                of_group(resource, group)
            ));
        }
    }
    reached
}

/// What of the node, and of the kernel, the pods of a template reach.
fn reach_of_pod(pod: &Value) -> BTreeSet<String> {
    let shared = SHARED_WITH_NODE.iter().filter(|field| pod[**field] == true);
    let mut reached: BTreeSet<_> = shared
        .map(|field| format!("share the node's ({field})"))
        .collect();
    reached.extend(reach_of_security(&pod["securityContext"]));
    for setting in list(pod["securityContext"].get("sysctls")) {
        reached.insert(format!("set the sysctl {}", text(setting, "name")));
    }
    let directories: Vec<_> = list(pod.get("volumes"))
        .filter_map(|volume| Some((volume.get("name")?, volume.get("hostPath")?)))
        .map(|(name, directory)| (name, text(directory, "path")))
        .collect();
    for (_, path) in &directories {
        reached.insert(format!("read {path} of the node (hostPath)"));
    }
    let containers = CONTAINERS.iter().flat_map(|key| list(pod.get(*key)));
    for container in containers {
        reached.extend(reach_of_security(&container["securityContext"]));
        for mount in list(container.get("volumeMounts")) {
            let of_node = directories.iter().find(|(name, _)| mount["name"] == **name);
            if let Some((_, path)) = of_node.filter(|_| mount["readOnly"] != true) {
                reached.insert(format!("write {path} of the node (hostPath)"));
            }
        }
    }
    reached
}

/// What a security context of a pod or a container allows beyond the rules for every pod (the Baseline of the Pod Security Standards).
fn reach_of_security(context: &Value) -> Vec<String> {
    let mut reached = Vec::new();
    if context["privileged"] == true {
        reached.push("be privileged".to_owned());
    }
    for capability in list(context["capabilities"].get("add")) {
        let name = capability.as_str().unwrap_or_default();
        reached.push(format!("have the capability {name}"));
    }
    if context["procMount"] == "Unmasked" {
        reached.push("see all of /proc (procMount)".to_owned());
    }
    for profile in ["seccompProfile", "appArmorProfile"] {
        if context[profile]["type"] == "Unconfined" {
            reached.push(format!("be unconfined ({profile})"));
        }
    }
    if context["windowsOptions"]["hostProcess"] == true {
        reached.push("be processes of the node (hostProcess)".to_owned());
    }
    let labels = context["seLinuxOptions"].as_object();
    for (field, value) in labels.into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        reached.push(format!("have the SELinux {field} {value:?}"));
    }
    reached
}

/// The smallest piece of a rule: one verb on one resource, of all objects or of one name.
#[derive(Debug)]
struct Right<'r> {
    verb: &'r str,
    group: &'r str,
    resource: &'r str,
    name: Option<&'r str>,
}

impl Right<'_> {
    /// Whether this right includes `other`, as the API server judges it.
    fn covers(&self, other: &Self) -> bool {
        let matches = |mine: &str, theirs: &str| mine == "*" || mine == theirs;
        matches(self.verb, other.verb)
            && matches(self.group, other.group)
            && matches(self.resource, other.resource)
            && (self.name.is_none() || self.name == other.name)
    }
}

impl fmt::Display for Right<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {}",
            self.verb,
            of_group(self.resource, self.group)
        )?;
        match self.name {
            Some(name) => write!(f, " {name}"),
            None => Ok(()),
        }
    }
}

/// The rights in the rules of a role.
fn rights(role: &Value) -> Vec<Right<'_>> {
    let mut rights = Vec::new();
    for rule in list(role.get("rules")) {
        let names: Vec<_> = strings(rule, "resourceNames").map(Some).collect();
        let names = if names.is_empty() { vec![None] } else { names };
        for verb in strings(rule, "verbs") {
            // A path outside of all groups, such as /metrics.
            let urls = strings(rule, "nonResourceURLs").map(|url| ("", url));
            for (group, resource) in pairs(rule, "apiGroups", "resources").chain(urls) {
                rights.extend(names.iter().map(|name| Right {
                    verb,
                    group,
                    resource,
                    name: *name,
                }));
            }
        }
    }
    rights
}

fn list(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}

fn strings<'v>(value: &'v Value, key: &str) -> impl Iterator<Item = &'v str> {
    list(value.get(key)).filter_map(Value::as_str)
}

/// Each of one list with each of another one.
fn pairs<'v>(
    value: &'v Value,
    first: &str,
    second: &str,
) -> impl Iterator<Item = (&'v str, &'v str)> {
    let seconds: Vec<_> = strings(value, second).collect();
    strings(value, first).flat_map(move |first| {
        let with_first = |second: &&'v str| (first, *second);
        seconds.iter().map(with_first).collect::<Vec<_>>()
    })
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn of_group(resource: &str, group: &str) -> String {
    if group.is_empty() {
        resource.to_owned()
    } else {
        format!("{resource}.{group}")
    }
}

/// The name in a reference, with its kind and namespace where it has them.
fn named(reference: &Value) -> String {
    let none = Map::new();
    let fields = reference.as_object().unwrap_or(&none);
    let text = |key| fields.get(key).and_then(Value::as_str);
    let kind = text("kind")
        .map(|kind| format!("{kind} "))
        .unwrap_or_default();
    let namespace = text("namespace").map(|name| format!("{name}/"));
    format!(
        "{kind}{}{}",
        namespace.unwrap_or_default(),
        text("name").unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(pod: &Value) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"},
            "spec": {"template": {"spec": pod}}})
    }

    #[test]
    fn what_was_there_before_is_nothing_new() {
        let agent = workload(&json!({
            "hostNetwork": true,
            "serviceAccountName": "agent",
            "volumes": [{"name": "proc", "hostPath": {"path": "/proc"}}],
            "containers": [{
                "securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}},
                "volumeMounts": [{"name": "proc", "readOnly": true}],
            }],
        }));
        assert_eq!(added(&agent, &agent), Vec::<String>::new());
        let mut writes = agent.clone();
        writes["spec"]["template"]["spec"]["containers"][0]["volumeMounts"][0]["readOnly"] =
            false.into();
        assert_eq!(
            added(&agent, &writes),
            ["has pods write /proc of the node (hostPath)"]
        );
        // A version of the same group is the same object.
        let mut older = agent.clone();
        older["apiVersion"] = "apps/v1beta1".into();
        assert!(added(&agent, &older).is_empty());
    }

    #[test]
    fn a_rule_grants_what_no_rule_before_covers() {
        let role = |rules: Value| json!({"kind": "ClusterRole", "rules": rules});
        let before = role(json!([
            {"apiGroups": ["istio.io"], "resources": ["*"], "verbs": ["get", "list"]},
            {"nonResourceURLs": ["/metrics"], "verbs": ["get"]},
        ]));
        let narrower = role(json!([
            {"apiGroups": ["istio.io"], "resources": ["gateways"], "resourceNames": ["a"], "verbs": ["list"]},
        ]));
        assert!(added(&before, &narrower).is_empty());
        let wider = role(json!([
            {"apiGroups": ["istio.io", ""], "resources": ["gateways"], "verbs": ["get"]},
            {"nonResourceURLs": ["*"], "verbs": ["get"]},
        ]));
        assert_eq!(
            added(&before, &wider),
            ["grants get of gateways", "grants get of *"]
        );
    }
}
