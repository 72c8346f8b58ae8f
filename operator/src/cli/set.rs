//! `--set PATH=VALUE`: writes single fields of a spec.
//!
//! A path is what `istioctl` takes: `values.global.proxy.logLevel`, `components.ingressGateways[0].enabled`,
//! `k8s.env.[name:A].value`; a dot of a key is written `\.`. An index at or behind the end of a list appends to it.

use serde_json::{Map, Number, Value};

/// One step of a path.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// A key of a map.
    Key(String),
    /// An element of a list, by its position; none if it is to be appended.
    Index(Option<usize>),
    /// The element of a list that has this field.
    Element(String, String),
}

/// Fields that hold text whatever it looks like; those that end in a dot hold a map of texts.
const TEXTS: [&str; 8] = [
    "compatibilityVersion",
    "hub",
    "revision",
    "version",
    "values.compatibilityVersion",
    "values.revision",
    "meshConfig.defaultConfig.proxyMetadata.",
    "values.meshConfig.defaultConfig.proxyMetadata.",
];
/// The last key of a path whose field holds text: 1.30 is another tag than 1.3.
const TAG: &str = "tag";

/// Writes the field at `path`. The error tells what is wrong with the path.
pub(super) fn set(spec: &mut Value, path: &str, value: Value) -> Result<(), String> {
    write(spec, &steps(path)?, value)
}

/// What a text means as the value of the field at `path`: a number or a boolean if it looks like one, unless the field is
/// one for text.
pub(super) fn value_of(path: &str, text: &str) -> Value {
    if holds_text(path) {
        text.into()
    } else {
        by_looks(text)
    }
}

/// Splits an assignment into its path and its text.
pub(super) fn split(assignment: &str) -> Result<(&str, &str), String> {
    let parts = assignment.split_once('=');
    let (path, text) = parts.ok_or("expected PATH=VALUE")?;
    Ok((path.trim(), text.trim()))
}

fn holds_text(path: &str) -> bool {
    let is_text = |field: &str| path == field || field.ends_with('.') && path.starts_with(field);
    let last = path.rsplit('.').next();
    last == Some(TAG) || TEXTS.iter().any(|field| is_text(field))
}

/// Reads a text as `istioctl` does: a number, a boolean in Go's words, or text in which `\,` is a comma.
fn by_looks(text: &str) -> Value {
    let whole = text.parse::<i64>().map(Number::from).ok();
    let number = whole.or_else(|| text.parse().ok().and_then(Number::from_f64));
    if let Some(number) = number {
        return number.into();
    }
    match text {
        "t" | "T" | "true" | "True" | "TRUE" => true.into(),
        "f" | "F" | "false" | "False" | "FALSE" => false.into(),
        text => text.replace("\\,", ",").into(),
    }
}

/// The steps of a path.
fn steps(path: &str) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    let mut key = String::new();
    let mut rest = path.chars();
    let take_key = |key: &mut String, steps: &mut Vec<Step>| {
        if !key.is_empty() {
            steps.push(Step::Key(std::mem::take(key)));
        }
    };
    while let Some(c) = rest.next() {
        match c {
            '\\' if rest.as_str().starts_with('.') => key.extend(rest.next()),
            '.' => take_key(&mut key, &mut steps),
            '[' => {
                take_key(&mut key, &mut steps);
                let (inside, behind) = rest.as_str().split_once(']').ok_or("a [ is not closed")?;
                steps.push(element(&inside.replace("\\.", "."))?);
                rest = behind.chars();
            }
            c => key.push(c),
        }
    }
    take_key(&mut key, &mut steps);
    match steps.first() {
        Some(Step::Key(_)) => Ok(steps),
        _ => Err("the path does not begin with a field of the spec".to_owned()),
    }
}

/// Reads what stands in brackets.
fn element(inside: &str) -> Result<Step, String> {
    if let Some((field, value)) = inside.split_once(':') {
        return Ok(Step::Element(field.to_owned(), value.to_owned()));
    }
    match inside.parse::<i64>() {
        Ok(index) => Ok(Step::Index(usize::try_from(index).ok())),
        Err(_) => Err(format!("[{inside}] is neither an index nor [field:value]")),
    }
}

