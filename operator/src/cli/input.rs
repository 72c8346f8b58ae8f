//! Reads the IstioOperator that a command is about from files and flags.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::{fs, io};

use istio_operator::api::{IstioOperator, belongs_into_spec, keep_beside_spec};
use istio_operator::charts::tree::merge_over;
use istio_operator::merge::SpecKind;
use serde_json::{Map, Value, json};

use super::Failure;
use super::set::{set, split, value_of};

/// Where an IstioOperator comes from: files, the last on top, and over them single fields.
#[derive(clap::Args)]
pub(super) struct Input {
    /// A file with an IstioOperator, a directory of them, or - for standard input. Of several, the last lies on top.
    #[arg(
        short,
        long = "file",
        visible_alias = "filename",
        value_name = "FILE",
        value_delimiter = ','
    )]
    files: Vec<PathBuf>,
    /// Set a field of the spec, such as components.ingressGateways[0].enabled=false. A dot of a key is written \.
    #[arg(short, long, value_name = "PATH=VALUE")]
    set: Vec<String>,
    /// Set a field of the spec to a text, whatever it looks like.
    #[arg(long, value_name = "PATH=TEXT")]
    set_string: Vec<String>,
    /// Set a field of the spec to the text of a file.
    #[arg(long, value_name = "PATH=FILE")]
    set_file: Vec<String>,
    /// The revision, over what files and --set say.
    #[arg(short, long, value_name = "NAME")]
    revision: Option<String>,
}

impl Input {
    /// Whether no file is named and no flag sets a field.
    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty() && !self.sets_fields()
    }

    /// Whether no file is named.
    pub(super) fn is_without_files(&self) -> bool {
        self.files.is_empty()
    }

    /// The revision that a flag names.
    pub(super) fn revision(&self) -> Option<&str> {
        self.revision.as_deref()
    }

    /// The IstioOperator that files and flags make. Its spec may be anything, because `merge` checks it.
    pub(super) fn read(&self) -> Result<IstioOperator, Failure> {
        let mut cr = json!({"metadata": {}, "spec": {}});
        all(self.files.iter().map(|file| layers(file)))
            .map_err(Failure::Input)?
            .into_iter()
            .flatten()
            .for_each(|layer| merge_over(&mut cr, layer));
        self.set_fields(&mut cr["spec"])?;
        serde_json::from_value(cr)
            .map_err(|error| Failure::input(format_args!("metadata: {error}")))
    }

    fn sets_fields(&self) -> bool {
        let flags = [&self.set, &self.set_string, &self.set_file];
        self.revision.is_some() || flags.iter().any(|all| !all.is_empty())
    }

    /// Lays what the flags say over a spec.
    pub(super) fn set_fields(&self, spec: &mut Value) -> Result<(), Failure> {
        if spec.is_null() && self.sets_fields() {
            *spec = json!({});
        }
        let mut carry_out =
            |flag: &str,
             assignments: &[String],
             read: &dyn Fn(&str, &str) -> Result<Value, String>| {
                let results = assignments.iter().map(|assignment| {
                    let (path, text) = split(assignment)?;
                    set(spec, path, read(path, text)?)
                });
                let named = results.zip(assignments).map(|(result, assignment)| {
                    result.map_err(|why| vec![format!("{flag} {assignment}: {why}")])
                });
                all(named).map(drop)
            };
        let results = [
            carry_out("--set", &self.set, &|path, text| Ok(value_of(path, text))),
            carry_out("--set-string", &self.set_string, &|_, text| Ok(text.into())),
            carry_out("--set-file", &self.set_file, &|_, file| {
                let text = fs::read_to_string(file);
                text.map(Value::from)
                    .map_err(|error| format!("{file}: {error}"))
            }),
        ];
        all(results.into_iter()).map_err(Failure::Input)?;
        // istioctl has this word for the revision without a name.
        if let Some(revision) = self.revision.as_ref().filter(|name| *name != "default") {
            spec["revision"] = revision.as_str().into();
        }
        Ok(())
    }
}

