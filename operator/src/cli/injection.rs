//! `istio-operator injection`: what the sidecar injector of the cluster makes of pods.

use std::path::{Path, PathBuf};

use istio_operator::dataplane::PROXY_VERSION;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::Failure;
use super::connection::{ClusterArgs, Connection, block_on};
use super::fields::{Difference, differences};
use super::input::documents_of_file;
use super::observed::said;
use super::output::{Format, Paint, Tone, complain};
use super::writes;

/// Show what the sidecar injector makes of pods, by asking the running istiod.
///
/// A file may hold pods and workloads, whose template is taken. The API server creates each pod in a dry run, once as it is and
/// once without injection, and what differs is shown. Nothing is created.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  istio-operator injection pod.yaml
  istio-operator injection -f deployment.yaml -n shop --revision canary
  kubectl get deployment web -o yaml | istio-operator injection - -o yaml")]
pub(super) struct Args {
    /// A file with pods or workloads, or - for standard input.
    #[arg(value_name = "FILE", required_unless_present = "more")]
    files: Vec<PathBuf>,
    /// A further file with pods or workloads.
    #[arg(
        short = 'f',
        long = "file",
        visible_alias = "filename",
        value_name = "FILE"
    )]
    more: Vec<PathBuf>,
    /// Ask for this revision or tag by a label of the pod, whatever label it has.
    #[arg(short, long, value_name = "NAME")]
    revision: Option<String>,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
    #[command(flatten)]
    cluster: ClusterArgs,
}

const REVISION: &str = "istio.io/rev";
/// The label and the annotation by which a pod asks for a sidecar, or for none.
const INJECT: &str = "sidecar.istio.io/inject";
/// The annotation of every injected pod.
const INJECTED: &str = "sidecar.istio.io/status";
/// What the names of volumes begin with that the API server makes up.
const TOKEN_VOLUME: &str = "kube-api-access-";

/// A pod to ask about.
struct Question {
    /// Where it comes from, such as `Deployment shop/web`.
    origin: String,
    namespace: String,
    pod: Value,
}

/// What became of a pod.
struct Answer {
    origin: String,
    /// The revision that injected it, if one did.
    revision: Option<String>,
    proxy_version: Option<String>,
    fields: Vec<Difference>,
    pod: Value,
}

pub(super) fn injection(args: &Args) -> Result<(), Failure> {
    let files = args.files.iter().chain(&args.more);
    let mut documents = Vec::new();
    for file in files {
        for document in documents_of_file(file)? {
            documents.extend(items(document).into_iter().map(|item| (file.clone(), item)));
        }
    }
    let answers = block_on(async {
        let connection = args.cluster.connect().await?;
        let mut answers = Vec::new();
        for (file, document) in &documents {
            let question = question(file, document, args, &connection)?;
            answers.push(ask(&connection, question).await?);
        }
        Ok(answers)
    })?;
    if let Some(wanted) = &args.revision {
        let others = answers.iter().filter(|answer| {
            let by = answer.revision.as_ref();
            by.is_some_and(|by| by != wanted)
        });
        for answer in others {
            complain(&format_args!(
                "{}: another revision injects it, because {wanted} is a tag of that one or the labels of the namespace decide",
                answer.origin
            ));
        }
    }
    let paint = Paint::for_stdout();
    args.output.print(
        || answers.iter().map(|answer| answer.lines(paint)).collect(),
        || answers.iter().map(Answer::value).collect(),
    )
}

/// The objects of a document, which may be a list.
fn items(mut document: Value) -> Vec<Value> {
    match document.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) => items,
        _ => vec![document],
    }
}

fn question(
    file: &Path,
    document: &Value,
    args: &Args,
    connection: &Connection,
) -> Result<Question, Failure> {
    let kind = document["kind"].as_str().unwrap_or_default();
    let name = document["metadata"]["name"].as_str().unwrap_or_default();
    let template = match kind {
        "Pod" => Some(document),
        "CronJob" => document.pointer("/spec/jobTemplate/spec/template"),
        _ => document.pointer("/spec/template"),
    };
    let template = template.filter(|template| template["spec"]["containers"].is_array());
    let Some(template) = template else {
        return Err(Failure::input(format_args!(
            "{}: {kind} {name}: expected a Pod, or a workload with spec.template",
            file.display()
        )));
    };
    let own = document["metadata"]["namespace"].as_str();
    let namespace = connection.namespace.as_deref().or(own);
    let namespace = namespace
        .unwrap_or(&connection.default_namespace)
        .to_owned();
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": if name.is_empty() { "pod" } else { name }, "namespace": namespace},
        "spec": template["spec"],
    });
    for field in ["labels", "annotations"] {
        if template["metadata"][field].is_object() {
            pod["metadata"][field] = template["metadata"][field].clone();
        }
    }
    // Where a pod has run, the API server does not create it.
    if let Some(spec) = pod["spec"].as_object_mut() {
        spec.remove("nodeName");
    }
    if let Some(revision) = &args.revision {
        pod["metadata"]["labels"][REVISION] = revision.as_str().into();
    }
    Ok(Question {
        origin: format!("{kind} {namespace}/{name}"),
        namespace,
        pod,
    })
}

