//! What a user asks about: an object and a field of it.

use istio_operator::api::{Path, names_of};
use istio_operator::render::ObjectKey;
use serde_json::Value;

/// An object that was found, and what stands behind its name.
pub(super) struct Named<'a, T> {
    pub(super) found: T,
    pub(super) field: &'a str,
}

/// Finds the object that `text` begins with, as KIND/NAME or KIND/NAMESPACE/NAME; a name may have dots.
pub(super) fn find<'a, T>(
    text: &'a str,
    objects: impl Iterator<Item = (&'a ObjectKey, T)>,
) -> Result<Named<'a, T>, String> {
    let (kind, rest) = text
        .split_once('/')
        .ok_or("expected KIND/NAME or KIND/NAME.FIELD")?;
    let is_kind = |key: &ObjectKey| {
        let (known, kind) = (key.kind.to_lowercase(), kind.to_lowercase());
        kind == known || kind == format!("{known}s")
    };
    let of_kind: Vec<_> = objects.filter(|(key, _)| is_kind(key)).collect();
    if of_kind.is_empty() {
        return Err(format!("no {kind} is rendered"));
    }
    let known: Vec<_> = of_kind.iter().map(|(key, _)| key.to_string()).collect();
    let field_behind = |name: &str| {
        let field = rest.strip_prefix(name)?;
        (field.is_empty() || field.starts_with(['.', '['])).then_some(field)
    };
    let mut matches: Vec<_> = of_kind
        .into_iter()
        .filter_map(|(key, found)| {
            let namespace = key.namespace.clone().unwrap_or_default();
            let field = field_behind(&format!("{namespace}/{}", key.name))
                .or_else(|| field_behind(&key.name))?;
            Some((key, Named { found, field }))
        })
        .collect();
    // The longest name is the one that is meant.
    let shortest = matches.iter().map(|(_, named)| named.field.len()).min();
    matches.retain(|(_, named)| Some(named.field.len()) == shortest);
    if matches.len() > 1 {
        let names: Vec<_> = matches.iter().map(|(key, _)| key.to_string()).collect();
        return Err(format!(
            "{text} may be {}; write KIND/NAMESPACE/NAME",
            names.join(" or ")
        ));
    }
    let found = matches.pop().map(|(_, named)| named);
    found.ok_or_else(|| {
        format!(
            "{text} is not rendered; of this kind there are {}",
            known.join(", ")
        )
    })
}

/// The field that `text` leads to, by the path that it is known by; the path of the whole object if it is empty.
pub(super) fn field<'v>(object: &'v Value, text: &str) -> Result<(Path, &'v Value), String> {
    let (mut path, mut found) = (Path::default(), object);
    let mut rest = text;
    while !rest.is_empty() {
        let (step, behind) = step(rest)?;
        let below = match found {
            Value::Object(fields) => fields.get(&step).map(|value| (path.key(&step), value)),
            Value::Array(list) => element(list, &step, &path),
            _ => None,
        };
        let Some(below) = below else {
            return Err(format!("{path} has no {step}{}", hint(found)));
        };
        (path, found) = below;
        rest = behind;
    }
    Ok((path, found))
}

/// The first step of a path and what stands behind it.
fn step(text: &str) -> Result<(String, &str), String> {
    if let Some(inside) = text.strip_prefix("[\"") {
        let (key, behind) = inside.split_once("\"]").ok_or("a [\" is not closed")?;
        return Ok((key.to_owned(), behind));
    }
    if let Some(inside) = text.strip_prefix('[') {
        let (key, behind) = inside.split_once(']').ok_or("a [ is not closed")?;
        return Ok((key.to_owned(), behind));
    }
    let text = text.strip_prefix('.').unwrap_or(text);
    let end = text.find(['.', '[']).unwrap_or(text.len());
    Ok((text[..end].to_owned(), &text[end..]))
}

/// The element of a list by its name or index.
fn element<'v>(list: &'v [Value], step: &str, path: &Path) -> Option<(Path, &'v Value)> {
    let names = names_of(list);
    let by_name = names
        .as_ref()
        .and_then(|names| names.iter().position(|name| *name == step));
    let index = by_name.or_else(|| step.parse().ok())?;
    let value = list.get(index)?;
    let path = names.map_or_else(|| path.index(index), |names| path.element(names[index]));
    Some((path, value))
}

fn hint(found: &Value) -> String {
    let known: Vec<_> = match found {
        Value::Object(fields) => fields.keys().cloned().collect(),
        Value::Array(list) => match names_of(list) {
            Some(names) => names.into_iter().map(str::to_owned).collect(),
            None => vec![format!("{} elements", list.len())],
        },
        _ => return String::new(),
    };
    format!("; it has {}", known.join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key(namespace: Option<&str>, name: &str) -> ObjectKey {
        ObjectKey {
            group: String::new(),
            kind: "Service".to_owned(),
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
        }
    }

    #[test]
    fn the_longest_name_is_meant() {
        let keys = [
            key(Some("a"), "x"),
            key(Some("a"), "x.y"),
            key(Some("b"), "x"),
            key(None, "z"),
        ];
        let find = |text: &'static str| {
            let objects = keys.iter().map(|key| (key, key.to_string()));
            find(text, objects).map(|named| format!("{} {}", named.found, named.field))
        };
        assert_eq!(find("service/z.spec").unwrap(), "Service z .spec");
        assert_eq!(find("Services/x.y.spec").unwrap(), "Service a/x.y .spec");
        assert_eq!(find("Service/b/x[0]").unwrap(), "Service b/x [0]");
        assert!(
            find("Service/x")
                .unwrap_err()
                .contains("Service a/x or Service b/x")
        );
        assert!(
            find("Service/n")
                .unwrap_err()
                .contains("there are Service a/x, ")
        );
        assert_eq!(find("Pod/n").unwrap_err(), "no Pod is rendered");
    }

    #[test]
    fn fields_are_found_by_names_and_indexes() {
        let object = json!({"a": [{"name": "x", "b.c": {"d": 1}}], "e": [2]});
        let path = |text: &str| field(&object, text).map(|(path, _)| path.to_string());
        assert_eq!(path(".a[x][\"b.c\"].d").unwrap(), "a[x][\"b.c\"].d");
        assert_eq!(path(".a[0]").unwrap(), "a[x]");
        assert_eq!(path(".e[0]").unwrap(), "e[0]");
        assert_eq!(path("").unwrap(), "");
        assert_eq!(path(".a[y]").unwrap_err(), "a has no y; it has x");
        assert_eq!(path(".f").unwrap_err(), " has no f; it has a, e");
    }
}
