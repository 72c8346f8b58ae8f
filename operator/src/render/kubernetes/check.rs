//! Finds in one object what the API server would refuse.

use std::collections::BTreeSet;

use serde_json::Value;

use super::formats::{Format, share};
use super::place::{Place, Step};
use super::rules::Rule;
use super::types::{StructId, Type, is_untyped, types};
use crate::api::{format, quantity};
use crate::merge::{named, nearest};
use crate::render::{Object, ObjectKey};

/// Something in an object that the API server refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::render) struct Problem {
    /// The field of the object.
    pub place: Place,
    /// What is wrong with it.
    pub text: String,
}

/// Everything in an object that the API server would refuse for its shape.
pub(in crate::render) fn problems(object: &Object) -> Vec<Problem> {
    let key = &object.key;
    if is_untyped(&key.kind) {
        return Vec::new();
    }
    let body = object.body.value();
    let mut check = Check::default();
    if let Some(id) = types().of_object(object) {
        check.structure(id, &body);
    } else {
        let ObjectKey { group, kind, .. } = key;
        let version = format!("{group}/{}", object.version);
        let version = version.trim_start_matches('/');
        let text = format!("{kind} in {version} is no kind that charts render");
        check.report_at(&["kind"], text);
    }
    if key.namespace.is_none() && !CLUSTER_WIDE.contains(&key.kind.as_str()) {
        check.report_at(&["metadata", "namespace"], "is required".to_owned());
    }
    let format = name_format(&key.kind);
    if !format.holds(&key.name) {
        let text = unlike(format.expected(), &key.name.as_str().into());
        check.report_at(&["metadata", "name"], text);
    }
    check.problems
}

/// The kinds whose objects belong to no namespace.
const CLUSTER_WIDE: [&str; 7] = [
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "MutatingWebhookConfiguration",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "ValidatingWebhookConfiguration",
];

/// The grammar of the names of a kind.
fn name_format(kind: &str) -> Format {
    match kind {
        "Role" | "RoleBinding" | "ClusterRole" | "ClusterRoleBinding" => Format::PathSegment,
        "Service" => Format::DnsLabel,
        _ => Format::DnsName,
    }
}

/// What an error says of a value that is not as expected.
pub(super) fn unlike(expected: &str, found: &Value) -> String {
    format!("expected {expected}, found {}", named(found))
}

/// A check of one object, with the way to the value that is being looked at.
#[derive(Default)]
struct Check<'o> {
    way: Vec<Way<'o>>,
    problems: Vec<Problem>,
}

/// A step of the way. It becomes a [`Step`] where there is a problem.
#[derive(Clone, Copy)]
enum Way<'o> {
    Key(&'o str),
    Index(usize),
}

impl<'o> Check<'o> {
    fn report(&mut self, text: String) {
        self.report_below(Place::default(), text);
    }

    /// Reports a problem of the field at these keys below the current value.
    fn report_at(&mut self, keys: &[&str], text: String) {
        self.report_below(Place::of(keys), text);
    }

    fn report_below(&mut self, place: Place, text: String) {
        let way = self.way.iter().map(|step| match step {
            Way::Key(key) => Step::from(*key),
            Way::Index(index) => Step::from(*index),
        });
        let place = Place(way.chain(place.0).collect());
        self.problems.push(Problem { place, text });
    }

    fn at(&mut self, step: Way<'o>, check: impl FnOnce(&mut Self)) {
        self.way.push(step);
        check(self);
        self.way.pop();
    }

    /// Checks a value that is not null.
    fn value(&mut self, kind: &Type, value: &'o Value) {
        match (kind, value) {
            (Type::Struct(id), _) => self.structure(*id, value),
            (Type::List(element), Value::Array(list)) => self.list(element, list),
            (Type::Map(element), Value::Object(map)) => {
                for (key, value) in map.iter().filter(|(_, value)| !value.is_null()) {
                    self.at(Way::Key(key), |check| check.value(element, value));
                }
            }
            _ if kind.holds(value) => {}
            _ => self.report(unlike(kind.expected(), value)),
        }
    }

    fn list(&mut self, element: &Type, list: &'o [Value]) {
        for (index, value) in list.iter().enumerate() {
            // A null among texts is an empty one.
            let counts = !value.is_null() || matches!(element, Type::Struct(_));
            if counts {
                self.at(Way::Index(index), |check| check.value(element, value));
            }
        }
    }