async fn ask(connection: &Connection, question: Question) -> Result<Answer, Failure> {
    let mut plain = question.pod.clone();
    plain["metadata"]["labels"][INJECT] = "false".into();
    let mut plain = create(connection, &question, plain).await?;
    let injected = create(connection, &question, question.pod.clone()).await?;
    match question.pod["metadata"]["labels"].get(INJECT) {
        Some(asked) => plain["metadata"]["labels"][INJECT] = asked.clone(),
        None => {
            if let Some(labels) = plain["metadata"]["labels"].as_object_mut() {
                labels.remove(INJECT);
            }
        }
    }
    let annotation = |name: &str| injected["metadata"]["annotations"][name].as_str();
    let status = annotation(INJECTED).map(|status| {
        let status: Value = serde_json::from_str(status).unwrap_or_default();
        status["revision"].as_str().unwrap_or("default").to_owned()
    });
    Ok(Answer {
        revision: status,
        proxy_version: annotation(PROXY_VERSION).map(str::to_owned),
        fields: differences(&plain, &injected),
        origin: question.origin,
        pod: injected,
    })
}

/// What the API server would create, without what it makes up for each pod.
async fn create(
    connection: &Connection,
    question: &Question,
    pod: Value,
) -> Result<Value, Failure> {
    let Question {
        origin, namespace, ..
    } = question;
    let wrong = |error: serde_json::Error| Failure::input(format_args!("{origin}: {error}"));
    let pod: Pod = serde_json::from_value(pod).map_err(wrong)?;
    let created = writes::pod_in_dry_run(connection, namespace, &pod).await;
    let created = created.map_err(|error| {
        let hint = match &error {
            kube::Error::Api(status) if status.code == 403 => {
                "; the dry run needs the right to create pods in this namespace"
            }
            _ => "",
        };
        Failure::input(format_args!("{origin}: {}{hint}", said(&error)))
    })?;
    let mut created = serde_json::to_value(created).map_err(wrong)?;
    if let Some(fields) = created.as_object_mut() {
        fields.remove("status");
    }
    if let Some(metadata) = created["metadata"].as_object_mut() {
        metadata.retain(|key, _| !super::input::SERVER_SET.contains(&key.as_str()));
    }
    rename_tokens(&mut created);
    Ok(created)
}

/// Gives volumes of service account tokens the same name in every pod.
fn rename_tokens(node: &mut Value) {
    match node {
        Value::Object(fields) => {
            let name = fields.get_mut("name");
            if let Some(Value::String(name)) = name
                && name.starts_with(TOKEN_VOLUME)
            {
                TOKEN_VOLUME.trim_end_matches('-').clone_into(name);
            }
            fields.values_mut().for_each(rename_tokens);
        }
        Value::Array(list) => list.iter_mut().for_each(rename_tokens),
        _ => {}
    }
}

impl Answer {
    fn lines(&self, paint: Paint) -> String {
        let origin = &self.origin;
        let Some(revision) = &self.revision else {
            let text =
                format!("{origin}: no sidecar; istio-operator namespaces shows what injects where");
            return paint.text(Tone::Warning, text) + "\n";
        };
        let version = self.proxy_version.as_ref();
        let version = version.map_or_else(String::new, |version| format!(", Istio {version}"));
        let head = format!("{origin}: injected by revision {revision}{version}");
        let fields = self.fields.iter();
        let fields = fields.map(|field| format!("    {}\n", field.line(paint)));
        paint.text(Tone::Good, head) + "\n" + &fields.collect::<String>()
    }

    fn value(&self) -> Value {
        json!({
            "object": self.origin,
            "revision": self.revision,
            "proxyVersion": self.proxy_version,
            "fields": self.fields.iter().map(Difference::value).collect::<Vec<_>>(),
            "pod": self.pod,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_hold_several_objects() {
        let list = json!({"kind": "List", "items": [{"kind": "Pod"}, {"kind": "Job"}]});
        assert_eq!(items(list).len(), 2);
        assert_eq!(items(json!({"kind": "Pod"})), [json!({"kind": "Pod"})]);
    }

    #[test]
    fn made_up_names_of_volumes_do_not_differ() {
        let mut pod = json!({"spec": {
            "volumes": [{"name": "kube-api-access-x7z9d"}, {"name": "data"}],
            "containers": [{"name": "a", "volumeMounts": [{"name": "kube-api-access-x7z9d"}]}],
        }});
        rename_tokens(&mut pod);
        let text = pod.to_string();
        assert!(!text.contains("x7z9d") && text.contains("data"), "{text}");
    }
}
