//! The order of a map's keys.

use std::cmp::Ordering;
use std::iter;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{IntoDeserializer, Visitor};
use serde::{Deserializer, forward_to_deserialize_any};
use serde_json::Value;

/// A value whose maps are read in the order of [`compare`].
pub(super) struct InOrder<'v>(pub &'v Value);

impl<'de> Deserializer<'de> for InOrder<'de> {
    type Error = serde_json::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match self.0 {
            Value::Object(map) => {
                let mut fields: Vec<_> = map.iter().map(|(k, v)| (k.as_str(), Self(v))).collect();
                fields.sort_by(|(one, _), (other, _)| compare(one, other));
                visitor.visit_map(MapDeserializer::new(fields.into_iter()))
            }
            Value::Array(list) => visitor.visit_seq(SeqDeserializer::new(list.iter().map(Self))),
            scalar => scalar.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'v> IntoDeserializer<'v, serde_json::Error> for InOrder<'v> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// Go's order: `v2` stands before `v10`, and `a_b` before `aB`.
///
/// Go compares `v11` with `v1a` by the last character and both with `v2` by the number, so what it makes of the
/// three is chance. Here the number always decides, which makes it an order.
fn compare(one: &str, other: &str) -> Ordering {
    elements(one).cmp(elements(other))
}

/// What keys are compared by, one after the other; the kinds stand in their order.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Element<'t> {
    Symbol(char),
    Number {
        /// Without zeros at the start.
        length: usize,
        digits: &'t str,
        /// How many digits were written.
        written: usize,
    },
    Letter(char),
}

fn elements(mut text: &str) -> impl Iterator<Item = Element<'_>> {
    iter::from_fn(move || {
        let first = text.chars().next()?;
        let after_digits = text.trim_start_matches(|c: char| c.is_ascii_digit());
        let written = text.len() - after_digits.len();
        let (start, rest) = text.split_at(written.max(first.len_utf8()));
        text = rest;
        let digits = start.trim_start_matches('0');
        Some(match first {
            _ if written > 0 => Element::Number {
                length: digits.len(),
                digits,
                written,
            },
            letter if letter.is_alphabetic() => Element::Letter(letter),
            symbol => Element::Symbol(symbol),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stand_as_go_sorts_them() {
        let sorted = [
            "", "1", "2", "10", "A_b", "A1", "AB", "a-b", "a.b", "a_", "a1", "a1-", "a1a", "a01",
            "a2", "a10-", "a010", "a11", "a11b", "a100", "aB", "ab", "ключ",
        ];
        for (index, one) in sorted.iter().enumerate() {
            for (other_index, other) in sorted.iter().enumerate() {
                assert_eq!(
                    compare(one, other),
                    index.cmp(&other_index),
                    "{one:?} {other:?}"
                );
            }
        }
    }
}