    fn structure(&mut self, id: StructId, value: &'o Value) {
        let structure = types().get(id);
        let Value::Object(map) = value else {
            return self.report(unlike("an object", value));
        };
        let before = self.problems.len();
        for (key, value) in map {
            match structure.fields.get(key.as_str()) {
                None => {
                    let names: Vec<&str> = structure.fields.keys().copied().collect();
                    let meant = nearest(key, &names);
                    let hint =
                        meant.map_or(String::new(), |name| format!(", did you mean {name}?"));
                    self.report_at(&[key], format!("unknown field{hint}"));
                }
                Some(_) if value.is_null() => {}
                Some(field) => self.at(Way::Key(key), |check| {
                    let before = check.problems.len();
                    check.value(&field.kind, value);
                    // The rules are about values of the right type.
                    if check.problems.len() == before {
                        field.rules.iter().for_each(|rule| check.rule(rule, value));
                    }
                }),
            }
        }
        for key in &structure.required {
            if map.get(*key).is_none_or(Value::is_null) {
                self.report_at(&[key], "is required".to_owned());
            }
        }
        // Relations are about fields of the right type.
        let below = self.way.len() + 1;
        let is_sound = |problem: &Problem| problem.place.0.len() > below;
        if self.problems[before..].iter().all(is_sound) {
            for (place, text) in structure.relations.iter().flat_map(|all| all.broken(map)) {
                self.report_below(place, text);
            }
        }
    }

    fn rule(&mut self, rule: &Rule, value: &'o Value) {
        match (rule, value) {
            (Rule::Each(rule), Value::Array(list)) => {
                for (index, value) in list.iter().enumerate() {
                    self.at(Way::Index(index), |check| check.rule(rule, value));
                }
            }
            (Rule::Keys(format), Value::Object(map)) => {
                for key in map.keys().filter(|key| !format.holds(key)) {
                    self.report_at(&[key], format!("expected {}", format.expected()));
                }
            }
            (Rule::Values(format), Value::Object(map)) => {
                for (key, value) in map {
                    if !value.as_str().is_none_or(|text| format.holds(text)) {
                        self.report_at(&[key], unlike(format.expected(), value));
                    }
                }
            }
            (Rule::Keyed(keys), Value::Array(list)) => self.keyed(keys, list, true),
            (Rule::Unique(key), Value::Array(list)) => self.keyed(&[key], list, false),
            _ => {
                if let Some(expected) = rule.missed(value) {
                    self.report(unlike(&expected, value));
                }
            }
        }
    }

    /// Reports elements that have the same values of these keys as an earlier one. Without keys, elements are compared.
    fn keyed(&mut self, keys: &[&str], list: &'o [Value], counts_absent: bool) {
        let mut seen: BTreeSet<Vec<String>> = BTreeSet::new();
        for (index, element) in list.iter().enumerate() {
            let identity = |key: &&str| {
                let (key, otherwise) = key.split_once('=').unwrap_or((key, ""));
                match element.get(key) {
                    None | Some(Value::Null) => otherwise.to_owned(),
                    Some(Value::String(text)) => text.clone(),
                    Some(other) => other.to_string(),
                }
            };
            let identity: Vec<String> = match keys {
                [] => vec![element.to_string()],
                keys => keys.iter().map(identity).collect(),
            };
            if !counts_absent && identity.iter().all(String::is_empty) {
                continue;
            }
            if seen.contains(&identity) {
                let text = duplicate(keys, &identity);
                self.at(Way::Index(index), |check| check.report(text));
            } else {
                seen.insert(identity);
            }
        }
    }
}

/// What an error says of an element of a list that is like an earlier one.
fn duplicate(keys: &[&str], identity: &[String]) -> String {
    let name = |(key, value): (&&str, &String)| {
        let key = key.split('=').next().unwrap_or(key);
        format!("{key} {value}")
    };
    let what = match keys {
        [] => identity.join(" "),
        keys => {
            let parts: Vec<String> = keys.iter().zip(identity).map(name).collect();
            parts.join(" and ")
        }
    };
    format!("another element has the same {what}")
}

