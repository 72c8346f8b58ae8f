//! CRs as the API server stores them, each decoded by itself.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::beside_spec::{belongs_into_spec, keep_beside_spec};
use super::path::{FieldError, Path};
use super::resource::{IstioOperator, RawSpec};
use super::spec::DeletionPolicy;

/// A CR from the API server, which stores JSON of any depth; a reader of ours that follows it down could run out of
/// stack, so it stops at 128 levels.
///
/// Decoding never fails for a CR that the API server can store, because one that fails would hide all CRs of its list.
/// A field of the spec that is too deep is left out and named by [`StoredCr::field_errors`]. Managed fields are dropped: they
/// are as deep as the spec, and nothing here reads those of a CR.
#[derive(Clone, Debug)]
pub struct StoredCr {
    cr: IstioOperator,
    field_errors: Vec<FieldError>,
}

impl StoredCr {
    /// What to do with the installed objects when this CR is deleted; if that cannot be read, they stay.
    #[must_use]
    pub fn deletion_policy(&self) -> DeletionPolicy {
        if self.is_unreadable("deletionPolicy") {
            DeletionPolicy::Orphan
        } else {
            self.cr.deletion_policy()
        }
    }

    /// Whether a field of the spec could not be decoded, or the whole spec.
    #[must_use]
    pub fn is_unreadable(&self, field: &str) -> bool {
        let spec = Path::root("spec");
        let paths = [&spec, &spec.key(field)];
        let mut errors = self.field_errors.iter();
        errors.any(|error| paths.contains(&&error.path))
    }

    /// The fields of the spec that could not be decoded. While there are any, the spec must not be followed.
    #[must_use]
    pub fn field_errors(&self) -> &[FieldError] {
        &self.field_errors
    }
}

impl From<IstioOperator> for StoredCr {
    fn from(cr: IstioOperator) -> Self {
        let field_errors = Vec::new();
        Self { cr, field_errors }
    }
}

impl Deref for StoredCr {
    type Target = IstioOperator;

    fn deref(&self) -> &IstioOperator {
        &self.cr
    }
}

impl DerefMut for StoredCr {
    fn deref_mut(&mut self) -> &mut IstioOperator {
        &mut self.cr
    }
}

/// Fields as JSON texts. A text is skipped over without recursion, however deep it is.
type Fields = BTreeMap<String, Box<RawValue>>;

impl<'de> Deserialize<'de> for StoredCr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut fields = Fields::deserialize(deserializer)?;
        let metadata = fields.remove("metadata");
        let metadata = metadata.ok_or_else(|| Error::missing_field("metadata"))?;
        let mut metadata: Fields = read(&metadata).map_err(Error::custom)?;
        metadata.remove("managedFields");
        let metadata = serde_json::to_string(&metadata).map_err(Error::custom)?;
        let metadata = serde_json::from_str(&metadata).map_err(Error::custom)?;
        let mut field_errors = Vec::new();
        let spec = fields.remove("spec");
        let mut spec = spec.map_or(Value::Null, |spec| read_spec(&spec, &mut field_errors));
        let status = fields.remove("status");
        for (name, field) in fields.iter().filter(|(name, _)| belongs_into_spec(name)) {
            match read(field) {
                Ok(value) => keep_beside_spec(&mut spec, name, value),
                Err(error) => field_errors.push(field_error(Path::root(name), &error)),
            }
        }
        let mut cr = IstioOperator::new("", RawSpec(spec));
        cr.metadata = metadata;
        // A status that cannot be read is replaced by the next one.
        cr.status = status.and_then(|status| read(&status).ok());
        Ok(Self { cr, field_errors })
    }
}

/// Reads a spec field by field.
fn read_spec(spec: &RawValue, errors: &mut Vec<FieldError>) -> Value {
    let path = Path::root("spec");
    let Ok(fields) = read::<Fields>(spec) else {
        // No object. A text or a number can be read; a list may be too deep.
        return read(spec).unwrap_or_else(|error| {
            errors.push(field_error(path, &error));
            Value::Null
        });
    };
    let mut readable = Map::new();
    for (key, field) in fields {
        match read(&field) {
            Ok(value) => drop(readable.insert(key, value)),
            Err(error) => errors.push(field_error(path.key(&key), &error)),
        }
    }
    Value::Object(readable)
}

fn read<T: DeserializeOwned>(raw: &RawValue) -> serde_json::Result<T> {
    serde_json::from_str(raw.get())
}

/// Everything that the API server stores is JSON, so the depth is all that can be wrong, or a number without bounds.
fn field_error(path: Path, error: &serde_json::Error) -> FieldError {
    let problem = if error.to_string().starts_with("recursion limit exceeded") {
        "is nested too deeply: at most 127 levels can be read".to_owned()
    } else {
        format!("cannot be read: {error}")
    };
    FieldError::new(path, problem)
}

impl Resource for StoredCr {
    type DynamicType = ();
    type Scope = <IstioOperator as Resource>::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        IstioOperator::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        IstioOperator::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        IstioOperator::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        IstioOperator::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.cr.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.cr.metadata
    }
}

