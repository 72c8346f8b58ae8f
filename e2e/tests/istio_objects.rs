//! An API server with our CRDs judges Istio's objects as it should, in every minor.
//!
//! A control plane walks through the minors as an upgrade does, with the CRDs that our charts give. Every object of
//! `istio-objects/` is sent to it as a dry run under strict validation; the files say which are valid, and what is wrong
//! with the others.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on may stop anywhere, and says how far it came"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::Duration,
};

use e2e::{control_plane::ControlPlane, error::Error, wait::wait_until, yaml::documents};
use istio_operator::{
    api::{IstioOperator, RawSpec},
    catalogue::parse_minor,
    charts::Charts,
    merge::{self, merge},
    render::render,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

const OBJECTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/istio-objects");

/// What every kind has at least, valid ones and invalid ones each.
const FEWEST: usize = 5;

/// Serving a changed CRD takes the API server a second at most, unless the machine is busy.
const SOON: Duration = Duration::from_mins(1);

/// Fields whose explanation is looked at, by CRD.
const EXPLAINED: [(&str, &str); 5] = [
    ("virtualservices.networking.istio.io", "spec.http"),
    (
        "destinationrules.networking.istio.io",
        "spec.trafficPolicy.loadBalancer.consistentHash",
    ),
    (
        "authorizationpolicies.security.istio.io",
        "spec.rules.from.source",
    ),
    ("telemetries.telemetry.istio.io", "spec.tracing.customTags"),
    ("wasmplugins.extensions.istio.io", "spec.pluginConfig"),
];

/// CRDs by name.
type Crds = BTreeMap<String, Value>;

/// One file of `istio-objects/`, which is named after the CRD's plural.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Objects {
    /// Of the cases that name no other version.
    api_version: String,
    kind: String,
    /// Objects that are accepted, by what they try, which is also the object's name.
    valid: BTreeMap<String, Case>,
    /// Objects that are refused.
    invalid: BTreeMap<String, Case>,
}

#[derive(Deserialize)]
struct Case {
    /// The first minor that judges so. A valid object is refused by all earlier ones, because they
    /// lack the field or have a stricter rule; of an invalid one nothing is said about them.
    since: Option<String>,
    /// Another version of the API that is served.
    version: Option<String>,
    /// What the refusal says, so that an object is not refused because of a slip of the pen.
    at: Option<String>,
    /// The object itself without what is the same in all of them.
    #[serde(flatten)]
    body: Map<String, Value>,
}

/// What an API server answers to an object: nothing if it would store it, or what is wrong, each with its field.
type Answer = Result<(), BTreeSet<String>>;

