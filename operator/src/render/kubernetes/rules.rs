//! What the API server asks of single fields beside their type: words, ranges, grammars, and keys of lists.
//!
//! A rule is here if a user can break it with a setting, and no API server takes an object that breaks it.

mod configuration;
mod containers;
mod pods;
mod services;
mod workloads;

use super::formats::Format;

/// What has to hold of the value of a field.
#[derive(Debug)]
pub(in crate::render) enum Rule {
    /// It is one of these words.
    Word(&'static [&'static str]),
    /// As [`Rule::Word`]; an empty one counts as absent.
    OneOf(&'static [&'static str]),
    /// A number in this range.
    Range(i64, i64),
    /// A text of this grammar, which a number needs not be.
    Is(Format),
    /// As [`Rule::Is`]; an empty text counts as absent.
    IfAny(Format),
    /// A port: a number or a name.
    Port,
    /// As [`Rule::Port`]; 0 and an empty name count as absent.
    OptionalPort,
    /// A number of at least 0, or a share of at most so many percent.
    Share(u64),
    /// An amount above zero.
    Positive,
    /// A list or a map that is not empty.
    Filled,
    /// Every element of a list is so.
    Each(&'static Rule),
    /// Every key of a map is of this grammar.
    Keys(Format),
    /// Every value of a map is of this grammar.
    Values(Format),
    /// No two elements of a list have the same values of these keys. A key has a default if one is written behind `=`.
    Keyed(&'static [&'static str]),
    /// As [`Rule::Keyed`] with one key, which elements may lack.
    Unique(&'static str),
}

/// A rule of fields, by the names of their types and their own.
type Row = (&'static [&'static str], &'static [&'static str], Rule);

fn rows() -> impl Iterator<Item = &'static Row> {
    let tables = [
        configuration::ROWS,
        containers::ROWS,
        pods::ROWS,
        services::ROWS,
        workloads::ROWS,
    ];
    tables.into_iter().flatten()
}

/// The rules of the fields of a struct: the names of fields, and a rule of each.
pub(super) fn rules_of(structure: &str) -> Vec<(&'static [&'static str], &'static Rule)> {
    let about = rows().filter(|(structures, _, _)| structures.contains(&structure));
    about.map(|(_, fields, rule)| (*fields, rule)).collect()
}

const NOT_NEGATIVE: Rule = Rule::Range(0, i64::MAX);
const PORT_NUMBER: Rule = Rule::Range(1, 65535);
const PROTOCOLS: Rule = Rule::OneOf(&["TCP", "UDP", "SCTP"]);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::kubernetes::types::types;

    #[test]
    fn every_row_is_about_fields_that_exist() {
        for (structures, fields, rule) in rows() {
            for name in *structures {
                assert!(types().named(name).is_some(), "{name} {rule:?}");
            }
            for field in *fields {
                let has = |name: &&&str| {
                    let fields = &types().named(name).unwrap().fields;
                    fields.contains_key(*field)
                };
                assert!(structures.iter().any(|name| has(&name)), "{field} {rule:?}");
            }
        }
    }
}
