//! How results are printed: as a table for people, as YAML or as JSON.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use istio_operator::charts::yaml;
use serde_json::Value;

use super::Failure;

/// How a result is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Lines for people.
    Table,
    /// YAML.
    Yaml,
    /// JSON.
    Json,
}

impl Format {
    /// Prints `lines` as they are or `value` as one document.
    pub(super) fn print(
        self,
        lines: impl FnOnce() -> String,
        value: impl FnOnce() -> Value,
    ) -> Result<(), Failure> {
        let text = match self {
            Self::Table => lines(),
            Self::Yaml => yaml::write(&value()),
            Self::Json => format!("{:#}\n", value()),
        };
        print(&[text])
    }
}

/// Writes the parts of a result to standard output.
pub(super) fn print(parts: &[String]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    for part in parts {
        out.write_all(part.as_bytes())?;
    }
    Ok(out.flush()?)
}

/// Writes a line to standard error. If that fails too, there is nowhere left to report it.
pub(super) fn complain(line: &dyn Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Rows in columns, each as wide as its widest cell.
pub(super) fn table<const N: usize>(header: [&str; N], rows: Vec<[String; N]>) -> String {
    let header = header.map(str::to_owned);
    let rows: Vec<_> = std::iter::once(header).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<_> = (0..N).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(&widths);
        let cells: Vec<_> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        cells.join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// What a text means, which its color shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    /// As it should be, or new.
    Good,
    /// To be looked at, or changed.
    Warning,
    /// Wrong, or taken away.
    Bad,
    /// Beside the point.
    Quiet,
}

/// Colors texts if standard output is a terminal that wants it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint(bool);

impl Paint {
    /// Looks at standard output and at the environment, where `NO_COLOR` and `TERM=dumb` switch colors off.
    pub(super) fn for_stdout() -> Self {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Self(io::stdout().is_terminal() && !is_set("NO_COLOR") && !is_dumb)
    }

    /// Without colors.
    #[cfg(test)]
    pub(super) const fn plain() -> Self {
        Self(false)
    }

    /// The text in the color of its tone.
    pub(super) fn text(self, tone: Tone, text: impl Display) -> String {
        let code = match tone {
            Tone::Good => 32,
            Tone::Warning => 33,
            Tone::Bad => 31,
            Tone::Quiet => 2,
        };
        if self.0 {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_string()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = vec![["ä".into(), "1".into()], ["bcd".into(), String::new()]];
        assert_eq!(table(["A", "B"], rows), "A    B\nä    1\nbcd\n");
    }

    #[test]
    fn colors_only_where_they_are_wanted() {
        assert_eq!(Paint(false).text(Tone::Bad, "x"), "x");
        assert_eq!(Paint(true).text(Tone::Bad, "x"), "\u{1b}[31mx\u{1b}[0m");
    }
}
