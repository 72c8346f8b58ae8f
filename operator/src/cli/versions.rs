//! `istio-operator versions`: prints the Istio versions that the operator installs.

use istio_operator::catalogue::{Catalogue, Release};
use serde_json::{Value, json};

use super::Failure;
use super::output::{Format, table};

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
    args.output.print(|| lines(catalogue), || list(catalogue))
}

fn lines(catalogue: &Catalogue) -> String {
    let rows = catalogue.releases().iter().map(row).collect();
    let lines = table(HEADER, rows);
    let default = catalogue.default_version();
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
