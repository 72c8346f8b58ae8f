//! The command line as users see it: the real binary, its output, its messages and its exit codes.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what goes wrong here fails the test"
)]

mod docs;
mod failures;
mod help;
mod input;
mod migrate;
mod profiles;
mod run;
mod why;

use std::io::Read;

use istio_operator::api::IstioOperator;
use istio_operator::charts::{Charts, yaml};
use istio_operator::merge::{Cluster, merge};
use istio_operator::plan::in_apply_order;
use istio_operator::render::render;
use serde_json::{Value, json};

use run::{CHARTS, SAMPLES, command, complaints, documents, refusal, run, run_on, succeed, text};

/// A CR that enables one gateway and nothing else, as YAML.
fn gateway(spec: &Value) -> String {
    let mut cr = json!({
        "apiVersion": "install.istio.io/v1alpha1",
        "kind": "IstioOperator",
        "metadata": {"name": "gateways"},
        "spec": {"components": {"base": {"enabled": false}, "pilot": {"enabled": false}}},
    });
    istio_operator::charts::tree::merge_over(&mut cr["spec"], spec.clone());
    yaml::write(&cr)
}

#[test]
fn render_prints_what_the_library_renders() {
    let file = format!("{SAMPLES}/acceptance.yaml");
    let cr: IstioOperator = yaml::parse(&std::fs::read_to_string(&file).unwrap()).unwrap();
    let charts = Charts::embedded().unwrap();
    let rendered = render(
        &merge(&cr, None, Cluster::default(), &charts).unwrap(),
        &charts,
    )
    .unwrap();
    let expected: Vec<_> = in_apply_order(&rendered)
        .iter()
        .map(|object| object.body.value())
        .collect();
    assert!(expected.len() > 30, "{} objects", expected.len());

    assert_eq!(documents(&succeed(&["render", "-f", &file])), expected);
    let list: Value =
        serde_json::from_str(&succeed(&["render", "-f", &file, "-o", "json"])).unwrap();
    assert_eq!(list["kind"], "List");
    assert_eq!(list["items"], Value::from(expected));
}

#[test]
fn render_reads_standard_input() {
    let output = run_on(gateway(&json!({})), &["render", "-f", "-"]);
    assert_eq!(complaints(&output), [""; 0]);
    let objects = documents(&text(&output.stdout));
    let kinds: Vec<_> = objects
        .iter()
        .map(|object| object["kind"].as_str().unwrap())
        .collect();
    let config = ["Role", "RoleBinding", "Service", "ServiceAccount"];
    let workloads = ["HorizontalPodAutoscaler", "Deployment"];
    assert_eq!(kinds, [&config[..], &workloads[..]].concat());
}

#[test]
fn istio_version_beats_the_file() {
    let spec = json!({"version": "1.31", "tag": "1.31.0"});
    let args = ["render", "-f", "-", "--istio-version", "1.26"];
    let objects = documents(&text(&run_on(gateway(&spec), &args).stdout));
    let deployment = objects
        .iter()
        .find(|object| object["kind"] == "Deployment")
        .unwrap();
    assert_eq!(
        deployment["metadata"]["labels"]["app.kubernetes.io/version"],
        "1.26.8"
    );
    let image = deployment["spec"]["template"]["spec"]["containers"][0]["image"]
        .as_str()
        .unwrap();
    assert!(image.ends_with(":1.31.0"), "{image}");
}

#[test]
fn charts_of_a_directory_replace_the_embedded_ones() {
    let input = gateway(&json!({}));
    let embedded = run_on(&input, &["render", "-f", "-"]);
    let read = run_on(&input, &["render", "-f", "-", "--charts", CHARTS]);
    assert_eq!(complaints(&read), [""; 0]);
    assert_eq!(read.stdout, embedded.stdout);

    let absent = run_on(&input, &["--charts", "no/such/charts", "render", "-f", "-"]);
    assert!(refusal(&absent).contains("no/such/charts"));
}

#[test]
fn every_error_has_its_line_with_its_path() {
    let spec =
        json!({"profile": "nonesuch", "hub": 5, "components": {"pilot": {"enabled": "true"}}});
    let refusal = refusal(&run_on(gateway(&spec), &["render", "-f", "-"]));
    let lines: Vec<_> = refusal.lines().collect();
    for path in [
        "spec.profile: ",
        "spec.hub: ",
        "spec.components.pilot.enabled: ",
    ] {
        let count = lines.iter().filter(|line| line.starts_with(path)).count();
        assert_eq!(count, 1, "{path} in {refusal}");
    }
}

