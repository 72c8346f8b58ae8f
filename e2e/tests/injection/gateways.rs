//! What the real istiod creates for Gateways of the Gateway API.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
    time::Duration,
};

use e2e::{
    control_plane::ControlPlane,
    error::Error,
    host::workspace,
    istio::istiod::Istiod,
    wait::wait_until,
    yaml::{documents, stream},
};
use serde_json::{Value, json};

/// Gateways of every class, and what they refer to.
const GATEWAYS: &str = include_str!("gateways.yaml");

/// Installs whose istiods serve them, and other objects that these read.
const MESHES: &str = include_str!("meshes.yaml");

/// istiod starts to create them when it leads, a lease after its start; a busy machine gets more.
const SOON: Duration = Duration::from_mins(10);

/// A mesh: its CR, and the objects that it is installed with.
pub struct Mesh {
    pub cr: Value,
    pub objects: Vec<Value>,
}

/// The CRs of the meshes.
pub fn meshes() -> Vec<Value> {
    let mut all = documents("meshes.yaml", MESHES).unwrap();
    all.retain(is_cr);
    all
}

fn is_cr(document: &Value) -> bool {
    document["kind"] == "IstioOperator"
}

impl Mesh {
    fn text(&self, path: &str) -> Option<&str> {
        self.cr.pointer(path)?.as_str()
    }

    fn name(&self) -> &str {
        self.text("/metadata/name").unwrap()
    }

    /// The namespace that istiod runs in.
    fn namespace(&self) -> &str {
        let own = self.text("/spec/values/global/istioNamespace");
        own.unwrap_or("istio-system")
    }

    /// The namespace whose Gateways it serves.
    fn edge(&self) -> String {
        format!("edge-{}", self.name())
    }

    fn namespaces(&self) -> [Value; 2] {
        let revision = self.text("/spec/revision").unwrap_or("default");
        let platform = self.text("/spec/values/global/platform");
        // OpenShift tells each namespace which users its pods may be.
        let users = json!({"openshift.io/sa.scc.uid-range": "1000620000/10000"});
        let mesh = self.name();
        [self.namespace(), &self.edge()].map(|name| {
            json!({
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {
                    "name": name,
                    "labels": {"mesh": mesh, "istio.io/rev": revision},
                    "annotations": platform.map(|_| &users),
                },
            })
        })
    }

    /// Whether istiod creates something for a Gateway.
    fn serves(&self, gateway: &Value) -> bool {
        let class = gateway["spec"]["gatewayClassName"].as_str();
        let is_agents = class.is_some_and(|class| class.contains("agentgateway"));
        let has_agents = self.text("/spec/values/pilot/env/PILOT_ENABLE_AGENTGATEWAY");
        let tag = &gateway["metadata"]["labels"]["istio.io/rev"];
        let tags = &self.cr["spec"]["values"]["revisionTags"];
        (!is_agents || has_agents.is_some())
            && (tag.is_null() || items(tags).any(|own| own == tag))
            && gateway["spec"]["addresses"][0]["type"] != "Hostname"
    }

    async fn start(&self, plane: &ControlPlane) -> Istiod {
        let revision = self.text("/spec/revision");
        let deployment = revision.map_or_else(|| "istiod".into(), |name| format!("istiod-{name}"));
        Istiod::start(plane, self.namespace(), &deployment)
            .await
            .unwrap()
    }
}

/// Installs the meshes side by side, with the Gateways in a namespace for each, and returns what
/// istiod made of them by namespace, kind and name, without what differs from one cluster or moment
/// to the next.
pub async fn created(meshes: &[Mesh]) -> BTreeMap<String, Value> {
    let plane = ControlPlane::start().await.unwrap();
    plane.apply(&gateway_api()).unwrap();
    for mesh in meshes {
        plane.apply(&stream(&mesh.namespaces())).unwrap();
        plane.apply(&stream(&mesh.objects)).unwrap();
    }
    let mut others = documents("meshes.yaml", MESHES).unwrap();
    others.retain(|document| !is_cr(document));
    plane.apply(&stream(&others)).unwrap();
    plane
        .kubectl(["wait", "--for=condition=Established", "crd", "--all"])
        .unwrap();
    // Before istiod starts, which therefore never sees a Gateway without what it refers to.
    for mesh in meshes {
        let args = ["apply", "--server-side", "-f", "-", "-n", &mesh.edge()];
        plane.kubectl_with_input(args, GATEWAYS).unwrap();
    }
    let mut istiods = Vec::new();
    for mesh in meshes {
        istiods.push(mesh.start(&plane).await);
    }
    let (gateways, sets) = (of_kind("Gateway"), of_kind("ListenerSet"));
    wait_until("istiod to create the gateways", SOON, || {
        let logs = istiods.iter_mut().map(|istiod| {
            let log = istiod.process().log();
            fs::read_to_string(log).unwrap_or_default()
        });
        let missing = not_created(meshes, &gateways, &logs.collect::<String>());
        async move { nothing(&missing) }
    })
    .await
    .unwrap();
    wait_until("istiod to add the listener sets", SOON, || async {
        nothing(&not_added(
            meshes,
            &gateways,
            &sets,
            &list(&plane, "services")?,
        ))
    })
    .await
    .unwrap();
    let all = list(&plane, "serviceaccounts,deployments,services,hpa,pdb").unwrap();
    let mut created: BTreeMap<String, Value> = all
        .into_iter()
        .map(|object| (key(&object), portable(object)))
        .collect();
    leave_replicas_to_autoscalers(&mut created);
    created
}

