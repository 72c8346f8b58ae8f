//! The types of Kubernetes' objects, as `types.txt` lists them.
//!
//! A test makes the list from the schemas of `k8s_openapi`. Those schemas stay out of the binary: built at run time, they would
//! take more memory than everything else that a render needs.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use super::relations::{Relation, relations};
use super::rules::{Rule, rules_of};
use crate::render::Object;

/// What a field holds.
#[derive(Debug)]
pub(in crate::render) enum Type {
    /// Anything.
    Any,
    /// A string.
    Text,
    /// A string that spells bytes in base64.
    Bytes,
    /// `true` or `false`.
    Flag,
    /// A whole number of so many bits.
    Whole(u8),
    /// A number.
    Number,
    /// A whole number of 32 bits or a string.
    IntOrText,
    /// An amount such as `100m`.
    Quantity,
    /// A list of such elements.
    List(Box<Type>),
    /// A map with any keys.
    Map(Box<Type>),
    /// A map with known fields.
    Struct(StructId),
}

/// Where a [`Struct`] stands among [`Types`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::render) struct StructId(usize);

/// A map with known fields.
#[derive(Debug, Default)]
pub(in crate::render) struct Struct {
    /// Its fields.
    pub fields: BTreeMap<&'static str, Field>,
    /// The fields that may not be absent.
    pub required: Vec<&'static str>,
    /// What has to hold between its fields.
    pub relations: Vec<&'static Relation>,
}

/// A field of a struct.
#[derive(Debug)]
pub(in crate::render) struct Field {
    /// What it holds.
    pub kind: Type,
    /// What has to hold of its value beside its type.
    pub rules: Vec<&'static Rule>,
}

/// The types of all kinds that charts render.
#[derive(Debug)]
pub(in crate::render) struct Types {
    structs: Vec<Struct>,
    by_name: HashMap<&'static str, StructId>,
}

/// Kinds that no Kubernetes serves by itself.
const UNTYPED: [&str; 1] = ["NetworkAttachmentDefinition"];

/// A line is the name of a struct, or, indented, one of its fields: its name, `!` if it is required, and its type.
const LIST: &str = include_str!("types.txt");

static TYPES: LazyLock<Types> = LazyLock::new(|| read(LIST));

/// The types of all kinds that charts render.
pub(in crate::render) fn types() -> &'static Types {
    &TYPES
}

/// Whether objects of this kind are taken as they are.
pub(in crate::render) fn is_untyped(kind: &str) -> bool {
    UNTYPED.contains(&kind)
}

impl Types {
    /// The type of an object; none if its kind is taken as it is, or is not known.
    pub fn of_object(&self, object: &Object) -> Option<StructId> {
        let key = &object.key;
        self.of_kind(&key.group, &object.version, &key.kind)
            .filter(|_| !is_untyped(&key.kind))
    }

    fn of_kind(&self, group: &str, version: &str, kind: &str) -> Option<StructId> {
        let group = match group {
            "" => "core",
            // Names of types have the first part of the group only.
            group => group.split('.').next().unwrap_or(group),
        };
        let name = format!("{group}.{version}.{kind}");
        self.by_name.get(name.as_str()).copied()
    }

    /// The struct of this name, such as `core.v1.Container`.
    #[cfg(test)]
    pub(super) fn named(&self, name: &str) -> Option<&Struct> {
        self.by_name.get(name).map(|id| self.get(*id))
    }

    /// The struct with this id.
    pub fn get(&self, id: StructId) -> &Struct {
        &self.structs[id.0]
    }
}

fn read(list: &'static str) -> Types {
    let is_name = |line: &&str| !line.starts_with(' ');
    let names = list.lines().filter(is_name).enumerate();
    let by_name = names.map(|(index, name)| (name, StructId(index))).collect();
    let mut structs: Vec<Struct> = Vec::new();
    let mut rules = Vec::new();
    for line in list.lines() {
        if is_name(&line) {
            rules = rules_of(line);
            structs.push(Struct {
                relations: relations(line),
                ..Struct::default()
            });
        } else if let (Some(last), Some((name, kind))) =
            (structs.last_mut(), line.trim_start().split_once(' '))
        {
            let key = name.trim_end_matches('!');
            if key != name {
                last.required.push(key);
            }
            let kind = type_of(kind, &by_name);
            let rules = rules.iter().filter(|(fields, _)| fields.contains(&key));
            let rules = rules.map(|(_, rule)| *rule).collect();
            last.fields.insert(key, Field { kind, rules });
        }
    }
    Types { structs, by_name }
}

fn type_of(words: &str, by_name: &HashMap<&str, StructId>) -> Type {
    let inner = |words| Box::new(type_of(words, by_name));
    if let Some(element) = words.strip_prefix("list of ") {
        return Type::List(inner(element));
    }
    if let Some(value) = words.strip_prefix("map of ") {
        return Type::Map(inner(value));
    }
    match words {
        "text" => Type::Text,
        "bytes" => Type::Bytes,
        "flag" => Type::Flag,
        "int32" => Type::Whole(32),
        "int64" => Type::Whole(64),
        "number" => Type::Number,
        "int-or-text" => Type::IntOrText,
        "quantity" => Type::Quantity,
        name => by_name.get(name).map_or(Type::Any, |id| Type::Struct(*id)),
    }
}

#[cfg(test)]
mod tests;
