//! The files of digests: a column for each minor, a row for each object.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use crate::{Kind, directory};

/// The width of a column: that of a digest.
const WIDTH: usize = 16;
/// Stands where a minor does not have the object.
const NOTHING: &str = "-";
const HEAD: &str =
    "# Digests of what upstream makes, by minor. goldens/README.md says how they are made.";

/// One column of a table: names of rows, such as objects, and what stands there.
pub type Rows = BTreeMap<String, String>;

/// What differs between upstream's column and ours, a sentence each.
#[must_use]
pub fn differing_rows(upstream: &Rows, ours: &Rows) -> Vec<String> {
    let names: BTreeSet<&String> = upstream.keys().chain(ours.keys()).collect();
    let sentence = |name: &String| match (upstream.get(name), ours.get(name)) {
        (Some(expected), Some(found)) if expected == found => None,
        (Some(_), Some(_)) => Some(format!("{name}: is not what upstream has")),
        (Some(_), None) => Some(format!("{name}: is absent")),
        (None, _) => Some(format!("{name}: upstream has no such thing")),
    };
    names.into_iter().filter_map(sentence).collect()
}

/// A file of digests.
#[derive(Debug, PartialEq, Eq)]
pub struct Table {
    /// Where it lies, for messages.
    path: PathBuf,
    /// Minors in the order of the file, and their columns.
    columns: Vec<(String, Rows)>,
}

impl Table {
    /// A table of this name in `digests/`, to be written.
    #[must_use]
    pub fn new(name: &str, columns: Vec<(String, Rows)>) -> Self {
        let path = path(name);
        Self { path, columns }
    }

    /// Reads the table of this name.
    #[must_use]
    pub fn read(name: &str) -> Self {
        let path = path(name);
        let text = fs::read_to_string(&path);
        let text = text.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self {
            columns: parse(&text),
            path,
        }
    }

    /// Writes the file.
    pub fn write(&self) {
        fs::create_dir_all(self.path.parent().unwrap()).unwrap();
        fs::write(&self.path, self.text()).unwrap();
    }

    /// What upstream makes in one minor, such as `1.31`. A minor without a column is no minor to pass a test for.
    #[must_use]
    pub fn column(&self, minor: &str) -> &Rows {
        let column = self.columns.iter().find(|(name, _)| name == minor);
        let column = column.map(|(_, rows)| rows);
        column.unwrap_or_else(|| panic!("{} has no column {minor}", self.path.display()))
    }

    /// The kinds of the objects. Only the names of objects have three words.
    pub(crate) fn kinds(&self) -> BTreeSet<Kind> {
        let kind = |name: &String| {
            let [api_version, kind, name] = name.split(' ').collect::<Vec<_>>()[..] else {
                return None;
            };
            Some(Kind {
                api_version: api_version.to_owned(),
                kind: kind.to_owned(),
                is_namespaced: name.contains('/'),
            })
        };
        self.names().into_iter().filter_map(kind).collect()
    }

    fn names(&self) -> BTreeSet<&String> {
        let columns = self.columns.iter();
        columns.flat_map(|(_, rows)| rows.keys()).collect()
    }

    fn text(&self) -> String {
        let mut text = format!("{HEAD}\n");
        let minors = self.columns.iter().map(|(minor, _)| minor.as_str());
        row(&mut text, minors, "");
        for name in self.names() {
            let cells = self.columns.iter().map(|(_, rows)| rows.get(name));
            row(
                &mut text,
                cells.map(|cell| cell.map_or(NOTHING, String::as_str)),
                name,
            );
        }
        text
    }
}

fn path(name: &str) -> PathBuf {
    directory().join("digests").join(format!("{name}.txt"))
}

fn row<'a>(text: &mut String, cells: impl Iterator<Item = &'a str>, name: &str) {
    let mut line = String::new();
    cells.for_each(|cell| write!(line, "{cell:WIDTH$} ").unwrap());
    line.push_str(name);
    text.push_str(line.trim_end());
    text.push('\n');
}

fn parse(text: &str) -> Vec<(String, Rows)> {
    let mut lines = text.lines().skip_while(|line| line.starts_with('#'));
    let minors = lines.next().unwrap_or_default().split_whitespace();
    let mut columns: Vec<_> = minors
        .map(|minor| (minor.to_owned(), Rows::new()))
        .collect();
    for line in lines {
        // Cells are ASCII, so that the name begins at a fixed byte.
        let (cells, name) = line.split_at(columns.len() * (WIDTH + 1));
        let cells: Vec<_> = cells.split_whitespace().collect();
        assert_eq!(cells.len(), columns.len(), "{line}");
        for ((_, rows), cell) in columns.iter_mut().zip(cells) {
            if cell != NOTHING {
                rows.insert(name.to_owned(), cell.to_owned());
            }
        }
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ANSWER;

    #[test]
    fn a_table_is_read_as_it_was_written() {
        let rows = |rows: &[(&str, &str)]| -> Rows {
            let owned = rows.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
            owned.collect()
        };
        let old = rows(&[(ANSWER, "refused")]);
        let new = rows(&[(ANSWER, "accepted"), ("v1 Service a/b", "0123456789abcdef")]);
        let table = Table::new("x", vec![("1.24".into(), old), ("1.31".into(), new)]);
        assert_eq!(parse(&table.text()), table.columns);
        let service = Kind {
            api_version: "v1".into(),
            kind: "Service".into(),
            is_namespaced: true,
        };
        assert_eq!(table.kinds(), BTreeSet::from([service]));
    }
}