fn nothing(missing: &[String]) -> Result<(), Error> {
    match missing {
        [] => Ok(()),
        missing => Err(Error::Unexpected(format!("{missing:?} are missing"))),
    }
}

/// The Gateways that istiod, in its log, does not say it has created.
fn not_created(meshes: &[Mesh], gateways: &[Value], log: &str) -> Vec<String> {
    // As JSON or as text.
    let log = log.replace(r#"","Name":""#, "/");
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '/';
    let lines = log.lines().filter(|line| line.contains("gateway updated"));
    let words = lines.flat_map(|line| line.split(|c| !is_part(c)));
    let created: BTreeSet<&str> = words.collect();
    let wanted = meshes.iter().flat_map(|mesh| {
        let served = gateways.iter().filter(|gateway| mesh.serves(gateway));
        served.map(|gateway| format!("{}/{}", mesh.edge(), name(gateway)))
    });
    wanted.filter(|name| !created.contains(&**name)).collect()
}

/// The listener sets that have a port which the Service of their Gateway has not.
fn not_added(
    meshes: &[Mesh],
    gateways: &[Value],
    sets: &[Value],
    services: &[Value],
) -> Vec<String> {
    let lacks = |mesh: &Mesh, set: &Value| {
        let parent = &set["spec"]["parentRef"]["name"];
        let gateway = gateways.iter().find(|gateway| name(gateway) == *parent);
        let is_parents = |service: &&Value| {
            let metadata = &service["metadata"];
            metadata["namespace"] == *mesh.edge() && metadata["labels"][GATEWAY] == *parent
        };
        let service = services.iter().find(is_parents).unwrap_or(&Value::Null);
        let ports: Vec<&Value> = items(&service["spec"]["ports"])
            .map(|p| &p["port"])
            .collect();
        let mut listeners = items(&set["spec"]["listeners"]);
        gateway.is_some_and(|gateway| mesh.serves(gateway))
            && listeners.any(|listener| !ports.contains(&&listener["port"]))
    };
    let all = meshes
        .iter()
        .flat_map(|mesh| sets.iter().map(move |set| (mesh, set)));
    let lacking = all.filter(|(mesh, set)| lacks(mesh, set));
    lacking
        .map(|(mesh, set)| format!("{}/{}", mesh.edge(), name(set)))
        .collect()
}

fn of_kind(kind: &str) -> Vec<Value> {
    let mut documents = documents("gateways.yaml", GATEWAYS).unwrap();
    documents.retain(|document| document["kind"] == kind);
    documents
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap()
}

/// Names the Gateway that an object was created for.
const GATEWAY: &str = "gateway.networking.k8s.io/gateway-name";

/// Autoscalers write the replicas of what they scale as soon as the controller-manager gets to it,
/// which may be before or after the objects are listed.
fn leave_replicas_to_autoscalers(created: &mut BTreeMap<String, Value>) {
    let autoscalers = created
        .values()
        .filter(|o| o["kind"] == "HorizontalPodAutoscaler");
    let scaled: Vec<String> = autoscalers
        .map(|o| named(o, &o["spec"]["scaleTargetRef"]))
        .collect();
    for key in scaled {
        if let Some(deployment) = created.get_mut(&key) {
            deployment["spec"]["replicas"] = Value::Null;
        }
    }
}

fn list(plane: &ControlPlane, kinds: &str) -> Result<Vec<Value>, Error> {
    let text = plane.kubectl(["get", kinds, "-A", "-l", GATEWAY, "-o", "json"])?;
    let list: Value = serde_json::from_str(&text).unwrap();
    Ok(list["items"].as_array().cloned().unwrap_or_default())
}

fn key(object: &Value) -> String {
    let name = &object["metadata"]["name"];
    named(object, &json!({"kind": object["kind"], "name": name}))
}

/// The name of an object of the same namespace that `of` refers to.
fn named(of: &Value, reference: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let namespace = text(&of["metadata"]["namespace"]);
    let [kind, name] = ["kind", "name"].map(|field| text(&reference[field]));
    format!("{namespace} {kind} {name}")
}

/// The object without addresses, times, counters and identities.
fn portable(mut object: Value) -> Value {
    object["status"] = Value::Null;
    for field in [
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "managedFields",
    ] {
        object["metadata"][field] = Value::Null;
    }
    object["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = Value::Null;
    for owner in items_mut(&mut object["metadata"]["ownerReferences"]) {
        owner["uid"] = Value::Null;
    }
    if object["kind"] == "Service" {
        for field in ["clusterIP", "clusterIPs", "healthCheckNodePort"] {
            object["spec"][field] = Value::Null;
        }
        for port in items_mut(&mut object["spec"]["ports"]) {
            port["nodePort"] = Value::Null;
        }
    }
    object
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn items_mut(list: &mut Value) -> impl Iterator<Item = &mut Value> {
    list.as_array_mut().into_iter().flatten()
}

/// The CRDs of the Gateway API in the version that istiod is built with.
fn gateway_api() -> String {
    let mut command = Command::new("go");
    command.args(["mod", "download", "-json", "sigs.k8s.io/gateway-api"]);
    command.current_dir(workspace::root().join("e2e/control-plane/istio"));
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let module: Value = serde_json::from_slice(&output.stdout).unwrap();
    let dir = format!("{}/config/crd/standard", module["Dir"].as_str().unwrap());
    let files = fs::read_dir(dir).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    let crds = files.iter().filter(|file| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("gateway")
    });
    let texts: Vec<String> = crds.map(|file| fs::read_to_string(file).unwrap()).collect();
    texts.join("\n---\n")
}
