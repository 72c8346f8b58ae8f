//! `istio-operator profile`: prints what profiles say, and how they differ.

use istio_operator::api::IstioOperator;
use istio_operator::api::RawSpec;
use istio_operator::catalogue::Version;
use istio_operator::charts::Charts;
use istio_operator::merge::{Cluster, merge, profile_spec};
use serde_json::{Value, json};

use super::Failure;
use super::fields::differences;
use super::output::{Format, Paint, table};
use super::render::all;

/// Print the profiles, which an IstioOperator starts from.
#[derive(clap::Subcommand)]
#[command(after_help = "Examples:
  istio-operator profile list
  istio-operator profile dump demo --istio-version 1.28
  istio-operator profile dump ambient --path components
  istio-operator profile diff default demo")]
pub(super) enum Command {
    /// List the profiles, and what each installs.
    List {
        #[command(flatten)]
        common: Common,
        /// How to print them.
        #[arg(short, long, value_enum, default_value_t = Format::Table)]
        output: Format,
    },
    /// Print an IstioOperator that says what a profile does.
    Dump {
        /// The profile.
        #[arg(value_name = "PROFILE", default_value = "default")]
        name: String,
        /// Print this field of the spec only, such as components.pilot or values.global.
        #[arg(long, value_name = "PATH")]
        path: Option<String>,
        #[command(flatten)]
        common: Common,
        /// How to print it.
        #[arg(short, long, value_enum, default_value_t = Format::Yaml)]
        output: Format,
    },
    /// Print the fields in which two profiles differ.
    Diff {
        /// The first profile.
        #[arg(value_name = "PROFILE")]
        first: String,
        /// The second profile.
        #[arg(value_name = "OTHER")]
        second: String,
        /// End with exit code 3 if there are differences.
        #[arg(long)]
        exit_code: bool,
        #[command(flatten)]
        common: Common,
        /// How to print them.
        #[arg(short, long, value_enum, default_value_t = Format::Table)]
        output: Format,
    },
}

/// What all of these commands ask for.
#[derive(clap::Args)]
pub(super) struct Common {
    /// The Istio version, instead of the default one.
    #[arg(long, value_name = "VERSION")]
    istio_version: Option<String>,
}

pub(super) fn profile(command: &Command, charts: &Charts) -> Result<(), Failure> {
    match command {
        Command::List { common, output } => list(common.version(charts)?, *output, charts),
        Command::Dump {
            name,
            path,
            common,
            output,
        } => {
            let spec = spec(name, common.version(charts)?, charts)?;
            let dumped = match path {
                Some(path) => part(&spec, path)?.clone(),
                None => json!({
                    "apiVersion": "install.istio.io/v1alpha1",
                    "kind": "IstioOperator",
                    "spec": spec,
                }),
            };
            output.print(
                || istio_operator::charts::yaml::write(&dumped),
                || dumped.clone(),
            )
        }
        Command::Diff {
            first,
            second,
            exit_code,
            common,
            output,
        } => {
            let version = common.version(charts)?;
            let found = differences(
                &spec(first, version, charts)?,
                &spec(second, version, charts)?,
            );
            let paint = Paint::for_stdout();
            output.print(
                || found.iter().map(|one| one.line(paint) + "\n").collect(),
                || found.iter().map(super::fields::Difference::value).collect(),
            )?;
            if *exit_code && !found.is_empty() {
                return Err(Failure::Differences);
            }
            Ok(())
        }
    }
}

impl Common {
    fn version(&self, charts: &Charts) -> Result<Version, Failure> {
        let catalogue = charts.catalogue();
        let Some(wanted) = &self.istio_version else {
            return Ok(catalogue.default_version());
        };
        catalogue.version(wanted).ok_or_else(|| {
            let known = catalogue.known();
            Failure::input(format_args!(
                "--istio-version: Istio {wanted} is not known; the known minors are {known}"
            ))
        })
    }
}

fn spec(name: &str, version: Version, charts: &Charts) -> Result<Value, Failure> {
    profile_spec(name, version, charts).map_err(|error| Failure::input(error.problem))
}

/// The field at a path whose keys are separated by dots.
fn part<'v>(spec: &'v Value, path: &str) -> Result<&'v Value, Failure> {
    let mut found = spec;
    for key in path.split('.').filter(|key| !key.is_empty()) {
        let index = key.parse::<usize>().ok();
        let below = found.get(key).or_else(|| found.get(index?));
        found = below.ok_or_else(|| {
            Failure::input(format_args!(
                "--path {path}: the profile does not set {key}"
            ))
        })?;
    }
    Ok(found)
}

fn list(version: Version, output: Format, charts: &Charts) -> Result<(), Failure> {
    let mut profiles = Vec::new();
    for name in charts.profile_names() {
        let cr = IstioOperator::new("", RawSpec(json!({"profile": name})));
        let wanted = version.to_string();
        let merged = merge(&cr, Some(&wanted), Cluster::default(), charts);
        let merged = merged.map_err(|errors| all(&errors))?;
        let installed = merged.components.iter().map(|component| {
            let kind = component.kind;
            kind.gateway_key()
                .map_or_else(|| kind.spec_key().to_owned(), |_| component.name.clone())
        });
        profiles.push((name, installed.collect::<Vec<_>>()));
    }
    output.print(
        || {
            let rows = profiles.iter().map(|(name, installed)| {
                let installed = match installed.as_slice() {
                    [] => "nothing".to_owned(),
                    some => some.join(", "),
                };
                [(*name).to_owned(), installed]
            });
            table(["PROFILE", "INSTALLS"], rows.collect())
        },
        || {
            let one = |(name, installed): &(&str, Vec<String>)| json!({"name": name, "components": installed});
            json!({"version": version.to_string(), "profiles": profiles.iter().map(one).collect::<Vec<_>>()})
        },
    )
}