/// Writes `value` at the end of `steps`. Maps and lists that are absent are made.
fn write(at: &mut Value, steps: &[Step], value: Value) -> Result<(), String> {
    let Some((step, rest)) = steps.split_first() else {
        *at = value;
        return Ok(());
    };
    let below = match step {
        Step::Key(key) => {
            if at.is_null() {
                *at = Value::Object(Map::new());
            }
            let map = at.as_object_mut();
            let map = map.ok_or_else(|| format!("what {key} should stand in is no map"))?;
            map.entry(key).or_insert(Value::Null)
        }
        Step::Index(index) => {
            let list = list(at)?;
            let index = index.filter(|index| *index < list.len());
            let index = index.unwrap_or_else(|| {
                list.push(Value::Null);
                list.len() - 1
            });
            &mut list[index]
        }
        Step::Element(field, wanted) => {
            let mut elements = list(at)?.iter_mut();
            let found = elements.find(|element| element[&**field] == **wanted);
            found.ok_or_else(|| format!("no element has {field} {wanted}"))?
        }
    };
    write(below, rest, value)
}

fn list(at: &mut Value) -> Result<&mut Vec<Value>, String> {
    if at.is_null() {
        *at = Value::Array(Vec::new());
    }
    at.as_array_mut()
        .ok_or_else(|| "an index leads into what is no list".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn after(mut spec: Value, assignment: &str) -> Result<Value, String> {
        let (path, text) = split(assignment)?;
        set(&mut spec, path, value_of(path, text)).map(|()| spec)
    }

    #[test]
    fn a_path_leads_through_maps_and_lists() {
        for (before, assignment, expected) in [
            (json!({}), "profile=demo", json!({"profile": "demo"})),
            (
                json!({"a": {"b": 1}}),
                "a.c=2",
                json!({"a": {"b": 1, "c": 2}}),
            ),
            (json!({"a": null}), "a.b=x=y", json!({"a": {"b": "x=y"}})),
            (json!({}), r"a.b\.c/d=e", json!({"a": {"b.c/d": "e"}})),
            (json!({}), "a[0].b=1", json!({"a": [{"b": 1}]})),
            (
                json!({"a": [{"b": 1}]}),
                "a.[0].c=2",
                json!({"a": [{"b": 1, "c": 2}]}),
            ),
            (json!({"a": [1]}), "a[0]=2", json!({"a": [2]})),
            (json!({"a": [1]}), "a[7]=2", json!({"a": [1, 2]})),
            (json!({"a": [1]}), "a[-1]=2", json!({"a": [1, 2]})),
            (
                json!({"env": [{"name": "A.b"}, {"name": "B"}]}),
                r"env.[name:A\.b].value=x",
                json!({"env": [{"name": "A.b", "value": "x"}, {"name": "B"}]}),
            ),
        ] {
            assert_eq!(after(before, assignment), Ok(expected), "{assignment}");
        }
    }

    #[test]
    fn values_are_read_by_their_looks_where_the_field_is_not_one_for_text() {
        for (assignment, expected) in [
            ("a=1", json!({"a": 1})),
            ("a=+1", json!({"a": 1})),
            ("a=1.5", json!({"a": 1.5})),
            ("a=true", json!({"a": true})),
            ("a=F", json!({"a": false})),
            ("a=", json!({"a": ""})),
            ("a=null", json!({"a": "null"})),
            (r"a=x\,y", json!({"a": "x,y"})),
            ("a=inf", json!({"a": "inf"})),
            ("tag=1.30", json!({"tag": "1.30"})),
            (
                "values.pilot.tag=1.30",
                json!({"values": {"pilot": {"tag": "1.30"}}}),
            ),
            ("revision=123", json!({"revision": "123"})),
            (
                "meshConfig.defaultConfig.proxyMetadata.A=true",
                json!({"meshConfig": {"defaultConfig": {"proxyMetadata": {"A": "true"}}}}),
            ),
        ] {
            assert_eq!(after(json!({}), assignment), Ok(expected), "{assignment}");
        }
    }

    #[test]
    fn a_wrong_assignment_says_why() {
        for (assignment, why) in [
            ("a", "expected PATH=VALUE"),
            ("=1", "does not begin with a field"),
            ("[0]=1", "does not begin with a field"),
            ("a[0=1", "not closed"),
            ("a[x]=1", "neither an index nor"),
            ("text.b=1", "no map"),
            ("text[0]=1", "no list"),
            ("list.[name:b].c=1", "no element has name b"),
        ] {
            let spec = json!({"text": "x", "list": [{"name": "a"}]});
            let error = after(spec, assignment).unwrap_err();
            assert!(error.contains(why), "{assignment}: {error}");
        }
    }
}