impl Type {
    /// What an error says that was expected.
    pub(in crate::render) fn expected(&self) -> &'static str {
        match self {
            Self::Any => "anything",
            Self::Text => "a string",
            Self::Bytes => "a string in base64",
            Self::Flag => "true or false",
            Self::Whole(32) => "a whole number of 32 bits",
            Self::Whole(_) => "a whole number",
            Self::Number => "a number",
            Self::IntOrText => "a whole number of 32 bits or a string",
            Self::Quantity => "a quantity such as 100m or 2Gi",
            Self::List(_) => "a list",
            Self::Map(_) | Self::Struct(_) => "an object",
        }
    }

    /// Whether a value is of this type, of which lists and maps may hold anything.
    pub(in crate::render) fn holds(&self, value: &Value) -> bool {
        let is_short = || {
            value
                .as_i64()
                .is_some_and(|number| i32::try_from(number).is_ok())
        };
        match self {
            Self::Any => true,
            Self::Text => value.is_string(),
            Self::Bytes => value.as_str().is_some_and(is_base64),
            Self::Flag => value.is_boolean(),
            Self::Whole(32) => is_short(),
            Self::Whole(_) => value.is_i64(),
            Self::Number => value.is_number(),
            Self::IntOrText => is_short() || value.is_string(),
            Self::Quantity => format::holds("quantity", value),
            Self::List(_) => value.is_array(),
            Self::Map(_) | Self::Struct(_) => value.is_object(),
        }
    }
}

/// Whether a text is base64 with padding. Line breaks in it are left out.
fn is_base64(text: &str) -> bool {
    let text: Vec<u8> = text.bytes().filter(|b| !b"\r\n".contains(b)).collect();
    let padding = text.iter().rev().take_while(|b| **b == b'=').count();
    let digits = &text[..text.len() - padding];
    let is_digit = |b: &u8| b.is_ascii_alphanumeric() || b"+/".contains(b);
    text.len().is_multiple_of(4) && padding <= 2 && digits.iter().all(is_digit)
}

impl Rule {
    /// What was expected of a value that breaks this rule.
    fn missed(&self, value: &Value) -> Option<String> {
        let text = value.as_str();
        let number = value.as_i64();
        let (holds, expected) = match self {
            Self::Word(words) => (text.is_none_or(|text| words.contains(&text)), one_of(words)),
            Self::OneOf(words) => (
                text.is_none_or(|text| text.is_empty() || words.contains(&text)),
                one_of(words),
            ),
            Self::Range(low, high) => (
                number.is_none_or(|number| (*low..=*high).contains(&number)),
                range(*low, *high),
            ),
            Self::Is(format) => (
                text.is_none_or(|text| format.holds(text)),
                format.expected().to_owned(),
            ),
            Self::IfAny(format) => (
                text.is_none_or(|text| text.is_empty() || format.holds(text)),
                format.expected().to_owned(),
            ),
            Self::Port => (is_port(value), PORT.to_owned()),
            Self::OptionalPort => (
                is_port(value) || number == Some(0) || text == Some(""),
                PORT.to_owned(),
            ),
            Self::Share(most) => (
                match (number, text) {
                    (Some(number), _) => number >= 0,
                    (None, Some(text)) => share(text).is_some_and(|share| share <= *most),
                    (None, None) => true,
                },
                "a number of at least 0 or a share such as 25%".to_owned(),
            ),
            Self::Positive => (
                quantity::amount(value).is_none_or(|amount| amount > 0),
                "a quantity above 0".to_owned(),
            ),
            Self::Filled => {
                let is_empty = match value {
                    Value::Array(list) => list.is_empty(),
                    Value::Object(map) => map.is_empty(),
                    _ => false,
                };
                (!is_empty, "at least one element".to_owned())
            }
            Self::Each(_) | Self::Keys(_) | Self::Values(_) | Self::Keyed(_) | Self::Unique(_) => {
                return None;
            }
        };
        (!holds).then_some(expected)
    }
}

const PORT: &str = "a number from 1 to 65535 or the name of a port";

fn is_port(value: &Value) -> bool {
    match value {
        Value::String(name) => Format::PortName.holds(name),
        number => number
            .as_i64()
            .is_none_or(|number| (1..=65535).contains(&number)),
    }
}

fn one_of(words: &[&str]) -> String {
    format!("one of {}", words.join(", "))
}

fn range(low: i64, high: i64) -> String {
    match high {
        i64::MAX => format!("a number of at least {low}"),
        high => format!("a number from {low} to {high}"),
    }
}