#[test]
fn an_unknown_mesh_setting_is_a_warning_and_is_handed_on() {
    let input = "apiVersion: install.istio.io/v1alpha1\nkind: IstioOperator\n\
                 spec: {profile: minimal, meshConfig: {accesLogFile: /dev/stdout}}\n";
    let output = run_on(input, &["render", "-f", "-"]);
    let newest = Charts::embedded().unwrap().catalogue().default_version();
    let warning = format!(
        "warning: spec.meshConfig.accesLogFile: is not a known mesh setting of Istio {}; \
         did you mean accessLogFile?",
        newest.minor_text()
    );
    assert_eq!(complaints(&output), [warning]);
    assert!(output.status.success());
    assert!(text(&output.stdout).contains("accesLogFile: /dev/stdout"));
}

#[test]
fn fields_beside_the_spec_are_read_as_fields_of_it() {
    let input = format!("{EMPTY}values: {{global: {{hub: h}}}}\n");
    let output = run_on(&input, &["render", "-f", "-"]);
    let warning = "warning: values: is read as spec.values; write it there";
    assert_eq!(complaints(&output), [warning]);
    assert!(output.status.success());
    let refused = run_on(
        format!("{input}deletionPolicy: Orphan\n"),
        &["render", "-f", "-"],
    );
    let refusal = refusal(&refused);
    assert!(
        refusal.contains(
            "deletionPolicy: is no field of the resource; write spec.deletionPolicy instead"
        ),
        "{refusal}"
    );
}

#[test]
fn a_file_that_is_no_istio_operator_is_refused() {
    let cases = [
        ("a: [", "-: unclosed bracket"),
        ("", "-: expected one IstioOperator, found 0 documents"),
        (
            "kind: A\n---\nkind: B\n",
            "-: expected one IstioOperator, found 2 documents",
        ),
        (
            "apiVersion: v1\nkind: Service\n",
            "-: apiVersion: expected install.istio.io/v1alpha1",
        ),
        (
            "apiVersion: operator.istio.io/v1alpha1\nkind: IstioOperators\n",
            "-: apiVersion: expected install.istio.io/v1alpha1, found \"operator.istio.io/v1alpha1\"; \
             kind: expected IstioOperator, found \"IstioOperators\"",
        ),
        (
            "apiVersion: install.istio.io/v1alpha1\nkind: Istio\n",
            "-: kind: expected IstioOperator",
        ),
        (
            "apiVersion: install.istio.io/v1alpha2\nkind: IstioControlPlane\n",
            "-: an IstioControlPlane of Istio 1.4; istio-operator migrate makes an IstioOperator of it",
        ),
        ("# nothing\n", "-: expected one IstioOperator, found 0"),
        (
            "- a\n",
            "-: apiVersion: expected install.istio.io/v1alpha1, found nothing",
        ),
        (
            "apiVersion: install.istio.io/v1alpha1\nkind: IstioOperator\nspecs: {}\n",
            "-: specs: unknown field; the known are apiVersion, kind, metadata, spec, status",
        ),
    ];
    for (input, message) in cases {
        let refusal = refusal(&run_on(input, &["render", "-f", "-"]));
        assert!(refusal.starts_with(message), "{refusal}");
    }
    let absent = refusal(&run(&["render", "-f", "no/such/file.yaml"]));
    assert!(absent.starts_with("no/such/file.yaml: "), "{absent}");
}

const EMPTY: &str =
    "apiVersion: install.istio.io/v1alpha1\nkind: IstioOperator\nspec:\n  profile: empty\n";

