//! The Go templates of each minor ask of istiod only what that minor's istiod can give: its
//! functions, and the fields of the data it hands in.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on may stop anywhere"
)]

use std::collections::BTreeSet;

use istio_operator::{
    api::{ComponentKind, IstioOperator, RawSpec},
    charts::{Charts, yaml},
    merge::{Cluster, merge},
    render::render,
};
use serde_json::{Map, Value};

/// What the language itself knows.
const LANGUAGE: &str = "and block break call continue define else end eq false ge gt html if index \
    js le len lt ne nil not or print printf println range slice template true urlquery with";

/// Functions of the library sprig 3.3 that we use; every minor's istiod has all of it.
const SPRIG: &str = "append coalesce compact concat default dict first join list merge quote rest \
    set ternary toJson toString trimAll trimSuffix trunc";

/// Functions of istiod itself, and the minor they came with; 24 stands for long before.
const ISTIOD: [(u16, &str); 3] = [
    (
        24,
        "annotation applicationPorts appendMultusNetwork contains directory env \
        excludeInboundPort excludeInterfaces formatDuration fromJSON includeInboundPorts indent \
        isset kubevirtInterfaces mergeMaps omit protoToJSON strdict structToJSON toJSON toJsonMap \
        toLower toYaml valueOrDefault",
    ),
    (28, "omitNil"),
    (30, "otelResourceAttributes"),
];

/// Fields at the top of the data that were not always there, and the minor they came with.
const FIELDS: [(u16, &str); 5] = [
    (27, "ControllerLabel"),
    (27, "NativeSidecars"),
    (28, "GatewayClass"),
    (29, "AgentgatewayImage"),
    (31, "ProxyInitImage"),
];

#[test]
fn every_template_calls_only_functions_of_its_istiod() {
    for (minor, name, template) in templates() {
        let known: BTreeSet<&str> = ISTIOD
            .into_iter()
            .filter(|(since, _)| *since <= minor)
            .chain([(0, LANGUAGE), (0, SPRIG)])
            .flat_map(|(_, names)| names.split_whitespace())
            .collect();
        let words = words(&template);
        let unknown: Vec<&String> = words
            .iter()
            .filter(|word| !word.starts_with(['.', '$']) && !known.contains(word.as_str()))
            .collect();
        assert!(unknown.is_empty(), "1.{minor} {name}: {unknown:?}");
    }
}

#[test]
fn every_template_reads_only_fields_of_its_istiod() {
    for (minor, name, template) in templates() {
        let words = words(&template);
        for (since, field) in FIELDS {
            let reads = words
                .iter()
                .any(|word| word.split('.').any(|part| part == field));
            assert!(!reads || minor >= since, "1.{minor} {name}: {field}");
        }
    }
}

#[test]
fn every_minor_has_the_templates_that_its_istiod_looks_for() {
    let mut names = BTreeSet::new();
    for (minor, name, _) in templates() {
        names.insert((minor, name));
    }
    let of = |minor: u16| {
        names
            .iter()
            .filter(|(m, _)| *m == minor)
            .map(|(_, n)| n.as_str())
            .collect::<Vec<_>>()
    };
    let always = [
        "gateway",
        "grpc-agent",
        "grpc-simple",
        "kube-gateway",
        "sidecar",
        "waypoint",
    ];
    assert_eq!(of(28), always);
    assert_eq!(of(29), [&["agentgateway"], always.as_slice()].concat());
    assert_eq!(
        of(31),
        [
            &["agentgateway", "agentgateway-waypoint"],
            always.as_slice()
        ]
        .concat()
    );
}

/// In 1.26, upstream's gateways mount istiod's bundle under its usual name, whatever pods are told.
#[test]
fn only_pods_are_told_the_bundles_name_in_1_26() {
    for (_, name, template) in templates().iter().filter(|(minor, ..)| *minor == 26) {
        let reads = words(template).contains(".Values.global.trustBundleName");
        let is_of_pods = ["gateway", "grpc-agent", "sidecar"].contains(&name.as_str());
        assert_eq!(reads, is_of_pods, "{name}");
    }
}

/// YAML reads an `n` or `1e3` that stands alone as no text, and upstream's templates write some names so.
#[test]
fn names_of_gateways_and_containers_are_quoted() {
    for (minor, file, template) in templates() {
        let actions = template.split("{{").skip(1);
        let actions = actions.filter_map(|rest| rest.split_once("}}"));
        for (action, _) in actions {
            let printed = action.trim_matches(['-', ' ']);
            let bare = printed
                .rsplit('.')
                .next()
                .filter(|_| !printed.contains(' '));
            let is_name = bare
                .is_some_and(|name| ["Name", "DeploymentName", "ServiceAccount"].contains(&name));
            assert!(!is_name, "1.{minor} {file}: {{{{{action}}}}}");
        }
    }
}

#[test]
fn words_are_found_wherever_they_stand() {
    let text =
        "x {{- /* a b */}} {{ if (eq .A.B `c d`) }}{{ \"e \\\" f\" | quote }}{{ $g := h 1 }}";
    let expected = [".A.B", "$g", "eq", "h", "if", "quote"];
    assert_eq!(words(text), expected.map(str::to_owned).into());
}

/// Every template that a default install of every minor holds: minor, name and text.
fn templates() -> Vec<(u16, String, String)> {
    let charts = Charts::embedded().unwrap();
    let cr = IstioOperator::new("install", RawSpec(Map::new().into()));
    let mut all = Vec::new();
    for release in charts.catalogue().releases() {
        let version = release.version;
        let mut merged = merge(
            &cr,
            Some(&version.minor_text()),
            Cluster::default(),
            &charts,
        )
        .unwrap();
        merged
            .components
            .retain(|component| component.kind == ComponentKind::Pilot);
        let rendered = render(&merged, &charts).unwrap();
        let mut objects = rendered
            .components
            .iter()
            .flat_map(|component| &component.objects);
        let injector = objects.find(|object| {
            object.key.name == "istio-sidecar-injector" && object.key.kind == "ConfigMap"
        });
        let data = injector.unwrap().body.field("data");
        let config: Value = yaml::parse(data["config"].as_str().unwrap()).unwrap();
        for (name, text) in config["templates"].as_object().unwrap() {
            all.push((
                version.minor,
                name.clone(),
                text.as_str().unwrap().to_owned(),
            ));
        }
    }
    all
}

/// The words of a template's actions: keywords, functions, `$variables` and `.fields`, but neither
/// strings nor comments.
fn words(template: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for part in template.split("{{").skip(1) {
        let part = part.trim_start_matches('-').trim_start();
        if part.starts_with("/*") {
            continue;
        }
        let action = without_strings(part);
        let is_word = |c: char| c.is_ascii_alphanumeric() || "_$.".contains(c);
        for word in action.split(|c| !is_word(c)) {
            // A field of something in parentheses starts with a dot too; a lone dot is the data itself.
            let starts = word
                .trim_start_matches(['.', '$'])
                .starts_with(|c: char| c.is_ascii_alphabetic());
            if starts {
                found.insert(word.to_owned());
            }
        }
    }
    found
}

/// The text of an action up to its end, its strings left out.
fn without_strings(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '}' if rest.peek() == Some(&'}') => break,
            '`' => while rest.next().is_some_and(|c| c != '`') {},
            '"' => {
                while let Some(c) = rest.next().filter(|c| *c != '"') {
                    if c == '\\' {
                        rest.next();
                    }
                }
                kept.push(' ');
            }
            c => kept.push(c),
        }
    }
    kept
}
