//! How `istio-operator run` is set up: flags, and the environment variables that its Deployment sets.

use std::net::SocketAddr;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args, ValueEnum};

/// Flags of `istio-operator run`.
#[derive(Args, Clone, Debug)]
pub struct Settings {
    /// Follow the IstioOperators of these namespaces only, separated by commas.
    #[arg(
        long,
        env = "WATCH_NAMESPACE",
        value_name = "NAMESPACES",
        value_delimiter = ','
    )]
    pub watch_namespaces: Vec<String>,
    /// Install into these namespaces only, separated by commas; all if none is named.
    #[arg(
        long,
        env = "ALLOWED_NAMESPACES",
        value_name = "NAMESPACES",
        value_delimiter = ','
    )]
    pub allowed_namespaces: Vec<String>,
    /// Take images from these hubs only, such as `registry.istio.io/release`, separated by commas; all if none is named.
    #[arg(long, env = "ALLOWED_HUBS", value_name = "HUBS", value_delimiter = ',')]
    pub allowed_hubs: Vec<String>,
    /// Let overlays rename objects, add rights, and make pods privileged or reach the node, where the charts do not.
    #[arg(
        long,
        env = "ALLOW_PRIVILEGED_OVERLAYS",
        value_name = "BOOL",
        default_value = "false",
        default_missing_value = "true",
        num_args = 0..=1,
        action = ArgAction::Set,
        value_parser = BoolishValueParser::new()
    )]
    pub allow_privileged_overlays: bool,
    /// Namespace of the lease by which one operator out of several leads; without it, this one leads.
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAMESPACE")]
    pub lease_namespace: Option<String>,
    /// Name of this operator in the lease and in Events.
    #[arg(
        long,
        env = "POD_NAME",
        value_name = "NAME",
        default_value = "istio-operator"
    )]
    pub instance: String,
    /// Address of /healthz, /readyz and /metrics.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// IstioOperators that are worked on at once.
    #[arg(long, value_name = "NUMBER", default_value = "4", value_parser = clap::value_parser!(u8).range(1..))]
    pub concurrency: u8,
    /// On clusters of Google's (GKE), start from the settings that istioctl detects for them.
    #[arg(
        long,
        env = "AUTO_GKE_DETECTION",
        value_name = "BOOL",
        default_value = "true",
        action = ArgAction::Set,
        value_parser = BoolishValueParser::new()
    )]
    pub auto_gke_detection: bool,
    /// What is logged, such as `info` or `istio_operator=debug,kube=warn`; never the body of an answer.
    #[arg(long, env = "RUST_LOG", value_name = "FILTER", default_value = "info")]
    pub log: String,
    /// How it is logged.
    #[arg(
        long,
        env = "LOG_FORMAT",
        value_name = "FORMAT",
        value_enum,
        default_value = "text"
    )]
    pub log_format: LogFormat,
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One line for people.
    Text,
    /// One JSON object per line.
    Json,
}

impl Settings {
    /// The namespaces to follow; `None` means all. An empty variable names none, as in Istio's own operator.
    #[must_use]
    pub fn namespaces(&self) -> Option<Vec<String>> {
        let named = named(&self.watch_namespaces);
        (!named.is_empty()).then_some(named)
    }
}

/// The names in a list; an empty variable is a list with an empty name.
#[must_use]
pub fn named(list: &[String]) -> Vec<String> {
    let names = list.iter().map(|name| name.trim());
    let names = names.filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        settings: Settings,
    }

    fn namespaces(arguments: &[&str]) -> Option<Vec<String>> {
        let arguments = std::iter::once(&"run").chain(arguments);
        Cli::try_parse_from(arguments)
            .unwrap()
            .settings
            .namespaces()
    }

    #[test]
    fn no_namespace_means_all() {
        assert_eq!(namespaces(&["--watch-namespaces", ""]), None);
        assert_eq!(
            namespaces(&["--watch-namespaces", "a, b"]),
            Some(vec!["a".into(), "b".into()])
        );
    }

    #[test]
    fn detection_is_on_unless_switched_off() {
        let is_on = |arguments: &[&str]| {
            let arguments = std::iter::once(&"run").chain(arguments);
            let cli = Cli::try_parse_from(arguments).ok()?;
            Some(cli.settings.auto_gke_detection)
        };
        assert_eq!(is_on(&[]), Some(true));
        assert_eq!(is_on(&["--auto-gke-detection", "false"]), Some(false));
        assert_eq!(is_on(&["--auto-gke-detection=F"]), Some(false));
        assert_eq!(is_on(&["--auto-gke-detection", "maybe"]), None);
    }

    #[test]
    fn privileged_overlays_are_off_unless_switched_on() {
        let is_on = |arguments: &[&str]| {
            let arguments = std::iter::once(&"run").chain(arguments);
            let cli = Cli::try_parse_from(arguments).unwrap();
            cli.settings.allow_privileged_overlays
        };
        assert!(!is_on(&[]));
        assert!(is_on(&["--allow-privileged-overlays"]));
        assert!(!is_on(&["--allow-privileged-overlays=false"]));
    }

    #[test]
    fn at_least_one_cr_is_worked_on() {
        assert!(Cli::try_parse_from(["run", "--concurrency", "0"]).is_err());
    }
}