#[cfg(test)]
mod tests {
    use kube::core::{ObjectList, WatchEvent};
    use serde_json::json;

    use super::*;

    fn nested(levels: usize) -> String {
        format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels))
    }

    /// A CR whose mesh config, status and managed fields are nested this deep.
    fn cr(name: &str, levels: usize) -> String {
        let deep = nested(levels);
        format!(
            r#"{{"apiVersion": "install.istio.io/v1alpha1", "kind": "IstioOperator",
            "metadata": {{"name": "{name}", "namespace": "a", "uid": "1", "finalizers": ["b"], "managedFields":
            [{{"manager": "m", "operation": "Apply", "fieldsV1": {deep}}}]}},
            "spec": {{"profile": "minimal", "meshConfig": {deep}, "deletionPolicy": "Orphan"}},
            "status": {{"status": "HEALTHY", "other": {deep}}}}}"#
        )
    }

    #[test]
    fn a_cr_that_is_too_deep_spoils_neither_its_list_nor_its_watch() {
        for levels in [126, 128, 5_000, 100_000] {
            let (good, deep) = (cr("good", 1), cr("deep", levels));
            let list = format!(
                r#"{{"apiVersion": "install.istio.io/v1alpha1", "kind": "IstioOperatorList",
                "metadata": {{"resourceVersion": "1"}}, "items": [{deep}, {good}]}}"#
            );
            let list: ObjectList<StoredCr> = serde_json::from_str(&list).unwrap();
            let [deep_cr, good] = &list.items[..] else {
                panic!("{} items", list.items.len())
            };
            assert_eq!(good.field_errors(), []);
            assert_eq!(good.spec.0["meshConfig"], json!({"a": 1}));
            assert!(good.status.as_ref().unwrap().status.is_some());
            assert_eq!(deep_cr.metadata.finalizers, Some(vec!["b".to_owned()]));
            assert_eq!(deep_cr.deletion_policy(), DeletionPolicy::Orphan);
            let errors: Vec<_> = deep_cr
                .field_errors()
                .iter()
                .map(ToString::to_string)
                .collect();
            let expected =
                "spec.meshConfig: is nested too deeply: at most 127 levels can be read".to_owned();
            let is_too_deep = levels > 127;
            assert_eq!(errors, Vec::from_iter(is_too_deep.then_some(expected)));
            let event = format!(r#"{{"type": "MODIFIED", "object": {deep}}}"#);
            let event: WatchEvent<StoredCr> = serde_json::from_str(&event).unwrap();
            assert!(matches!(event, WatchEvent::Modified(_)));
        }
    }

    #[test]
    fn a_cr_reads_like_any_other_as_far_as_it_can_be_read() {
        let text = cr("good", 3);
        let plain: IstioOperator = serde_json::from_str(&text).unwrap();
        let mut stored: StoredCr = serde_json::from_str(&text).unwrap();
        stored
            .metadata
            .managed_fields
            .clone_from(&plain.metadata.managed_fields);
        let (stored, plain) = (serde_json::to_value(&*stored), serde_json::to_value(&plain));
        assert_eq!(stored.unwrap(), plain.unwrap());
        for (spec, read) in [
            ("", Value::Null),
            (r#", "spec": null"#, Value::Null),
            (r#", "spec": [1]"#, json!([1])),
            (r#", "spec": "text""#, json!("text")),
        ] {
            let text = format!(r#"{{"metadata": {{"name": "a"}}{spec}}}"#);
            let stored: StoredCr = serde_json::from_str(&text).unwrap();
            assert_eq!(stored.spec.0, read, "{spec}");
        }
    }

    #[test]
    fn fields_beside_the_spec_are_kept_in_it() {
        let text =
            r#"{"metadata": {"name": "a"}, "values": {"a": 1}, "spec": {"hub": "h"}, "other": 1}"#;
        let stored: StoredCr = serde_json::from_str(text).unwrap();
        assert_eq!(stored.spec.0, json!({"hub": "h", "/values": {"a": 1}}));
        let text = r#"{"metadata": {"name": "a"}, "values": {}, "spec": "text"}"#;
        let stored: StoredCr = serde_json::from_str(text).unwrap();
        assert_eq!(stored.spec.0, json!("text"));
        let text = format!(r#"{{"metadata": {{}}, "values": {}}}"#, nested(200));
        let stored: StoredCr = serde_json::from_str(&text).unwrap();
        let errors: Vec<String> = stored
            .field_errors()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            errors,
            ["values: is nested too deeply: at most 127 levels can be read"]
        );
    }

    #[test]
    fn objects_are_deleted_only_if_the_policy_can_be_read() {
        let deep = nested(200);
        let text = format!(r#"{{"metadata": {{}}, "spec": {{"deletionPolicy": {deep}}}}}"#);
        let stored: StoredCr = serde_json::from_str(&text).unwrap();
        assert_eq!(stored.deletion_policy(), DeletionPolicy::Orphan);
    }
}
