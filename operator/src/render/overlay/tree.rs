//! An object while the patches of one overlay change it.

use std::cell::LazyCell;
use std::collections::BTreeMap;

use serde_json::Value;

use super::path::{ListIndex, key_value, list_index, scalar_pattern};
use super::pattern;

/// A value whose maps know their origin. Upstream treats them differently: a value set on a list is appended if an earlier
/// patch of the same overlay added the map around it, and replaces the list if the chart rendered it.
#[derive(Clone, Debug)]
pub(super) enum Node {
    /// Null, a boolean, a number or a string.
    Scalar(Value),
    /// A list.
    List(Vec<Node>),
    /// A map.
    Map(BTreeMap<String, Node>, Origin),
}

/// The origin of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The chart, or an earlier step of rendering.
    Object,
    /// A patch of the overlay that is being applied.
    Patch,
}

impl Node {
    /// A value whose maps all have this origin.
    pub(super) fn of(value: &Value, origin: Origin) -> Self {
        match value {
            Value::Object(map) => {
                let children = map.iter().map(|(k, v)| (k.clone(), Self::of(v, origin)));
                Self::Map(children.collect(), origin)
            }
            Value::Array(list) => Self::List(list.iter().map(|v| Self::of(v, origin)).collect()),
            scalar => Self::Scalar(scalar.clone()),
        }
    }

    /// The plain value.
    pub(super) fn into_value(self) -> Value {
        match self {
            Self::Scalar(value) => value,
            Self::List(list) => list.into_iter().map(Self::into_value).collect(),
            Self::Map(map, _) => {
                Value::Object(map.into_iter().map(|(k, v)| (k, v.into_value())).collect())
            }
        }
    }

    /// Sets the field at a path, or deletes it if `value` is null. The error says why it cannot. Missing maps on the way are
    /// created even then.
    pub(super) fn patch(&mut self, elements: &[String], value: &Value) -> Result<(), String> {
        let Some((element, rest)) = elements.split_first() else {
            return Err("the path is empty".to_owned());
        };
        match self {
            Self::Map(map, origin) => patch_map(map, *origin, element, rest, value),
            Self::List(list) => patch_list(list, element, rest, value),
            Self::Scalar(Value::Null) => {
                if list_index(element).is_some() || key_value(element).is_some() {
                    return Err(format!("there is no list that {element} could select from"));
                }
                let mut map = Self::Map(BTreeMap::new(), Origin::Patch);
                map.patch(elements, value)?;
                if !value.is_null() {
                    *self = map;
                }
                Ok(())
            }
            Self::Scalar(scalar) => Err(format!(
                "{scalar} is not a map or a list, so it has no {element}"
            )),
        }
    }

    /// The text of a scalar as Go prints it; lists and maps have none.
    fn printed(&self) -> Option<String> {
        match self {
            Self::Scalar(Value::String(text)) => Some(text.clone()),
            Self::Scalar(Value::Null) => Some("<nil>".to_owned()),
            Self::Scalar(scalar) => Some(scalar.to_string()),
            Self::List(_) | Self::Map(..) => None,
        }
    }
}

fn patch_map(
    map: &mut BTreeMap<String, Node>,
    origin: Origin,
    key: &str,
    rest: &[String],
    value: &Value,
) -> Result<(), String> {
    if let Some(next) = rest.first() {
        // A delete creates missing maps too, as upstream does.
        let child = map.entry(key.to_owned()).or_insert_with(|| {
            let is_list = origin == Origin::Patch && list_index(next).is_some();
            if is_list {
                Node::List(Vec::new())
            } else {
                Node::Map(BTreeMap::new(), origin)
            }
        });
        return child.patch(rest, value);
    }
    if value.is_null() {
        map.remove(key);
        return Ok(());
    }
    let node = Node::of(value, Origin::Patch);
    match map.get_mut(key) {
        Some(Node::List(list)) if origin == Origin::Patch => list.push(node),
        _ => {
            map.insert(key.to_owned(), node);
        }
    }
    Ok(())
}

fn patch_list(
    list: &mut Vec<Node>,
    element: &str,
    rest: &[String],
    value: &Value,
) -> Result<(), String> {
    let length = list.len();
    let index = match list_index(element) {
        Some(ListIndex::At(index)) if index < length => index,
        Some(_) if rest.is_empty() && value.is_null() => {
            return Err(format!(
                "{element} is out of range, the list has the length {length}"
            ));
        }
        Some(_) => return append(list, rest, value),
        None => find(list, element)?,
    };
    match (&mut list[index], value) {
        (child, _) if !rest.is_empty() => match child {
            Node::List(inner) => patch_inner_list(inner, rest, value),
            child => child.patch(rest, value),
        },
        (_, Value::Null) => {
            list.remove(index);
            Ok(())
        }
        (child, value) => {
            *child = Node::of(value, Origin::Patch);
            Ok(())
        }
    }
}

/// Patches below a list that is an element of a list. Upstream changes fields of its maps, but cannot set, add or remove its
/// elements.
fn patch_inner_list(list: &mut [Node], elements: &[String], value: &Value) -> Result<(), String> {
    let fixed = || Err("the elements of a list in a list cannot be changed".to_owned());
    let Some((element, rest @ [_, ..])) = elements.split_first() else {
        return fixed();
    };
    let index = match list_index(element) {
        Some(ListIndex::At(index)) if index < list.len() => index,
        Some(_) => return fixed(),
        None => find(list, element)?,
    };
    match &mut list[index] {
        Node::List(inner) => patch_inner_list(inner, rest, value),
        Node::Scalar(Value::Null) => fixed(),
        child => child.patch(rest, value),
    }
}

/// Appends an element: the value itself, or a new map that holds it.
fn append(list: &mut Vec<Node>, rest: &[String], value: &Value) -> Result<(), String> {
    let mut node = Node::of(value, Origin::Patch);
    if !rest.is_empty() {
        node = Node::Map(BTreeMap::new(), Origin::Patch);
        node.patch(rest, value)?;
    }
    if !value.is_null() {
        list.push(node);
    }
    Ok(())
}

/// The index of the first element that a selector matches.
fn find(list: &[Node], element: &str) -> Result<usize, String> {
    let expression = LazyCell::new(|| scalar_pattern(element).map(pattern::compile));
    for (index, node) in list.iter().enumerate() {
        let matches = match node {
            Node::Map(map, _) => {
                let (key, value) = key_value(element)
                    .ok_or_else(|| format!("{element} is not [key:value] or [index]"))?;
                // Go prints a missing key as `<nil>`.
                let found = map
                    .get(key)
                    .map_or_else(|| Some("<nil>".to_owned()), Node::printed);
                found.is_some_and(|text| text == value)
            }
            scalar => {
                let expression = expression
                    .as_ref()
                    .ok_or_else(|| format!("{element} is not a [selector] of a list"))?;
                // An expression that does not compile matches nothing.
                let matches = |text: String| expression.as_ref().is_some_and(|e| e.is_match(&text));
                scalar.printed().is_some_and(matches)
            }
        };
        if matches {
            return Ok(index);
        }
    }
    Err(format!("no element of the list is {element}"))
}