#[test]
fn a_file_that_is_no_yaml_says_where() {
    let deep = format!("  values: {}1{}\n", "{a: ".repeat(3000), "}".repeat(3000));
    let cases: [(&[u8], &str); 12] = [
        (
            b"  hub: \xff\xfe\n",
            "-: stream did not contain valid UTF-8",
        ),
        (
            b"  hub: a\0b\n",
            "-: unexpected character: `\\u{0}' at line 5, column 9",
        ),
        (
            b"\thub: a\n",
            "-: while scanning a plain scalar, found a tab at line 4",
        ),
        (
            b" hub: a\n",
            "-: while parsing a block mapping, did not find expected key at line 5",
        ),
        (
            b"  hub: a: b\n",
            "-: mapping values are not allowed in this context at line 5",
        ),
        (
            b"  hub: *a\n",
            "-: reference to unknown value at line 5, column 8",
        ),
        (
            b"  hub: a\n  hub: b\n",
            "-: duplicate mapping key: hub not allowed here at line 6",
        ),
        (
            b"  values: {null: a}\n",
            "-: null is not allowed here at line 5",
        ),
        (
            b"  values: {pilot: {traceSampling: .inf}}\n",
            "-: value `.inf` is not a finite number at line 5",
        ),
        (
            b"  values: {pilot: {traceSampling: 1e999}}\n",
            "-: value `1e999` is not a finite number at line 5",
        ),
        (
            b"  values: {pilot: {autoscaleMin: 99999999999999999999}}\n",
            "spec.values.pilot.autoscaleMin: expected a whole number, found the number 1e+20",
        ),
        (deep.as_bytes(), "-: YAML document too large or too complex"),
    ];
    for (lines, message) in cases {
        let input = [EMPTY.as_bytes(), lines].concat();
        let refusal = refusal(&run_on(&input, &["render", "-f", "-"]));
        assert!(refusal.starts_with(message), "{refusal}");
    }
}

#[test]
fn a_file_may_use_what_yaml_has() {
    let gateway = "  components: {ingressGateways: [{name: &n one, enabled: true}]}\n  values: {global: &g {hub: h}, pilot: {<<: *g, tag: *n}}\n";
    let plain = format!("{EMPTY}{gateway}");
    let expected = text(&run_on(&plain, &["render", "-f", "-"]).stdout);
    assert!(expected.contains("h/proxyv2:"), "{expected}");
    for same in [
        plain.replace('\n', "\r\n"),
        format!("\u{feff}{plain}"),
        format!("# first\n---\n{plain}---\n...\n"),
        format!("{plain}status: {{status: HEALTHY}}\n"),
    ] {
        assert_eq!(
            text(&run_on(&same, &["render", "-f", "-"]).stdout),
            expected,
            "{same}"
        );
    }
}

#[test]
fn wrong_arguments_are_wrong_input() {
    for args in [
        &["nonsense"][..],
        &["render"],
        &["render", "-f", "-", "-o", "xml"],
        &[],
    ] {
        let refusal = refusal(&run(args));
        assert!(
            refusal.contains("--help") || refusal.contains("Usage:"),
            "{refusal}"
        );
    }
}

#[test]
fn a_reader_that_stops_is_no_error() {
    let mut child = command(&["crd"]).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 10]).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert_eq!(text(&output.stderr), "");
    assert!(output.status.success(), "{}", output.status);
}

#[test]
fn crd_is_the_checked_in_one() {
    let checked_in = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../crds/install.istio.io_istiooperators.yaml"
    );
    let checked_in: Value = yaml::parse(&std::fs::read_to_string(checked_in).unwrap()).unwrap();
    assert_eq!(documents(&succeed(&["crd"])), [checked_in]);
}

#[test]
fn version_is_that_of_the_package() {
    let expected = concat!("istio-operator ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(succeed(&["--version"]), expected);
}

#[test]
fn versions_are_what_the_catalogue_says() {
    let charts = Charts::embedded().unwrap();
    let releases = charts.catalogue().releases();
    let table = succeed(&["versions"]);
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(lines.len(), releases.len() + 3, "{table}");
    let versions: Value = serde_json::from_str(&succeed(&["versions", "-o", "json"])).unwrap();
    let default = charts.catalogue().default_version().to_string();
    assert_eq!(versions["default"], default);
    assert!(lines[lines.len() - 1].contains(&default), "{table}");
    for (number, release) in releases.iter().enumerate() {
        let version = release.version.to_string();
        assert!(lines[number + 1].starts_with(&version), "{table}");
        assert_eq!(versions["versions"][number]["version"], version);
        // Each is what `render` installs if it is asked for the minor.
        let minor = release.version.minor_text();
        let sample = format!("{SAMPLES}/minimal.yaml");
        let rendered = succeed(&["render", "-f", &sample, "--istio-version", &minor]);
        assert!(
            rendered.contains(&format!(":{version}\""))
                || rendered.contains(&format!(":{version}\n")),
            "{minor}"
        );
    }
    let (oldest, newest) = (&versions["versions"][0], &versions["versions"][7]);
    assert_eq!(oldest["endOfLife"], "2025-06-19");
    assert_eq!(oldest["kubernetes"]["tested"], json!(["1.28", "1.31"]));
    assert_eq!(newest["endOfLife"], Value::Null);
    let yaml = succeed(&["versions", "-o", "yaml"]);
    assert_eq!(serde_saphyr::from_str::<Value>(&yaml).unwrap(), versions);
}