/// An IstioOperator as its author would write it, without what the API server keeps in its metadata.
pub(super) fn written(cr: &IstioOperator) -> Result<Value, Failure> {
    let mut metadata = serde_json::to_value(&cr.metadata).map_err(Failure::input)?;
    if let Some(fields) = metadata.as_object_mut() {
        fields.retain(|key, _| !SERVER_SET.contains(&key.as_str()));
    }
    let [(_, api_version), (_, kind)] = TYPE;
    Ok(json!({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": cr.spec.0}))
}

/// All results, or the errors of all that failed.
fn all<T>(results: impl Iterator<Item = Result<T, Vec<String>>>) -> Result<Vec<T>, Vec<String>> {
    let (mut taken, mut errors) = (Vec::new(), Vec::new());
    for result in results {
        match result {
            Ok(one) => taken.push(one),
            Err(more) => errors.extend(more),
        }
    }
    if errors.is_empty() {
        Ok(taken)
    } else {
        Err(errors)
    }
}

/// The IstioOperators of a file, which has one, or of the files of a directory, which are sorted by name.
fn layers(file: &Path) -> Result<Vec<Value>, Vec<String>> {
    if file.is_dir() {
        return directory(file);
    }
    let cr = text(file).and_then(|text| decode(&text));
    let cr = cr.map_err(|problem| vec![in_file(file, problem)])?;
    Ok(vec![cr])
}

/// The IstioOperators of a directory. Objects of other kinds and files of other formats are passed over.
fn directory(dir: &Path) -> Result<Vec<Value>, Vec<String>> {
    let entries = fs::read_dir(dir).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let entries = entries.map_err(|error| vec![in_file(dir, error)])?;
    let mut files: Vec<_> = entries.into_iter().map(|entry| entry.path()).collect();
    files.retain(|file| {
        let extension = file.extension().and_then(|extension| extension.to_str());
        matches!(extension, Some("yaml" | "yml" | "json")) && file.is_file()
    });
    files.sort();
    let found = all(files.iter().map(|file| {
        let documents = text(file).and_then(|text| documents_of(&text));
        let documents = documents.map_err(|problem| vec![in_file(file, problem)])?;
        let crs = documents
            .into_iter()
            .filter(|document| document["kind"] == KIND);
        all(crs.map(|cr| checked(cr).map_err(|problem| vec![in_file(file, problem)])))
    }))?;
    let crs: Vec<_> = found.into_iter().flatten().collect();
    let name = |cr: &Value| {
        let part = |key: &str| cr["metadata"][key].as_str().unwrap_or_default().to_owned();
        format!("{}/{}", part("namespace"), part("name"))
    };
    let mut known: BTreeSet<String> = crs.iter().map(name).collect();
    known.retain(|name| !name.ends_with('/'));
    match known.len() {
        _ if crs.is_empty() => Err(vec![in_file(dir, "no file has an IstioOperator")]),
        0 | 1 => Ok(crs),
        _ => {
            let known = known.into_iter().collect::<Vec<_>>().join(", ");
            let problem = format!("has several IstioOperators ({known}); name the files of one");
            Err(vec![in_file(dir, problem)])
        }
    }
}

fn in_file(file: &Path, problem: impl Display) -> String {
    format!("{}: {problem}", file.display())
}

fn text(file: &Path) -> Result<String, String> {
    let text = if file == Path::new("-") {
        io::read_to_string(io::stdin())
    } else {
        fs::read_to_string(file)
    };
    text.map_err(|error| error.to_string())
}

/// Reads the one IstioOperator of a file, or of standard input for `-`; also one as Istio 1.4 called it, with its spec as it is.
pub(super) fn read_old_file(file: &Path) -> Result<(IstioOperator, SpecKind), Failure> {
    let in_it = |problem: String| Failure::input(in_file(file, problem));
    let mut cr = text(file).and_then(|text| only(&text)).map_err(in_it)?;
    let kind = if is_control_plane(&cr) {
        for (field, value) in TYPE {
            cr[field] = value.into();
        }
        SpecKind::IstioControlPlane
    } else {
        SpecKind::IstioOperator
    };
    let mut cr = checked(cr).map_err(in_it)?;
    if cr["metadata"].is_null() {
        cr["metadata"] = json!({});
    }
    let cr = serde_json::from_value(cr).map_err(|error| in_it(format!("metadata: {error}")))?;
    Ok((cr, kind))
}

/// Whether a document is what Istio 1.4 had before there was an IstioOperator.
fn is_control_plane(document: &Value) -> bool {
    document["apiVersion"] == "install.istio.io/v1alpha2" && document["kind"] == "IstioControlPlane"
}

/// The documents of a file, or of standard input for `-`.
pub(super) fn documents_of_file(file: &Path) -> Result<Vec<Value>, Failure> {
    let documents = text(file).and_then(|text| documents_of(&text));
    documents.map_err(|problem| Failure::input(in_file(file, problem)))
}

/// Decodes the one IstioOperator of a YAML text.
pub(super) fn decode(text: &str) -> Result<Value, String> {
    only(text).and_then(checked)
}

/// The one document of a YAML text.
fn only(text: &str) -> Result<Value, String> {
    let documents = documents_of(text)?;
    let found = documents.len();
    let Ok([document]) = <[Value; 1]>::try_from(documents) else {
        return Err(format!(
            "expected one IstioOperator, found {found} documents"
        ));
    };
    Ok(document)
}

/// Checks that a document is an IstioOperator and has the fields of one.
fn checked(mut document: Value) -> Result<Value, String> {
    if is_control_plane(&document) {
        let problem = "an IstioControlPlane of Istio 1.4; istio-operator migrate makes an IstioOperator of it";
        return Err(problem.to_owned());
    }
    let unlike = TYPE.map(|(field, expected)| match document.get(field) {
        Some(Value::String(value)) if value == expected => None,
        Some(value) => Some(format!("{field}: expected {expected}, found {value}")),
        None => Some(format!("{field}: expected {expected}, found nothing")),
    });
    let unlike: Vec<String> = unlike.into_iter().flatten().collect();
    if !unlike.is_empty() {
        return Err(unlike.join("; "));
    }
    if let Some(fields) = document.as_object_mut() {
        move_into_spec(fields)?;
        // Nothing is laid over what is below.
        fields
            .retain(|key, value| !matches!(key.as_str(), "metadata" | "spec") || !value.is_null());
    }
    Ok(document)
}

/// Keeps the fields of the spec that stand beside it, and refuses every other one that a resource does not have: a misspelt
/// `spec` would install the default profile.
fn move_into_spec(fields: &mut Map<String, Value>) -> Result<(), String> {
    let other = fields.keys().filter(|key| !FIELDS.contains(&key.as_str()));
    for key in other.cloned().collect::<Vec<_>>() {
        if !belongs_into_spec(&key) {
            let known = FIELDS.join(", ");
            return Err(format!("{key}: unknown field; the known are {known}"));
        }
        let value = fields.remove(&key).unwrap_or_default();
        let spec = fields.entry("spec").or_insert(Value::Null);
        keep_beside_spec(spec, &key, value);
    }
    Ok(())
}

const KIND: &str = "IstioOperator";
/// What the one document of a file is.
const TYPE: [(&str, &str); 2] = [("apiVersion", "install.istio.io/v1alpha1"), ("kind", KIND)];
/// Metadata that the API server keeps.
pub(super) const SERVER_SET: [&str; 7] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
];
const FIELDS: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];

/// The documents of a YAML text that are not empty. Booleans and octal numbers are read as in YAML 1.1, as kubectl does.
pub(super) fn documents_of(text: &str) -> Result<Vec<Value>, String> {
    let options = serde_saphyr::options! {
        legacy_octal_numbers: true,
        with_snippet: false,
    };
    serde_saphyr::from_multiple_with_options(text, options)
        .map_err(|error| error.render_with_formatter(&serde_saphyr::UserMessageFormatter))
}