/// The CRDs equal upstream's but for descriptions, which `operator/tests/istio_crds.rs` shows, so an API server with
/// upstream's would answer the same.
#[tokio::test]
async fn objects_are_judged_as_the_files_say_in_every_minor() {
    let cluster = Cluster::start().await;
    let (charts, kinds) = (Charts::embedded().unwrap(), kinds());
    let mut wrong = Vec::new();
    for release in charts.catalogue().releases() {
        let minor = release.version.minor_text();
        let crds = rendered(&charts, &minor);
        cluster.install(&minor, &crds).await;
        let found = judge(&kinds, release.version.minor, &cluster).await;
        wrong.extend(found.into_iter().map(|text| format!("{minor} {text}")));
        cluster.check_conditions(&crds).await;
        if release.version == charts.catalogue().default_version() {
            let unknown: Vec<&String> = crds
                .keys()
                .filter(|crd| !kinds.contains_key(*crd))
                .collect();
            assert!(unknown.is_empty(), "no object tries {unknown:?}");
            cluster.check_explanations(&crds).await;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Sends every object of every kind; what is not as it should be, a sentence each.
async fn judge(kinds: &BTreeMap<String, Objects>, minor: u16, cluster: &Cluster) -> Vec<String> {
    let (mut accepted, mut refused, mut wrong) = (0, 0, Vec::new());
    for (crd, kind) in kinds {
        for (name, case, valid) in kind.cases() {
            let (path, object) = kind.request(crd, name, case);
            let answer = cluster.create(&path, &object).await;
            if let Some(sentence) = case.misjudged(valid, minor, &answer) {
                wrong.push(format!("{crd} {name}: {sentence}: {answer:?}"));
            }
            if answer.is_ok() {
                accepted += 1;
            } else {
                refused += 1;
            }
        }
    }
    println!("1.{minor}: {accepted} objects accepted, {refused} refused");
    wrong
}

/// The kinds of `istio-objects/` by the name of their CRD.
fn kinds() -> BTreeMap<String, Objects> {
    let files = fs::read_dir(OBJECTS)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let kinds = files.map(|file| {
        let kind: Objects = serde_json::from_value(read(&file)).unwrap();
        let (plural, group) = (
            file.file_stem().unwrap(),
            kind.api_version.split('/').next(),
        );
        let crd = format!("{}.{}", plural.to_str().unwrap(), group.unwrap());
        let count = (kind.valid.len(), kind.invalid.len());
        assert!(count.0 >= FEWEST && count.1 >= FEWEST, "{crd}: {count:?}");
        (crd, kind)
    });
    kinds.collect()
}

/// The only document of a YAML or JSON file.
fn read(file: &Path) -> Value {
    let text = fs::read_to_string(file).unwrap();
    documents(&file.display().to_string(), &text)
        .unwrap()
        .remove(0)
}

/// The CRDs that our charts give in one minor.
fn rendered(charts: &Charts, minor: &str) -> Crds {
    let spec = json!({"profile": "empty", "components": {"base": {"enabled": true}}});
    let merged = merge(
        &IstioOperator::new("cr", RawSpec(spec)),
        Some(minor),
        merge::Cluster::default(),
        charts,
    )
    .unwrap();
    let components = render(&merged, charts).unwrap().components;
    let objects = components
        .into_iter()
        .flat_map(|component| component.objects);
    let crds = objects.filter(|object| object.key.kind == "CustomResourceDefinition");
    crds.map(|object| (object.key.name, object.body.value()))
        .collect()
}

impl Objects {
    /// Name, content, and whether it is valid.
    fn cases(&self) -> impl Iterator<Item = (&String, &Case, bool)> {
        let valid = self.valid.iter().map(|(name, case)| (name, case, true));
        let invalid = self.invalid.iter().map(|(name, case)| (name, case, false));
        valid.chain(invalid)
    }

    /// Where an object is posted to, and the object.
    fn request(&self, crd: &str, name: &str, case: &Case) -> (String, Value) {
        let (plural, group) = crd.split_once('.').unwrap();
        let version = case.version.as_deref();
        let version = version.unwrap_or_else(|| self.api_version.rsplit('/').next().unwrap());
        let api_version = format!("{group}/{version}");
        let mut object = case.body.clone();
        object.insert("apiVersion".into(), json!(api_version));
        object.insert("kind".into(), json!(self.kind));
        object.insert("metadata".into(), json!({"name": name}));
        let path = format!("/apis/{api_version}/namespaces/default/{plural}");
        (path, object.into())
    }
}

impl Case {
    /// What is wrong with an answer of one minor, going by the file alone.
    fn misjudged(&self, valid: bool, minor: u16, answer: &Answer) -> Option<String> {
        let since = self.since.as_deref().map(|text| parse_minor(text).unwrap());
        let known = since.is_none_or(|since| minor >= since);
        match answer {
            Ok(()) if valid != known => Some("was accepted".into()),
            Err(_) if valid && known => Some("was refused".into()),
            Err(causes) if !valid && known => {
                let Some(at) = self.at.as_deref() else {
                    return Some("the file does not say at what it is refused".into());
                };
                let said = causes.iter().any(|cause| cause.contains(at));
                (!said).then(|| format!("nothing is said about {at:?}"))
            }
            _ => None,
        }
    }
}

/// A control plane with Istio's CRDs.
struct Cluster {
    plane: ControlPlane,
    client: Client,
    crds: Api<CustomResourceDefinition>,
}

impl Cluster {
    async fn start() -> Self {
        let plane = ControlPlane::start().await.unwrap();
        let client = plane.client().await.unwrap();
        let crds = Api::all(client.clone());
        Self {
            plane,
            client,
            crds,
        }
    }

    /// Brings the CRDs to one minor and waits until objects are judged by them. Because the API
    /// server goes on with the old ones for a moment, each gets a column that names its minor.
    async fn install(&self, minor: &str, crds: &Crds) {
        let mark =
            json!({"name": "Istio", "type": "string", "jsonPath": ".kind", "description": minor});
        let parameters = PatchParams::apply("istio-objects").force();
        for (name, crd) in crds {
            let mut crd = crd.clone();
            for version in crd["spec"]["versions"].as_array_mut().unwrap() {
                let columns = &mut version["additionalPrinterColumns"];
                let mut marked = columns.as_array().cloned().unwrap_or_default();
                marked.push(mark.clone());
                *columns = marked.into();
            }
            let patch = Patch::Apply(&crd);
            self.crds.patch(name, &parameters, &patch).await.unwrap();
        }
        for (name, crd) in crds {
            let what = format!("{name} of {minor} to be served");
            let marked = wait_until(&what, SOON, || async {
                let columns = self.columns(crd).await?;
                let found = columns.iter().any(|c| c["description"] == minor);
                found
                    .then_some(())
                    .ok_or(Error::Unexpected("it is not".into()))
            });
            marked.await.unwrap();
        }
    }

    /// The columns in which the API server prints objects of a CRD.
    async fn columns(&self, crd: &Value) -> Result<Vec<Value>, Error> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let spec = &crd["spec"];
        let (group, plural) = (text(&spec["group"]), text(&spec["names"]["plural"]));
        let version = text(&spec["versions"][0]["name"]);
        let request = http::Request::get(format!("/apis/{group}/{version}/{plural}"))
            .header("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
            .body(Vec::new());
        let table: Value = self.client.request(request.unwrap()).await?;
        let columns = table["columnDefinitions"].as_array().cloned();
        Ok(columns.unwrap_or_default())
    }

    /// Asks for an object without storing it.
    async fn create(&self, path: &str, object: &Value) -> Answer {
        let query = "dryRun=All&fieldValidation=Strict&fieldManager=istio-objects";
        let request = http::Request::post(format!("{path}?{query}"))
            .header("Content-Type", "application/json")
            .body(serde_json::to_vec(object).unwrap());
        match self.client.request::<Value>(request.unwrap()).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) => Err(causes(&status)),
            Err(error) => panic!("{path}: {error}"),
        }
    }

    /// Every CRD is established, and none has a schema that the API server finds incomplete.
    async fn check_conditions(&self, crds: &Crds) {
        for name in crds.keys() {
            let status = self.crds.get(name).await.unwrap().status.unwrap();
            let conditions = status.conditions.unwrap_or_default();
            let is = |kind: &str| {
                conditions
                    .iter()
                    .any(|c| c.type_ == kind && c.status == "True")
            };
            assert!(is("Established"), "{name}: {conditions:?}");
            assert!(!is("NonStructuralSchema"), "{name}: {conditions:?}");
        }
    }

    /// `kubectl explain` prints the descriptions of our charts.
    async fn check_explanations(&self, crds: &Crds) {
        for (crd, path) in EXPLAINED {
            let description = words(described(&crds[crd], path));
            let (plural, _) = crd.split_once('.').unwrap();
            let field = format!("{plural}.{path}");
            // The API server publishes what it serves a little later.
            let explained = wait_until(&field, SOON, || async {
                let text = words(&self.plane.kubectl(["explain", field.as_str()])?);
                let said = text.contains(&description);
                said.then_some(()).ok_or(Error::Unexpected(text))
            });
            explained.await.unwrap();
        }
    }
}

/// What is wrong with a refused object; in no order, because the API server knows none.
fn causes(status: &kube::core::Status) -> BTreeSet<String> {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let causes: BTreeSet<String> = causes
        .map(|cause| format!("{}: {}: {}", cause.field, cause.reason, cause.message))
        .collect();
    if causes.is_empty() {
        // Strict validation puts its complaints into one sentence.
        return status.message.split(", ").map(str::to_owned).collect();
    }
    causes
}

/// The description at a path of fields, through lists and maps as kubectl goes.
fn described<'a>(crd: &'a Value, path: &str) -> &'a str {
    let mut schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    for field in path.split('.') {
        while schema.get("properties").is_none() {
            schema = schema
                .get("items")
                .unwrap_or(&schema["additionalProperties"]);
        }
        schema = &schema["properties"][field];
    }
    schema["description"].as_str().unwrap()
}

/// A text without its line breaks.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
