//! `istio-operator versions`: prints the Istio versions that the operator installs.

use clap::ValueEnum;
use istio_operator::catalogue::{Catalogue, Release};
use istio_operator::charts::yaml;
use serde_json::{Value, json};

use super::{Failure, print};

/// Print the Istio versions that the operator installs.
///
/// Each minor stands with its newest known patch release, which a spec.version without a patch means. Newer patch releases
/// of these minors are installed too if spec.version or spec.tag names them.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  istio-operator versions
  istio-operator versions -o json | jq -r '.versions[].version'")]
pub(super) struct Args {
    /// How to print them.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// One line for each minor.
    Table,
    /// One YAML document.
    Yaml,
    /// One JSON object.
    Json,
}

/// The columns of the table.
const HEADER: [&str; 6] = [
    "VERSION",
    "RELEASED",
    "SUPPORTED UNTIL",
    "KUBERNETES",
    "TESTED ON",
    "HUB",
];

pub(super) fn versions(args: &Args, catalogue: &Catalogue) -> Result<(), Failure> {
    let text = match args.output {
        Format::Table => table(catalogue),
        Format::Yaml => yaml::write(&list(catalogue)),
        Format::Json => format!("{:#}\n", list(catalogue)),
    };
    print(&[text])
}

fn table(catalogue: &Catalogue) -> String {
    let header = HEADER.map(str::to_owned);
    let rows: Vec<_> = std::iter::once(header)
        .chain(catalogue.releases().iter().map(row))
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<_> = (0..HEADER.len()).map(width).collect();
    let line = |row: &[String; 6]| {
        let cells = row.iter().zip(&widths);
        let cells: Vec<_> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        cells.join("  ").trim_end().to_owned() + "\n"
    };
    let default = catalogue.default_version();
    let lines: String = rows.iter().map(line).collect();
    format!("{lines}\nWithout spec.version and spec.tag, {default} is installed.\n")
}

fn row(release: &Release) -> [String; 6] {
    let (oldest, newest) = release.tested;
    let end = release.end_of_life.clone();
    // Upstream supports a minor until six weeks after the release of the minor after the next one.
    let end = end.unwrap_or_else(|| format!("1.{} + 6 weeks", release.version.minor + 2));
    [
        release.version.to_string(),
        release.released.clone(),
        end,
        format!("1.{} and newer", release.kubernetes),
        format!("1.{oldest} to 1.{newest}"),
        release.hub.clone(),
    ]
}

fn list(catalogue: &Catalogue) -> Value {
    let minor = |minor: u16| format!("1.{minor}");
    let versions = catalogue.releases().iter().map(|release| {
        let (oldest, newest) = release.tested;
        json!({
            "minor": release.version.minor_text(),
            "version": release.version.to_string(),
            "released": release.released,
            "endOfLife": release.end_of_life,
            "kubernetes": {
                "oldest": minor(release.kubernetes),
                "tested": [minor(oldest), minor(newest)],
            },
            "hub": release.hub,
            "compatibilityVersions": release.compatibility,
        })
    });
    json!({
        "default": catalogue.default_version().to_string(),
        "versions": versions.collect::<Vec<_>>(),
    })
}
